#!/usr/bin/env bash
# The command line as a person meets it: help, examples, bad input, exit statuses, files.
#   tests/cli/run.sh VITRO SOURCE_TREE
# Prints "ok" and "not ok" lines (TAP); the exit status is 1 when one is not ok.
set -uo pipefail
vitro=$(realpath "$1")
source=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
mkdir bin && ln -s "$vitro" bin/vitro
export PATH=$scratch/bin:$PATH XDG_CACHE_HOME=$scratch/cache
unset VITRO_ISA COLUMNS NO_COLOR
# shellcheck source=tests/cli/lib.sh
. "$source/tests/cli/lib.sh"
. "$source/tests/cli/data.sh"

# Every command of the help, "data check" included.
commands() { sed -n '/^Commands:/,/^$/s/^  \([a-z]* \{0,1\}[a-z]*\)  .*/\1/p' <<<"$("$vitro" -h)" | sed 's/ *$//'; }

# The lines under "Examples:" of one help.
examples() { $vitro $1 -h | sed -n '/^Examples:/,/^$/s/^  //p'; }

# --- help and version: what would break is that a person is left alone
test_help() {
    expect "vitro alone teaches" 2 '*Usage: vitro COMMAND*Commands:*train*doctor*' 'vitro'
    expect "vitro -h" 0 '*Usage: vitro COMMAND*Commands:*train*doctor*' 'vitro -h'
    expect "vitro data" 2 '*data check*data stats*DATA is one of*folder:*' 'vitro data'
    expect "vitro recipe -h" 0 '*recipe list*recipe keys*' 'vitro recipe -h'
    expect "version" 0 'vitro [0-9]*commit*compiler*libraries*jansson*libyaml*libjpeg-turbo*libspng*zlib*libcrypto*kernels*ref*' 'vitro --version'
    local n=0
    while read -r command; do
        n=$((n + 1))
        expect "help of $command" 0 "vitro $command: *Usage: vitro $command*Examples:*" "vitro $command -h"
    done < <(commands)
    [ "$n" -ge 13 ] && ok "the help lists $n commands" || not_ok "the help lists only $n commands"
}

# Every command, those first whose examples make what others need.
commands_in_order() {
    local first=$'data export\ntrain\neval\nfewshot\nembed\npredict'
    echo "$first"
    commands | grep -v -x -F "$first"
}

# --- examples: each line of each -h works as it stands
test_examples() {
    local n=0
    while read -r command; do
        while read -r line; do
            n=$((n + 1))
            expect "example: $line" 0 '*' "$line"
        done < <(examples "$command")
    done < <(commands_in_order)
    [ "$n" -ge 26 ] && ok "$n examples were run" || not_ok "only $n examples were found"
}

# --- recipes: each that comes with vitro runs one step on small data
test_recipes() {
    local data name count
    for file in "$source"/recipes/*.yaml; do
        name=$(basename "$file" .yaml)
        data="synthetic:shapes?classes=4&count=16&size=$(sed -n 's/^  image: \([0-9]*\).*/\1/p' "$file")"
        start='' # what a recipe begins with when it wants a trained model
        grep -q '^init:' "$file" && start="init=runs/short"
        expect "recipe $name takes a step" 0 '*trained     1 steps*' \
            "vitro train '$file' 'data.train=$data' 'data.eval=$data' schedule.length=1 schedule.warmup=0 schedule.cooldown=0 train.batch=8 $start --run runs/step-$name"
        count=$(wc -l <"$file")
        [ "$count" -lt 40 ] && ok "recipe $name has $count lines" || not_ok "recipe $name has $count lines, 40 or more"
    done
    expect "tools/findings without its images says what is missing" 1 '*imagenet200-32*is missing; name the folder of the shards*' \
        "VITRO='$vitro' '$source/tools/findings' --data nothing"
}

