#!/usr/bin/env bash
# snowballstemmer 2.2.0 and 3.1.1: the same English words have other stems under the same algorithm's name.
#
# Expected: `english` of one library gives a word the same stem after an update, or the module says by a version of its
#           rules that they changed.
# Seen:     other stems for common words (university, evening, …); the module has no version but its package's.
# Harm:     a search index that was built under 2.2.0 no longer finds these words when asked under 3.1.1, and nothing
#           says that it is stale. Store the library's version beside the stems, and build anew where it differs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/stems.py" << 'PYTHON'
import snowballstemmer

stem = snowballstemmer.stemmer("english").stemWord
for word in ("university", "evening", "paste", "geologist", "lighthouse", "keeper"):
    print(word, stem(word))
PYTHON

python3 -m venv "$folder/venv"
for version in 2.2.0 3.1.1; do
    "$folder/venv/bin/pip" install -qq "snowballstemmer==$version"
    "$folder/venv/bin/python" "$folder/stems.py" > "$folder/$version"
done
echo 'word, its stem in 2.2.0, its stem in 3.1.1:'
join "$folder/2.2.0" "$folder/3.1.1" --nocheck-order | tee "$folder/seen"
grep -qx 'university univers universiti' "$folder/seen"
grep -qE '^evening ' "$folder/seen"
grep -qx 'keeper keeper keeper' "$folder/seen"
[ "$(awk '$2 != $3' "$folder/seen" | wc -l)" -eq 4 ]
