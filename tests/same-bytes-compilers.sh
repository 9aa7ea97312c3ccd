#!/usr/bin/env bash
# Two builds (gcc's and clang's) train the same recipe on every instruction set of this machine: the final checkpoints must
# be the same files. Breaks when a compiler fuses, reorders or replaces arithmetic, or a libm decides a result.
#   tests/same-bytes-compilers.sh build/release build/clang
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

train() { # BUILD ISA: prints the hashes of the checkpoint's files
    local run=$scratch/$(basename "$1")-$2
    VITRO_ISA=$2 "$1/src/cli/vitro" train recipes/shapes-demo.yaml --run "$run" "schedule.length=30 steps" schedule.warmup=5 schedule.cooldown=10 \
        train.batch=48 train.micro_batch=24 eval.every=0 >"$run.log" 2>&1 || { cat "$run.log" >&2; return 1; }
    (cd "$run/checkpoints" && sha256sum step-*/*)
}

compared=0
for isa in $("$1/src/cli/vitro" doctor --json | python3 -c 'import json, sys
print(*[k["name"] for k in json.load(sys.stdin)["kernels"] if k["usable"] and k["name"] != "ref"])'); do
    train "$1" "$isa" >"$scratch/first"
    train "$2" "$isa" >"$scratch/second"
    if ! diff "$scratch/first" "$scratch/second" >&2; then
        echo "$isa: $1 and $2 give different checkpoints" >&2
        exit 1
    fi
    echo "$isa: same bytes"
    compared=$((compared + 1))
done
[ $compared -gt 0 ] || { echo "no instruction set was compared" >&2; exit 1; }
