#!/usr/bin/env bash
# tools/check-layers must fail when a folder includes one above it: tried on a copy with one wrong arrow.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r src "$copy/src"
tools/check-layers --root "$copy" >/dev/null
printf '\n#include "train/train.h"\n' >>"$copy/src/base/log.c"
if tools/check-layers --root "$copy" >/dev/null; then
    echo "tools/check-layers did not see that base includes train"
    exit 1
fi
