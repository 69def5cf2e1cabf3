#!/usr/bin/env bash
# markdown-it-py 4.3.0: a list ten levels deep takes the rest of the document with it.
#
# Expected: what is nested too deep is flattened or left as text, and what follows the list is rendered. (CommonMark sets
#           no limit; the preset `commonmark` stops at 20 levels, which ten nested lists reach: a list and its item each
#           count as one.)
# Seen:     with nine levels all is there; with ten, the tenth item and everything behind the list is missing: no
#           exception, no warning, no mark in the tokens.
# Harm:     a reader of converted Markdown sees a shorter document, and cannot know it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/lists.py" << 'PYTHON'
from markdown_it import MarkdownIt

for depth in (9, 10):
    items = "\n".join("  " * level + f"- item {level + 1}" for level in range(depth))
    html = MarkdownIt("commonmark").render(f"{items}\n\nThe paragraph after the list.\n\n# The next chapter\n")
    found = [text in html for text in (f"item {depth}", "The paragraph after", "The next chapter")]
    print(f"{depth} levels: last item, paragraph after it, next chapter rendered: {found}")
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "markdown-it-py==4.3.0"
"$folder/venv/bin/python" "$folder/lists.py" | tee "$folder/seen"
grep -qF '9 levels: last item, paragraph after it, next chapter rendered: [True, True, True]' "$folder/seen"
grep -qF '10 levels: last item, paragraph after it, next chapter rendered: [False, False, False]' "$folder/seen"
