"""A PowerPoint presentation (pptx): each slide a page, its title the heading, its boxes in the order of reading.

Speaker notes and comments stand below a slide's text and say what they are. What stands at the foot of the slides is
read once. A slide hidden from the show is read and said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

from lxml import etree

from sharedllm_cli.documents.markup.html_lists import OWN_MARK, numeral
from sharedllm_cli.documents.office import drawings, extracted, omml, reading_order
from sharedllm_cli.documents.office.package import MissingMemberError, Package, attribute, child, local, number
from sharedllm_cli.documents.office.reading_order import Box
from sharedllm_cli.documents.pages import Extraction

MOST_SLIDES = 10_000
MOST_SPANNED = 1000
_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"dt", "ftr", "sldNum", "hdr", "sldImg"})
_BODIES = frozenset({"body", "obj", "subTitle", ""})
_CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"
_ON = ("1", "true")
_FORMS = {"alphaLc": "a", "alphaUc": "A", "romanLc": "i", "romanUc": "I", "arabic": "1"}


def extract(data: bytes, name: str) -> Extraction:
    """Everything readable in a presentation. Raises DocumentError for one that is damaged or too large."""
    package = Package(data, name)
    main = extracted.main_member(package, "ppt/presentation.xml")
    try:
        root = package.xml(main)
    except MissingMemberError as failure:
        raise package.damaged(main) from failure
    relations = package.relations(main)
    # The attribute `id` of a slide's entry is its number, too: the one of the relations' namespace counts.
    members = [relations.get(_relation_id(one), ("", ""))[1] for one in root.iter("{*}sldId")][:MOST_SLIDES]
    if not members:
        raise package.damaged(main)
    deck = _Deck(package)
    pages = [deck.slide(member, place) for place, member in enumerate(members, 1)]
    return extracted.of_pages(
        package, pages, deck.titles, warnings=deck.warnings(), attachments=extracted.embedded(package, members)
    )


def _relation_id(element: etree._Element) -> str:
    return next((str(value) for key, value in element.attrib.items() if str(key).endswith("}id")), "")


@dataclass
class _Deck:
    """Reads slide by slide; `feet` are the words that were met at the foot of slides."""

    package: Package
    titles: list[str | None] = field(default_factory=list)
    hidden: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    feet: set[str] = field(default_factory=set)
    _places: dict[str, dict[tuple[str, str], Box]] = field(default_factory=dict)

    def warnings(self) -> tuple[str, ...]:
        """What was left out or is hidden, a sentence each."""
        hidden = extracted.on_slides(self.package.name, self.hidden, "hidden in the show, and read")
        return (*hidden, *extracted.on_slides(self.package.name, self.missing, "missing or damaged"))

    def slide(self, member: str, place: int) -> str:
        """One slide's HTML."""
        root = self.package.optional(member) if member else None
        self.titles.append(None)
        if root is None:
            self.missing.append(place)
            return ""
        if attribute(root, "show", "1") in ("0", "false"):
            self.hidden.append(place)
        relations = self.package.relations(member)
        by_kind = dict(relations.values())
        slide = _Slide(self.package, relations, self._layout(by_kind.get("slideLayout", "")))
        tree = child(root, "cSld", "spTree")
        pieces = [] if tree is None else slide.shapes(tree)
        self.titles[-1] = slide.title
        feet = [text for text in slide.feet if text not in self.feet]
        self.feet.update(feet)
        pieces += [f"<p>Foot of the slides: {' · '.join(feet)}</p>"] if feet else []
        pieces += self._beside(relations)
        return "".join(pieces)

    def _layout(self, member: str) -> dict[tuple[str, str], Box]:
        """Where a layout's placeholders stand, those of its master below them."""
        if member not in self._places:
            found: dict[tuple[str, str], Box] = {}
            if member:
                masters = [target for kind, target in self.package.relations(member).values() if kind == "slideMaster"]
                for one in (*masters[:1], member):
                    root = self.package.optional(one)
                    for shape in () if root is None else root.iter("{*}sp"):
                        box = _box(shape, 0)
                        held = _placeholder(shape)
                        if box is not None and held is not None:
                            found[held] = found[held[0], ""] = box
            self._places[member] = found
        return self._places[member]

    def _beside(self, relations: dict[str, tuple[str, str]]) -> Iterator[str]:
        """The speaker notes and the comments of a slide."""
        for kind, target in relations.values():
            if kind not in ("notesSlide", "comments") or (root := self.package.optional(target)) is None:
                continue
            if kind == "comments":
                for one in root.iter("{*}cm"):
                    texts = [part.text or "" for part in one.iter("{*}text")] or [_words(one)]
                    if text := " ".join(" ".join(texts).split()):
                        yield f"<p>[comment: {escape(text)}]</p>"
                continue
            notes = _Slide(self.package, self.package.relations(target), {})
            lines: list[str] = []
            for shape in root.iter("{*}sp"):
                held = _placeholder(shape)
                if held is None or held[0] not in _FURNITURE:
                    lines += notes.paragraphs(child(shape, "txBody"), listed=False)
            if lines:
                yield f"<p>Speaker notes:</p>{''.join(lines)}"


