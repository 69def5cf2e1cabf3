"""Texts and slides of OpenDocument: headings and lists with their numbers, notes, changes, what is hidden or locked."""

from __future__ import annotations

import pytest
from office_making import odf, read

from sharedllm_cli.errors import DocumentError

LOOKS = (
    '<style:style style:name="S" style:family="text"><style:text-properties style:text-line-through-style="solid"/>'
    '</style:style><style:style style:name="V" style:family="text"><style:text-properties text:display="none"/>'
    '</style:style><style:style style:name="U" style:family="text">'
    '<style:text-properties style:text-position="super 58%"/></style:style>'
    '<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1" '
    'style:num-suffix="."/><text:list-level-style-number text:level="2" style:num-format="a" style:num-prefix="(" '
    'style:num-suffix=")"/><text:list-level-style-number text:level="3" style:num-format="1" text:display-levels="3"/>'
    '</text:list-style><text:list-style style:name="B"><text:list-level-style-bullet text:level="1"/></text:list-style>'
)


def text_of(body: str, **more: str) -> str:
    return read(odf("text", body, styles=LOOKS, **more), "a.odt").text


def p(text: str) -> str:
    return f"<text:p>{text}</text:p>"


def items(*inner: str) -> str:
    return "".join(f"<text:list-item>{one}</text:list-item>" for one in inner)


def test_headings_carry_the_numbers_of_the_outline() -> None:
    outline = (
        '<text:outline-style><text:outline-level-style text:level="1" style:num-format="1"/>'
        '<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
    )
    body = "".join(
        f'<text:h text:outline-level="{level}">{title}</text:h>'
        for level, title in [(1, "Rent"), (2, "Due"), (2, "Late"), (1, "End"), (2, "Notice")]
    )
    document = read(odf("text", body, program=outline), "a.odt")
    assert [one.title for one in document.outline] == ["1 Rent", "1.1 Due", "1.2 Late", "2 End", "2.1 Notice"]


def test_lists_have_their_numbers_and_go_on() -> None:
    inner = f"<text:list>{items(p('b'), p('c'))}</text:list>"
    first = f'<text:list text:style-name="L" xml:id="x">{items(p("a") + inner)}</text:list>'
    second = f'<text:list text:style-name="L" text:continue-list="x">{items(p("d"))}</text:list>'
    third = f'<text:list text:style-name="L">{items(p("e"))}</text:list>'
    bullets = f'<text:list text:style-name="B">{items(p("f"))}</text:list>'
    assert text_of(first + p("x") + second + p("y") + third + bullets) == (
        "1. a\n  (a) b\n  (b) c\n\nx\n\n2. d\n\ny\n\n1. e\n- f"
    )


def test_what_is_shown_by_style_is_said() -> None:
    body = p(
        '10<text:span text:style-name="U">6</text:span> was <text:span text:style-name="S">400</text:span>450'
        '<text:span text:style-name="V"> not seen</text:span>'
    )
    document = read(odf("text", body, styles=LOOKS), "a.odt")
    assert document.text == "10^6 was [struck out: 400] 450"
    assert document.warnings == ("a.odt: 2 hidden words are left out",)


def test_deleted_text_is_struck_out_where_it_stood() -> None:
    changes = (
        '<text:tracked-changes><text:changed-region text:id="c1"><text:deletion><office:change-info><dc:creator>Rolf'
        f"</dc:creator></office:change-info>{p('400')}</text:deletion></text:changed-region></text:tracked-changes>"
    )
    assert text_of(changes + p('Rent <text:change text:change-id="c1"/>450.')) == "Rent [struck out: 400] 450."


def test_notes_and_comments_stand_below() -> None:
    note = (
        f'<text:note text:note-class="{{}}"><text:note-citation>{{}}</text:note-citation><text:note-body>{p("{}")}'
        "</text:note-body></text:note>"
    )
    comment = f"<office:annotation><dc:creator>Rolf</dc:creator><dc:date>2024</dc:date>{p('Ask.')}</office:annotation>"
    body = p(
        f"granite{note.format('footnote', '1', 'From here.')} and{note.format('endnote', 'i', 'Late.')}{comment}"
    ) + p("x")
    assert text_of(body) == "granite [1] and [i]\n\n[1] From here.\n\n[comment: Ask.]\n\nx\n\n[i] Late."


