#!/usr/bin/env bash
# The pages say what the program does: docs/recipe.md is what it prints, every command in docs/*.md and README.md exists with
# its options and keys, and links and files that are named are there. Exit status 1 when something is not so, with its place.
#   tests/docs.sh BUILD            BUILD is build/release, say
#   tests/docs.sh BUILD --write    puts the tables that the program prints into docs/recipe.md
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
[ $# -ge 1 ] || { echo "usage: tests/docs.sh BUILD [--write]" >&2; exit 2; }
[ -x "$1/src/cli/vitro" ] || { echo "tests/docs.sh: $1/src/cli/vitro is no program; build it first" >&2; exit 2; }
vitro=$(realpath "$1/src/cli/vitro")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pages=(README.md docs/*.md)
failed=0 n_commands=0 n_options=0 n_keys=0 n_links=0 n_paths=0

wrong() { # PLACE SENTENCE
    echo "$1: $2" >&2
    failed=$((failed + 1))
}

# --- docs/recipe.md: prose, then the tables as they are printed

"$vitro" recipe keys --markdown >"$scratch/tables" || exit 1
if [ "${2:-}" = --write ]; then
    sed '/^| key |/,$d' docs/recipe.md >"$scratch/page" && cat "$scratch/tables" >>"$scratch/page" && cp "$scratch/page" docs/recipe.md
fi
sed -n '/^| key |/,$p' docs/recipe.md | diff - "$scratch/tables" >&2 ||
    wrong docs/recipe.md "is not what vitro recipe keys --markdown prints; tests/docs.sh BUILD --write puts it right"

# Tables and lists that stand in other pages too.
while IFS= read -r row; do
    grep -qxF -- "$row" docs/data.md || wrong docs/data.md "lacks the row of preprocessing: $row"
done < <(sed -n '/^| operation/,$p' "$scratch/tables")
while IFS= read -r form; do
    grep -qF -- "$form" docs/data.md || wrong docs/data.md "lacks the kind of data $form"
done < <("$vitro" data -h | sed -n '/^DATA is/,$s/^  \([a-z]*:.*\)/\1/p' | sed 's/?.*//')
while IFS= read -r key; do
    grep -qF -- "\`$key\`" docs/run.md || wrong docs/run.md "does not name $key among the keys that may change"
done < <(sed -n 's/^| `\([^`]*\)` .*| may change |.*/\1/p' "$scratch/tables")

# --- what is code in a page

# "LINE<tab>TEXT" for every line of a fence without a language, or of sh; lines that end in a backslash are joined.
fenced() {
    awk '/^```/ { inside = !inside; shell = inside && ($0 == "```" || $0 == "```sh"); next }
         inside && shell { if (sub(/\\$/, "")) { held = held $0; next } print NR "\t" held $0; held = "" }' "$1"
}
# The same for every `span` outside of fences.
spans() {
    awk '/^```/ { inside = !inside; next }
         !inside { n = split($0, part, "`"); for (i = 2; i <= n; i += 2) print NR "\t" part[i] }' "$1"
}

"$vitro" -h | sed -n '/^Commands:/,/^$/s/^  \([a-z]* \{0,1\}[a-z]*\)  .*/\1/p' | sed 's/ *$//' >"$scratch/commands"
sed -n 's/^| `\([a-z0-9_.]*\)` .*/\1/p' "$scratch/tables" | grep '\.' >"$scratch/keys"
sections=$(sed 's/\..*//' "$scratch/keys" | sort -u | paste -sd '|')

check_options() { # PLACE COMMAND WORD...
    local place=$1 command=$2 word name
    shift 2
    # shellcheck disable=SC2086  # a command may be two words
    "$vitro" $command -h >"$scratch/help" 2>&1
    for word in "$@"; do
        case $word in
        -h) ;;
        -?*) n_options=$((n_options + 1))
            name=${word%%=*}
            [ ${#name} -ne 3 ] || name="-?${name#-}" # a letter takes one dash or two
            grep -qE -- "^ +(-h, )?$name( |\$)" "$scratch/help" || wrong "$place" "vitro $command has no option $word" ;;
        esac
    done
}

check_keys() { # PLACE TEXT: every SECTION.KEY= in it
    local key
    while IFS= read -r key; do
        n_keys=$((n_keys + 1))
        grep -qxF -- "$key" "$scratch/keys" || wrong "$1" "there is no key $key"
    done < <(grep -oE "(^|[ '\"])($sections)\.[a-z0-9_]+=" <<<"$2" | tr -d " '\"=")
}

check_command() { # PLACE TEXT, which begins behind the word vitro
    local place=$1 words command
    # Quoted texts are one word each; comments, pipes and redirections end the command.
    words=$(sed -E "s/'[^']*'/Q/g; s/\"[^\"]*\"/Q/g; s/([|;&<>)]|[ \t]#).*//" <<<"$2")
    read -ra words <<<"$words"
    case ${words[0]:-} in
    '' | *: | [A-Z]*) return ;; # no word, a message, a placeholder
    -h | --version) return ;;
    esac
    n_commands=$((n_commands + 1))
    command=${words[0]}
    if grep -qxF -- "$command" "$scratch/commands"; then
        check_options "$place" "$command" "${words[@]:1}"
    elif grep -qxF -- "$command ${words[1]:-}" "$scratch/commands"; then
        check_options "$place" "$command ${words[1]}" "${words[@]:2}"
    elif ! grep -qE -- "^$command " "$scratch/commands" || [ "${words[1]:--h}" != -h ]; then
        wrong "$place" "there is no command vitro $command ${words[1]:-}"
    fi
}

