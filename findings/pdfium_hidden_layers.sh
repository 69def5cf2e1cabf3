#!/usr/bin/env bash
# pypdfium2 5.15.2: get_text_range() and get_text_bounded() give the text of layers that are off; render() hides them.
#
# A layer (optional content group) that is named in /OCProperties /D /OFF is not shown when the file is opened.
# Expected: the text that the page shows, or a way to ask whether an object's layer is on.
# Seen:     "395 pounds 480 pounds", where the page shows "480 pounds" alone.
# Harm:     old prices, answers of a test and remarks of an editor are found and quoted as if they were on the page. To
#           notice: look for /OCProperties with another library.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/layers.py" << 'PYTHON'
import pypdfium2

shown = b"""/OC /Old BDC BT /F1 24 Tf 72 700 Td (395 pounds) Tj ET EMC
/OC /New BDC BT /F1 24 Tf 72 300 Td (480 pounds) Tj ET EMC"""


def page(off: bytes) -> pypdfium2.PdfPage:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /OCProperties << /OCGs [6 0 R 7 0 R] /D << /OFF [%s] >> >> >>" % off,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources"
        b" << /Font << /F1 5 0 R >> /Properties << /Old 6 0 R /New 7 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /OCG /Name (Old prices) >>",
        b"<< /Type /OCG /Name (New prices) >>",
    ]
    data, places = b"%PDF-1.5\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size 8 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    return pypdfium2.PdfDocument(data + b"xref\n0 8\n" + table + end)[0]


for name, off in (("none", b""), ("old", b"6 0 R")):
    opened = page(off)
    text = " ".join(opened.get_textpage().get_text_range().split())
    pixels = bytes(opened.render(grayscale=True).buffer)
    half = len(pixels) // 2
    ink = [any(value < 128 for value in part) for part in (pixels[:half], pixels[half:])]
    print(f"off: {name}; text: {text}; ink above: {ink[0]}, below: {ink[1]}")
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "pypdfium2==5.15.2"
"$folder/venv/bin/python" "$folder/layers.py" | tee "$folder/seen"
grep -qF "off: none; text: 395 pounds 480 pounds; ink above: True, below: True" "$folder/seen"
grep -qF "off: old; text: 395 pounds 480 pounds; ink above: False, below: True" "$folder/seen"