# --- another program's model: used as it is, trained on, and not needed any more when the run goes on
test_start() {
    local data='synthetic:shapes?classes=4&count=40&size=16' crop="'data.preprocess=[resize(16)]' 'data.eval_preprocess=[resize(16)]'"
    expect "a folder of transformers' model needs no keys" 0 '*shots  accuracy*' "vitro fewshot published/transformers-vit '$data' --shots 1,5"
    expect "big_vision's archive on other images" 0 '*positions resized from 4x4 to 5x3*' \
        "vitro embed published/big-vision-map.npz '$data' -o features.npy model.image=20x12 'data.eval_preprocess=[resize(20,12)]'"
    cp -r published/transformers-dinov2 start
    expect "training begins with it" 0 '*trained     2 steps*new classifier*' \
        "vitro train recipes/finetune-backbone.yaml init=start model.image=16 $crop 'data.train=$data' data.eval= train.batch=8 schedule.length=2 schedule.warmup=1 optimizer.layer_decay=0.8 --run runs/started"
    rm -r start
    expect "and goes on without its file" 0 '*' 'vitro train runs/started'
    expect "which then is a model to begin with itself" 0 '*' "vitro eval runs/started '$data' 'data.mean=[0.5,0.5,0.5]' 'data.std=[0.5,0.5,0.5]'"
}

