#!/usr/bin/env bash
# snowballstemmer 2.2.0 to 3.0.1: algorithms() raises AttributeError where PyStemmer 3.1.0 is installed too. Mended in 3.1.0.
#
# Expected: the list of algorithms, with PyStemmer or without: snowballstemmer uses it by itself where it is there.
# Seen:     AttributeError: module 'Stemmer' has no attribute 'language'.
# Harm:     a program that asks which languages there are works until some other program's package brings PyStemmer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/algorithms.py" << 'PYTHON'
from importlib.metadata import version

import snowballstemmer

try:
    seen = f"{len(snowballstemmer.algorithms())} algorithms"
except AttributeError as problem:
    seen = f"AttributeError: {problem}"
print(f"snowballstemmer {version('snowballstemmer')}: {seen}")
PYTHON

python3 -m venv "$folder/venv"
for also in "" "PyStemmer==3.1.0"; do
    "$folder/venv/bin/pip" install -qq "snowballstemmer==2.2.0" $also
    "$folder/venv/bin/python" "$folder/algorithms.py" | tee -a "$folder/seen"
done
for version in 3.0.1 3.1.0; do
    "$folder/venv/bin/pip" install -qq "snowballstemmer==$version"
    "$folder/venv/bin/python" "$folder/algorithms.py" | tee -a "$folder/seen"
done
grep -qE '2\.2\.0: [0-9]+ algorithms' "$folder/seen"
grep -qF "2.2.0: AttributeError: module 'Stemmer' has no attribute 'language'" "$folder/seen"
grep -qF '3.0.1: AttributeError' "$folder/seen"
grep -qE '3\.1\.0: [0-9]+ algorithms' "$folder/seen"
