#!/usr/bin/env bash
# pypdfium2 5.15.2: get_text_range() gives an Arabic word backwards where each glyph has an /ActualText of its letter.
#
# Chromium prints joined Arabic letters so: glyphs from left to right, each in a marked span with its letter.
# Expected: the letters in the order of reading, as 5.12.1 gives them, and as 5.15.2 does without the spans.
# Seen:     the letters in the order of drawing, so the word is reversed; since 5.13.0.
# Harm:     a search for the word finds nothing in web pages that were printed to PDF. Words without joined letters
#           stay right, so a text is half reversed. To notice: compare the order with the x of get_charbox().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/arabic.py" << 'PYTHON'
import pypdfium2

LETTERS = {b"a": b"0649", b"b": b"0646", b"c": b"0628"}  # drawn from left to right; read from right to left
mapping = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Codes def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
3 beginbfchar <61> <0649> <62> <0646> <63> <0628> endbfchar
endcmap end end"""


def text(drawn: bytes) -> str:
    shown = b"BT /F1 24 Tf 72 700 Td " + drawn + b" ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(mapping), mapping),
    ]
    data, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    data += b"xref\n0 7\n" + table + end
    return pypdfium2.PdfDocument(data)[0].get_textpage().get_text_range()


spans = b" ".join(
    b"/Span << /ActualText <FEFF%s> >> BDC (%s) Tj EMC" % (letter, glyph) for glyph, letter in LETTERS.items()
)
print("plain:", ascii(text(b"(abc) Tj")), "spans:", ascii(text(spans)))
PYTHON

python3 -m venv "$folder/venv"
for version in 5.12.1 5.15.2; do
  "$folder/venv/bin/pip" install -qq "pypdfium2==$version"
  "$folder/venv/bin/python" "$folder/arabic.py" | sed "s/^/pypdfium2 $version: /" | tee -a "$folder/seen"
done
grep -qF "pypdfium2 5.12.1: plain: '\\u0628\\u0646\\u0649' spans: '\\u0628\\u0646\\u0649'" "$folder/seen"
grep -qF "pypdfium2 5.15.2: plain: '\\u0628\\u0646\\u0649' spans: '\\u0649\\u0646\\u0628'" "$folder/seen"
