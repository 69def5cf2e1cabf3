"""Documents made to harm a reader, each small enough to harm none: what grows without an end is some MB here."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence

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

FILES: dict[str, Callable[[], bytes]] = {
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
