# vitro data: pack, check, show. Sourced by run.sh; lib.sh has made photos, photo.jpg, bad and shard.tar.

# Shards are the same bytes whatever the number of processors, a pack of a pack is the pack, a killed or damaged one is
# completed, and every other program reads them.
test_pack() {
    local small="'synthetic:shapes?count=90&classes=4' --name train --shard-images 40" first second
    expect "data pack writes shards" 0 "*90 images in 3 shards*read them as 'wds:packed/train-{000000..000002}.tar?classes=packed/train.classes.txt'*" \
        "vitro data pack $small --out packed"
    expect "any number of processors packs the same" 0 '' \
        "OMP_NUM_THREADS=1 vitro data pack $small --out packed-1 >/dev/null && diff -r packed packed-1"
    expect "a pack of a pack is the same" 0 '' \
        "vitro data pack 'wds:packed/train-{000000..000002}.tar?classes=packed/train.classes.txt' --name train --shard-images 40 --out packed-2 >/dev/null && for i in 0 1 2; do cmp packed/train-00000\$i.tar packed-2/train-00000\$i.tar; done"
    expect "what is packed is kept" 0 '*3 of them were there already*' "vitro data pack $small --out packed"
    first=$(sha256sum packed/*.tar)
    rm packed/train-000002.tar
    printf 'x' | dd of=packed/train-000001.tar bs=1 seek=700 conv=notrunc 2>/dev/null
    expect "what is damaged is packed again" 0 '*1 of them were there already*train-000001.tar is not what was written*' "vitro data pack $small --out packed"
    second=$(sha256sum packed/*.tar)
    [ "$first" = "$second" ] && ok "to the same bytes" || not_ok "to other bytes"
    (cd packed && tar -xf train-000000.tar && [ -s 00000007.png ] && [ "$(cat 00000000.cls)" = 0 ]) &&
        [ "$(tar -tf packed/train-000000.tar | wc -l)" -eq 80 ] && ok "tar reads them" || not_ok "tar reads them"
    if command -v python3 >/dev/null; then
        expect "Python's tarfile reads them" 0 '80 True' "python3 -c '
import tarfile
members = list(tarfile.open(\"packed/train-000000.tar\"))
print(len(members), all(m.isreg() and m.mode == 0o644 and m.mtime == m.uid == m.gid == 0 and not m.uname for m in members))'"
    fi
    expect "other data do not go under the same name" 1 '*packed/train.pack.json: other data were packed under this name*' \
        "vitro data pack photos --out packed --name train"
    expect "nor the same in another way" 1 '*in another way (*shard-images 40*' \
        "vitro data pack 'synthetic:shapes?count=90&classes=4' --out packed --name train"
    expect "shards that nobody vouches for are left alone" 1 '*packed/alien-000000.tar is there already*' \
        "cp shard.tar packed/alien-000000.tar; vitro data pack photos --out packed --name alien"
    # the file as it is: photo.jpg stays a JPEG of the same bytes, under its name in photos
    expect "files are packed as they are" 0 '' \
        "vitro data pack photos --out packed --name photos >/dev/null && tar -xOf packed/photos-000000.tar \"\$(cd photos && ls */photo.jpg)\" | cmp - photo.jpg"
    expect "pixels are packed as JPEG" 0 '*JPEG 41*max 16*' \
        "vitro data pack photos --out packed --name tiny --preprocess '[resize(16)]' --format jpeg >/dev/null && vitro data stats 'packed/tiny-000000.tar?classes=packed/tiny.classes.txt'"
    # bad images: refused by default, left out within --max-bad; the labels of what is left stay right
    expect "a bad image ends the packing" 1 '*bad: *cut.jpg*1 of the 2 images*--max-bad*' 'vitro data pack bad/cut-jpeg --out packed --name bad'
    expect "or is left out" 0 '*1 images in 1 shards*1 bad images left out*' 'vitro data pack bad/cut-jpeg --out packed --name bad --max-bad 1'
    # 13500 x 13200 pixels, lossless: beyond the decoder's limit whatever the machine has, so bad and no end
    mkdir -p large/a && cp photo.jpg large/a
    printf 'RIFF\026\0\0\0WEBPVP8L\012\0\0\0\057\273\364\343\014\0\0\0\0\0' >large/a/large.webp
    expect "so is an image beyond the decoder's limit" 0 '*more than 640 MiB*1 images in 1 shards*1 bad images left out*' \
        'vitro data pack large --out packed --name large --max-bad 1 2>&1'
    # several classes: a file beside, read back
    printf '0\tsolid square\tsolid plus\n1\n2\tsolid disc\n' >several.txt
    expect "several classes or none go into a file" 0 $'00000000\tsolid square\tsolid plus\n00000001\n00000002\tsolid disc' \
        "vitro data pack 'synthetic:shapes?count=3&classes=4&labels=several.txt' --out packed --name several >/dev/null && cat packed/several.labels.txt"
    expect "and are read back" 0 '*mean 1, max 2; 1 images have none*' \
        "vitro data stats 'packed/several-000000.tar?classes=packed/several.classes.txt&labels=packed/several.labels.txt'"
    # two files of one name but for the ending must not become one sample
    mkdir -p twins/a
    cp photo.jpg twins/a/x.jpg && cp photo.jpg twins/a/x.jpeg && cp photo.jpg twins/a/x.y.jpg
    expect "names that would be one stay apart" 0 $'a/x.jpg\na/x.cls\na/x-1.jpg\na/x-1.cls\na/x_y.jpg\na/x_y.cls' \
        "vitro data pack twins --out packed --name twins >/dev/null && tar -tf packed/twins-000000.tar"
}

