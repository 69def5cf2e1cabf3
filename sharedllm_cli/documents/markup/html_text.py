"""Writes an HTML page's elements, as they open and close, as lines of plain text.

What a browser shows by other means than letters is said in letters: numbers of lists, quotation marks, powers, marks of
notes, what is struck out, the columns of merged cells, formulas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bs4 import Tag
from bs4.element import NavigableString

from sharedllm_cli.documents.markup import raised
from sharedllm_cli.documents.markup.html_elements import (
    MOST_SPANNED,
    Facts,
    following,
    is_apart,
    is_numerator,
    is_struck_out,
    quotation_marks,
    says_note,
    script,
    shows_formula,
    span_of,
    stand_in,
)
from sharedllm_cli.documents.markup.html_lists import ListMarks
from sharedllm_cli.documents.markup.html_tables import Cell, OpenRow, OpenTable
from sharedllm_cli.documents.pages import OutlineEntry


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


BLOCKS = _names(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form "
    "header hgroup html legend li listing main menu p section summary tbody tfoot thead caption table tr ul ol pre hr "
    "option audio video xmp"
)
HEADINGS = _names("h1 h2 h3 h4 h5 h6")
_SPACED = _names("blockquote dl figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul")
_SPACES = re.compile(r"\s+")
_UNATTACHED = tuple(" [(\0")
_NOTE_LABEL = re.compile(r"\[?(?:\d{1,3}|[*†‡§]{1,3}|[a-z])\]?")
PAGE_MARK = "\0"
"""Stands in the text where a page of a print edition begins; nothing else of a text's is this character."""
DEEPEST_INDENT = 20
"""Levels of a nested list that are indented: below, the lines of a hostile page would be nothing but white space."""
LONGEST_RAISED = 500
"""Characters that are looked at as one raised text."""
STRUCK_OUT = "[struck out: "


