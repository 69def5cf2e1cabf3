"""A slide is a page: its title first, its boxes in the order of reading, tables, charts, notes, and what is hidden."""

from __future__ import annotations

from office_making import NAMESPACES, pptx, read, relations, shape

CHART = (
    f"<c:chartSpace {NAMESPACES}><c:chart><c:title><c:tx><a:t>Dues by berth</a:t></c:tx></c:title>"
    "<c:plotArea><c:barChart>"
    "<c:ser><c:tx><c:strRef><c:strCache><c:pt idx='0'><c:v>2024</c:v></c:pt></c:strCache></c:strRef></c:tx>"
    "<c:cat><c:strRef><c:strCache><c:pt idx='0'><c:v>North</c:v></c:pt><c:pt idx='1'><c:v>South</c:v></c:pt>"
    "</c:strCache></c:strRef></c:cat><c:val><c:numRef><c:numCache><c:formatCode>0.0%</c:formatCode>"
    "<c:pt idx='0'><c:v>0.192</c:v></c:pt><c:pt idx='1'><c:v>0.5</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>"
    "</c:barChart></c:plotArea></c:chart></c:chartSpace>"
)


def pages(*slides: str, **more: object) -> list[str]:
    document = read(pptx(slides, **more), "a.pptx")  # type: ignore[arg-type]
    return [document.text[page.start : page.end].strip() for page in document.pages]


def test_the_title_comes_first_and_is_the_heading_of_its_page() -> None:
    first = shape("Below.", at=(0, 500)) + shape("Harbour dues", kind="title", at=(0, 0))
    document = read(pptx([first, shape("Berths", kind="ctrTitle") + shape("No berth is free.")]), "a.pptx")
    assert [(one.title, one.page) for one in document.outline] == [("Harbour dues", 1), ("Berths", 2)]
    assert document.text.startswith("Harbour dues\n\nBelow.\n\nBerths")
    assert (document.paged, document.page_count) == (True, 2)


def test_boxes_are_read_by_their_places() -> None:
    drawn = shape("right", at=(200, 0)) + shape("low", at=(0, 300)) + shape("left", at=(0, 0))
    assert pages(drawn) == ["left\n\nright\n\nlow"]


def test_of_two_ways_to_read_the_file_decides() -> None:
    heads, bodies = [shape(one, at=(x, 0)) for one, x in (("A", 0), ("B", 200))], [
        shape(one, at=(x, 200)) for one, x in (("a", 0), ("b", 200))
    ]  # fmt: skip
    assert pages("".join([heads[0], bodies[0], heads[1], bodies[1]])) == ["A\n\na\n\nB\n\nb"]
    assert pages("".join([heads[0], heads[1], bodies[0], bodies[1]])) == ["A\n\nB\n\na\n\nb"]


def test_a_group_is_read_in_its_own_order_and_what_is_hidden_is_not() -> None:
    group = f"<p:grpSp><p:nvGrpSpPr/><p:grpSpPr/>{shape('two', at=(0, 200))}{shape('one', at=(0, 0))}</p:grpSp>"
    unseen = shape("unseen", at=(0, 400)).replace('name="x"', 'name="x" hidden="1"')
    assert pages(group + unseen) == ["one\n\ntwo"]


def test_lists_keep_bullets_and_numbers() -> None:
    def line(text: str, properties: str) -> str:
        return f"<a:p>{properties}<a:r><a:t>{text}</a:t></a:r></a:p>"

    body = shape("", kind="body").replace(
        "<a:p><a:r><a:t></a:t></a:r></a:p>",
        line("first", "")
        + line("below", '<a:pPr lvl="1"/>')
        + line("alpha", '<a:pPr><a:buAutoNum type="alphaLcParenR"/></a:pPr>')
        + line("beta", '<a:pPr><a:buAutoNum type="alphaLcParenR"/></a:pPr>')
        + line("plain", "<a:pPr><a:buNone/></a:pPr>"),
    )
    assert pages(body) == ["- first\n  - below\na) alpha\nb) beta\n\nplain"]


def test_a_table_and_a_chart_are_rows() -> None:
    def row(*cells: str) -> str:
        inner = "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{one}</a:t></a:r></a:p></a:txBody></a:tc>" for one in cells)
        return f"<a:tr>{inner}</a:tr>"

    table = f'<a:tbl><a:tblPr firstRow="1"/>{row("Berth", "Length")}{row("N4", "6.10")}</a:tbl>'
    frame = "<p:graphicFrame><a:graphic><a:graphicData>{}</a:graphicData></a:graphic></p:graphicFrame>"
    beside = {
        "ppt/charts/chart1.xml": CHART,
        "ppt/slides/_rels/slide1.xml.rels": relations({"c1": ("chart", "../charts/chart1.xml")}),
    }
    shapes = frame.format(table) + frame.format('<c:chart r:id="c1"/>')
    assert pages(shapes, beside=beside) == [
        "Berth | Length\nN4 | 6.10\n\n[chart: Dues by berth]\n\n| 2024\nNorth | 19.2%\nSouth | 50.0%"
    ]


def test_notes_comments_and_feet_say_what_they_are() -> None:
    foot = shape("Harbour office", kind="ftr") + shape("3", kind="sldNum")
    beside = {
        "ppt/slides/_rels/slide1.xml.rels": relations(
            {"n": ("notesSlide", "../notes/n1.xml"), "c": ("comments", "../comments/c1.xml")}
        ),
        "ppt/notes/n1.xml": (
            f"<p:notes {NAMESPACES}>{shape('1', kind='sldNum')}{shape('Name the crane.', kind='body')}</p:notes>"
        ),
        "ppt/comments/c1.xml": (
            f"<p:cmLst {NAMESPACES}><p:cm authorId='0'><p:text>Older figures.</p:text></p:cm></p:cmLst>"
        ),
    }
    assert pages(shape("One.") + foot, shape("Two.") + foot, beside=beside) == [
        "One.\n\nFoot of the slides: Harbour office\n\nSpeaker notes:\n\nName the crane.\n\n[comment: Older figures.]",
        "Two.",
    ]


def test_a_hidden_or_a_missing_slide_is_said() -> None:
    document = read(pptx([shape("One."), shape("Two.")], hidden=2), "a.pptx")
    assert document.warnings == ("a.pptx: slide 2 is hidden in the show, and read",)
    data = pptx([shape("One."), ""], beside={"ppt/slides/slide2.xml": "no XML"})
    assert "a.pptx: slide 2 is missing or damaged" in read(data, "a.pptx").warnings
