"""Office and OpenDocument files made of the XML that a test is about, with as little around it as they need."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.documents.sources import SourceFile

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
NAMESPACES = " ".join(
    [
        'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"',
        'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml"',
        'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"',
        f'xmlns:r="{OFFICE}"',
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"',
        'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"',
        'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"',
        'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"',
        'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"',
        'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"',
        'xmlns:v="urn:schemas-microsoft-com:vml"',
    ]
)
_ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{value}:1.0"'
    for name, value in {
        "office": "office",
        "text": "text",
        "table": "table",
        "style": "style",
        "draw": "drawing",
        "presentation": "presentation",
        "svg": "svg-compatible",
        "fo": "xsl-fo-compatible",
        "meta": "meta",
        "manifest": "manifest",
    }.items()
)
_ODF += ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """A zip with these members."""
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return whole.getvalue()


def relations(targets: Mapping[str, tuple[str, str]]) -> str:
    """A list of relations: by id the kind and the target."""
    rows = (
        f'<Relationship Id="{key}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for key, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{PACKAGE}">{"".join(rows)}</Relationships>'


def docx(
    body: str, *, parts: Mapping[str, str] | None = None, beside: Mapping[str, str | bytes] | None = None
) -> bytes:
    """A Word document. `parts` are what stands in styles, numbering, footnotes, comments, header1 and the like."""
    roots = {"header1": "hdr", "header2": "hdr", "footer1": "ftr", "document": "document"}
    members: dict[str, str | bytes] = {
        "_rels/.rels": relations({"a": ("officeDocument", "word/document.xml")}),
        "word/document.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>",
    }
    targets = {}
    for name, xml in (parts or {}).items():
        root = roots.get(name, name)
        members[f"word/{name}.xml"] = xml if xml.startswith("<?") else f"<w:{root} {NAMESPACES}>{xml}</w:{root}>"
        targets[name] = (name.rstrip("0123456789"), f"{name}.xml")
    members["word/_rels/document.xml.rels"] = relations(targets)
    return zipped({**members, **(beside or {})})


def p(text: str, style: str = "", more: str = "") -> str:
    """A paragraph of Word: its text or its runs, its style and more properties."""
    runs = text if text.startswith("<") else f"<w:r><w:t xml:space='preserve'>{text}</w:t></w:r>"
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{more}</w:pPr>{runs}</w:p>"


def xlsx(
    sheets: Mapping[str, str],
    *,
    strings: Sequence[str] = (),
    formats: Sequence[str] = (),
    states: Mapping[str, str] | None = None,
) -> bytes:
    """A workbook: the XML of each sheet by name, shared strings, and a style for each format of numbers."""
    spreadsheet = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    entries = "".join(
        f'<sheet name="{name}" sheetId="{place}" r:id="s{place}" state="{(states or {}).get(name, "visible")}"/>'
        for place, name in enumerate(sheets, 1)
    )
    targets = {f"s{place}": ("worksheet", f"worksheets/sheet{place}.xml") for place in range(1, len(sheets) + 1)}
    codes = "".join(f'<numFmt numFmtId="{164 + place}" formatCode="{one}"/>' for place, one in enumerate(formats))
    styles = "".join(f'<xf numFmtId="{164 + place}"/>' for place in range(len(formats)))
    return zipped(
        {
            "_rels/.rels": relations({"a": ("officeDocument", "xl/workbook.xml")}),
            "xl/workbook.xml": f'<workbook {spreadsheet} xmlns:r="{OFFICE}"><sheets>{entries}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(targets),
            "xl/sharedStrings.xml": f"<sst {spreadsheet}>{''.join(f'<si><t>{one}</t></si>' for one in strings)}</sst>",
            "xl/styles.xml": f"<styleSheet {spreadsheet}><numFmts>{codes}</numFmts>"
            f'<cellXfs><xf numFmtId="0"/>{styles}</cellXfs></styleSheet>',
            **{
                f"xl/worksheets/sheet{place}.xml": f"<worksheet {spreadsheet}>{xml}</worksheet>"
                for place, xml in enumerate(sheets.values(), 1)
            },
        }
    )


def rows(*lines: Sequence[str | float], first: int = 1) -> str:
    """The rows of a sheet, texts in the cells themselves."""
    written = []
    for number, line in enumerate(lines, first):
        cells = [
            f'<c r="{chr(65 + place)}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
            if isinstance(cell, str)
            else f'<c r="{chr(65 + place)}{number}"><v>{cell}</v></c>'
            for place, cell in enumerate(line)
            if cell != ""
        ]
        written.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f"<sheetData>{''.join(written)}</sheetData>"


def pptx(slides: Sequence[str], *, beside: Mapping[str, str | bytes] | None = None, hidden: int = 0) -> bytes:
    """A presentation: the shapes of each slide; slide number `hidden` is left out of the show."""
    entries = "".join(f'<p:sldId id="{255 + place}" r:id="s{place}"/>' for place in range(1, len(slides) + 1))
    members: dict[str, str | bytes] = {
        "_rels/.rels": relations({"a": ("officeDocument", "ppt/presentation.xml")}),
        "ppt/presentation.xml": f"<p:presentation {NAMESPACES}><p:sldIdLst>{entries}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            {f"s{place}": ("slide", f"slides/slide{place}.xml") for place in range(1, len(slides) + 1)}
        ),
    }
    for place, shapes in enumerate(slides, 1):
        show = ' show="0"' if place == hidden else ""
        members[f"ppt/slides/slide{place}.xml"] = (
            f"<p:sld {NAMESPACES}{show}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    return zipped({**members, **(beside or {})})


def shape(text: str, *, kind: str | None = None, at: tuple[int, int] | None = None) -> str:
    """A shape of a slide: the lines of its text, the kind of placeholder that it fills, and where it stands."""
    held = f'<p:ph type="{kind}"/>' if kind else ""
    place = f'<a:xfrm><a:off x="{at[0]}" y="{at[1]}"/><a:ext cx="90" cy="90"/></a:xfrm>' if at else ""
    lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="x"/><p:cNvSpPr/><p:nvPr>{held}</p:nvPr></p:nvSpPr>'
        f"<p:spPr>{place}</p:spPr><p:txBody>{lines}</p:txBody></p:sp>"
    )


def odf(kind: str, body: str, *, styles: str = "", program: str = "", manifest: str = "", meta: str = "") -> bytes:
    """An OpenDocument file of the kind `text`, `spreadsheet` or `presentation`."""
    return zipped(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {_ODF}>"
            f"<office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
            "styles.xml": f"<office:document-styles {_ODF}>{program}</office:document-styles>",
            "META-INF/manifest.xml": f"<manifest:manifest {_ODF}>{manifest}</manifest:manifest>",
            "meta.xml": f"<office:document-meta {_ODF}><office:meta>{meta}</office:meta></office:document-meta>",
        }
    )


def read(data: bytes | str, name: str) -> Document:
    """The document that these bytes are, under a name."""
    return readers.read(SourceFile(name, Path(name)), data=data.encode() if isinstance(data, str) else data)
