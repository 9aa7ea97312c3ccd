#!/usr/bin/env bash
# A published model, as a user meets it: DeiT-Tiny's file and 160 photographs give the outputs and the accuracy that PyTorch
# gave (the README beside the data). Breaks when reading, decoding, cropping, scaling or the model differ anywhere.
#   tests/published.sh BUILD      exit status 77 (skipped) where the data are not there
set -uo pipefail
vitro=$(realpath "$1/src/cli/vitro")
cd "$(dirname "$0")/.." || exit 2
data=${VITRO_DATA:-../shared/data}
weights=$data/deit-tiny-patch16-224.f16.safetensors
[ -e "$weights" ] || { echo "published: skipped, $weights is not there (VITRO_DATA names another place)"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cut -f1,4 "$data/imagenette224.classes.txt" >"$scratch/classes" # each class by its number among the model's 1,000
keys=(model.heads=3 model.head=tok model.gelu=erf model.norm_eps=1e-6 'data.mean=[0.485,0.456,0.406]'
    'data.std=[0.229,0.224,0.225]' 'data.eval_preprocess=[central_crop(224)]')
images="wds:$data/imagenette224-val-00.tar.gz?classes=$scratch/classes"

"$vitro" eval "$weights" "$images" --json "${keys[@]}" >"$scratch/all.json" 2>"$scratch/err" &&
    "$vitro" eval "$weights" "$images" --json --among data "${keys[@]}" >"$scratch/among.json" 2>"$scratch/err" &&
    "$vitro" embed "$weights" "$images" -o "$scratch/out.npy" --logits "${keys[@]}" >/dev/null 2>"$scratch/err" ||
    { cat "$scratch/err" >&2; exit 1; }

python3 - "$scratch" "$data" <<'PYTHON'
import array
import ast
import json
import struct
import sys

scratch, data = sys.argv[1:]


def load(path):
    with open(path, "rb") as f:
        assert f.read(8) == b"\x93NUMPY\x01\x00", path
        header = ast.literal_eval(f.read(struct.unpack("<H", f.read(2))[0]).decode())
        assert header["descr"] == "<f4" and not header["fortran_order"], (path, header)
        return header["shape"], array.array("f", f.read())


def distance(name, reference):
    (rows, columns), wanted = load(reference)
    shape, got = load(name)
    assert shape[1] == columns and shape[0] >= rows, (shape, rows, columns)
    square = sum((a - b) ** 2 for a, b in zip(wanted, got))
    return (square / sum(a * a for a in wanted)) ** 0.5


wrong = 0


def check(what, got, good, wanted):
    global wrong
    wrong += not good
    print(f"{'ok' if good else 'WRONG'}: {what}: {got} ({wanted})")


everything, among = (json.load(open(f"{scratch}/{name}.json")) for name in ("all", "among"))
check("top-1 of 160, 1,000 classes", everything["top1"]["right"], everything["top1"]["right"] == 118, "118")
check("top-5 of 160, 1,000 classes", everything["top5"]["right"], everything["top5"]["right"] == 148, "148")
check("top-1 of 160, among the 10", among["top1"]["right"], among["top1"]["right"] == 157, "157")
for what, name, reference in (("logits", "out.logits.npy", "ref-logits"), ("features", "out.npy", "ref-features")):
    d = distance(f"{scratch}/{name}", f"{data}/deit-tiny.{reference}.npy")
    check(f"{what} beside PyTorch's, relative L2", f"{d:.1e}", d < 1e-4, "below 1e-4")
sys.exit(wrong > 0)
PYTHON