# Class folders keep the names of the classes, whatever their bytes; two classes never share a folder.
test_export_names() {
    printf 'a b\na_b\n.hid/den\n\303\266l\n' >odd.names
    printf '%s\tname\n' 0 1 2 3 | sed -e '1s/name/a b/' -e '2s/name/a_b/' -e '3s|name|.hid/den|' -e '4s/name/\xc3\xb6l/' >odd.rows
    expect "class folders are named as the classes" 0 $'_hid_den\na b\na_b\n\303\266l' \
        "vitro data export 'idx:images.idx,labels.idx?classes=odd.names&labels=odd.rows' --out odd-names --count 4 --folders >/dev/null && LC_ALL=C ls odd-names"
    printf 'a/b\na_b\n' >odd.names
    expect "two classes in one folder are refused" 1 "*two classes would share the folder 'a_b'*" \
        "vitro data export 'idx:images.idx,labels.idx?classes=odd.names' --out odd-shared --count 4 --folders"
}

# The same picture twice is found, with the classes that differ, also in other data.
test_duplicates() {
    mkdir -p twice/a twice/b other/a
    cp "$(ls photos/*/000001.png)" twice/a/1.png && cp twice/a/1.png twice/b/copy.png
    cp "$(ls photos/*/000002.png)" twice/a/2.png && cp twice/a/2.png other/a/leak.png && cp photo.jpg other/a/photo.jpg
    expect "the same file is found" 0 '*same file: b/copy.png = a/1.png  (b, but a)*1 repeat another image: 1 same file*1 of them under other classes*' \
        'vitro data check twice'
    expect "a leak is found" 0 '*1 are also in other: 1 same file*' 'vitro data check twice --against other --list pairs.csv'
    expect "pairs are listed" 0 'kind,image,classes,other_data,other,other_classes,difference
same_file,b/copy.png,b,twice,a/1.png,a,0
same_file,a/2.png,a,other,a/leak.png,a,0' 'cat pairs.csv'
    expect "--strict fails on them" 1 '*1 images are there twice*' 'vitro data check twice --strict'
    expect "what is there twice can be left out" 0 $'a/2.png\nb/copy.png' \
        'vitro data check twice --against other --drop drop.txt >/dev/null && cat drop.txt'
    expect "and is then not there" 0 '*0 repeat another image*0 are also in other*' \
        "echo b/1.png >one.txt; cp photo.jpg twice/b/1.png; vitro data check twice --drop drop.txt --against other >/dev/null; vitro data check 'twice?exclude=drop.txt' --against other"
    expect "by the index, too, behind a split" 0 '5 of 1 again' \
        "vitro data check 'synthetic:shapes?count=40&classes=4&split=[:50%]' --against 'synthetic:shapes?count=5&classes=4' --exact --drop index.txt >/dev/null; n=\$(wc -l <index.txt); vitro data check \"synthetic:shapes?count=40&classes=4&split=[:50%]&exclude=index.txt\" --against 'synthetic:shapes?count=5&classes=4' --exact --strict >/dev/null && [ \$n -ge 1 ] && echo '5 of 1 again'"
    # shards that each begin anew: a name would leave out both; and no list is left behind
    mkdir -p again && cp shard.tar again/0.tar && cp shard.tar again/1.tar
    expect "a name that two images have is not dropped" 1 "*never.txt is not written: two images are named '0'*" \
        "vitro data check 'again/{0,1}.tar' --exact --drop never.txt; status=\$?; [ ! -e never.txt ] || echo written; exit \$status"
    expect "unless they are packed" 0 '1' \
        "vitro data pack 'again/{0,1}.tar' --out packed --name again >/dev/null && vitro data check packed/again-000000.tar --exact --drop some.txt >/dev/null; vitro data stats 'packed/again-000000.tar?exclude=some.txt' | sed -n 's/^images  *\\([0-9]*\\)$/\\1/p'"
    expect "a list that is not finished does not appear" 1 '' \
        'vitro data check twice --against other no-such-folder --list part.csv >/dev/null 2>&1; status=$?; ls | grep part.csv; exit $status'
    expect "several others" 0 '*also in other*also in photos*' 'vitro data check twice --against other photos'
}

