#!/bin/sh
# Makes the fonts of this folder from Debian's Noto CJK fonts. Needs root for apt, and Python with pip.
#
#   text.otf     Noto Sans CJK SC Regular: all of GBK, CJK Extension A and every supplementary ideograph the font has, because
#                rare surnames (䶮, 𬱖, …) are on receipts too.
#   display.otf  Noto Serif CJK SC Bold: ASCII, GB 2312 and the 8,105 characters of 通用规范汉字表 (Unihan's kTGH). For titles
#                and seals; what it lacks is taken from text.otf.
#
# Layout tables are dropped: we place every glyph ourselves.
set -eu
cd "$(dirname "$0")"
apt-get install -y --no-install-recommends fonts-noto-cjk unicode-data bzip2 >/dev/null
python3 -m pip install --quiet 'fonttools==4.68.0'

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
bzcat /usr/share/unicode/Unihan_OtherMappings.txt.bz2 >"$work/unihan"

python3 - "$work" <<'PYTHON'
import sys

work = sys.argv[1]


def charset(encoding):
    found = set()
    for lead in range(0x81, 0xFF):
        for trail in range(0x40, 0xFF):
            try:
                text = bytes([lead, trail]).decode(encoding)
            except UnicodeDecodeError:
                continue
            if len(text) == 1:
                found.add(ord(text))
    return found


ascii = set(range(0x20, 0x7F))
tgh = {int(line.split("\t")[0][2:], 16) for line in open(f"{work}/unihan") if "\tkTGH\t" in line}
assert len(tgh) == 8105
text = (
    ascii
    | set(range(0xA0, 0x100))  # Latin-1: ¥, ·, accents
    | set(range(0x2010, 0x2028))  # dashes, quotation marks, ellipsis
    | set(range(0x3000, 0x3040))  # CJK punctuation, 〇
    | set(range(0xFF00, 0xFFEF))  # full-width forms
    | charset("gbk")
    | tgh
    | set(range(0x3400, 0x4DC0))  # Extension A
    | set(range(0x4E00, 0xA000))
    | set(range(0xF900, 0xFB00))  # compatibility ideographs
    | set(range(0x20000, 0x32000))  # Extensions B and later
)
display = ascii | {0xA5, 0xB7} | charset("gb2312") | tgh
for name, characters in (("text", text), ("display", display)):
    with open(f"{work}/{name}", "w") as out:
        out.writelines(f"{c:X}\n" for c in sorted(characters))
PYTHON

# The face numbered 2 of each collection is the Simplified Chinese one.
# Subroutines would be unfolded for each document that embeds a few glyphs; without them the files are a twentieth larger.
subset() {
    pyftsubset "$1" --font-number=2 --unicodes-file="$work/$2" --output-file="$2.otf" \
        --layout-features='' --no-hinting --desubroutinize --notdef-outline --no-recalc-timestamp \
        --drop-tables+=VORG,vhea,vmtx,BASE,GSUB,GPOS,GDEF,DSIG
}
subset /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc text
subset /usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc display

# The licence, beside the fonts, as the licence asks.
{
    echo 'text.otf: Noto Sans CJK SC, © 2014-2021 Adobe (http://www.adobe.com/), subset.'
    echo 'display.otf: Noto Serif CJK SC Bold, © 2017-2022 Adobe (http://www.adobe.com/), subset.'
    echo 'Both are licensed under the SIL Open Font License, Version 1.1, which follows.'
    echo
    sed -n '/^License: SIL-1.1$/,/^License: GPL/p' /usr/share/doc/fonts-noto-cjk/copyright |
        sed -e '1,/^License: SIL-1.1$/d' -e '/^License/d' -e 's/^ \.$//' -e 's/^ //'
} >OFL.txt
ls -l
