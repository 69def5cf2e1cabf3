"""An epub's spine items are its pages; a hostile or broken one does no harm."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.markup import epub, html_reader
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import DocumentError

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf"/></rootfiles></container>'
)
OPF = """<package xmlns="http://www.idpf.org/2007/opf"><manifest>
<item id="one" href="ch%20one.xhtml" media-type="application/xhtml+xml"/>
<item id="two" href="text/two.xhtml" media-type="application/xhtml+xml"/>
<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>
<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
</manifest><spine><itemref idref="one"/><itemref idref="two"/></spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="toc"><ol><li><a href="ch%20one.xhtml">Chapter  One</a><ol><li>
<a href="text/two.xhtml#x">Two</a></li></ol>
</li></ol></nav></body></html>"""
NCX = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>
<navPoint><navLabel><text>First</text></navLabel><content src="ch%20one.xhtml"/>
<navPoint><navLabel><text>Second</text></navLabel><content src="text/two.xhtml#s"/></navPoint></navPoint></navMap>
</ncx>"""
PAGE = (
    '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body><p>{}</p></body></html>'
)


def make_epub(**changes: str | bytes | None) -> bytes:
    members: dict[str, str | bytes | None] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": OPF,
        "OPS/nav.xhtml": NAV,
        "OPS/toc.ncx": NCX,
        "OPS/ch one.xhtml": PAGE.format("The first chapter&#160;says apple."),
        "OPS/text/two.xhtml": PAGE.format("The second says pear."),
    }
    members |= {name.replace("__", "/").replace("_dot_", "."): value for name, value in changes.items()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as book:
        for name, value in members.items():
            if value is not None:
                book.writestr(name, value)
    return target.getvalue()


def read(data: bytes) -> Document:
    return readers.read(SourceFile("made.epub", Path("made.epub")), data=data)


def test_spine_items_are_parts_named_by_the_table_of_contents() -> None:
    document = read(make_epub())
    assert document.paged
    assert [(page.number, page.part, page.part_title, page.label) for page in document.pages] == [
        (1, 1, "Chapter One", None),
        (2, 2, "Two", None),
    ]
    assert (document.parts, document.page_count) == (2, 0), "a part is no page that a reader could turn to"
    assert document.page_at(document.text.index("pear")).number == 2
    assert [(entry.title, entry.level, entry.page) for entry in document.outline] == [
        ("Chapter One", 1, 1),
        ("Two", 2, 2),
    ]
    assert document.kind == "epub"


def test_the_older_table_of_contents() -> None:
    data = make_epub(**{"OPS/nav.xhtml": None, "OPS/book.opf": OPF.replace(' properties="nav"', "")})
    assert [(entry.title, entry.level, entry.page) for entry in read(data).outline] == [
        ("First", 1, 1),
        ("Second", 2, 2),
    ]


def test_a_missing_part_is_told_and_the_rest_read() -> None:
    document = read(make_epub(**{"OPS/text/two.xhtml": None}))
    assert "apple" in document.text
    assert any("part 2" in warning for warning in document.warnings)
    assert document.pages_without_text == (2,)


PICTURE = PAGE.format('<img src="plate.jpg"/>')


def test_parts_that_only_show_pictures_are_told() -> None:
    document = read(make_epub(**{"OPS/ch one.xhtml": PICTURE}))
    assert document.warnings == ("made.epub: part 1 of 2 shows pictures and no text",)
    assert "pear" in document.text
    assert read(make_epub(**{"OPS/ch one.xhtml": PAGE.format("")})).warnings == (), "a blank part lacks nothing"


def test_many_parts_of_pictures_are_one_warning() -> None:
    items = "".join(f'<item id="p{n}" href="p{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(9))
    spine = "".join(f'<itemref idref="p{n}"/>' for n in range(9))
    opf = OPF.replace("</manifest><spine>", f"{items}</manifest><spine>{spine}")
    document = read(make_epub(**{f"OPS/p{n}.xhtml": PICTURE for n in range(9)}, **{"OPS/book.opf": opf}))
    [warning] = document.warnings
    assert warning == "made.epub: 9 of 11 parts (1, 2, 3, 4, 5, 6, 7, 8, …) show pictures and no text"


@pytest.mark.parametrize(
    ("chain", "text"),
    [
        ({"pic": "two"}, "The second says pear."),
        ({"pic": "old", "old": "two"}, "The second says pear."),
        ({"pic": "old", "old": "pic"}, ""),
        ({"pic": "nothing"}, ""),
    ],
)
def test_a_picture_in_the_spine_gives_way_to_what_it_names_in_its_place(chain: dict[str, str], text: str) -> None:
    kinds = {"pic": "image/png", "old": "application/octet-stream"}
    items = "".join(
        f'<item id="{item}" href="{item}.bin" media-type="{kinds[item]}" fallback="{other}"/>'
        for item, other in chain.items()
    )
    opf = OPF.replace("</manifest>", f"{items}</manifest>").replace('"two"/></spine>', '"pic"/></spine>')
    document = read(
        make_epub(**{"OPS/book.opf": opf, "OPS/pic.bin": b"\x89PNG\r\n\x1a\n\0\0", "OPS/old.bin": b"\0\1\2"})
    )
    page = document.pages[1]
    assert document.text[page.start : page.end] == text
    assert bool(document.warnings) == (not text), "what has no text is told"


def packed(data: bytes, method: int) -> bytes:
    """The same book, its members packed in another way."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as book, zipfile.ZipFile(target, "w", method) as other:
        for name in book.namelist():
            other.writestr(name, book.read(name))
    return target.getvalue()


def torn(data: bytes, member: str) -> bytes:
    """The same book, the packed bytes of one member overwritten."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        info = book.getinfo(member)
    # What stands before the bytes: a header of 30, the name, and no extra field in a book that we made.
    start = info.header_offset + 30 + len(member)
    half = start + info.compress_size // 2
    return data[:half] + b"\xff" * (start + info.compress_size - half) + data[start + info.compress_size :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_part_is_told_and_the_rest_read(method: int) -> None:
    long = PAGE.format(" ".join(f"pear {number}" for number in range(500)))
    book = packed(make_epub(**{"OPS/text/two.xhtml": long}), method)
    document = read(torn(book, "OPS/text/two.xhtml"))
    assert "apple" in document.text
    assert document.warnings == ("made.epub: part 2 (OPS/text/two.xhtml) is missing or damaged",)
    # Without its table of contents a book can still be read; without its list of parts not.
    assert [page.label for page in read(torn(book, "OPS/nav.xhtml")).pages] == [None, None]
    with pytest.raises(DocumentError, match=r"damaged epub \(OPS/book\.opf\)"):
        read(torn(book, "OPS/book.opf"))


def test_no_entity_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    attack = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    nav = NAV.replace("Chapter  One", "Chapter &e;")
    page = PAGE.format("apple &e;").replace("<html", f"{attack}<html", 1)
    document = read(make_epub(**{"OPS/nav.xhtml": attack + nav, "OPS/ch one.xhtml": page}))
    assert "SECRET" not in document.text + str(document.outline)


def test_paths_out_of_the_archive_name_nothing() -> None:
    opf = OPF.replace("ch%20one.xhtml", "../../../../etc/passwd")
    document = read(make_epub(**{"OPS/book.opf": opf}))
    assert "root:" not in document.text
    assert any("part 1" in warning for warning in document.warnings)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epub, "LARGEST_MEMBER", 100_000)
    with pytest.raises(DocumentError, match="more than a book"):
        read(make_epub(**{"OPS/ch one.xhtml": b"x" * 1_000_000}))


def test_protected_books_are_refused() -> None:
    encryption = (
        '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
        '<enc:EncryptionMethod Algorithm="{}"/><enc:CipherData><enc:CipherReference URI="OPS/ch%20one.xhtml"/>'
        "</enc:CipherData></enc:EncryptedData></encryption>"
    )
    locked = encryption.format("aes256-cbc")
    both = locked.replace("</encryption>", "") + locked[locked.index("<enc:") :].replace("OPS/ch%20one", "OPS/text/two")
    with pytest.raises(DocumentError, match="DRM"):
        read(make_epub(**{"META-INF/encryption.xml": both}))
    part = read(make_epub(**{"META-INF/encryption.xml": locked}))
    assert part.text.strip() == "The second says pear."
    assert part.warnings == ("made.epub: part 1 (OPS/ch one.xhtml) is encrypted and is not read",)
    fonts = encryption.format("http://www.idpf.org/2008/embedding")
    assert "apple" in read(make_epub(**{"META-INF/encryption.xml": fonts})).text


@pytest.mark.parametrize(
    "changes",
    [
        {"META-INF/container.xml": "<x/>"},
        {"OPS/book.opf": "not xml"},
        {"OPS/book.opf": "<package/>"},
        {"OPS/book.opf": None},
    ],
)
def test_broken_books_are_one_clear_error(changes: dict[str, str | None]) -> None:
    with pytest.raises(DocumentError, match="damaged epub"):
        read(make_epub(**changes))


def test_a_cut_file_is_an_error() -> None:
    with pytest.raises(DocumentError, match="damaged"):
        read(make_epub()[:200])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('<aside epub:type="footnote" hidden="hidden"><p>1. Very hot.</p></aside><p>End.</p>', "1. Very hot.\n\nEnd."),
        ('<nav epub:type="toc"><h2>Contents</h2><ol><li><a href="a">Pans</a></li></ol></nav>', ""),
        ('<div role="doc-footnote" style="display:none">Very hot.</div><p>End.</p>', "Very hot.\n\nEnd."),
        (
            '<epub:switch><epub:case required-namespace="urn:x"><p>no</p></epub:case>'
            "<epub:default><p>yes</p></epub:default></epub:switch>",
            "yes",
        ),
        (
            '<epub:switch><epub:case required-namespace="http://www.w3.org/1998/Math/MathML"><p>yes</p></epub:case>'
            "<epub:default><p>no</p></epub:default></epub:switch>",
            "yes",
        ),
    ],
)
def test_notes_and_switches_as_a_reading_system_shows_them(body: str, text: str) -> None:
    spaces = 'xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"'
    assert (
        html_reader.from_xhtml(f"<html {spaces}><head><title>t</title></head><body>{body}</body></html>").text == text
    )
