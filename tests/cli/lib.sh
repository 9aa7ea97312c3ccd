# What the tests of the command line share: counting, a scratch folder, small data, a short run. Sourced by run.sh.
#   $vitro  the program        $source  the source tree        the current folder is the scratch folder

passed=0 failed=0

ok() { # NAME
    passed=$((passed + 1))
    echo "ok $((passed + failed)) - $1"
}

not_ok() { # NAME [FILE...]: what was seen
    failed=$((failed + 1))
    echo "not ok $((passed + failed)) - $1"
    shift
    for file in "$@"; do
        [ -s "$file" ] && sed "s|^|#   ${file##*/}: |" "$file" | head -8
    done
    return 0
}

# run COMMAND: by bash, in the scratch folder; $status, out and err hold what came of it.
run() {
    status=0
    timeout 60 bash -c "$1" >out 2>err </dev/null || status=$?
}

# expect NAME STATUS GLOB COMMAND: the status, and standard output and error together like the glob.
expect() {
    run "$4"
    cat out err >both
    # shellcheck disable=SC2053  # a glob on purpose
    if [ "$status" -eq "$2" ] && [[ $(cat both) == $3 ]]; then
        ok "$1"
    else
        echo "status $status, expected $2; like: $3" >wanted
        not_ok "$1" wanted out err
    fi
}

# Recipes as they are, but for a smaller shapes-demo; a 16 x 16 JPEG; class folders, IDX and tar files.
make_data() {
    mkdir recipes
    cp -r "$source/tests/golden/published" .
    cp "$source"/recipes/* recipes/
    sed -i -e 's/^  shape: .*/  shape: w32-d1-m64-h2-p8/' -e 's/count=[0-9]*/count=200/' -e 's/^  batch: .*/  batch: 32/' \
        -e 's/^  length: .*/  length: 12/' -e 's/^  every: .*/  every: 6/' recipes/shapes-demo.yaml
    base64 -d >photo.jpg <<'END'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6
/+b9//j/wAALCAAQABABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG
E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJ
ipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/AKSQ+1WEh9qn
SH2qwkPtX//Z
END
    "$vitro" data export 'synthetic:shapes?classes=4&count=40' --out photos --count 40 --folders >/dev/null
    cp photo.jpg "photos/$(ls photos | head -1)/photo.jpg"

    # Four images of 2 x 2, classes 0 and 1.
    printf '\0\0\10\3\0\0\0\4\0\0\0\2\0\0\0\2abcdefghijklmnop' >images.idx
    printf '\0\0\10\1\0\0\0\4\0\1\0\1' >labels.idx

    mkdir shard
    for i in 0 1 2 3; do
        cp photo.jpg shard/$i.jpg
        printf '%d' $((i % 2)) >shard/$i.cls
    done
    tar -C shard -cf shard.tar 0.jpg 0.cls 1.jpg 1.cls 2.jpg 2.cls 3.jpg 3.cls
}

# Broken copies of the same.
make_bad_data() {
    mkdir -p empty nothing/a one-empty/a one-empty/b
    cp photo.jpg one-empty/a/
    for kind in cut-jpeg cut-png text gif huge-png; do
        mkdir -p bad/$kind/a bad/$kind/b
        cp photo.jpg bad/$kind/a/good.jpg
    done
    head -c 200 photo.jpg >bad/cut-jpeg/b/cut.jpg
    head -c 300 "$(ls photos/*/*.png | head -1)" >bad/cut-png/b/cut.png
    echo 'not an image' >bad/text/b/text.jpg
    printf 'GIF89a\1\0\1\0\200\0\0\377\377\377\0\0\0!\371\4\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;' >bad/gif/b/x.png
    printf '\211PNG\r\n\32\n\0\0\0\15IHDR\177\377\377\377\177\377\377\377\10\2\0\0\0\0\0\0\0' >bad/huge-png/b/huge.png

    printf '\0\0\10\3\0\0\0\4\0\0\0\2\0\0\0\2abcdef' >cut.idx
    printf '\1\2\3\4\0\0\0\4' >magic.idx
    printf '\0\0\10\1\0\0\0\3\0\1\0' >three.idx
    gzip -c images.idx | head -c 30 >cut.idx.gz
    head -c 1000 shard.tar >cut.tar
    head -c 2000 /dev/zero | tr '\0' 'x' >noise.tar
    mkdir -p odd
    cp photo.jpg odd/0.jpg
    echo cat >odd/0.cls
    tar -C odd -cf word.tar 0.jpg 0.cls
    tar -C odd -cf lonely.tar 0.jpg

    base="model: {shape: w32-d1-m64-h2-p8, image: 32}"
    data="data: {train: 'synthetic:shapes?count=200', preprocess: [central_crop(32)], eval_preprocess: [central_crop(32)]}"
    length="schedule: {length: 4}"
    yaml() { # NAME LINE...
        local name=$1
        shift
        printf '%s\n' "$@" >"$name.yaml"
    }
    yaml good "$base" "$data" "$length"
    yaml tab "model:" $'\tshape: S/16'
    yaml open-list "model: {shape: [S/16" "data: 3"
    yaml unknown "$base" "$data" "$length" "optimizer: {lrate: 3}"
    yaml twice "$base" "$data" "$length" "train: {batch: 3, batch: 4}"
    yaml type "$base" "$data" "$length" "train: {batch: lots}"
    yaml range "$base" "$data" "$length" "train: {batch: 0}"
    yaml anchor "model: &m {shape: S/16}" "data: *m"
    yaml missing "$data" "$length"
    yaml empty
    yaml operation "$base" "data: {train: 'synthetic:shapes', preprocess: [blur(3)], eval_preprocess: [central_crop(32)]}" "$length"
    yaml size "$base" "data: {train: 'synthetic:shapes', preprocess: [resize(28)], eval_preprocess: [central_crop(32)]}" "$length"
    yaml random "$base" "data: {train: 'synthetic:shapes', preprocess: [resize(32)], eval_preprocess: [random_crop(32)]}" "$length"
    head -c 2000000 /dev/zero | tr '\0' '#' >long.yaml
    head -c 5000 /dev/urandom >binary.yaml
}

# Copies of the short run's checkpoint, each broken in one place.
make_bad_checkpoints() {
    local good
    good=$(ls -d runs/short/checkpoints/step-* | tail -1)
    for kind in config cut huge-header no-model bit; do
        cp -r "$good" "broken-$kind"
    done
    echo '{"architecture":' >broken-config/config.json
    head -c 5000 "$good/model.safetensors" >broken-cut/model.safetensors
    printf '\377\377\377\377\377\377\377\177{}' >broken-huge-header/model.safetensors
    rm broken-no-model/model.safetensors
    # A run whose newest checkpoint is damaged, with no other.
    mkdir -p broken-run/checkpoints
    cp -r "$good" broken-run/checkpoints/
    cp runs/short/recipe.yaml broken-run/
    printf 'x' | dd of="broken-run/checkpoints/${good##*/}/model.safetensors" bs=1 seek=3000 conv=notrunc 2>/dev/null
}