@dataclass
class _Slide:
    """The shapes of one slide in the order of reading."""

    package: Package
    relations: dict[str, tuple[str, str]]
    layout: dict[tuple[str, str], Box]
    title: str | None = None
    feet: list[str] = field(default_factory=list)

    def shapes(self, tree: etree._Element) -> list[str]:
        """The HTML of each shape, the title first."""
        first: list[str] = []
        written: list[tuple[Box | None, str]] = []
        for place, element in enumerate(self._shown(tree)):
            held = _placeholder(element)
            if held is not None and held[0] in _FURNITURE:
                words = " ".join(_words(child(element, "txBody")).split())
                self.feet += [escape(words)] if words and held[0] in ("ftr", "hdr") else []
                continue
            html = self._shape(element, is_title=held is not None and held[0] in _TITLES)
            if not html:
                continue
            if held is not None and held[0] in _TITLES:
                first.append(html)
                continue
            box = _box(element, place)
            if box is None and held is not None:
                inherited = self.layout.get(held) or self.layout.get((held[0], ""))
                box = None if inherited is None else inherited._replace(number=place)
            written.append((box, html))
        return [*first, *_in_order(written)]

    def _shown(self, tree: etree._Element) -> Iterator[etree._Element]:
        for element in tree:
            if local(element) == "AlternateContent":
                chosen = next((one for one in element if len(one)), None)
                if chosen is not None:
                    yield from self._shown(chosen)
            elif local(element) in ("sp", "grpSp", "graphicFrame", "pic", "cxnSp"):
                properties = next(iter(element.iter("{*}cNvPr")), None)
                if attribute(properties, "hidden") not in _ON:
                    yield element

    def _shape(self, element: etree._Element, *, is_title: bool) -> str:
        name = local(element)
        held = (child(part, "cNvPr") for part in element if local(part).startswith("nv"))
        words = drawings.alternative(next(held, None))
        if name == "grpSp":
            return (f"<div>{words}</div>" if words else "") + "".join(self.shapes(element))
        if name == "graphicFrame":
            inner = self._frame(element)
            return inner or (f"<div>{words}</div>" if words else "")
        if name == "pic":
            return f"<div>{words}</div>" if words else ""
        body = child(element, "txBody")
        if is_title:
            text = " ".join(_words(body).split())
            if not text:
                return ""
            self.title = text
            lines = " ".join(self._line(one) for one in _paragraphs(body))
            return f"<h1>{lines.replace('<br>', ' ')}</h1>"
        place = _placeholder(element)
        lines = "".join(self.paragraphs(body, listed=place is not None and place[0] in _BODIES))
        return lines or (f"<div>{words}</div>" if words else "")

    def _frame(self, element: etree._Element) -> str:
        if (table := next(element.iter("{*}tbl"), None)) is not None:
            return self._table(table)
        if (held := next(element.iter(f"{{{_CHART}}}chart"), None)) is not None:
            return drawings.chart(self.package, self.relations.get(attribute(held, "id"), ("", ""))[1])
        return drawings.diagram(self.package, self.relations, element)

    def _table(self, table: etree._Element) -> str:
        headed = attribute(child(table, "tblPr"), "firstRow") in _ON
        written: list[str] = []
        for place, row in enumerate(one for one in table if local(one) == "tr"):
            head = headed and not place
            tag = "th" if head else "td"
            cells: list[str] = []
            for cell in row:
                if local(cell) != "tc" or attribute(cell, "hMerge") in _ON or attribute(cell, "vMerge") in _ON:
                    continue
                covered = (number(attribute(cell, one, "1"), 1) for one in ("gridSpan", "rowSpan"))
                spans = [min(max(count, 1), MOST_SPANNED) for count in covered]
                inner = " ".join(self._line(one) for one in _paragraphs(child(cell, "txBody")))
                cells.append(f'<{tag} colspan="{spans[0]}" rowspan="{spans[1]}">{inner}</{tag}>')
            line = f"<tr>{''.join(cells)}</tr>"
            written.append(f"<thead>{line}</thead>" if head else line)
        return f"<table>{''.join(written)}</table>"

    def paragraphs(self, body: etree._Element | None, *, listed: bool) -> list[str]:
        """The paragraphs of a shape; those with bullets or numbers as a list, indented as they are."""
        found = [(one, self._line(one)) for one in _paragraphs(body)]
        found = [(one, line) for one, line in found if line.strip()]
        listed = listed and len(found) > 1
        written: list[str] = []
        depth = 0
        counts: dict[int, int] = {}
        for element, line in found:
            level = min(max(number(attribute(child(element, "pPr"), "lvl", "0")), 0), 8)
            mark = _mark(child(element, "pPr"), listed, counts, level)
            deeper = (level + 1 if mark else 0) - depth
            written.append("<ul>" * deeper if deeper > 0 else "</ul>" * -deeper)
            depth += deeper
            written.append(f'<li {OWN_MARK}="{mark}">{line}</li>' if mark else f"<p>{line}</p>")
        return [*written, "</ul>" * depth] if written else []

    def _line(self, paragraph: etree._Element) -> str:
        return "".join(map(self._piece, paragraph))

    def _piece(self, element: etree._Element) -> str:
        match local(element):
            case "r":
                return _run(element)
            case "br":
                return "<br>"
            case "fld":
                return "" if attribute(element, "type") == "slidenum" else _run(element)
            case "AlternateContent" | "Choice" | "m":
                return "".join(omml.mathml(one) for one in element.iter("{*}oMath"))
        return ""


