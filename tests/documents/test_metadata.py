"""What a file says of itself: of PDFs, epubs and web pages, without what names no one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from lxml import etree
from pdf_making import make_pdf
from pypdf import PdfReader, PdfWriter

from sharedllm_cli.documents import metadata, readers
from sharedllm_cli.documents.sources import SourceFile


def described(**entries: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(make_pdf([["Words of the page."]]))))
    writer.add_metadata({f"/{key}": value for key, value in entries.items()})
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def test_a_pdf_says_its_title_its_author_and_when_it_was_made() -> None:
    data = described(Title="Microsoft Word - The eel trap", Author="Ida Crane", CreationDate="D:20190303121500+01'00'")
    found = readers.read(SourceFile("trap.pdf", None), data=data).metadata
    assert found == (("title", "The eel trap"), ("author", "Ida Crane"), ("file made", "3 March 2019"))


def test_what_programs_write_for_want_of_words_is_left_out() -> None:
    data = described(Title="untitled", Author="(anonymous)", CreationDate="D:00000101000000Z")
    assert readers.read(SourceFile("trap.pdf", None), data=data).metadata == ()


def test_an_epub_says_who_did_what() -> None:
    package = etree.fromstring(
        b"""<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"
        xmlns:opf="http://www.idpf.org/2007/opf"><metadata>
        <dc:title>Nineteen pans</dc:title><dc:creator id="one">Ada Pike</dc:creator><dc:creator>Bo Rusk</dc:creator>
        <dc:creator id="two">Cy Thorn</dc:creator><meta refines="#two" property="role">edt</meta>
        <dc:contributor opf:role="trl">Di Vale</dc:contributor><dc:contributor>calibre (5.1)</dc:contributor>
        <dc:date opf:event="modification">2021-05-05</dc:date><dc:date>2016-09</dc:date>
        <dc:publisher>Heron Press</dc:publisher><dc:identifier>urn:isbn:9780306406157</dc:identifier>
        </metadata></package>"""
    )
    assert metadata.of_package(package) == (
        ("title", "Nineteen pans"),
        ("author", "Ada Pike, Bo Rusk"),
        ("editor", "Cy Thorn"),
        ("translator", "Di Vale"),
        ("published", "September 2016"),
        ("publisher", "Heron Press"),
        ("ISBN", "9780306406157"),
    )


def test_a_web_page_says_it_in_its_head() -> None:
    page = """<!doctype html><html><head><title>The weir | Parish news</title><meta name="author" content="Ida Crane">
    <meta property="article:author" content="https://example.org/ida">
    <meta property="article:published_time" content="2023-04-05T06:07:08Z"></head>
    <body><p>Words.</p><meta name="author" content="Someone below"></body></html>"""
    found = readers.read(SourceFile("weir.html", None), data=page.encode()).metadata
    assert found == (("title", "The weir | Parish news"), ("author", "Ida Crane"), ("published", "5 April 2023"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("2016", "2016"),
        ("2016-09-08", "8 September 2016"),
        ("20160908", "8 September 2016"),
        ("2016/9/8", "8 September 2016"),
        ("D:20161107123128-08'00'", "7 November 2016"),
        ("8 Sept. 2016", "8 Sept. 2016"),
        ("0101-01-01T00:00:00+00:00", ""),
        ("soon", ""),
    ],
)
def test_dates_are_said_as_far_as_they_are_given(given: str, said: str) -> None:
    assert metadata._day(given) == said


def test_the_book_of_the_case_names_its_author() -> None:
    path = Path(__file__).parents[3] / "shared" / "cases" / "epub-author-only-in-metadata" / "nineteen-pans.epub"
    if not path.is_file():
        pytest.skip("the shared cases are not here")
    told = metadata.words(readers.read(SourceFile(path.name, path)).metadata)
    assert "author Maren Oldcastle; published 8 September 2016; publisher Heron Street Press" in told
