#!/usr/bin/env bash
# pypdfium2 5.15.2: get_text_range() leaves out a dash that a font maps to U+0096, and joins what it stands between.
#
# Old producers write Windows' own code for a dash (0x96) into a font's ToUnicode map. It is drawn as a dash.
# Expected: 1921–1923 as pypdf gives it, or a sign in its place, as get_text_bounded() gives it.
# Seen:     "19211923", of 8 characters, where count_chars() says 9.
# Harm:     years, page ranges and amounts become other numbers, and no error says so. To notice: compare the text's
#           length with count_chars().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/dash.py" << 'PYTHON'
import io

import pypdf
import pypdfium2

shown = b"BT /F1 24 Tf 72 700 Td (1921\x961923) Tj ET"
mapping = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Codes def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
2 beginbfrange <20> <7E> <0020> <96> <96> <0096> endbfrange
endcmap end end"""
objects = [
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 6 0 R >>",
    b"<< /Length %d >>\nstream\n%s\nendstream" % (len(mapping), mapping),
]
data, places = b"%PDF-1.4\n", []
for number, content in enumerate(objects, 1):
    places.append(len(data))
    data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
end = b"trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
data += b"xref\n0 7\n" + table + end

page = pypdfium2.PdfDocument(data)[0].get_textpage()
print("pypdfium2 get_text_range:", ascii(page.get_text_range()), "count_chars:", page.count_chars())
print("pypdfium2 get_text_bounded:", ascii(page.get_text_bounded()))
print("pypdf extract_text:", ascii(pypdf.PdfReader(io.BytesIO(data)).pages[0].extract_text()))
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "pypdfium2==5.15.2" "pypdf==7.1.1"
"$folder/venv/bin/python" "$folder/dash.py" | tee "$folder/seen"
grep -qF "get_text_range: '19211923' count_chars: 9" "$folder/seen"
grep -qF "get_text_bounded: '1921\\x961923'" "$folder/seen"
grep -qF "extract_text: '1921\\u20131923'" "$folder/seen"
