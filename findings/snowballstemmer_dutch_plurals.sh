#!/usr/bin/env bash
# snowballstemmer 3.1.1: `dutch` gives the singular and the regular plural of common words two stems.
#
# Expected: veld and velden (field, fields) have one stem, as they have in 2.2.0, and in 3.1.1 by `dutch_porter`.
# Seen:     `dutch` of 3.1.1: veld, vel; held, hel; woord, woor. The name `dutch` now means another algorithm.
# Harm:     a search for "veld" does not find "velden". A search index in Dutch gets worse by the update alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/stems.py" << 'PYTHON'
from importlib.metadata import version

import snowballstemmer

for name in ("dutch", "dutch_porter"):
    if name in snowballstemmer.algorithms():
        stem = snowballstemmer.stemmer(name).stemWord
        pairs = [("veld", "velden"), ("held", "helden"), ("woord", "woorden")]
        told = ", ".join(f"{one} {stem(one)} {several} {stem(several)}" for one, several in pairs)
        joined = sum(stem(one) == stem(several) for one, several in pairs)
        print(f"snowballstemmer {version('snowballstemmer')} {name}: {joined} of 3 pairs joined ({told})")
PYTHON

python3 -m venv "$folder/venv"
for version in 2.2.0 3.1.1; do
    "$folder/venv/bin/pip" install -qq "snowballstemmer==$version"
    "$folder/venv/bin/python" "$folder/stems.py" | tee -a "$folder/seen"
done
grep -qF '2.2.0 dutch: 3 of 3' "$folder/seen"
grep -qF '3.1.1 dutch: 0 of 3' "$folder/seen"
grep -qF '3.1.1 dutch_porter: 3 of 3' "$folder/seen"
