"""An epub that marks the pages of its print edition names them, and no page that the marks do not prove."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_epub import NAV, PAGE, make_epub

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile

MARK = '<span epub:type="pagebreak" role="doc-pagebreak" id="p{0}" aria-label="{0}"></span>'
LIST = '<nav epub:type="page-list"><ol>{}</ol></nav></body>'


def mark(label: str) -> str:
    return MARK.format(label)


def read(one: str, two: str, nav: str = NAV, **changes: str | None) -> Document:
    chapter = PAGE.replace("<p>{}</p>", "{}")
    data = make_epub(
        **{"OPS/ch one.xhtml": chapter.format(one), "OPS/text/two.xhtml": chapter.format(two), "OPS/nav.xhtml": nav}
        | changes
    )
    return readers.read(SourceFile("made.epub", Path("made.epub")), data=data)


def labelled(document: Document) -> list[tuple[str | None, int | None, str]]:
    return [(page.label, page.part, document.text[page.start : page.end].strip()) for page in document.pages]


def test_a_part_is_cut_where_a_printed_page_begins() -> None:
    document = read(
        f"<h1>Bees</h1>{mark('11')}<p>They fly.</p>{mark('12')}<p>They sting.</p>", f"<p>{mark('13')}Wax is yellow.</p>"
    )
    assert labelled(document) == [
        ("11", 1, "Bees\n\nThey fly."),
        ("12", 1, "They sting."),
        ("13", 2, "Wax is yellow."),
    ]
    assert (document.parts, document.page_count) == (2, 3)
    assert [(page.number, page.counted) for page in document.pages] == [(1, 1), (2, 1), (3, 2)]


def test_a_page_may_begin_within_a_sentence_or_a_word() -> None:
    document = read(f"{mark('1')}<p>The bees fly {mark('2')}home to their hi{mark('3')}ve.</p>", "<p>x</p>")
    assert document.text.startswith("The bees fly home to their hive.")
    assert [page.raw for page in document.pages][:3] == ["The bees fly", "home to their hi", "ve."]
    plain = read("<p>The bees fly home to their hive.</p>", "<p>x</p>")
    assert document.text == plain.text, "marks change no text"


def test_before_the_first_mark_a_number_is_told_only_where_it_is_proved() -> None:
    def opening(last: str, first: str, before: str = "<p>It ends here, at last.</p>") -> str | None:
        document = read(f"{mark(last)}<p>A sentence.</p>", f"{before}{mark(first)} Another.")
        return next(page.label for page in document.pages if page.part == 2)

    assert opening("12", "13") == "12"
    assert opening("xii", "xiii") == "xii"
    assert opening("12", "43") is None
    assert opening("12", "13", "<h1>Wax</h1>") == "13", "a heading stands on the page below it"
    assert opening("12", "13", "<p>goes on") == "12", "no heading: the mark is within the paragraph"


def test_a_part_without_marks_has_no_printed_page() -> None:
    document = read(f"{mark('12')}<p>A sentence.</p>", "<p>Notes to the text.</p>")
    assert [page.label for page in document.pages] == ["12", None]


@pytest.mark.parametrize(
    "element",
    [
        '<span epub:type="pagebreak" title="47">47</span>',
        '<span role="doc-pagebreak" aria-label="47"/>',
        '<a epub:type="pagebreak" id="x">47</a>',
        '<span epub:type="pagebreak" hidden="hidden">47</span>',
        '<div epub:type="pagebreak" title="47"></div>',
    ],
)
def test_a_mark_s_own_number_is_no_text(element: str) -> None:
    document = read(f"<p>The bees hum. {element} They fly.</p>", "<p>x</p>")
    assert [page.label for page in document.pages][:2] == [None, "47"]
    assert "47" not in document.text


def test_the_list_of_pages_names_marks_and_elements() -> None:
    links = '<li><a href="ch%20one.xhtml#a">xi</a></li><li><a href="text/two.xhtml">xii</a></li>'
    nav = NAV.replace("</body>", LIST.format(links))
    document = read('<p>Front.</p><p id="a">The bees fly.</p>', "<p>They sting.</p>", nav)
    assert labelled(document)[1:] == [("xi", 1, "The bees fly."), ("xii", 2, "They sting.")]
    assert [entry.title for entry in document.outline] == ["Chapter One", "Two"]


def test_the_list_of_pages_of_an_older_book() -> None:
    from test_epub import NCX, OPF

    target = '<pageTarget value="9"><navLabel><text>9</text></navLabel><content src="text/two.xhtml#s"/></pageTarget>'
    ncx = NCX.replace("</ncx>", f"<pageList>{target}</pageList></ncx>")
    older = {"OPS/book.opf": OPF.replace(' properties="nav"', ""), "OPS/toc.ncx": ncx}
    document = read("<p>One.</p>", '<p>Two.</p><a id="s"></a><p>Three.</p>', **older)
    assert labelled(document)[-1] == ("9", 2, "Three.")


def test_marks_without_a_number_and_overlong_ones_are_none() -> None:
    marks = f'<span epub:type="pagebreak"/><p>a</p>{mark("9" * 50)}'
    document = read(f"{marks}<p>The bees fly.</p>", "<p>x</p>")
    assert [page.label for page in document.pages] == [None, None]
