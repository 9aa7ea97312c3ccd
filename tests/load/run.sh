#!/usr/bin/env bash
# A training run while its world falls apart: images vanish, are cut short and become pipes, a shard is cut, the process is
# stopped for a while, the disk fills. The run must name what is bad, stay within data.max_bad, and end with a checkpoint.
#   tests/load/run.sh VITRO [long]
# The full disk is a limit on the size of files (prlimit), so that nothing here needs root.
set -uo pipefail
vitro=$(realpath "$1") mode=${2:-quick}
steps=1200
[ "$mode" = long ] && steps=20000
scratch=$(mktemp -d)
pid=
clean() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null
    rm -rf "$scratch"
}
trap clean EXIT
cd "$scratch" || exit 1
export XDG_CACHE_HOME=$scratch/cache
passed=0 failed=0

check() { # NAME COMMAND...
    if "${@:2}"; then
        passed=$((passed + 1)) && echo "ok $((passed + failed)) - $1"
    else
        failed=$((failed + 1)) && echo "not ok $((passed + failed)) - $1"
        tail -4 out err "$run/metrics.jsonl" 2>/dev/null | cut -c1-300 | sed 's/^/#   /'
    fi
}

within() { # SECONDS COMMAND...: until it holds, or the run has ended
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        [ $SECONDS -lt $end ] && kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.05
    done
}

count_is() { [ "$(grep -c "$1" "$2")" -eq "$3" ]; } # WORDS FILE NUMBER
count_least() { [ -e "$2" ] && [ "$(grep -c "$1" "$2")" -ge "$3" ]; }
status_is() { wait "$pid"; local s=$?; pid=; [ $s -eq "$1" ]; }

evaluates() { "$vitro" eval "$1" photos >eval.out 2>&1; } # RUN

cat >recipe.yaml <<END
model: {shape: w64-d2-m128-h2-p8, head: gap, image: 32}
data: {train: $scratch/photos, preprocess: "[random_crop(32), flip]", eval_preprocess: "[central_crop(32)]", workers: 3}
train: {batch: 16, save_every: 40 steps, log_every: 10, keep: 1, stall_minutes: 0.01}
schedule: {length: $steps steps, warmup: 10 steps, cooldown: 10 steps}
END

start() { # RUN [key=value...]
    run=$1
    "$vitro" train recipe.yaml --run "$run" "${@:2}" >out 2>err </dev/null &
    pid=$!
    within 120 count_least '"loss"' "$run/metrics.jsonl" 3
}

"$vitro" data export 'synthetic:shapes?classes=4&size=32&count=240' --out photos --count 240 --folders >/dev/null
"$vitro" data pack photos --out shards --name s --shard-images 60 >/dev/null 2>&1
mapfile -t files < <(find photos -name '*.png' | sort)
check "240 images and four shards" [ "${#files[@]}" -eq 240 -a -e shards/s-000003.tar ]

check "a run begins" start folder data.max_bad=8
rm "${files[10]}" "${files[70]}" "${files[140]}"
truncate -s 60 "${files[20]}" "${files[80]}"
truncate -s 0 "${files[150]}"
rm "${files[30]}" "${files[200]}"
mkfifo "${files[30]}" "${files[200]}"
check "eight bad images are named" within 120 count_least '"bad_image"' folder/metrics.jsonl 8
kill -STOP "$pid"
sleep 1.5
kill -CONT "$pid"
prlimit --fsize=150000:unlimited --pid "$pid"
check "a checkpoint that the disk refuses does not end the run" within 120 grep -q 'a checkpoint is lost, and the run goes on' folder/log.txt
prlimit --fsize=unlimited:unlimited --pid "$pid"
check "the run ends well" status_is 0
check "each bad image is named once" count_is '"bad_image"' folder/metrics.jsonl 8
check "the result says how many" grep -q 'bad images  8 of 240' out

for f in "${files[10]}" "${files[20]}" "${files[30]}" "${files[70]}" "${files[80]}" "${files[140]}" "${files[150]}" "${files[200]}"; do
    rm -f "$f"
    cp "${files[0]}" "$f"
done
check "the checkpoint is whole" evaluates folder
check "another run begins" start limit data.max_bad=3
rm "${files[11]}" "${files[71]}" "${files[141]}" "${files[201]}"
check "a fourth bad image ends it" status_is 1
check "by one sentence" grep -q '3 images could not be used, which is all that data.max_bad allows, and here is another' err
check "with a checkpoint" grep -q 'is saved in limit/checkpoints/step-' err

check "a run over shards begins" start shards-run "data.train=wds:$scratch/shards/s-{000000..000003}.tar" data.max_bad=10% data.cache=none
size=$(stat -c %s shards/s-000001.tar)
truncate -s $((size * 8 / 10)) shards/s-000001.tar
rm shards/s-000002.tar
check "images behind the cut are named" within 120 count_least '"bad_image"' shards-run/metrics.jsonl 5
check "the run over shards ends well" status_is 0
check "and says how many" grep -q 'bad images  [0-9]* of 240' out

echo "1..$((passed + failed))"
[ $failed -eq 0 ]
