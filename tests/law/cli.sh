#!/usr/bin/env bash
# The commands of the law as a person meets them: their examples, bad input, the same bytes twice, figures.
#   tests/law/cli.sh VITRO
# Prints TAP; the exit status is 1 when a line is not ok.
set -uo pipefail
vitro=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
mkdir bin && ln -s "$vitro" bin/vitro
export PATH=$scratch/bin:$PATH
passed=0 failed=0

expect() { # NAME STATUS GLOB COMMAND: the glob is matched against both outputs
    bash -c "$4" >out 2>&1
    local status=$?
    if [ $status -eq "$2" ] && [[ $(cat out) == $3 ]] && ! grep -q -E 'runtime error|Sanitizer|Assertion' out; then
        passed=$((passed + 1)) && echo "ok - $1"
    else
        failed=$((failed + 1)) && echo "not ok - $1 (status $status)" && sed 's/^/# /' out | head -20
    fi
}

have_gnuplot() { command -v gnuplot >/dev/null; }

# Each line of each -h works as it stands; what breaks is that the first thing a person tries fails.
for command in fit backtest joint shape plan next plot; do
    [ $command = plot ] && ! have_gnuplot && echo "ok - skipped: gnuplot is not installed" && continue
    n=0
    while read -r line; do
        n=$((n + 1))
        expect "example: ${line:0:60}" 0 '*' "$line"
    done < <(vitro law $command -h | sed -n '/^Examples:/,/^$/s/^  //p')
    [ $n -ge 2 ] || { failed=$((failed + 1)) && echo "not ok - $command has only $n examples"; }
done

# Figures: whole SVG, the script redraws the same bytes, the page needs no other file.
if have_gnuplot; then
    expect "the SVG is whole" 0 '*' 'tail -n 3 figures/law.svg | grep -q "</svg>"'
    expect "the script redraws it" 0 '*' 'cp figures/law.svg a.svg && (cd figures && gnuplot law.gp) && cmp a.svg figures/law.svg'
    expect "the page holds its figures" 0 '2' 'grep -c "<svg" figures/index.html'
    expect "the page loads nothing" 1 '' 'grep -E "(src|href)=.(http|//|file)" figures/index.html'
    if command -v chromium >/dev/null; then
        # What a browser makes of the page: both figures, each with its curves and points, and no error.
        expect "a browser shows the page" 0 '2' \
            'chromium --headless --no-sandbox --disable-gpu --user-data-dir=browser --dump-dom "file://$PWD/figures/index.html" 2>/dev/null | grep -c "<svg"'
        expect "and paints it" 0 '*' 'chromium --headless --no-sandbox --disable-gpu --user-data-dir=browser --window-size=900,1400 \
            --screenshot=page.png "file://$PWD/figures/index.html" && [ "$(stat -c %s page.png)" -gt 20000 ]'
    else
        echo "ok - skipped: chromium is not installed"
    fi
    expect "names from tables are no commands" 0 '*' \
        'printf "model,flops,error\na'"'"'; !touch hacked #,1,.5\n\`touch hacked\`,2,.4\nb,4,.3\nb,8,.25\n" >evil.csv &&
         vitro law plot evil.csv --x flops --y error --model model --out evil && [ ! -e hacked ] && [ ! -e evil/hacked ]'
fi

# The same bytes every time, whatever the threads.
expect "the same bytes" 0 '*' 'vitro law fit twelve.csv --x flops --y error --json --bootstrap 100 --threads 1 >1.json &&
    vitro law fit twelve.csv --x flops --y error --json --bootstrap 100 --threads 3 >2.json && cmp 1.json 2.json'
expect "a fit goes on as a plan" 0 '*expected    error*shape       w*binds*pays from*' \
    'vitro law fit twelve.csv --x flops --y error --out fit.json >/dev/null && vitro law plan fit.json --budget 1e18flops --baseline 0.2'
expect "far is asked for" 0 '*not extrapolated; --far*' 'vitro law fit twelve.csv --x flops --y error --at 1e20'
expect "far is marked" 0 '*no back-test supports this*' 'vitro law fit twelve.csv --x flops --y error --at 1e21 --far'

# Loss first; equal error; seeds; all of it as one JSON object.
awk 'BEGIN { print "flops,loss,error"
    for (i = 0; i < 16; i++) { L = 1.5 + 2 * 10 ^ (-i / 20); printf "%g,%.8g,%.8g\n", 10 ^ (15 + i / 4), L, .08 * L ^ 1.5 } }' >via.csv
