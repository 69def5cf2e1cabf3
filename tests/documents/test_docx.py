"""What a reader of a Word document sees is its text: numbers of lists, merged cells, notes, changes, fields, boxes."""

from __future__ import annotations

import pytest
from office_making import NAMESPACES, docx, p, read, relations, rows, xlsx, zipped

from sharedllm_cli.errors import DocumentError

STYLES = (
    '<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="H2"><w:name w:val="heading 2"/><w:basedOn w:val="H1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Own"><w:name w:val="Own"/><w:basedOn w:val="H2"/></w:style>'
    '<w:style w:type="character" w:styleId="Ghost"><w:name w:val="Ghost"/><w:rPr><w:vanish/></w:rPr></w:style>'
)
LEVELS = "".join(
    f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
    for level, (form, text) in enumerate(
        [("decimal", "%1."), ("decimal", "%1.%2"), ("lowerLetter", "(%3)"), ("upperRoman", "%4)")]
    )
)
NUMBERING = (
    f'<w:abstractNum w:abstractNumId="0">{LEVELS}</w:abstractNum>'
    '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="x"/></w:lvl>'
    "</w:abstractNum>"
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/>'
    "</w:lvlOverride></w:num>"
)


def text_of(body: str, **parts: str) -> str:
    return read(docx(body, parts=parts), "a.docx").text