# The sheet is a PNG of the size that its images need, the same for the same seed; a bad image has its place, too.
test_show() {
    expect "data show writes a sheet" 0 'sheet.png: 6 images of photos, whole' 'vitro data show photos --out sheet.png --count 6 --columns 3'
    expect "the same seed draws the same" 0 '' 'vitro data show photos --out again.png --count 6 --columns 3 >/dev/null && cmp sheet.png again.png'
    # 3 columns of 4 draws of 32 pixels, magnified 5 times: 16 + 3 * (4 * 160 + 3 * 4 + 16) pixels wide
    expect "draws stand side by side" 0 '*width*max 2,020*' \
        "mkdir -p sheets/a && vitro data show photos --preprocess '[inception_crop(32), flip]' --draws 4 --count 3 --columns 3 --out sheets/a/draws.png >/dev/null && vitro data stats sheets"
    expect "a recipe says what is seen" 0 'seen.png: 5 images of synthetic:shapes*, [[]*' 'vitro data show --recipe shapes-demo --count 5 --out seen.png'
    expect "a run, too, in evaluation" 0 '*"preprocess": "[[]*' 'vitro data show --recipe runs/short --eval --count 5 --out seen.png --json'
    expect "bad images do not end it" 0 '*2 images of bad/cut-jpeg*bad: *cut.jpg*' 'vitro data show bad/cut-jpeg --out sheet.png'
    expect "several classes and none" 0 'sheet.png: 3 images of *' "vitro data show 'synthetic:shapes?count=3&classes=4&labels=several.txt' --out sheet.png"
}

# Odd, broken and hostile files: each is read or named, in a run that ends.
test_hard_images() {
    local tar=${VITRO_DATA:-$source/../shared/data}/hard-images.tar
    if [ ! -s "$tar" ]; then
        echo "# hard images are not here: skipped"
        return
    fi
    mkdir -p hard/a && tar -xf "$tar" --strip-components=1 -C hard/a
    expect "hard images are checked" 1 '*288 images, 1 classes, * bad*of 288 images are bad*' 'vitro data check folder:hard'
    expect "and packed, the good ones" 0 '*images in 1 shards*bad images left out*' 'vitro data pack folder:hard --out packed --name hard --max-bad 200'
    expect "which are then all good" 0 '* 0 bad*' "vitro data check 'packed/hard-000000.tar?classes=packed/hard.classes.txt'"
}
