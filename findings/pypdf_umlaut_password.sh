#!/usr/bin/env bash
# pypdf 6.11.0: a file encrypted by AES-256 with a password beyond ASCII opens in no other reader. Mended in 6.12.0.
#
# Expected: the password is encoded as UTF-8, as PDF 2.0 (Algorithm 2.A) says, so that every reader opens it.
# Seen:     6.11.0 opens its own file; PDFium (pypdfium2 5.15.2) refuses the very password. With 6.12.0 both open it.
# Harm:     a document locked with "öffne" stays locked for those who know the password but use another program, and
#           6.11.0 does not open what 6.12.0 locked with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/lock.py" << 'PYTHON'
import io

import pypdf
import pypdfium2


def opens(data, password):
    try:
        return len(pypdfium2.PdfDocument(data, password=password)) == 1
    except pypdfium2.PdfiumError:
        return False


for password in ("open", "öffne"):
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt(password, algorithm="AES-256")
    target = io.BytesIO()
    writer.write(target)
    own = bool(pypdf.PdfReader(io.BytesIO(target.getvalue())).decrypt(password))
    other = opens(target.getvalue(), password)
    print(f"pypdf {pypdf.__version__}, {ascii(password)}: pypdf opens it: {own}, PDFium opens it: {other}")
PYTHON

python3 -m venv "$folder/venv"
for version in 6.11.0 6.12.0; do
    "$folder/venv/bin/pip" install -qq "pypdf[crypto]==$version" "pypdfium2==5.15.2"
    "$folder/venv/bin/python" "$folder/lock.py" | tee -a "$folder/seen"
done
grep -qF "6.11.0, 'open': pypdf opens it: True, PDFium opens it: True" "$folder/seen"
grep -qF "6.11.0, '\\xf6ffne': pypdf opens it: True, PDFium opens it: False" "$folder/seen"
grep -qF "6.12.0, '\\xf6ffne': pypdf opens it: True, PDFium opens it: True" "$folder/seen"
