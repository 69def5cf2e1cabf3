#!/usr/bin/env bash
# pypdfium2 5.15.2: a sign that is set alone in a font that is neither embedded nor installed is no text for PDFium.
#
# Japanese, Chinese and Korean fonts with a predefined encoding need not be embedded: the file says what each code means.
# Expected: the same text whatever fonts the machine has, and however many signs an operator sets.
# Seen:     four signs of HeiseiMin-W3 in one operator are 4 characters; the same in four operators are 0. Where a
#           Japanese font is installed they are 4, too (by hand, with IPA Mincho 003.03). pypdf gives them always.
#           A sign without an outline has an empty box, and text of no width is left out.
# Harm:     vertical Japanese whose signs are placed one by one has text on one machine and none on another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/signs.py" << 'PYTHON'
import ctypes
import sys
from pathlib import Path

import pypdf
import pypdfium2_raw as pdfium
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen import canvas

folder = Path(sys.argv[1])
(folder / "fonts").mkdir()
pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3"))


def made(name: str, texts: list[str]) -> Path:
    path = folder / name
    sheet = canvas.Canvas(str(path))
    for row, text in enumerate(texts):
        sheet.setFont("HeiseiMin-W3", 10)
        sheet.drawString(72, 700 - 12 * row, text)
    sheet.save()
    return path


paths = (ctypes.POINTER(ctypes.c_char) * 2)(ctypes.create_string_buffer(str(folder / "fonts").encode()), None)
pdfium.FPDF_InitLibraryWithConfig(pdfium.FPDF_LIBRARY_CONFIG(version=2, m_pUserFontPaths=paths))
for name, texts in (("together.pdf", ["渡し船は"]), ("apart.pdf", list("渡し船は"))):
    path = made(name, texts)
    page = pdfium.FPDF_LoadPage(pdfium.FPDF_LoadDocument(str(path).encode(), None), 0)
    count = pdfium.FPDFText_CountChars(pdfium.FPDFText_LoadPage(page))
    other = pypdf.PdfReader(path).pages[0].extract_text()
    print(f"{name}: PDFium {count}, pypdf {len(''.join(other.split()))}")
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "pypdfium2==5.15.2" "pypdf==7.1.1" "reportlab==5.1.0"
"$folder/venv/bin/python" "$folder/signs.py" "$folder" | tee "$folder/seen"
grep -qF "together.pdf: PDFium 4, pypdf 4" "$folder/seen"
grep -qF "apart.pdf: PDFium 0, pypdf 4" "$folder/seen"
