#!/usr/bin/env bash
# Two builds of one commit, in two folders, are one program to the byte. Breaks when a path, a date or an order of files gets in.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for folder in "$scratch/a" "$scratch/another-place"; do
    git clone -q . "$folder"
    CC=gcc meson setup "$folder/build" "$folder" -Dtests=false -Dbenchmarks=false >/dev/null
    ninja -C "$folder/build" --quiet src/cli/vitro
done
cmp "$scratch/a/build/src/cli/vitro" "$scratch/another-place/build/src/cli/vitro"
