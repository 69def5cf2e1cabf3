#!/usr/bin/env bash
# PDFium (pypdfium2 5.15.2) drops characters that a font maps to U+0080–U+009F; pypdf 7.1.1 reads the dash.
#
# Old producers write Windows-1252 codes into a font's ToUnicode map: the dash of `1921–1923` as U+0096. Expected: the
# text has the dash, or some mark in its place. Seen: PDFium's text is `19211923`, another number, without a sign that
# something is missing, while count_chars() counts the character; pypdf's text has a dash (U+2013) between the years. A reader
# who searches or quotes such a page by PDFium alone gets wrong years.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "pypdfium2==5.15.2" "pypdf==7.1.1"
cat > "$folder/look.py" <<'PYTHON'
import sys
from io import BytesIO

import pypdf
import pypdfium2

MAP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
2 beginbfrange <20> <7E> <0020> <96> <96> <0096> endbfrange
endcmap CMapName currentdict /CMap defineresource pop end end"""
SHOWN = b"BT /F1 12 Tf 72 720 Td (the mill was built in 1921\x961923) Tj ET"


def stream(data):
    return b"<< /Length %d >> stream\n%s\nendstream" % (len(data), data)


bodies = [
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    stream(SHOWN),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 6 0 R >>",
    stream(MAP),
]
data, places = b"%PDF-1.4\n", []
for number, body in enumerate(bodies, 1):
    places.append(len(data))
    data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
start = len(data)
data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1) + b"".join(b"%010d 00000 n \n" % at for at in places)
data += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(bodies) + 1, start)

page = pypdfium2.PdfDocument(data)[0].get_textpage()
by_pdfium, counted = page.get_text_range(), page.count_chars()
by_pypdf = pypdf.PdfReader(BytesIO(data)).pages[0].extract_text()
print("PDFium:", repr(by_pdfium), len(by_pdfium), "characters, counted", counted)
print("pypdf: ", repr(by_pypdf))
sys.exit(0 if "19211923" in by_pdfium and counted > len(by_pdfium) and "1921\u20131923" in by_pypdf else 1)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