# --- bad input: one sentence, the right exit status, no crash, nothing lost
test_bad_input() {
    local before after line rest code glob command n=0
    before=$(find runs/short -type f ! -name lock ! -name log.txt -exec sha256sum {} + | sort)
    while IFS= read -r line; do
        case $line in '' | '#'*) continue ;; esac
        code=${line%% | *} rest=${line#* | }
        glob=${rest%% | *} command=${rest#* | }
        n=$((n + 1))
        expect "bad input: $command" "$code" "$glob" "$command"
        if [ "$(grep -c '^vitro' err)" -gt 2 ] || grep -q -E 'runtime error|Sanitizer|Assertion' err; then
            not_ok "bad input says one thing: $command" err
        fi
    done <"$source/tests/cli/bad_input.txt"
    after=$(find runs/short -type f ! -name lock ! -name log.txt -exec sha256sum {} + | sort)
    [ "$before" = "$after" ] && ok "bad input left the run as it was" || not_ok "bad input changed the run"
    [ "$n" -ge 30 ] && ok "$n kinds of bad input" || not_ok "only $n kinds of bad input"
}

# --- results and progress go to different places
test_output() {
    for command in 'eval runs/short' 'fewshot runs/short synthetic:shapes?count=400' 'predict runs/short photo.jpg' \
        'plan good.yaml' 'data check photos' 'data stats photos' 'data pack photos --out json --name j' 'recipe list' 'recipe check good.yaml' 'recipe keys' doctor; do
        run "vitro $command --json"
        if [ "$status" -eq 0 ] && [[ $(head -c 1 out) == [\{\[] ]] && [[ $(tail -n 1 out) == [\}\]] ]] && [ ! -s err ]; then
            ok "--json alone on standard output: $command"
        else
            not_ok "--json alone on standard output: $command" out err
        fi
    done
    run 'vitro train good.yaml --run runs/json --json'
    [ "$status" -eq 0 ] && [[ $(cat out) == \{*\} ]] && ok "train --json: results alone on standard output" ||
        not_ok "train --json: results alone on standard output" out err
    expect "among data: the prediction is restricted, and that is said" 0 '*among       4 of *16 classes*top-1*error*' \
        "vitro eval runs/short 'synthetic:shapes?classes=4&count=80' --among data"
    expect "among names: images of other classes are left out" 0 '*20 images*top-1*left out    60 images of other classes*' \
        "vitro eval runs/short 'synthetic:shapes?classes=4&count=80' --among 'solid disc,striped disc'"
    expect "among a file of names" 0 '*among       2 of*' \
        "printf 'solid disc\nstriped disc\n' >two.txt; vitro eval runs/short 'synthetic:shapes?classes=4&count=80' --among two.txt"
    expect "label sets: empty ones are left out, precision and mAP are shown" 0 '*60 images*precision *left out*20 images without a class*mAP *' \
        "for i in \$(seq 0 79); do if [ \$((i % 4)) = 0 ]; then echo \$i; else printf '%d\tsolid disc,solid bar\n' \$i; fi; done >some.sets
         vitro eval runs/short 'synthetic:shapes?count=80&labels=some.sets'"
    expect "calibration as JSON" 0 '{*"calibration"*"confidence": "softmax"*"temperature"*"bins"*"above": 0.9*}*' \
        'vitro eval runs/short --calibration --confidence softmax --json'
    expect "a linear probe" 0 '*pool *64 images*shots *all *%*' "vitro fewshot runs/short 'synthetic:shapes?count=80' --shots all"
    expect "several data sets share one l2" 0 '*pool *,*pool *the best mean rank over the data sets*' \
        "vitro fewshot runs/short 'synthetic:shapes?count=80' 'synthetic:shapes?count=60,test=synthetic:shapes?count=40&seed=2' --l2 1,64,1024 --shots 1,2 | tr '\n' ','"
    expect "a sweep as JSON" 0 '{*"l2": 0.000976562*"mean_rank"*"l2": 524288.0*}*' \
        "vitro fewshot runs/short 'synthetic:shapes?count=80' --l2 sweep --shots 2 --json"
    expect "embed --json says what it wrote" 0 '{*"count": 41*"width": 32*}*' \
        'vitro embed runs/short photos -o features.npy --logits --json'
    if [ -n "${VITRO_VENV:-}" ] || [ -e "$source/tools/python/.venv" ]; then
        expect "NumPy opens what embed wrote" 0 '(41, 32) float32 (41,) int64 (41, 16) float32 41*' \
            "'$source/tools/python/run' -c 'import numpy as np
a, l, z = (np.load(f\"features{x}.npy\") for x in (\"\", \".labels\", \".logits\"))
print(a.shape, a.dtype, l.shape, l.dtype, z.shape, z.dtype, len(open(\"features.keys.txt\").read().splitlines()))'"
    else
        ok "NumPy opens what embed wrote # SKIP no Python environment (tools/python/setup)"
    fi
    expect "predict goes on behind a bad image" 1 '*photo.jpg: *0.*text.jpg*' 'vitro predict runs/short bad/text/b/text.jpg photo.jpg'
    expect "predict takes a top" 0 'photo.jpg: * 0.[0-9]*, * 0.[0-9]*' 'vitro predict runs/short photo.jpg --top 2'
    expect "predict gives softmax probabilities of a model trained by them: they add up to 1" 0 '*"probabilities": "softmax"*sum 1.000*' \
        "vitro train good.yaml loss.name=softmax --run runs/softmax >/dev/null && vitro predict runs/softmax \"\$(ls photos/*/*.png | head -1)\" --top 16 --json |
         awk '{ print } /\"probability\"/ { sum += \$2 } END { printf \"sum %.3f\", sum }'"
    expect "predict dumps what other programs need" 0 '*"pixels_base64"*"value_range"*"logits"*' \
        'vitro predict runs/short photo.jpg --dump dump.json >/dev/null && cat dump.json'
    expect "classes without images are named" 0 '*class without images: c*' \
        "printf 'a\nb\nc\n' >three.txt; vitro data check 'idx:images.idx,labels.idx?classes=three.txt'"
    if command -v script >/dev/null; then
        expect "a terminal gets a live line" 0 $'*\r*step*images/s*' \
            "TERM=xterm script -qec 'vitro train good.yaml --run runs/live' /dev/null"
        expect "NO_COLOR is obeyed" 2 '*vitro: *no command*' \
            "TERM=xterm NO_COLOR=1 script -qec 'vitro x' /dev/null | grep -v \$'\\033'; exit \${PIPESTATUS[0]}"
    fi
}

# --- runs: a finished one is evaluated again, --fresh begins anew, two trainings do not share a folder
test_runs() {
    expect "a finished run is evaluated again" 0 '*finished    40 steps*top-1*' 'vitro train runs/short'
    expect "keys that may change are shown" 0 '*train.keep: 2 -> 3*' 'vitro train runs/short train.keep=3'
    for i in $(seq 0 39); do printf '%d\tsolid disc,solid bar\n' "$i"; done >two.sets
    local keys="'data.eval=synthetic:shapes?count=40&labels=two.sets' 'eval.fewshot=synthetic:shapes?count=80' 'eval.fewshot_test=synthetic:shapes?count=40&seed=2'"
    expect "the plan is the run's, with label sets and few-shot accuracy" 0 'plan_[1-9]*' \
        "vitro train good.yaml $keys --run runs/planned --json >ran && sed -n 's/.*\"plan_total_bytes\": \([0-9]*\).*/plan_\1/p' ran >one &&
         vitro plan good.yaml $keys --json | sed -n 's/.*\"total_bytes\": \([0-9]*\).*/plan_\1/p' | diff - one && cat one"
    expect "--fresh begins anew" 0 '*trained     3 steps*' 'vitro train good.yaml schedule.length=3 --run runs/short --fresh'
    vitro train shapes-demo schedule.length=100000 --run runs/long 2>err &
    local pid=$!
    wait_for runs/long/metrics.jsonl
    expect "the second training on one run refuses" 1 '*runs/long*' 'vitro train shapes-demo schedule.length=100000 --run runs/long'
    kill -TERM $pid
    wait $pid
    [ $? -eq 75 ] && grep -q 'saved' err && ok "SIGTERM saves: 75" || not_ok "SIGTERM saves: 75" err
    vitro train runs/long 2>err &
    pid=$!
    for _ in $(seq 100); do grep -q 'going on from' err && break || sleep 0.1; done
    kill -INT $pid
    wait $pid
    [ $? -eq 130 ] && grep -q 'going on from' err && ok "SIGINT saves: 130; the run went on" || not_ok "SIGINT saves: 130" err
}

# --- bad numbers: a run that is made to diverge is explained, its replay shows the same and changes nothing, and says
# what metrics.jsonl says of good updates
test_replay() {
    local before after say step
    expect "a divergence is explained" 1 '*is not finite; first bad: * images*: shapes*; nothing was updated;*replay=*' \
        'vitro train shapes-demo optimizer.name=sgd optimizer.lr=1000 optimizer.clip=0 schedule.length=40 schedule.warmup=0 train.save_every=1 train.log_every=1 --run runs/wild'
    say=$(sed -n 's/.*`\(vitro train [^`]*\)`.*/\1/p' err)
    step=${say##*=}
    grep -q "first bad: .*replay=$step" runs/wild/log.txt && ok "log.txt has it" || not_ok "log.txt has it" runs/wild/log.txt
    before=$(find runs/wild -type f -exec sha256sum {} + | sort)
    expect "the command that it names shows more" 0 "update $step of runs/wild*first bad  *forward*block 0*backward*attention*parameters*" "$say"
    expect "all tensors" 0 "*attn.qkv*attn.lse*mlp.fc1*mlp.act*" "$say --all"
    expect "as JSON" 0 '{*"first_bad"*"samples"*"tensors"*}*' "$say --json"
    expect "a good update is the recorded one" 0 '*recorded*: the same*all finite*' 'vitro train runs/wild replay=1 train.threads=2'
    after=$(find runs/wild -type f -exec sha256sum {} + | sort)
    [ "$before" = "$after" ] && ok "replays leave the run as it was" || not_ok "replays changed the run"
    expect "skipping has an end" 1 '*10 updates were skipped before*' 'vitro train runs/wild train.on_divergence=skip'
}

wait_for() { # FILE
    for _ in $(seq 100); do [ -s "$1" ] && return || sleep 0.1; done
}

make_data
test_help
test_examples
make_bad_data
make_bad_checkpoints
test_start
test_bad_input
test_output
test_pack
test_export_names
test_duplicates
test_show
test_hard_images
test_recipes
test_runs
test_replay
echo "1..$((passed + failed))"
echo "# $passed passed, $failed failed"
[ "$failed" -eq 0 ]
