"""The text of OpenDocument as HTML: paragraphs, headings and lists with their numbers, tables, notes at their place."""

from __future__ import annotations

import re
from html import escape

from lxml import etree

from sharedllm_cli.documents.markup.html_lists import OWN_MARK
from sharedllm_cli.documents.office import extracted, word_margins
from sharedllm_cli.documents.office.odf_places import box_of, in_order
from sharedllm_cli.documents.office.odf_styles import Counter, Look, Styles
from sharedllm_cli.documents.office.package import Package, attribute, child, inner_path, local, number

LONGEST_ITEM = 150
"""Characters of an item that stands in a list, line by line; a longer numbered one is a paragraph."""
MOST_SPANNED = 1000


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_NO_TEXT = _names(
    "tracked-changes sequence-decls variable-decls user-field-decls dde-connection-decls forms soft-page-break "
    "bookmark bookmark-start bookmark-end reference-mark-start reference-mark-end change-start change-end creator date "
    "table-of-content-source alphabetical-index-source bibliography-source illustration-index-source "
    "user-index-source toc-mark-start toc-mark-end table-source shapes hidden-text hidden-paragraph event-listeners"
)
_PAGE_FIELDS = frozenset({"page-number", "page-count"})
_SHAPES = _names("custom-shape rect ellipse circle polygon path line connector caption measure polyline")
_BLOCKS = frozenset({"section", "index-body", "index-title", "numbered-paragraph"})