expect "loss first" 0 '*by loss    error = 0.08 L^1.5*so error 0.1959*' 'vitro law fit via.csv --x flops --y error --via loss --at 1e19'
awk 'BEGIN { print "model,images,error,seed"
    for (i = 0; i < 10; i++) for (s = 0; s < 2; s++) for (m = 1; m <= 8; m *= 8)
        printf "m%d,%g,%.8g,%d\n", m, m * 2 ^ i, (.6 * 2 ^ (-i / 4) + .1) * (1 + s / 100), s }' >seeds.csv
expect "equal error" 0 '*m8 needs 8 times as much*' 'vitro law fit seeds.csv --x images --y error --equal m8,m1'
expect "seeds" 0 '*20  left out: averaged with other seeds*seeds differ by 0.0070 in ln E (20 degrees*' \
    'vitro law fit seeds.csv --x images --y error --seed seed'
for line in 'fit via.csv --x flops --y error --via loss --at 1e19' 'fit seeds.csv --x images --y error --equal m8,m1' \
    'next twelve.csv --x flops --y error --budget 1e18' 'plan fit.json --budget 1e18flops'; do
    expect "--json alone: $line" 0 '{*}' "vitro law $line --json"
done

# Bad input: one sentence, the right exit status.
printf 'flops,error\n1,.5\n2,.4\n' >two.csv
printf 'cost,error\n1,.5\n2,.4\n3,.3\n' >unit.csv
printf 'flops,error\n5,.5\n5,.4\n5,.3\n' >same.csv
printf 'flops,error\n0,.5\n1,0\n2,1.5\n3,nan\n' >none.csv
printf '{"vitro_law": 1}' >sizes.json
head -c 3000 /dev/urandom >noise.csv
while IFS='|' read -r status glob command; do
    expect "bad input: $command" "$status" "$glob" "vitro law $command"
done <<'BAD'
2|*--x is missing*|fit two.csv --y error
2|*--loss is "square"*|fit two.csv --x flops --y error --loss square
2|*--level is "81"*|fit two.csv --x flops --y error --level 81
2|*--at*not a number*|fit two.csv --x flops --y error --at many
2|*--by is missing*|backtest two.csv --x flops --y error
2|*--budget is missing*|plan fit.json
2|*--keep: "all"*|plan fit.json --budget 1e18flops --keep all=1
2|*nothing is left to train*|plan fit.json --budget 1e18flops --keep tuning=90
2|*--serve and --sizes go together*|plan fit.json --budget 1e18flops --serve 1e9
2|*--data is missing*|joint two.csv --size flops --y error
2|*--size is missing*|shape two.csv --x flops --y error
1|*a shape law takes 8*|shape two.csv --x flops --y error --size flops
1|*no run is of model "zebra"*|fit twelve.csv --x flops --y error --equal zebra,lion
2|*two models are expected*|fit two.csv --x flops --y error --equal a
1|*at least 3*|fit two.csv --x flops --y error --via error
2|*--out is missing*|plot two.csv --x flops --y error
2|*'law fitt' is no command; did you mean 'law fit'?*|fitt two.csv
1|*absent.csv*|fit absent.csv --x flops --y error
1|*at least 3*|fit two.csv --x flops --y error
1|*does not say its unit; say --x-unit*|fit unit.csv --x cost --y error
1|*frontier of 3 runs has 1 member*|fit same.csv --x flops --y error
1|*all 4 were left out*|fit none.csv --x flops --y error
1|*noise.csv*|fit noise.csv --x flops --y error
1|*has no column "flop"; did you mean "flops"?*|fit two.csv --x flop --y error
1|*is no budget*|plan fit.json --budget much
1|*neither the fit's (flops), nor flops*|plan fit.json --budget 5bananas
1|*far below the runs*|plan fit.json --budget 5flops
1|*1 series; factors are learned on all but one*|backtest two.csv --x flops --y error --by flops --where flops=1
1|*is no fit*|plan sizes.json --budget 1e18flops
1|*below the cheapest run*|next twelve.csv --x flops --y error --budget 10
BAD
echo "1..$((passed + failed))"
echo "# $passed passed, $failed failed"
[ "$failed" -eq 0 ]