def test_tables_have_merged_cells_and_heads_of_two_rows() -> None:
    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell {more}>{p(text)}</table:table-cell>"

    gone = "<table:covered-table-cell/>"
    wide, high = 'table:number-columns-spanned="2"', 'table:number-rows-spanned="2"'
    table = (
        "<table:table><table:table-header-rows><table:table-row>" + cell("Region", high) + cell("2024", wide) + gone
        + "</table:table-row><table:table-row>" + gone + cell("Q1") + cell("Q2")
        + "</table:table-row></table:table-header-rows><table:table-row>" + cell("East") + cell("30") + cell("31")
        + "</table:table-row></table:table>"
    )  # fmt: skip
    assert text_of(table) == "Region | 2024 Q1 | 2024 Q2\nEast | 30 | 31"


def test_boxes_pictures_and_fields_in_a_paragraph() -> None:
    frame = (
        f"<draw:frame><draw:text-box>{p('In the box.')}</draw:text-box></draw:frame>"
        "<draw:frame><draw:image/><svg:desc>a map of the bay</svg:desc></draw:frame>"
    )
    heads = (
        f"<style:master-page><style:header>{p('Revision 7')}</style:header>"
        f"<style:footer>{p('Page <text:page-number>3</text:page-number>')}</style:footer></style:master-page>"
    )
    body = p(f'One<text:s text:c="3"/>two<text:line-break/>three <text:sequence>Figure 4</text:sequence> {frame}')
    assert text_of(body, program=heads) == (
        "One two\nthree Figure 4 [image: a map of the bay]\n\nIn the box.\n\nHead of the pages: Revision 7"
    )


def test_slides_are_pages() -> None:
    def frame(text: str, kind: str, y: int) -> str:
        return (
            f'<draw:frame presentation:class="{kind}" svg:x="1cm" svg:y="{y}cm" svg:width="5cm" svg:height="1cm">'
            f"<draw:text-box>{p(text)}</draw:text-box></draw:frame>"
        )

    notes = f"<presentation:notes>{frame('Name the crane.', 'notes', 9)}</presentation:notes>"
    first = (
        f"<draw:page>{frame('low', 'outline', 5)}{frame('high', 'outline', 3)}{frame('Dues', 'title', 1)}{notes}"
        f"</draw:page>"
    )
    hidden = (
        '<style:style style:name="D" style:family="drawing-page"><style:drawing-page-properties '
        'presentation:visibility="hidden"/></style:style>'
    )
    second = f'<draw:page draw:style-name="D">{frame("End", "title", 1)}</draw:page>'
    document = read(odf("presentation", first + second, styles=hidden), "a.odp")
    assert document.text == "Dues\n\nhigh\n\nlow\n\nSpeaker notes:\n\nName the crane.\n\nEnd"
    assert [(one.title, one.page) for one in document.outline] == [("Dues", 1), ("End", 2)]
    assert document.warnings == ("a.odp: slide 2 is hidden in the show, and read",)


def test_metadata_and_a_password() -> None:
    facts = (
        "<dc:title>Nineteen Pans</dc:title><meta:initial-creator>Maren Oldcastle</meta:initial-creator>"
        "<meta:creation-date>2016-09-08T10:00:00</meta:creation-date>"
    )
    assert read(odf("text", p("x"), meta=facts), "a.odt").metadata == (
        ("title", "Nineteen Pans"),
        ("author", "Maren Oldcastle"),
        ("file made", "8 September 2016"),
    )
    locked = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    with pytest.raises(DocumentError, match="is encrypted"):
        read(odf("text", p("x"), manifest=locked), "a.odt")