@dataclass
class Writer:
    """Collects lines. White space is one space, except in `pre`; a table's row is one line, its cells between bars.

    `authored` is HTML that Markdown made: links show their address.
    """

    authored: bool
    facts: Facts
    outline: list[OutlineEntry] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    _waiting: int = 0  # marks of pages that stand before the next word
    _opening: list[str] = field(default_factory=list)  # what stands right before the next word
    _lines: list[str] = field(default_factory=list)
    _line: list[str] = field(default_factory=list)
    _mark: str = ""
    _term: int = -1  # lines at the end of the last term: its definition follows without a blank line
    _lists: list[ListMarks] = field(default_factory=list)
    _heading: tuple[int, int] | None = None
    _pre: int = 0
    _cells: list[bool] = field(default_factory=list)
    _tables: list[OpenTable] = field(default_factory=list)
    _links: list[tuple[str, int]] = field(default_factory=list)
    _scripts: list[tuple[int, int]] = field(default_factory=list)
    _quotes: int = 0
    _explained: set[tuple[str, str]] = field(default_factory=set)

    def text(self) -> str:
        self._break()
        return "\n".join(self._lines).strip("\n") + PAGE_MARK * self._waiting

    def begin_page(self, label: str) -> None:
        """A page of the print edition begins with the next word."""
        self.pages.append(label)
        self._waiting += 1

    def write(self, text: str) -> None:
        text = text.replace("\u00ad", "") if not self._pre else text
        if (self._waiting or self._opening) and text.strip():
            words = text.lstrip()
            marks, self._waiting = PAGE_MARK * self._waiting + "".join(self._opening), 0
            self._opening.clear()
            text = text[: len(text) - len(words)] + marks + words
        if self._pre:
            *whole, rest = text.split("\n")
            for line in whole:
                self._line.append(line)
                self._break(keep=True)
            self._line.append(rest)
            return
        text = _SPACES.sub(" ", text)
        if text.startswith(" ") and (not self._line or self._line[-1].endswith(" ")):
            text = text[1:]
        if text:
            self._line.append(text)

    def enter(self, tag: Tag) -> None:
        name = tag.name
        if name in _SPACED and not self._in_cell():
            self._blank()
        elif name in BLOCKS or name in HEADINGS:
            self._break()
        if (enter := _ENTERED.get(name)) is not None:
            enter(self, tag)
        elif name in HEADINGS:
            self._heading = len(self._lines), len(self._line)
        elif is_struck_out(tag):
            self._begin(STRUCK_OUT)
        if script(tag):
            self._scripts.append((len(self._lines), len(self._line)))

    def leave(self, tag: Tag) -> None:
        name = tag.name
        if kind := script(tag):
            self._end_script(tag, kind)
        if (leave := _LEFT.get(name)) is not None:
            leave(self, tag)
        elif name in HEADINGS:
            self._end_heading(int(name[1]))
        elif is_struck_out(tag):
            self._end(STRUCK_OUT, "]")
        if name in _SPACED and not self._in_cell():
            self._blank()
        elif name in BLOCKS or name in HEADINGS:
            self._break()

    # -- marks around words -----------------------------------------------------------------------------------------

    def _begin(self, opening: str) -> None:
        """What stands before the next word, wherever that is."""
        self._opening.append(opening)

    def _end(self, opening: str, closing: str) -> None:
        """What stands after the last word; neither it nor the opening where there was no word between them."""
        if self._opening and self._opening[-1] == opening:
            self._opening.pop()
            return
        if any(map(str.strip, self._line)):
            held = ""
            while self._line and not self._line[-1].strip():
                held = " "
                self._line.pop()
            last = self._line.pop()
            held = " " if last != last.rstrip() else held
            self._line += [last.rstrip() + closing, *([held] if held else [])]
        elif not self._in_cell():
            place = next((place for place in range(len(self._lines) - 1, -1, -1) if self._lines[place]), None)
            if place is not None:
                self._lines[place] += closing

    def _enter_quote(self, tag: Tag) -> None:
        self._begin(self._quote_marks()[0])
        self._quotes += 1

    def _leave_quote(self, tag: Tag) -> None:
        self._quotes = max(0, self._quotes - 1)
        self._end(*self._quote_marks())

    def _quote_marks(self) -> tuple[str, str]:
        marks = quotation_marks(self.facts.lang)
        inner = 2 * (self._quotes % 2)
        return marks[inner], marks[inner + 1]

    def _leave_abbreviation(self, tag: Tag) -> None:
        """The full words stand once, where the short ones are first."""
        own = "".join(str(child) for child in tag.children if isinstance(child, NavigableString))
        short, full = (" ".join(text.split()) for text in (own, str(tag.get("title", ""))))
        if full and short and full.casefold() != short.casefold() and (short, full) not in self._explained:
            self._explained.add((short, full))
            if self._heading is None:
                self.write(f" ({full})")

    # -- raised and lowered -----------------------------------------------------------------------------------------

    def _end_script(self, tag: Tag, kind: str) -> None:
        lines, place = self._scripts.pop()
        if lines != len(self._lines) or place > len(self._line) or self._pre or self._is_long(place):
            return
        inner = "".join(self._line[place:])
        del self._line[place:]
        pages = inner.count(PAGE_MARK)
        inner, before = inner.replace(PAGE_MARK, ""), self._before()
        if not inner.strip():
            written = inner
        elif kind == "sub":
            written = inner.strip() if before.rstrip().endswith("/") else raised.lowered(before, inner)
        elif is_numerator(tag):
            written = raised.fraction(before, inner.strip())
        else:
            begins_link = bool(self._links) and self._links[-1][1] == place
            note = id(tag) in self.facts.linked or begins_link or says_note(tag)
            written = raised.raised(
                before, inner, following(tag), note=note, cell=self._in_cell(), lang=self.facts.lang
            )
        if written.startswith(" ") and before[-1:].isspace():
            written = written[1:]
        if written:
            self._line.append(PAGE_MARK * pages + written)

    def _is_long(self, place: int) -> bool:
        """Whether the line has more from a piece on than a raised text can be, each piece looked at a few times."""
        length = 0
        for number in range(place, len(self._line)):
            length += len(self._line[number])
            if length > LONGEST_RAISED:
                return True
        return False

    def _before(self, start: int = 0) -> str:
        """The last characters of the line, as far back as a raised text looks; in a cell those of the cell."""
        if self._tables and self._tables[-1].row is not None and self._in_cell():
            start = self._tables[-1].row.start
        pieces: list[str] = []
        length = 0
        for place in range(len(self._line) - 1, start - 1, -1):
            pieces.append(self._line[place])
            length += len(self._line[place])
            if length >= raised.LOOK_BACK:
                break
        text = "".join(reversed(pieces))[-raised.LOOK_BACK :].replace(PAGE_MARK, "")
        return "" if text == self._mark else text

    # -- tables -----------------------------------------------------------------------------------------------------

    def _in_cell(self) -> bool:
        return bool(self._cells) and self._cells[-1]

    def _enter_table(self, tag: Tag) -> None:
        self._tables.append(OpenTable(headed=id(tag) in self.facts.headed))
        self._cells.append(False)

    def _leave_table(self, tag: Tag) -> None:
        self._break()
        if self._tables:
            self._lines += self._tables.pop().rows.end()
        self._cells.pop()

    def _enter_group(self, tag: Tag) -> None:
        if self._tables:
            self._tables[-1].head = tag.name == "thead"
            self._tables[-1].rows.begin_group()

    def _leave_group(self, tag: Tag) -> None:
        if self._tables:
            self._tables[-1].head = False

    def _enter_row(self, tag: Tag) -> None:
        if not self._tables:
            return
        table = self._tables[-1]
        cells = [child for child in tag.children if isinstance(child, Tag) and child.name in ("td", "th")]
        kinds = (self.facts.layout,) if table.headed else (self.facts.layout, self.facts.lists)
        whole = not any(id(cell) in kind for cell in cells for kind in kinds)
        table.row = OpenRow(head=table.head) if whole else None
        if not whole:
            self._lines += table.rows.skip()

    def _leave_row(self, tag: Tag) -> None:
        if self._tables and (row := self._tables[-1].row) is not None:
            self._break()
            self._lines += self._tables[-1].rows.row(row.cells, head=row.head)
            self._tables[-1].row = None

    def _enter_cell(self, tag: Tag) -> None:
        row = self._tables[-1].row if self._tables else None
        if row is None:
            self._break()
        else:
            row.start = len(self._line)
        self._cells.append(row is not None)

    def _leave_cell(self, tag: Tag) -> None:
        self._cells.pop()
        row = self._tables[-1].row if self._tables else None
        if row is None:
            self._break()
            return
        text = " ".join("".join(self._line[row.start :]).split())
        del self._line[row.start :]
        columns, rows = span_of(tag, "colspan"), span_of(tag, "rowspan")
        row.cells.append(Cell(text, columns, rows or MOST_SPANNED, tag.name == "th"))

    # -- lists, links, headings, lines ------------------------------------------------------------------------------

    def _enter_list(self, tag: Tag) -> None:
        self._lists.append(ListMarks.of(tag))

    def _leave_list(self, tag: Tag) -> None:
        if self._lists:
            self._lists.pop()

    def _enter_item(self, tag: Tag) -> None:
        current = self._lists[-1] if self._lists else ListMarks(ordered=False)
        mark = current.next(tag)
        if self._in_cell():
            apart = "; " if self._before().strip() else ""
            while apart and not self._line[-1].strip():
                self._line.pop()
            if apart:
                self._line[-1] = self._line[-1].rstrip()
            self._line.append(apart + (mark if current.ordered else ""))
            return
        indent = "  " * min(max(0, len(self._lists) - 1), DEEPEST_INDENT)
        self._mark = indent + mark
        if mark:
            self._line.append(self._mark)

    def _enter_link(self, tag: Tag) -> None:
        self._links.append((str(tag.get("href", "")), len(self._line)))

    def _leave_link(self, tag: Tag) -> None:
        if not self._links:
            return
        address, place = self._links.pop()
        shown = "".join(self._line[place:]).strip()
        if self.authored and address.startswith(("http://", "https://")) and shown and shown not in address:
            self._line.append(f" ({address})")
        elif _NOTE_LABEL.fullmatch(shown) and not self._scripts and not self._pre:
            attached = place and self._line[place - 1][-1:] not in _UNATTACHED
            if says_note(tag) or (attached and "#" in address and shown[0] not in "abcdefghijklmnopqrstuvwxyz"):
                del self._line[place:]
                before = self._before()
                self._line.append(raised.raised(before, shown, note=True))

    def _end_heading(self, level: int) -> None:
        lines, place = self._heading or (len(self._lines), len(self._line))
        same = lines == len(self._lines)
        whole = self._line[place:] if same else [*(f"{line} " for line in self._lines[lines:]), *self._line]
        title = " ".join("".join(whole).replace(PAGE_MARK, "").split())
        if title:
            self.outline.append(OutlineEntry(title, level, 1))
        self._heading = None

    def _enter_break(self, tag: Tag) -> None:
        self._break(keep=True)

    def _enter_pre(self, tag: Tag) -> None:
        self._pre += 1

    def _leave_pre(self, tag: Tag) -> None:
        self._break()
        self._pre -= 1

    def _break(self, *, keep: bool = False) -> None:
        """End the line (within a cell: a space); an empty one is kept only on request."""
        if self._in_cell():
            self.write(" ")
            return
        line = "".join(self._line)
        self._line = []
        self._links = [(address, 0) for address, _ in self._links]
        if line.strip() or keep:
            self._lines.append(line.rstrip())

    def _leave_term(self, tag: Tag) -> None:
        self._break()
        self._term = len(self._lines)

    def _blank(self) -> None:
        # A list item's own first paragraph stays on the line of its mark.
        if self._line and self._mark and "".join(self._line) == self._mark:
            return
        self._break()
        if self._term != len(self._lines) and self._lines and self._lines[-1] and not self._lists:
            self._lines.append("")

    # -- what has no text of its own --------------------------------------------------------------------------------

    def _enter_stand_in(self, tag: Tag) -> None:
        text = stand_in(tag, beside_formula=shows_formula(tag.parent, self.facts))
        apart = is_apart(tag) and not self._in_cell()
        if apart:
            self._break()
        self.write(text)
        if apart:
            self._break()


