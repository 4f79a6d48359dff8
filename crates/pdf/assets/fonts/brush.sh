#!/bin/sh
# Makes brush.ttf, the hand of typed signatures: 志莽行书 (Zhi Mang Xing) with ASCII and GB 2312. The npm package carries it cut
# into many files for browsers; they are joined again. Needs npm, and Python with pip.
set -eu
cd "$(dirname "$0")"
python3 -m pip install --quiet 'fonttools==4.68.0' 'brotli==1.2.0'

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
(cd "$work" && npm pack --silent '@fontsource/zhi-mang-xing@5.3.0' >/dev/null && tar xzf ./*.tgz)

python3 - "$work" <<'PYTHON'
import glob
import os
import sys

from fontTools import subset
from fontTools.merge import Merger
from fontTools.ttLib import TTFont

work = sys.argv[1]
# The large file first: it has most characters, and of what two files have the first is taken.
parts = sorted(
    glob.glob(f"{work}/package/files/*-400-normal.woff2"),
    key=lambda part: ("simplified" not in part, part),
)
for place, part in enumerate(parts):
    font = TTFont(part)
    for table in ("GPOS", "GSUB", "GDEF", "prep", "gasp"):
        if table in font:
            del font[table]
    font.flavor = None
    font.save(f"{work}/{place:03}.ttf")
font = Merger().merge(sorted(glob.glob(f"{work}/*.ttf")))

options = subset.Options()
options.hinting = False
options.layout_features = []
options.notdef_outline = True
options.recalc_timestamp = False
options.name_IDs = [0, 1, 2, 13, 14]
subsetter = subset.Subsetter(options)
subsetter.populate(unicodes=[c for c in font.getBestCmap() if c >= 0x3400 or 0x20 <= c < 0x7F or c == 0xB7])
subsetter.subset(font)
font.save("brush.ttf")
PYTHON

# The licence, beside the font, as the licence asks.
cp "$work/package/LICENSE" OFL-brush.txt
ls -l brush.ttf OFL-brush.txt