class TextWriter:
    """Collects HTML in `out`. With `slides` a heading is a slide's title alone."""

    def __init__(self, package: Package, styles: Styles, root: etree._Element, *, slides: bool = False) -> None:
        self.package = package
        self.styles = styles
        self.slides = slides
        self.out: list[str] = []
        self.hidden = 0
        self._after: list[str] = []
        self._endnotes: list[str] = []
        self._cells = 0
        self._margin = False
        self._deleted = {attribute(one, "id"): child(one, "deletion") for one in root.iter("{*}changed-region")}
        self._headings = Counter()
        self._counters: dict[str, Counter] = {}
        self._last: dict[str, Counter] = {}

    def warnings(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        return extracted.hidden_words(self.package.name, self.hidden)

    def take_after(self) -> list[str]:
        """What stands below what was written last."""
        after, self._after = self._after, []
        return after

    # -- blocks -----------------------------------------------------------------------------------------------------

    def blocks(self, parent: etree._Element) -> None:
        """Write the paragraphs, lists and tables in an element."""
        for element in parent:
            self._block(element)

    def _block(self, element: etree._Element) -> None:
        name = local(element)
        if name == "h":
            self._heading(element)
        elif name == "p":
            self._paragraph(element)
        elif name == "list":
            self._list(element, None, "", 1)
        elif name == "table":
            self._table(element)
        elif name in _BLOCKS or name.endswith("-index") or name in ("table-of-content", "bibliography"):
            if attribute(element, "display") != "none":
                self.blocks(element)
        elif name in ("frame", "g") or name in _SHAPES:
            self.out += self.shape(element)
        elif name == "change":
            self._change(element)

    def _below(self) -> None:
        if not self._cells:
            self.out += self.take_after()

    def _heading(self, element: etree._Element, mark: str | None = None) -> None:
        level = min(max(number(attribute(element, "outline-level", "1"), 1), 1), 6)
        style = attribute(element, "style-name")
        words = self.words(element, self.styles.look("paragraph", style))
        if _visible(words):
            is_listed = attribute(element, "is-list-header") != "true" and not self._cells
            if mark is None:
                start = attribute(element, "start-value")
                begin = number(start) if start and attribute(element, "restart-numbering") == "true" else None
                mark = self._headings.next(self.styles.outline, level, begin) if is_listed else ""
            text = f"{escape(mark)} {words}" if mark else words
            self.out.append(f"<div>{text}</div>" if self._cells or self.slides else f"<h{level}>{text}</h{level}>")
        self._below()

    def _paragraph(self, element: etree._Element) -> None:
        look = self.styles.look("paragraph", attribute(element, "style-name"))
        words = self.words(element, look)
        if _visible(words):
            if look.title and not self._cells and not self.slides:
                self.out.append(f"<h1>{words}</h1>")
            else:
                self.out.append(f"<div>{words}</div>" if self._cells else f"<p>{words}</p>")
        self._below()

    def _list(self, element: etree._Element, counter: Counter | None, style: str, level: int) -> None:
        style = attribute(element, "style-name") or style
        counter = counter or self._counter(element, style)
        levels = self.styles.lists.get(style, {})
        if not self._cells:
            self.out.append("<ul>")
        for item in element:
            if local(item) not in ("list-item", "list-header"):
                continue
            marked = local(item) == "list-item"
            for one in item:
                if local(one) == "list":
                    self._list(one, counter, style, level + 1)
                elif local(one) in ("p", "h"):
                    self._item(one, item, levels, counter if marked else None, level)
                    marked = False
                else:
                    self._block(one)
        if not self._cells:
            self.out.append("</ul>")

    def _counter(self, element: etree._Element, style: str) -> Counter:
        """The counter of a list: a new one, unless it goes on with an earlier list."""
        before = self._counters.get(attribute(element, "continue-list"))
        if before is None and attribute(element, "continue-numbering") == "true":
            before = self._last.get(style)
        found = before or Counter()
        self._last[style] = found
        if key := attribute(element, "id"):
            self._counters[key] = found
        return found

    def _item(
        self,
        element: etree._Element,
        item: etree._Element,
        levels: dict[int, etree._Element],
        counter: Counter | None,
        level: int,
    ) -> None:
        """A paragraph of a list; without a counter one that has no mark of its own."""
        start = attribute(item, "start-value")
        mark = counter.next(levels, level, number(start) if start else None) if counter else ""
        if local(element) == "h":
            self._heading(element, mark)
            return
        words = self.words(element, self.styles.look("paragraph", attribute(element, "style-name")))
        if _visible(words):
            if self._cells:
                self.out.append(f"<div>{f'{escape(mark)} ' if mark else ''}{words}</div>")
            elif not mark or len(words) > LONGEST_ITEM:
                self.out.append(f"<p>{f'{escape(mark)} ' if mark else ''}{words}</p>")
            else:
                self.out.append(f'<li {OWN_MARK}="{escape(mark)}">{words}</li>')
        self._below()

    def _change(self, element: etree._Element) -> None:
        """A place where text was deleted: the text, struck out."""
        if words := self._deletion(element):
            self.out.append(f"<p>{words}</p>")

    def _deletion(self, element: etree._Element) -> str:
        held = self._deleted.pop(attribute(element, "change-id"), None)
        lines = [] if held is None else [self.words(one) for one in held if local(one) in ("p", "h")]
        words = " ".join(filter(None, lines))
        return f"<del>{words}</del>" if _visible(words) else ""

    def _table(self, table: etree._Element) -> None:
        rows = "".join(self._row(row, head=head) for row, head in _rows(table, head=False))
        if rows:
            self.out.append(f"<table>{rows.replace('</thead><thead>', '')}</table>")
        self._below()

    def _row(self, row: etree._Element, *, head: bool) -> str:
        if attribute(row, "visibility") in ("collapse", "filter"):
            return ""
        cells: list[str] = []
        for cell in row:
            if local(cell) != "table-cell":
                continue
            outer, self.out = self.out, []
            self._cells += 1
            self.blocks(cell)
            self._cells -= 1
            inner, self.out = "".join(self.out), outer
            spans = [
                min(max(number(attribute(cell, f"number-{one}-spanned", "1"), 1), 1), MOST_SPANNED)
                for one in ("columns", "rows")
            ]
            tag = "th" if head else "td"
            times = min(number(attribute(cell, "number-columns-repeated", "1"), 1), MOST_SPANNED if inner else 1)
            cells += [f'<{tag} colspan="{spans[0]}" rowspan="{spans[1]}">{inner}</{tag}>'] * times
        line = f"<tr>{''.join(cells)}</tr>" if cells else ""
        return f"<thead>{line}</thead>" if head and line else line

    # -- in a paragraph ---------------------------------------------------------------------------------------------

    def words(self, element: etree._Element, look: Look | None = None) -> str:
        """The HTML of what stands in a paragraph or a part of one."""
        if look is not None and look.hidden:
            self.hidden += len("".join(map(str, element.itertext())).split())
            return ""
        pieces = [escape(element.text or "")]
        for one in element:
            pieces.append(self._piece(one))
            pieces.append(escape(one.tail or ""))
        words = "".join(pieces)
        return f"<del>{words}</del>" if look is not None and look.struck and _visible(words) else words

    def _piece(self, element: etree._Element) -> str:
        name = local(element)
        match name:
            case "span":
                return self._span(element)
            case "s" | "tab":
                return " "
            case "line-break":
                return "<br>"
            case "note":
                return self._note(element)
            case "annotation":
                if words := self.note_words(element):
                    self._after.append(f"<p>[comment: {escape(words)}]</p>")
                return ""
            case "change":
                return self._deletion(element)
            case "ruby":
                base = child(element, "ruby-base")
                return "" if base is None else self.words(base)
        if name in ("frame", "g") or name in _SHAPES:
            return self._drawn(element)
        if name in _NO_TEXT or (name in _PAGE_FIELDS and self._margin):
            return ""
        return self.words(element)

    def _span(self, element: etree._Element) -> str:
        look = self.styles.look("text", attribute(element, "style-name"))
        words = self.words(element, look)
        if look.script and words.strip() and "<" not in words:
            return f"<{look.script}>{words}</{look.script}>"
        return words

    def _note(self, element: etree._Element) -> str:
        """The mark of a note; its text stands below the paragraph, that of an endnote at the end."""
        citation = child(element, "note-citation")
        label = "*" if citation is None else " ".join("".join(map(str, citation.itertext())).split())
        body = child(element, "note-body")
        words = "" if body is None else self._aside(body)
        if words:
            text = f"<p>[{escape(label)}] {words}</p>"
            (self._endnotes if attribute(element, "note-class") == "endnote" else self._after).append(text)
        return f'<sup class="footnote-ref">{escape(label)}</sup>'

    def note_words(self, element: etree._Element) -> str:
        """The words of a comment, without its author and date."""
        words = [
            " ".join("".join(map(str, one.itertext())).split())
            for part in element
            if local(part) in ("p", "list")
            for one in ([part] if local(part) == "p" else part.iter("{*}p"))
        ]
        return " ".join(filter(None, words))

    def _aside(self, body: etree._Element) -> str:
        outer, self.out = self.out, []
        self._cells += 1
        self.blocks(body)
        self._cells -= 1
        words, self.out = "".join(self.out), outer
        return re.sub(r"</?(?:div|p|table|tr|td|th|thead)\b[^>]*>", " ", words).strip()

    # -- frames -----------------------------------------------------------------------------------------------------

    def _drawn(self, element: etree._Element) -> str:
        """A picture's words or a formula in the line; boxes of text and charts below the paragraph."""
        inner = self.shape(element)
        if len(inner) == 1 and inner[0].startswith(("<img", "<math")):
            return inner[0]
        self._after += inner
        return ""

    def shape(self, element: etree._Element, *, heading: bool = False) -> list[str]:
        """The HTML of a frame, a shape or a group."""
        title, words = child(element, "desc"), child(element, "title")
        text = next((one.text for one in (title, words) if one is not None and one.text), "") or ""
        alternative = [f'<img alt="{escape(" ".join(text.split()))}">'] if text.strip() else []
        if local(element) == "g":
            written = [(box_of(one, place), self.shape(one)) for place, one in enumerate(element)]
            return [*alternative, *(html for inner in in_order(written) for html in inner)]
        outer, self.out = self.out, []
        for one in element:
            name = local(one)
            if name == "text-box":
                self.blocks(one)
            elif name == "table":
                self._table(one)
            elif name == "object":
                self._object(one)
            elif name in ("p", "list", "h") and local(element) in _SHAPES:
                self._block(one)
        inner, self.out = self.out, outer
        if heading and inner:
            flat = re.sub(r"</?(?:p|div|ul|li)\b[^>]*>|<br>", " ", "".join(inner))
            return [f"<h1>{flat}</h1>"] if _visible(flat) else []
        return inner or alternative

    def _object(self, element: etree._Element) -> None:
        """An embedded formula, or the data of a chart."""
        folder = inner_path("", attribute(element, "href").removeprefix("./"))
        root = self.package.optional(f"{folder}/content.xml") if folder not in (".", "") else None
        if root is None:
            return
        if local(root) == "math":
            for one in root.iter():
                if isinstance(one.tag, str):
                    one.tag = local(one)
            etree.cleanup_namespaces(root)
            self.out.append(etree.tostring(root, encoding="unicode", with_tail=False))
            return
        for chart in root.iter("{urn:oasis:names:tc:opendocument:xmlns:chart:1.0}chart"):
            title = child(chart, "title")
            named = " ".join("".join(map(str, title.itertext())).split()) if title is not None else ""
            self.out.append(f"<p>[chart{f': {escape(named)}' if named else ''}]</p>")
            for table in chart.iter("{urn:oasis:names:tc:opendocument:xmlns:table:1.0}table"):
                self._table(table)

    # -- the end ----------------------------------------------------------------------------------------------------

    def end(self, program: etree._Element | None) -> None:
        """Write the endnotes, and once each what stands at the head and the foot of the pages."""
        self.out += self._endnotes
        told: dict[str, None] = {}
        self._margin = True
        for master in () if program is None else program.iter("{*}master-page"):
            for part in master:
                name = local(part)
                if not name.startswith(("header", "footer")) or attribute(part, "display") == "false":
                    continue
                lines = word_margins.lines([self.words(one) for one in part.iter("{*}p")])
                told[word_margins.paragraph("Head" if name.startswith("header") else "Foot", lines)] = None
        self.out += told


def _rows(parent: etree._Element, *, head: bool) -> list[tuple[etree._Element, bool]]:
    """The rows of a table, and whether each belongs to its heading."""
    found: list[tuple[etree._Element, bool]] = []
    for one in parent:
        name = local(one)
        if name == "table-row":
            found.append((one, head))
        elif name in ("table-header-rows", "table-row-group", "table-rows"):
            found += _rows(one, head=head or name == "table-header-rows")
    return found


def _visible(html: str) -> bool:
    return "<img" in html or "<math" in html or bool(re.sub(r"<[^>]*>", "", html).strip())
