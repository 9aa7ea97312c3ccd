#!/usr/bin/env bash
# The portable kernels on 64-bit Arm, under qemu: they pass the checker there, and every operation gives the bytes that it gives on
# this machine. Breaks when portable code relies on x86, or fuses a multiplication with an addition.
# Exit status 77 (skipped) where the cross compiler or qemu is missing.
#   tests/aarch64.sh [BUILD]     BUILD has tests/kernels/hash_ops of this machine; default build/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v $tool >/dev/null || { echo "aarch64: skipped, $tool is missing (tools/install-packages test-all)"; exit 77; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

kernels=(src/base/{arena,log,machine,math,philox,pool,status,text}.c src/device/*.c src/kernels/backend.c src/kernels/ref/*.c src/kernels/cpu/*.c)
checker=(tests/kernels/check_{case,products,attention,rows,scales,updates}.c)
flags=(-std=c17 -D_POSIX_C_SOURCE=200809L -O2 -ffp-contract=off -Isrc -static -DVT_ISA=portable -DVT_VEC_BITS=128 -DVT_HAVE_PORTABLE)
for program in check hash_ops; do
    aarch64-linux-gnu-gcc "${flags[@]}" "${kernels[@]}" "${checker[@]}" tests/kernels/$program.c -o "$scratch/$program" -lm -lpthread
done
qemu-aarch64 "$scratch/check" --isa portable --quick
qemu-aarch64 "$scratch/hash_ops" portable >"$scratch/arm"
"$build/tests/kernels/hash_ops" portable >"$scratch/here"
diff "$scratch/here" "$scratch/arm" || { echo "aarch64: the portable kernels give other bytes than here" >&2; exit 1; }
echo "aarch64: same bytes as here for $(wc -l <"$scratch/arm") operations"