def item(text: str, level: int, key: int = 1) -> str:
    return p(text, more=f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{key}"/></w:numPr>')


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


def test_headings_are_by_style_or_level_and_make_the_outline() -> None:
    body = (
        p("Lease", "H1") + p("Rent") + p("Notice", "Own") + p("Repairs", more='<w:outlineLvl w:val="1"/>') + p("x", "?")
    )
    document = read(docx(body, parts={"styles": STYLES}), "a.docx")
    assert [(one.title, one.level) for one in document.outline] == [("Lease", 1), ("Notice", 2), ("Repairs", 2)]
    assert (document.kind, document.paged, document.page_count) == ("docx", False, 0)


def test_lists_have_the_numbers_that_word_shows() -> None:
    body = "".join(
        [item("a", 0), item("b", 1), item("c", 1), item("d", 2), item("e", 2), item("f", 3), item("g", 0), item("h", 1)]
    )
    lines = text_of(body, numbering=NUMBERING).split("\n")
    assert [line.strip() for line in lines] == ["1. a", "1.1 b", "1.2 c", "(a) d", "(b) e", "I) f", "2. g", "2.1 h"]
    assert lines[1].startswith("  ")
    assert text_of(
        item("a", 0) + p("x") + item("b", 0, 3) + item("c", 0, 3) + item("d", 0, 2), numbering=NUMBERING
    ) == ("1. a\n\nx\n\n7. b\n8. c\n- d")


def test_a_heading_carries_its_number() -> None:
    numbered = (
        '<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/><w:pPr><w:numPr><w:numId w:val="1"/>'
        '</w:numPr></w:pPr></w:style><w:style w:type="paragraph" w:styleId="H2"><w:name w:val="heading 2"/>'
        '<w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    )
    body = p("Rent", "H1") + p("Text.") + p("Due", "H2") + p("End", "H1") + p("Notice", "H2")
    document = read(docx(body, parts={"styles": numbered, "numbering": NUMBERING}), "a.docx")
    assert [one.title for one in document.outline] == ["1. Rent", "1.1 Due", "2. End", "2.1 Notice"]


def test_a_table_has_each_cell_in_its_row_and_column() -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{p(text)}</w:tc>"

    head, begins, goes_on = "<w:trPr><w:tblHeader/></w:trPr>", '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    wide = '<w:gridSpan w:val="2"/>'
    body = (
        f"<w:tbl><w:tr>{head}{cell('Region', begins)}{cell('2024', wide)}</w:tr>"
        f"<w:tr>{head}{cell('', goes_on)}{cell('Q1')}{cell('Q2')}</w:tr>"
        f"<w:tr>{cell('East', begins)}{cell('30')}{cell('31')}</w:tr>"
        f"<w:tr>{cell('', goes_on)}{cell('10')}{cell('11')}</w:tr></w:tbl>"
    )
    assert text_of(body) == "Region | 2024 Q1 | 2024 Q2\nEast | 30 | 31\nEast | 10 | 11"


def test_notes_stand_below_their_paragraph_and_their_marks_apart_from_the_word() -> None:
    body = (
        p(f"{run('Built of granite')}<w:r><w:footnoteReference w:id='2'/></w:r>{run(' in 38 weeks')}"
          "<w:r><w:endnoteReference w:id='5'/></w:r>")
        + p("Later.")
    )  # fmt: skip
    notes = f'<w:footnote w:id="0">{p("rule")}</w:footnote><w:footnote w:id="2">{p("From Dalbeattie.")}</w:footnote>'
    ends = f'<w:endnote w:id="5">{p("A wet year.")}</w:endnote>'
    text = text_of(body, footnotes=notes, endnotes=ends)
    assert text.split("\n\n") == [
        "Built of granite [1] in 38 weeks [i]",
        "[1] From Dalbeattie.",
        "Later.",
        "[i] A wet year.",
    ]


def test_changes_show_what_is_valid() -> None:
    body = p(
        run("The rent is ")
        + "<w:del><w:r><w:delText>400</w:delText></w:r></w:del>"
        + f"<w:ins>{run('450')}</w:ins>{run(' pounds, ')}{run('monthly', '<w:strike/>')}{run(' weekly.')}"
        + f"<w:moveFrom>{run('moved')}</w:moveFrom>"
    )
    assert text_of(body) == "The rent is [struck out: 400] 450 pounds, [struck out: monthly] weekly."


def test_a_large_letter_and_a_deleted_end_run_on() -> None:
    cap = p("O", more='<w:framePr w:dropCap="drop"/>')
    deleted = p("This is", more="<w:rPr><w:del/></w:rPr>")
    assert text_of(cap + p("nce upon a time.") + deleted + p(" joined.")) == "Once upon a time.\n\nThis is joined."


def test_hidden_text_is_left_out_and_said() -> None:
    ghost = '<w:rStyle w:val="Ghost"/>'
    body = p(f"{run('Seen. ')}{run('Not seen at all.', '<w:vanish/>')}{run('Nor this.', ghost)}")
    document = read(docx(body, parts={"styles": STYLES}), "a.docx")
    assert document.text == "Seen."
    assert document.warnings == ("a.docx: 6 hidden words are left out",)


def test_fields_show_their_results_and_forms_their_values() -> None:
    def mark(kind: str, inner: str = "") -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}">{inner}</w:fldChar></w:r>'

    ticked = mark("begin", "<w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData>") + mark("end")
    chosen = mark(
        "begin",
        '<w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="Heron"/>'
        '<w:listEntry w:val="Corncrake"/></w:ddList></w:ffData>',
    ) + mark("end")  # fmt: skip
    box = (
        '<w:sdt><w:sdtPr><w14:checkbox><w14:checked w14:val="{}"/></w14:checkbox></w:sdtPr><w:sdtContent>'
        + run("?")
        + "</w:sdtContent></w:sdt>"
    )
    prompt = f"<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{run('Click here')}</w:sdtContent></w:sdt>"
    sign = '<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>'
    body = p(
        f"{mark('begin')}<w:r><w:instrText>REF x</w:instrText></w:r>{mark('separate')}{run('clause 4')}{mark('end')}"
        f"{run(' a')}{ticked}{run(' b ')}{chosen}{run(' c')}{box.format(1)}{box.format(0)}{prompt}{run(' d ')}{sign}"
    )
    assert text_of(body) == "clause 4 a[x] b Corncrake c[x][ ] d [x]"


def test_what_is_drawn_is_read_once() -> None:
    inner = f"<w:txbxContent>{p('In the box.')}</w:txbxContent>"
    choice = (
        f'<mc:Choice Requires="wps"><w:drawing><wp:inline>'
        f'<wp:docPr id="1" name="x" descr="a map of the bay"/>'
        f"<wps:txbx>{inner}</wps:txbx></wp:inline></w:drawing></mc:Choice>"
    )
    fallback = f"<mc:Fallback><w:pict><v:textbox>{inner}</v:textbox></w:pict></mc:Fallback>"
    body = p(
        f"{run('Before. ')}<w:r><mc:AlternateContent>{choice}{fallback}</mc:AlternateContent></w:r>{run(' After.')}"
    )
    assert text_of(body) == "Before. [image: a map of the bay] After.\n\nIn the box."


def test_equations_are_linear_text() -> None:
    def r(text: str) -> str:
        return f"<m:r><m:t>{text}</m:t></m:r>"

    fraction = f"<m:f><m:num>{r('a+b')}</m:num><m:den>{r('2')}</m:den></m:f>"
    power = f"<m:sSup><m:e>{r('10')}</m:e><m:sup>{r('6')}</m:sup></m:sSup>"
    root = f"<m:rad><m:deg/><m:e>{r('x')}</m:e></m:rad>"
    total = (
        f'<m:nary><m:naryPr><m:chr m:val="∑"/>'
        f"</m:naryPr><m:sub>{r('i=1')}"
        f"</m:sub><m:sup>{r('n')}</m:sup><m:e>{r('i')}</m:e></m:nary>"
    )
    brackets = f"<m:d><m:e>{r('y')}</m:e></m:d>"
    for formula, text in [
        (fraction, "(a + b)/2"),
        (f"{r('4.7×')}{power}", "4.7 × 10^6"),
        (root, "√(x)"),
        (total, "∑_(i = 1)^n i"),
        (brackets, "(y)"),
    ]:
        assert text_of(p(f"<m:oMath>{formula}</m:oMath>")) == text


def test_heads_and_feet_stand_once_and_page_numbers_never() -> None:
    page = (
        "<w:r><w:fldChar w:fldCharType='begin'/></w:r><w:r><w:instrText> PAGE </w:instrText></w:r><w:r>"
        "<w:fldChar w:fldCharType='separate'/></w:r><w:r><w:t>3</w:t></w:r><w:r><w:fldChar w:fldCharType='end'/></w:r>"
    )
    section = (
        '<w:sectPr><w:headerReference w:type="default" r:id="header1"/>'
        '<w:headerReference w:type="even" r:id="header2"/>'
        '<w:footerReference w:type="default" r:id="footer1"/></w:sectPr>'
    )
    text = text_of(
        p("Body.") + section + section,
        header1=p("Revision 7") + p("approved by Ilse Marlow"),
        header2=p("never shown"),
        footer1=p(f"{run('Page ')}{page}"),
    )
    assert text == "Body.\n\nHead of the pages: Revision 7 · approved by Ilse Marlow"


def test_comments_leave_their_author_out() -> None:
    comments = f'<w:comment w:id="1" w:author="Rolf Dene">{p("Ask the landlord.")}</w:comment>'
    body = p(f"{run('The gate.')}<w:r><w:commentReference w:id='1'/></w:r>")
    assert text_of(body, comments=comments) == "The gate.\n\n[comment: Ask the landlord.]"


def test_what_is_broken_is_an_error_or_read_as_far_as_it_goes() -> None:
    with pytest.raises(DocumentError, match="contains no text"):
        read(docx(""), "a.docx")
    cut = docx(p("Some text of it."))
    with pytest.raises(DocumentError, match=r"is damaged|damaged Word document"):
        read(cut[: len(cut) // 2], "a.docx")
    whole = {"word/document.xml": "no XML at all"}
    with pytest.raises(DocumentError, match="is damaged"):
        read(zipped(whole), "a.docx")
    loop = (
        '<w:style w:styleId="A"><w:basedOn w:val="A"/></w:style><w:style w:styleId="B"><w:basedOn w:val="B"/></w:style>'
    )
    assert text_of(p("x", "A") + p("y", "B"), styles=loop) == "x\n\ny"
    assert text_of(item("a", 99, 1) + item("b", -4, 77), numbering=NUMBERING).split() == ["a", "b"]


def test_no_entity_is_expanded_and_nothing_outside_is_named() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b SYSTEM "file:///etc/hostname">]>'
    body = f"<w:document {NAMESPACES}><w:body>{p('one &a; &b; two')}</w:body></w:document>"
    with pytest.raises(DocumentError, match="is damaged"):
        read(zipped({"word/document.xml": bomb + body}), "a.docx")


def test_a_part_outside_the_package_is_not_looked_for() -> None:
    from sharedllm_cli.documents.office.package import Package

    data = zipped({"word/document.xml": "<x/>", "word/_rels/document.xml.rels": (
        '<Relationships><Relationship Id="a" Type="t/image" Target="https://x.example/a.png" TargetMode="External"/>'
        '<Relationship Id="b" Type="t/chart" Target="../../../etc/passwd"/></Relationships>')})  # fmt: skip
    package = Package(data, "a.docx")
    assert package.relations("word/document.xml") == {"b": ("chart", "../../etc/passwd")}
    assert package.optional("../../etc/passwd") is None


def test_a_workbook_within_is_a_document_of_its_own() -> None:
    inner = xlsx({"Costs": rows(["Item", "Price"], ["Oar", 4])})
    beside = {
        "word/embeddings/costs.xlsx": inner,
        "word/embeddings/run.bin": b"x",
        "word/_rels/document.xml.rels": relations(
            {"a": ("package", "embeddings/costs.xlsx"), "b": ("oleObject", "embeddings/run.bin")}
        ),
    }
    document = read(docx(p("See below."), beside=beside), "a.docx")
    assert [file.name for file in document.attachments] == ["costs.xlsx"]


def test_a_member_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from sharedllm_cli.documents.office import package

    monkeypatch.setattr(package, "LARGEST_MEMBER", 1000)
    with pytest.raises(DocumentError, match="unpacks to more than a document can contain"):
        read(docx(p("word " * 500)), "a.docx")