def _in_order(written: list[tuple[Box | None, str]]) -> list[str]:
    """The shapes by their places; one without a place stands where the file has it, before all that follow."""
    placed = [box._replace(number=place) for place, (box, _) in enumerate(written) if box is not None]
    if len(placed) < len(written):
        return [html for _, html in written]
    return [written[place][1] for place in reading_order.ordered(placed)]


def _box(element: etree._Element, place: int) -> Box | None:
    """Where a shape stands; None where it takes the place of its layout."""
    name = local(element)
    path = ("xfrm",) if name == "graphicFrame" else ("grpSpPr" if name == "grpSp" else "spPr", "xfrm")
    held = child(element, *path)
    offset, size = child(held, "off"), child(held, "ext")
    if offset is None or size is None:
        return None
    left, top = number(attribute(offset, "x")), number(attribute(offset, "y"))
    return Box(left, top, left + number(attribute(size, "cx")), top + number(attribute(size, "cy")), place)


def _placeholder(element: etree._Element) -> tuple[str, str] | None:
    """The kind and the number of the placeholder that a shape fills; None for a shape of its own."""
    for part in element:
        if local(part).startswith("nv") and (held := child(part, "nvPr", "ph")) is not None:
            return attribute(held, "type"), attribute(held, "idx")
    return None


def _paragraphs(body: etree._Element | None) -> list[etree._Element]:
    return [] if body is None else [one for one in body if local(one) == "p"]


def _words(element: etree._Element | None) -> str:
    if element is None:
        return ""
    paragraphs = ("".join(one.text or "" for one in part.iter("{*}t")) for part in element.iter("{*}p"))
    return " ".join(filter(str.strip, paragraphs))


def _run(element: etree._Element) -> str:
    text = escape("".join(one.text or "" for one in element if local(one) == "t")).replace("\v", "<br>")
    properties = child(element, "rPr")
    raised = number(attribute(properties, "baseline", "0"))
    if raised and text.strip():
        tag = "sup" if raised > 0 else "sub"
        text = f"<{tag}>{text}</{tag}>"
    struck = attribute(properties, "strike", "noStrike") not in ("", "noStrike")
    return f"<del>{text}</del>" if struck and text.strip() else text


def _mark(properties: etree._Element | None, listed: bool, counts: dict[int, int], level: int) -> str:
    """The bullet or the number of a paragraph, as the slide shows it; empty for one without."""
    numbered = child(properties, "buAutoNum")
    for below in [one for one in counts if one > level]:
        del counts[below]
    if numbered is None:
        counts.pop(level, None)
        if child(properties, "buNone") is not None:
            return ""
        return "-" if listed or child(properties, "buChar") is not None else ""
    start = number(attribute(numbered, "startAt", "1"), 1)
    counts[level] = counts.get(level, start - 1) + 1
    form = attribute(numbered, "type", "arabicPeriod")
    kind = next((own for name, own in _FORMS.items() if form.startswith(name)), "1")
    value = numeral(counts[level], kind)
    if form.endswith("ParenBoth"):
        return f"({value})"
    return f"{value})" if form.endswith("ParenR") else value if form.endswith("Plain") else f"{value}."