for page in "${pages[@]}"; do
    while IFS=$'\t' read -r line text; do
        check_keys "$page:$line" "$text"
        while IFS= read -r rest; do
            check_command "$page:$line" "$rest"
        done < <(grep -oP '(^|[\s(;&|]|/)vitro \K.*?(?=$|[;&|(]+ *([A-Z_]+=\S+ )*(\S*/)?vitro )' <<<"$text")
    done < <(fenced "$page"; spans "$page")

    while IFS=$'\t' read -r line text; do
        if grep -qE "^($sections)\.[a-z0-9_]+\$" <<<"$text" && [[ $text != *.safetensors ]]; then
            n_keys=$((n_keys + 1))
            grep -qxF -- "$text" "$scratch/keys" || wrong "$page:$line" "there is no key $text"
        elif grep -qE '^(src|tests|tools|bench|recipes|docs)/[A-Za-z0-9_./-]*$' <<<"$text"; then
            n_paths=$((n_paths + 1))
            [ -e "$text" ] || wrong "$page:$line" "there is no $text"
        fi
    done < <(spans "$page")
done

# --- links, in every page of the project

while IFS= read -r page; do
    while IFS=$'\t' read -r line target; do
        n_links=$((n_links + 1))
        [ -e "$(dirname "$page")/$target" ] || wrong "$page:$line" "the link leads nowhere: $target"
    done < <(awk '/^```/ { inside = !inside; next }
                  !inside { gsub(/`[^`]*`/, "")
                            while (match($0, /\]\([^)]*\)/)) {
                                target = substr($0, RSTART + 2, RLENGTH - 3); $0 = substr($0, RSTART + RLENGTH)
                                sub(/#.*/, "", target)
                                if (target != "" && target !~ /^[a-z]+:/) print NR "\t" target } }' "$page")
done < <(find . \( -name build -o -name 'build-*' -o -name .git -o -name .venv -o -name runs -o -name demo-run \) -prune -o -name '*.md' -print |
    sed 's|^\./||' | sort)

# A test that finds nothing proves nothing.
[ $n_commands -ge 20 ] && [ $n_options -ge 5 ] && [ $n_keys -ge 10 ] && [ $n_links -ge 10 ] || wrong tests/docs.sh "too little was found to check"
echo "docs: $n_commands commands, $n_options options, $n_keys keys, $n_links links, $n_paths paths; $failed wrong"
[ "$failed" -eq 0 ]
