"""Documents made to harm a reader, each small enough to harm none: what grows without an end is some MB here."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence

from office_making import OFFICE, docx, relations, zipped

WORDS = b"BT /F1 12 Tf 72 700 Td (The dog sleeps at nine in the kitchen of the house.) Tj ET"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
LARGE = 4 << 20
"""Bytes that a bomb unpacks to."""


def pdf(objects: Sequence[bytes], trailer: bytes = b"", table: bytes | None = None) -> bytes:
    """A PDF of these objects, numbered from 1, the catalogue first."""
    out, places = b"%PDF-1.5\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    start = len(out)
    whole = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    whole += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += whole if table is None else table
    size = b"/Size %d/Root 1 0 R" % (len(objects) + 1)
    return out + b"trailer\n<<" + size + trailer + b">>\nstartxref\n%d\n%%%%EOF\n" % start


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<" + entries + b"/Length %d>>stream\n" % len(data) + data + b"\nendstream"


def page(contents: bytes = b"4 0 R", more: bytes = b"") -> bytes:
    where = b"/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 5 0 R>>>>"
    return b"<</Type/Page" + where + b"/Contents " + contents + more + b">>"


def one_page(**changes: bytes) -> list[bytes]:
    """The objects of a PDF of one page, some of them changed."""
    held = {
        "catalogue": b"<</Type/Catalog/Pages 2 0 R>>",
        "tree": b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "page": page(),
        "contents": stream(WORDS),
        "font": FONT,
    }
    return [*(held | changes).values()]


def packed(data: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        data = zlib.compress(data, 9)
    return stream(data, b"/Filter[" + b"/FlateDecode" * times + b"]")


def deep_tree(depth: int) -> bytes:
    nodes = [b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % (6 + place) for place in range(1, depth)]
    last = page().replace(b"/Parent 2 0 R", b"/Parent %d 0 R" % (4 + depth))
    return pdf([*one_page(tree=b"<</Type/Pages/Kids[6 0 R]/Count 1>>"), *nodes, last])


def epub(files: dict[str, bytes], opf: bytes | None = None) -> bytes:
    held = io.BytesIO()
    named = b'<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
    items = b"".join(b'<item id="i%d" href="%s"/>' % (place, name.encode()) for place, name in enumerate(files))
    spine = b"".join(b'<itemref idref="i%d"/>' % place for place in range(len(files)))
    whole = b"<package><manifest>" + items + b"</manifest><spine>" + spine + b"</spine></package>"
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", named)
        archive.writestr("a.opf", whole if opf is None else opf)
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


def entities(levels: int, last: bytes = b"&e%d;") -> bytes:
    """Each entity is ten of the one before: ten to the power of `levels` words."""
    held = b'<!ENTITY e0 "dog ">'
    held += b"".join(b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10) for level in range(1, levels))
    return b"<!DOCTYPE html [" + held + b"]><html><body><p>The words. " + last % (levels - 1) + b"</p></body></html>"


PAGE = b"<html><body><p>The dog sleeps at nine.</p></body></html>"
OUTSIDE = b'<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/hostname">]><html><body><p>Words &x;</p></body></html>'
BOMB = b"<html><body><p>The dog.</p><!--" + b" " * LARGE + b"--></body></html>"

LETTER = b"From: a@b.example\nTo: c@d.example\nSubject: The dog\nMIME-Version: 1.0\n"


def parts_in_parts(depth: int) -> bytes:
    """A mail whose parts hold parts."""
    nested = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (one, one) for one in range(depth))
    return LETTER + b"".join(nested) + b"Content-Type: text/plain\n\nThe dog sleeps.\n"


def many_parts(count: int) -> bytes:
    """A mail with this number of parts."""
    part = b"--b\nContent-Type: text/plain\n\nThe dog sleeps.\n"
    return LETTER + b"Content-Type: multipart/mixed; boundary=b\n\n" + part * count + b"--b--\n"


def notebook(outputs: list[object], **more: object) -> bytes:
    """A notebook of one cell."""
    return json.dumps({"cells": [{"cell_type": "code", "source": "dog", "outputs": outputs}], **more}).encode()


def word(declared: str, text: str) -> bytes:
    """A Word document of a paragraph, with these declarations before it."""
    body = docx(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p><w:p><w:r><w:t>The dog.</w:t></w:r></w:p>")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["word/document.xml"] = f"<!DOCTYPE d [{declared}]>".encode() + members["word/document.xml"]
    return zipped(members)


def sheet(xml: str, relations_more: dict[str, tuple[str, str]] | None = None) -> bytes:
    """A workbook of one sheet."""
    names = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{OFFICE}"'
    targets = {"s": ("worksheet", "worksheets/sheet1.xml"), **(relations_more or {})}
    return zipped(
        {
            "_rels/.rels": relations({"a": ("officeDocument", "xl/workbook.xml")}),
            "xl/workbook.xml": f'<workbook {names}><sheets><sheet name="A" sheetId="1" r:id="s"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(targets),
            "xl/worksheets/sheet1.xml": f"<worksheet {names}>{xml}</worksheet>",
        }
    )


CELL = '<sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>The dog</t></is></c></row></sheetData>'

FILES: dict[str, Callable[[], bytes]] = {
    "parts in parts.eml": lambda: parts_in_parts(5000),
    "messages in messages.eml": lambda: LETTER + b"Content-Type: message/rfc822\n\nSubject: x\n" * 5000 + b"\nThe dog.",
    "parts.eml": lambda: many_parts(20_000),
    "a field without an end.eml": lambda: LETTER + b"Cc: " + b"a@b.example, " * 200_000 + b"\n\nThe dog.",
    "a comment without an end.eml": lambda: LETTER.replace(b"a@b", b"(" * 50_000 + b"a@b") + b"\nThe dog.",
    "quotes without an end.eml": lambda: LETTER.replace(b"c@d", b'"' * 50_001 + b"c@d") + b"\nThe dog.",
    "parameters.eml": lambda: (
        LETTER + b"Content-Type: text/plain" + b"".join(b"; x*%d*=a" % one for one in range(50_000)) + b"\n\nThe dog."
    ),
    "letters.mbox": lambda: (b"From a@b.example Mon Jan  1 00:00:00 2024\n" + LETTER + b"\ndog\n\n") * 20_000,
    "a table of an output.ipynb": lambda: notebook(
        [{"output_type": "display_data", "data": {"text/html": "<table>" + "<tr><td>dog</td></tr>" * 300_000}}]
    ),
    "a list of an output.ipynb": lambda: notebook(
        [{"output_type": "display_data", "data": {"text/markdown": "* dog\n" * 1_000_000}}]
    ),
    "outputs.ipynb": lambda: notebook([{"output_type": "stream", "text": "dog " * 100_000}] * 20),
    "odd cells.ipynb": lambda: notebook([], worksheets=[{"cells": 7}, {"cells": "dog"}, {"cells": None}, 3]),
    "entities.docx": lambda: word(
        '<!ENTITY e0 "dog ">' + "".join(f'<!ENTITY e{one} "{f"&e{one - 1};" * 10}">' for one in range(1, 9)), "&e8;"
    ),
    "a long entity.docx": lambda: word(f'<!ENTITY e "{"dog " * 50_000}">', "&e;" * 1000),
    "a file from outside.docx": lambda: word('<!ENTITY x SYSTEM "file:///etc/hostname">', "&x;"),
    "a bomb.docx": lambda: docx("<w:p><w:r><w:t>dog</w:t></w:r></w:p>" + " " * (65 << 20)),
    "tables in tables.docx": lambda: docx(
        "<w:tbl><w:tr><w:tc>" * 60 + "<w:p><w:r><w:t>The dog.</w:t></w:r></w:p>" + "</w:tc></w:tr></w:tbl>" * 60
    ),
    "elements in elements.docx": lambda: docx("<w:sdt><w:sdtContent>" * 5000 + "<w:p><w:r><w:t>dog</w:t></w:r></w:p>"),
    "a link outside.xlsx": lambda: sheet(CELL, {"e": ("externalLink", "file:///etc/hostname")}),
    "a sheet outside.xlsx": lambda: sheet(CELL, {"s": ("worksheet", "../../../../etc/hostname")}),
    "cells over cells.xlsx": lambda: sheet(
        CELL + "<mergeCells>" + '<mergeCell ref="A1:XFD1048576"/>' * 2000 + "</mergeCells>"
    ),
    "a row of billions.xlsx": lambda: sheet(CELL.replace('r="1"', 'r="2000000000"') + "<cols/>"),
    "a bomb of a page.pdf": lambda: pdf(one_page(contents=packed(WORDS + b" " * LARGE))),
    "a bomb in a bomb.pdf": lambda: pdf(one_page(contents=packed(WORDS + b" " * LARGE, 3))),
    "a page tree that holds itself.pdf": lambda: pdf(one_page(tree=b"<</Type/Pages/Kids[2 0 R 3 0 R]/Count 2>>")),
    "a page tree of billions.pdf": lambda: pdf(one_page(tree=b"<</Type/Pages/Kids[3 0 R]/Count 2000000000>>")),
    "a deep page tree.pdf": lambda: deep_tree(3000),
    "a page many times.pdf": lambda: pdf(one_page(tree=b"<</Type/Pages/Kids[" + b"3 0 R " * 400 + b"]/Count 400>>")),
    "contents that are themselves.pdf": lambda: pdf(one_page(contents=b"4 0 R")),
    "a length that is itself.pdf": lambda: pdf(
        one_page(contents=b"<</Length 4 0 R>>stream\n" + WORDS + b"\nendstream")
    ),
    "a form that draws itself.pdf": lambda: pdf(
        [
            *one_page(
                page=page(more=b"/X 6 0 R").replace(b"/Font", b"/XObject<</A 6 0 R>>/Font"), contents=stream(b"/A Do")
            ),
            stream(WORDS + b" /A Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</A 6 0 R>>>>"),
        ]
    ),
    "a table before itself.pdf": lambda: pdf(one_page(), trailer=b"/Prev 0"),
    "no table.pdf": lambda: pdf(one_page(), table=b"xref\n0 99999999\n"),
    "a table of nonsense.pdf": lambda: pdf(one_page(), table=b"xref\n0 6\n" + b"9999999999 00000 n \n" * 6),
    "bookmarks in a circle.pdf": lambda: pdf(
        [
            *one_page(catalogue=b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>"),
            b"<</Type/Outlines/First 7 0 R/Last 8 0 R>>",
            b"<</Title(A)/Parent 6 0 R/Next 8 0 R/First 8 0 R/Dest[3 0 R/Fit]>>",
            b"<</Title(B)/Parent 6 0 R/Next 7 0 R/First 7 0 R/Dest[3 0 R/Fit]>>",
        ]
    ),
    "names in a circle.pdf": lambda: pdf(
        [
            *one_page(catalogue=b"<</Type/Catalog/Pages 2 0 R/Names<</EmbeddedFiles 6 0 R>>>>"),
            b"<</Kids[6 0 R 6 0 R]/Names[(a)6 0 R]>>",
        ]
    ),
    "fields in a circle.pdf": lambda: pdf(
        [
            *one_page(catalogue=b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[6 0 R]>>>>"),
            b"<</FT/Tx/T(a)/V(b)/Kids[6 0 R]/Parent 6 0 R>>",
        ]
    ),
    "arrays in arrays.pdf": lambda: pdf([*one_page(catalogue=b"<</Type/Catalog/Pages 2 0 R/X 6 0 R>>"), b"[" * 20_000]),
    "NULs.pdf": lambda: pdf(one_page()).replace(b"\n", b"\n\0\0"),
    "half a file.pdf": lambda: pdf(one_page(contents=packed(WORDS * 99)))[:700],
    "NULs.txt": lambda: b"words\0of\0\0NULs\n" * 9999,
    "spaces.txt": lambda: b"The beginning" + b" " * 2_000_000 + b"and the end.",
    "one line.md": lambda: b"word " * 200_000,
    "quotes in quotes.md": lambda: b">" * 5000 + b" The dog.",
    "lists in lists.md": lambda: b"".join(b" " * (2 * level) + b"* the dog\n" for level in range(300)),
    "brackets.md": lambda: b"[" * 50_000 + b"dog",
    "elements in elements.html": lambda: b"<html><body>" + b"<div>" * 20_000 + b"The dog.",
    "tables in tables.html": lambda: b"<html><body>" + b"<table><tr><td>" * 500 + b"The dog.",
    "spans of billions.html": lambda: (
        b"<html><body><table><tr><td colspan=2000000000 rowspan=2000000000>The dog.</table>"
    ),
    "entities.html": lambda: entities(6),
    "titles in titles.rst": lambda: (
        b"".join(b"A\n" + bytes([33 + level % 14]) + b"\n\n" for level in range(2000)) + b"dog\n"
    ),
    "a substitution of itself.rst": lambda: b"|a| dog\n\n.. |a| replace:: |a| |a|\n",
    "a file that includes.rst": lambda: (
        b"dog\n\n.. include:: /etc/hostname\n\n.. raw:: html\n   :file: /etc/hostname\n"
    ),
    "a bomb of a chapter.epub": lambda: epub({"a.xhtml": BOMB}),
    "entities.epub": lambda: epub({"a.xhtml": entities(6)}),
    "entities in the list.epub": lambda: epub({"a.xhtml": PAGE}, opf=entities(6)),
    "a file from outside.epub": lambda: epub({"a.xhtml": OUTSIDE}),
    "a way out.epub": lambda: epub({"../../../out.xhtml": PAGE, "/tmp/out.xhtml": PAGE, "a.xhtml": PAGE}),
    "a chapter many times.epub": lambda: epub(
        {"a.xhtml": PAGE},
        opf=b'<package><manifest><item id="a" href="a.xhtml"/></manifest><spine>'
        + b'<itemref idref="a"/>' * 5000
        + b"</spine></package>",
    ),
    "half an archive.epub": lambda: epub({"a.xhtml": PAGE})[:300],
}
