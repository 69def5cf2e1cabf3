"""A Word document (docx) as HTML, in the order of reading: headings, numbered lists, tables, notes at their place.

Inserted text is text, deleted text is struck out; hidden text is left out and said. A text box, a note and a comment
stand below the paragraph that holds them. Heads and feet of the pages stand once, at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape

from lxml import etree

from sharedllm_cli.documents.markup.html_lists import OWN_MARK
from sharedllm_cli.documents.office import drawings, extracted, omml, word_margins, word_tables
from sharedllm_cli.documents.office.numbering import LEVELS, Numbering, shown
from sharedllm_cli.documents.office.package import MissingMemberError, Package, attribute, child, local, number
from sharedllm_cli.documents.office.word_forms import boxes, chosen, form_value, sign, visible
from sharedllm_cli.documents.office.word_styles import Look, Style, Styles, heading_level, look
from sharedllm_cli.documents.pages import Extraction

LONGEST_ITEM = 150
"""Characters of a numbered paragraph that still stands in a list, line by line; a longer one is a paragraph."""
_WITHIN = frozenset({"ins", "moveTo", "smartTag", "customXml", "hyperlink", "dir", "bdo", "fldSimple", "rubyBase"})
_DELETED = frozenset({"del"})
_PAGE_FIELDS = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)


def extract(data: bytes, name: str) -> Extraction:
    """Everything readable in a docx. Raises DocumentError for one that is damaged or too large."""
    package = Package(data, name)
    main = extracted.main_member(package, "word/document.xml")
    try:
        root = package.xml(main)
    except MissingMemberError as failure:
        raise package.damaged(main) from failure
    body = child(root, "body")
    writer = _Writer(package, main)
    if body is not None:
        writer.blocks(body)
        writer.end_lists()
        writer.endnotes()
        writer.page_heads(root)
    return extracted.of_html(
        package, "".join(writer.out), warnings=writer.warnings(), attachments=extracted.embedded(package, [main])
    )


@dataclass
class _Field:
    """A field whose parts are met in order: its instruction, then, from `result` on, what it shows."""

    instruction: str = ""
    result: bool = False
    checked: str = ""


@dataclass
class _Writer:
    """Collects the document's HTML. `after`: what stands below the open paragraph.

    `_carried` are words that the next paragraph begins with: a large first letter, what stands before a deleted end.
    """

    package: Package
    member: str
    out: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    hidden: int = 0
    other_parts: int = 0
    _open: int = 0
    _cells: int = 0
    _fields: list[_Field] = field(default_factory=list)
    _marks: dict[str, list[str]] = field(default_factory=lambda: {"footnote": [], "endnote": []})
    _in_margin: bool = False
    _carried: str = ""

    def __post_init__(self) -> None:
        self.relations = self.package.relations(self.member)
        by_kind = dict(self.relations.values())
        self.styles = Styles(self._related(by_kind, "styles"))
        self.numbering = Numbering(self._related(by_kind, "numbering"), self.styles.lists)
        settings = self._related(by_kind, "settings")
        self.even_heads = settings is not None and child(settings, "evenAndOddHeaders") is not None
        self.forms = {
            kind: attribute(child(settings, f"{kind}Pr", "numFmt"), "val", form)
            for kind, form in (("footnote", "decimal"), ("endnote", "lowerRoman"))
        }
        self.notes: dict[str, dict[str, etree._Element]] = {}
        for kind in ("footnote", "endnote", "comment"):
            held = self._related(by_kind, f"{kind}s")
            self.notes[kind] = {} if held is None else {attribute(one, "id"): one for one in held}

    def _related(self, by_kind: dict[str, str], kind: str) -> etree._Element | None:
        return self.package.optional(by_kind[kind]) if kind in by_kind else None

    def warnings(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        told = [*extracted.hidden_words(self.package.name, self.hidden)]
        if self.other_parts:
            several = self.other_parts > 1
            told.append(
                f"{self.package.name}: {self.other_parts} part{'s' if several else ''} in another format "
                f"{'are' if several else 'is'} not read"
            )
        return tuple(told)

    # -- blocks -----------------------------------------------------------------------------------------------------

    def blocks(self, parent: etree._Element) -> None:
        """Write the paragraphs and tables in an element."""
        for element in parent:
            self._block(element)

    def _block(self, element: etree._Element) -> None:
        match local(element):
            case "p":
                self._paragraph(element)
            case "tbl":
                self._table(element)
            case "sdt":
                if (content := child(element, "sdtContent")) is not None:
                    self.blocks(content)
            case "ins" | "moveTo" | "customXml" | "smartTag":
                self.blocks(element)
            case "del":
                start = len(self.out)
                self.blocks(element)
                self.out[start:] = [f"<del>{''.join(self.out[start:])}</del>"] if self.out[start:] else []
            case "AlternateContent":
                if (form := chosen(element)) is not None:
                    self.blocks(form)
            case "oMathPara" | "oMath":
                self._write(f"<p>{self._formula(element)}</p>")
            case "altChunk":
                self.other_parts += 1

    def _write(self, html: str) -> None:
        self.end_lists()
        self.out.append(html)

    def end_lists(self) -> None:
        """Close the open list."""
        self.out.append("</ul>" * self._open)
        self._open = 0

    def _paragraph(self, element: etree._Element) -> None:
        properties = child(element, "pPr")
        style_key = attribute(child(properties, "pStyle"), "val")
        style = self.styles.style(style_key)
        words, self._carried = self._carried + self._inline(element, style.look), ""
        if _runs_on(properties):
            self._carried = words
            return
        below, self.after = self.after, []
        empty = not visible(words)
        mark, level = (None, 0) if empty else self._mark(properties, style_key, style)
        heading = heading_level(properties, style)
        if not empty:
            text = f"{escape(mark)} {words}" if mark else words
            if heading and not self._cells and not self._in_margin:
                self._write(f"<h{heading}>{text}</h{heading}>")
            elif mark and not self._cells and len(words) <= LONGEST_ITEM:
                self._item(mark, level, words)
            else:
                self._write(f"<div>{text}</div>" if self._cells else f"<p>{text}</p>")
        if below:
            self._write("".join(below))

    def _mark(self, properties: etree._Element | None, style_key: str, style: Style) -> tuple[str | None, int]:
        """The number of a paragraph of a list, as Word shows it, and its level."""
        own = child(properties, "numPr")
        key = attribute(child(own, "numId"), "val") if child(own, "numId") is not None else style.list_key
        if not key or key == "0":
            return None, 0
        place = child(own, "ilvl")
        if place is not None:
            level = number(attribute(place, "val"))
        elif style.list_level is not None:
            level = style.list_level
        else:
            level = self.numbering.of_style(style_key)
        level = min(max(level, 0), LEVELS - 1)
        return self.numbering.next(key, level), level

    def _item(self, mark: str, level: int, words: str) -> None:
        deeper = level + 1 - self._open
        self.out.append("<ul>" * deeper if deeper > 0 else "</ul>" * -deeper)
        self._open = level + 1
        self.out.append(f'<li {OWN_MARK}="{escape(mark)}">{words}</li>')

    def _table(self, element: etree._Element) -> None:
        rows = list(word_tables.rows(element))
        merged = word_tables.merged(rows)
        written: list[str] = []
        body = False
        below: list[str] = []
        for place, (row, cells) in enumerate(rows):
            properties = child(row, "trPr")
            deleted = child(properties, "del") is not None
            head = not body and child(properties, "tblHeader") is not None
            body = body or not head
            pieces = ["<td></td>" * min(cells[0][0], word_tables.MOST_SPANNED) if len(cells) > 1 else ""]
            for column, cell, span in cells:
                if (rows_of := merged.get((place, column), 1)) == 0:
                    continue
                tag = "th" if head else "td"
                inner = self._cell(cell, below)
                inner = f"<del>{inner}</del>" if deleted else inner
                pieces.append(f'<{tag} colspan="{span}" rowspan="{rows_of}">{inner}</{tag}>')
            line = f"<tr>{''.join(pieces)}</tr>"
            written.append(f"<thead>{line}</thead>" if head else line)
        caption = attribute(child(element, "tblPr", "tblCaption"), "val")
        title = f"<p>{escape(caption)}</p>" if caption.strip() and not self._cells else ""
        table = "".join(written).replace("</thead><thead>", "")
        self._write(f"{title}<table>{table}</table>")
        self.after += below
        if not self._cells:
            self.out += self.after
            self.after = []

    def _cell(self, cell: etree._Element, below: list[str]) -> str:
        """A cell's HTML; what stands below its paragraphs goes below the table."""
        outer, opened, self.out, self._open = self.out, self._open, [], 0
        waiting, self.after = self.after, []
        self._cells += 1
        self.blocks(cell)
        self._cells -= 1
        below += self.after
        inner, self.out, self._open, self.after = "".join(self.out), outer, opened, waiting
        return inner

    # -- in a paragraph ---------------------------------------------------------------------------------------------

    def _inline(self, parent: etree._Element, below: Look) -> str:
        return "".join(self._piece(element, below) for element in parent)

    def _piece(self, element: etree._Element, below: Look) -> str:
        name = local(element)
        if name == "r":
            return self._run(element, below)
        if name == "fldSimple" and self._in_margin and _PAGE_FIELDS.match(attribute(element, "instr")):
            return ""
        if name in _WITHIN or name == "ruby":
            inner = [one for one in element if not (name == "ruby" and local(one) == "rt")]
            return "".join(self._piece(one, below) for one in inner)
        if name in _DELETED:
            words = self._inline(element, below)
            return f"<del>{words}</del>" if visible(words) else ""
        if name == "sdt":
            return self._control(element, below)
        if name in ("oMath", "oMathPara"):
            return self._formula(element)
        if name == "AlternateContent":
            form = chosen(element)
            return "" if form is None else self._inline(form, below)
        return ""

    def _formula(self, element: etree._Element) -> str:
        maths = [element] if local(element) == "oMath" else [one for one in element if local(one) == "oMath"]
        return " ".join(filter(None, map(omml.mathml, maths)))

    def _control(self, element: etree._Element, below: Look) -> str:
        """A content control: a box is ticked or not; one that still shows its prompt is empty."""
        properties = child(element, "sdtPr")
        box = child(properties, "checkbox")
        if box is not None:
            state = attribute(child(box, "checked"), "val", "0")
            return "[x]" if state.lower() in ("1", "true", "on") else "[ ]"
        content = child(element, "sdtContent")
        if content is None or child(properties, "showingPlcHdr") is not None:
            return ""
        return self._inline(content, below)

    def _run(self, element: etree._Element, below: Look) -> str:
        properties = child(element, "rPr")
        style = attribute(child(properties, "rStyle"), "val")
        own = look(properties)
        seen = own.over(self.styles.style(style).look.over(below) if style else below)
        words = "".join(self._in_run(one, below) for one in element)
        if seen.hidden:
            self.hidden += len(re.sub(r"<[^>]*>", " ", words).split())
            return ""
        if not words.strip():
            return words
        if seen.script and "<" not in words:
            words = f"<{seen.script}>{words}</{seen.script}>"
        return f"<del>{words}</del>" if seen.struck else words

    def _in_run(self, element: etree._Element, below: Look) -> str:
        name = local(element)
        if name == "fldChar":
            return self._field_mark(element)
        if name == "instrText":
            if self._fields:
                self._fields[-1].instruction += element.text or ""
            return ""
        if not all(one.result for one in self._fields):
            return ""
        if self._in_margin and any(_PAGE_FIELDS.match(one.instruction) for one in self._fields):
            return ""
        return self._content(element, name, below)

    def _content(self, element: etree._Element, name: str, below: Look) -> str:
        match name:
            case "t" | "delText":
                return escape(element.text or "")
            case "tab" | "ptab":
                return " "
            case "br" | "cr":
                return "<br>" if attribute(element, "type") not in ("page", "column") else " "
            case "noBreakHyphen":
                return "-"
            case "sym":
                return escape(sign(attribute(element, "font"), attribute(element, "char")))
            case "footnoteReference" | "endnoteReference":
                return self._note(name.removesuffix("Reference"), attribute(element, "id"))
            case "commentReference":
                self._comment(attribute(element, "id"))
            case "drawing" | "pict" | "object":
                return self._drawing(element)
            case "ruby" | "AlternateContent":
                return self._run_inside(element, below)
        return ""

    def _run_inside(self, element: etree._Element, below: Look) -> str:
        if local(element) == "AlternateContent":
            form = chosen(element)
            return "" if form is None else "".join(self._in_run(one, below) for one in form)
        return self._piece(element, below)

    def _field_mark(self, element: etree._Element) -> str:
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            self._fields.append(_Field(checked=form_value(child(element, "ffData"))))
        elif kind == "separate" and self._fields:
            self._fields[-1].result = True
        elif kind == "end" and self._fields:
            return self._fields.pop().checked if all(one.result for one in self._fields[:-1]) else ""
        return ""

    def _note(self, kind: str, key: str) -> str:
        """The mark of a note; its text stands below the paragraph, that of an endnote at the end."""
        marks = self._marks[kind]
        if key not in marks:
            marks.append(key)
            if kind == "footnote":
                text = self._note_text(kind, key)
                self.after.append(text)
        label = shown(marks.index(key) + 1, self.forms[kind])
        return f'<sup class="footnote-ref">{escape(label)}</sup>'

    def _note_text(self, kind: str, key: str) -> str:
        label = shown(self._marks[kind].index(key) + 1, self.forms[kind])
        words = self._aside(self.notes[kind].get(key))
        return f"<p>[{escape(label)}] {words}</p>" if words else ""

    def endnotes(self) -> None:
        """Write the notes of the document's end."""
        place = 0
        while place < len(self._marks["endnote"]):
            self.out.append(self._note_text("endnote", self._marks["endnote"][place]))
            self.out += self.after
            self.after = []
            place += 1

    def _comment(self, key: str) -> None:
        words = self._aside(self.notes["comment"].pop(key, None))
        if words:
            self.after.append(f"<p>[comment: {words}]</p>")

    def _aside(self, element: etree._Element | None) -> str:
        """The words of a note or a comment on one line."""
        if element is None:
            return ""
        outer, opened, fields, waiting = self.out, self._open, self._fields, self.after
        self.out, self._open, self._fields, self.after = [], 0, [], []
        self._cells += 1
        self.blocks(element)
        self._cells -= 1
        words, self.out, self._open, self._fields = "".join(self.out), outer, opened, fields
        self.after = waiting
        return re.sub(r"</?(?:div|p|table|tr|td|th|thead)\b[^>]*>", " ", words).strip()

    def _drawing(self, element: etree._Element) -> str:
        """A picture's words in the line; the text of boxes, charts and diagrams below the paragraph."""
        held = next(element.iter("{*}docPr"), None)
        words = drawings.alternative(held)
        if held is None:
            shapes = (attribute(one, "alt") for one in element.iter("{urn:schemas-microsoft-com:vml}*"))
            alternative = next(filter(str.strip, shapes), "")
            words = f'<img alt="{escape(alternative)}">' if alternative else ""
        for mark in element.iter("{urn:schemas-microsoft-com:vml}textpath"):
            words += f" {escape(attribute(mark, 'string'))} "
        for box in boxes(element):
            self._box(box)
        for held in element.iter("{*}chart"):
            if member := self.relations.get(attribute(held, "id"), ("", ""))[1]:
                self.after.append(drawings.chart(self.package, member))
        if next(element.iter("{*}relIds"), None) is not None:
            self.after.append(drawings.diagram(self.package, self.relations, element))
        return words

    def _box(self, box: etree._Element) -> None:
        outer, opened, fields, waiting = self.out, self._open, self._fields, self.after
        self.out, self._open, self._fields, self.after = [], 0, [], []
        self.blocks(box)
        self.end_lists()
        inside = "".join(self.out) + "".join(self.after)
        self.out, self._open, self._fields, self.after = outer, opened, fields, waiting
        if self._cells:
            inside = re.sub(r"<(/?)(?:h[1-6]|p|table|li|ul)\b[^>]*>", r"<\1div>", inside)
        self.after.append(inside)

    # -- heads and feet ---------------------------------------------------------------------------------------------

    def page_heads(self, root: etree._Element) -> None:
        """Write what stands at the head and the foot of the pages, each once."""
        self.out += word_margins.told(root, self.relations, self._margin, even=self.even_heads)

    def _margin(self, member: str) -> list[str]:
        root = self.package.optional(member) if member else None
        if root is None:
            return []
        outer, relations = self.out, self.relations
        self.out, self._in_margin, self.relations = [], True, self.package.relations(member)
        self.blocks(root)
        self.end_lists()
        pieces, self.out, self._in_margin, self.relations = self.out, outer, False, relations
        return word_margins.lines(pieces)


def _runs_on(properties: etree._Element | None) -> bool:
    """Whether a paragraph is no more than the beginning of the next one."""
    frame = child(properties, "framePr")
    return attribute(frame, "dropCap", "none") != "none" or child(properties, "rPr", "del") is not None