_ENTERED = {
    "a": Writer._enter_link,
    "br": Writer._enter_break,
    "img": Writer._enter_stand_in,
    "input": Writer._enter_stand_in,
    "li": Writer._enter_item,
    "math": Writer._enter_stand_in,
    "ol": Writer._enter_list,
    **dict.fromkeys(("pre", "listing", "textarea", "xmp"), Writer._enter_pre),
    "q": Writer._enter_quote,
    "script": Writer._enter_stand_in,
    "select": Writer._enter_stand_in,
    "svg": Writer._enter_stand_in,
    "table": Writer._enter_table,
    "tbody": Writer._enter_group,
    "td": Writer._enter_cell,
    "tfoot": Writer._enter_group,
    "th": Writer._enter_cell,
    "thead": Writer._enter_group,
    "tr": Writer._enter_row,
    "ul": Writer._enter_list,
}
_LEFT = {
    "a": Writer._leave_link,
    "abbr": Writer._leave_abbreviation,
    "dt": Writer._leave_term,
    "ol": Writer._leave_list,
    **dict.fromkeys(("pre", "listing", "textarea", "xmp"), Writer._leave_pre),
    "q": Writer._leave_quote,
    "table": Writer._leave_table,
    "tbody": Writer._leave_group,
    "td": Writer._leave_cell,
    "tfoot": Writer._leave_group,
    "th": Writer._leave_cell,
    "thead": Writer._leave_group,
    "tr": Writer._leave_row,
    "ul": Writer._leave_list,
}
WHOLE = frozenset({"math", "select", "svg", "script"})
"""Elements that are written as they open; what is in them is not walked through."""
