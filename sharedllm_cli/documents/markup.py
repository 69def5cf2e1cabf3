"""HTML, Markdown and reStructuredText as plain text that still shows headings, lists, tables and code.

Markdown and reStructuredText are turned into HTML by their own libraries, so that one writer serves all three.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

from bs4 import BeautifulSoup, Tag
from bs4.element import CData, NavigableString, PageElement

from sharedllm_cli.documents.pages import OutlineEntry

if TYPE_CHECKING:
    from docutils.parsers import rst
    from docutils.writers import html5_polyglot


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DROPPED = _names("script style nav noscript template svg iframe object embed canvas select button datalist head rt rp")
_BLOCKS = _names(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form "
    "header hgroup html legend li main p section summary tbody tfoot thead caption table tr ul ol pre hr"
)
_SPACED = _names("blockquote dl figure h1 h2 h3 h4 h5 h6 hr ol p pre table ul")
_HEADINGS = _names("h1 h2 h3 h4 h5 h6")
_INLINE = _names(
    "a abbr acronym audio b bdi bdo big br cite code col colgroup data del dfn em font i img input ins kbd label map "
    "mark math meter output picture progress q ruby s samp small source span strike strong sub sup td textarea th time "
    "title tt u var video wbr"
)
_KNOWN = _DROPPED | _BLOCKS | _HEADINGS | _INLINE
# A cell with one of these inside is layout, not a table's cell.
_NOT_IN_CELLS = ["table", "ul", "ol", "pre", *sorted(_HEADINGS)]
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_SPACES = re.compile(r"\s+")
_RST_MARK = re.compile(r"[*`_|]")

DEEPEST_INDENT = 20
"""Levels of a nested list that are indented: below, the lines of a hostile page would be nothing but white space."""
MOST_INLINE_SEARCHED = 10**8
"""Marks of a reStructuredText paragraph times its characters: above it, a second's work, it is left as it stands."""
PAGE_MARK = "\0"
"""Stands in the text where a page of a print edition begins; nothing else of a text's is this character."""
LONGEST_LABEL = 20
"""Characters of a printed page's number."""
LONGEST_SUBSTITUTION = 10_000
"""Characters that a reStructuredText substitution may stand for; a longer one is not carried out."""


@dataclass(frozen=True)
class MarkupText:
    """The plain text and the headings in it (all on page 1).

    `pages` are the labels of the pages of a print edition, in the order of their marks (`PAGE_MARK`) in the text.
    """

    text: str
    outline: tuple[OutlineEntry, ...]
    pages: tuple[str, ...] = ()


def from_html(
    source: str | bytes, *, authored: bool = False, print_pages: Mapping[str, str] | None = None
) -> MarkupText:
    """The readable text of an HTML page: no scripts, styles and navigation; the title, if the page does not repeat it.

    `authored` is HTML that Markdown made: links show their address, and what is no HTML element (`<name>`) is text.
    With `print_pages` (labels by the id of an element, "" for the beginning) each page of a print edition has a mark in
    the text where it begins; those that the elements themselves are marked as are found without it.
    """
    marked = print_pages is not None
    if marked:
        source = source.replace(PAGE_MARK, "") if isinstance(source, str) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bs4 warns of XHTML, and of text that looks like an address or a file name
        soup = BeautifulSoup(source, "lxml")
    writer = _Writer(authored, _around(soup, _NOT_IN_CELLS))
    if print_pages and "" in print_pages:
        writer.begin_page(print_pages[""])
    title = _SPACES.sub(" ", soup.title.get_text()).strip() if soup.title else ""
    for element, entering in _walk(soup, marks=marked):
        if isinstance(element, Tag):
            if entering and print_pages is not None and (label := print_page(element, print_pages)):
                writer.begin_page(label)
            (writer.enter if entering else writer.leave)(element)
        elif isinstance(element, NavigableString) and type(element) in (NavigableString, CData):
            writer.write(str(element))
    text = writer.text()
    if title and title.casefold() not in _SPACES.sub(" ", text[: len(title) + 200]).casefold():
        text = f"{title}\n\n{text}"
    return MarkupText(text, tuple(writer.outline), tuple(writer.pages))


def print_page(tag: Tag, labels: Mapping[str, str]) -> str | None:
    """The label of the print edition's page that begins at an element: from the list of pages, else its own.

    What stands in the mark itself is the page's number, no text of the book: it is taken out.
    """
    is_mark = is_page_mark(tag)
    label = labels.get(str(tag.get("id", "")) or "\0")
    if not is_mark:
        return label
    inner = " ".join(tag.get_text().split())
    if len(inner) <= LONGEST_LABEL:
        tag.clear()
    own = next((str(tag[name]) for name in ("title", "aria-label") if tag.get(name)), inner)
    label = label or " ".join(own.split())
    return label if 0 < len(label) <= LONGEST_LABEL else None


def is_page_mark(tag: Tag) -> bool:
    """Whether an element says of itself that a page of a print edition begins at it."""
    return "pagebreak" in str(tag.get("epub:type", "")).split() or tag.get("role") == "doc-pagebreak"


def from_markdown(source: str) -> MarkupText:
    """The readable text of a Markdown file (CommonMark with tables and strike-through); front matter stays as it is."""
    from markdown_it import MarkdownIt

    front = _FRONT_MATTER.match(source)
    body = source[front.end() :] if front else source
    rendered = from_html(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body), authored=True)
    return MarkupText(f"{front[1]}\n{rendered.text}", rendered.outline) if front else rendered


def from_rst(source: str) -> MarkupText:
    """The readable text of a reStructuredText file; no other file is opened, nothing raw is passed on."""
    from docutils.core import publish_parts

    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "report_level": 3,
        "halt_level": 5,
        "warning_stream": io.StringIO(),
        "line_length_limit": 1 << 30,
        "syntax_highlight": "none",
        "math_output": "MathJax",
        "input_encoding": "unicode",
        "output_encoding": "unicode",
    }
    parts = publish_parts(source, parser=_rst_parser(), writer=_rst_writer(), settings_overrides=settings)
    soup = BeautifulSoup(parts["html_body"], "lxml")
    for message in soup.select(".system-message"):
        # The content of a directive that docutils does not know (Sphinx has many) stands in its complaint.
        quoted = message.find("pre")
        if quoted is not None and "Unknown directive" in message.get_text():
            message.replace_with(quoted)
        else:
            message.decompose()
    for heading in soup.find_all(string=re.compile("Docutils System Messages")):
        heading.extract()
    return from_html(str(soup))


def _rst_parser() -> rst.Parser:
    """docutils' parser, without what makes a file of some kilobytes endless work."""
    from docutils import nodes
    from docutils.parsers import rst

    class Parser(rst.Parser):
        def parse(self, inputstring: str, document: nodes.document) -> None:
            super().parse(inputstring, document)
            # A line may be of any length, what stands for a name not: names that double each other would never end.
            document.settings.line_length_limit = LONGEST_SUBSTITUTION

    inliner = rst.states.Inliner()
    follow = inliner.parse

    def parse(
        text: str, lineno: int, memo: SimpleNamespace, parent: nodes.Element
    ) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        # Each mark may be paid with a search to the paragraph's end, each letter of a word with one to the word's.
        marks = len(_RST_MARK.findall(text)) + max(map(len, text.split()), default=0)
        if marks * len(text) > MOST_INLINE_SEARCHED:
            return [nodes.Text(text)], []
        return follow(text, lineno, memo, parent)

    inliner.parse = parse  # type: ignore[method-assign]  # of a subclass docutils does not find the class's patterns
    return Parser(inliner=inliner)


def _rst_writer() -> html5_polyglot.Writer:
    """docutils' writer of HTML, without opening the images."""
    from docutils import nodes
    from docutils.writers import html5_polyglot

    class Translator(html5_polyglot.HTMLTranslator):
        def visit_image(self, node: nodes.image) -> None:
            node["loading"] = "link"  # `:loading: embed` opens any local file, whatever the settings forbid
            super().visit_image(node)

    writer = html5_polyglot.Writer()
    writer.translator_class = Translator
    return writer


def _walk(root: Tag, *, marks: bool) -> Iterator[tuple[PageElement, bool]]:
    """Every element as it opens (True) and closes (False), without recursion: hostile pages nest deeply."""
    waiting: list[tuple[PageElement, bool]] = [(child, True) for child in reversed(root.contents)]
    while waiting:
        element, entering = waiting.pop()
        if isinstance(element, Tag):
            if entering and _is_dropped(element) and not (marks and is_page_mark(element)):
                continue
            yield element, entering
            if entering:
                waiting.append((element, False))
                waiting += [(child, True) for child in reversed(element.contents)]
        else:
            yield element, True


def _around(root: Tag, names: Sequence[str]) -> frozenset[int]:
    """The ids of all elements that hold one of these names at any depth, each looked at once however deep they nest."""
    found: set[int] = set()
    for inner in root.find_all(names):
        for above in inner.parents:
            if id(above) in found:
                break
            found.add(id(above))
    return frozenset(found)


def _is_dropped(tag: Tag) -> bool:
    return (
        tag.name in _DROPPED
        or tag.has_attr("hidden")
        or tag.get("role") == "navigation"
        or (tag.name == "input" and tag.get("type") != "checkbox")
    )


@dataclass
class _List:
    ordered: bool
    number: int


@dataclass
class _Writer:
    """Collects lines. White space is one space, except in `pre`; a table's row is one line, its cells between bars."""

    authored: bool
    layout: frozenset[int]  # ids of what holds more than a table's cell does
    outline: list[OutlineEntry] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    _waiting: int = 0  # marks of pages that stand before the next word
    _lines: list[str] = field(default_factory=list)
    _line: list[str] = field(default_factory=list)
    _lists: list[_List] = field(default_factory=list)
    _heading: list[str] | None = None
    _pre: int = 0
    _cells: list[bool] = field(default_factory=list)
    _links: list[tuple[str, int]] = field(default_factory=list)

    def text(self) -> str:
        self._break()
        return "\n".join(self._lines).strip("\n") + PAGE_MARK * self._waiting

    def begin_page(self, label: str) -> None:
        """A page of the print edition begins with the next word."""
        self.pages.append(label)
        self._waiting += 1

    def write(self, text: str) -> None:
        if self._waiting and text.strip():
            words = text.lstrip()
            marks, self._waiting = PAGE_MARK * self._waiting, 0
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
            if self._heading is not None:
                self._heading.append(text)

    def enter(self, tag: Tag) -> None:
        name = tag.name
        if name in _SPACED and not self._in_cell():
            self._blank()
        elif name in _BLOCKS or name in _HEADINGS:
            self._break()
        if name in ("td", "th"):
            self._open_cell(tag)
        elif name in ("ul", "ol"):
            start = str(tag.get("start", "1"))
            self._lists.append(_List(name == "ol", int(start) if start.isascii() and start.isdigit() else 1))
        elif name == "li":
            self._bullet()
        elif name == "br":
            self._break(keep=True)
        elif name == "pre":
            self._pre += 1
        elif name in _HEADINGS:
            self._heading = []
        elif name == "a":
            self._links.append((str(tag.get("href", "")), len(self._line)))
        else:
            self._stand_in(tag)

    def leave(self, tag: Tag) -> None:
        name = tag.name
        if name == "a":
            self._close_link()
        elif name in ("td", "th"):
            self._cells.pop()
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif name == "pre":
            self._break()
            self._pre -= 1
        elif name in _HEADINGS:
            title = "".join(self._heading or []).replace(PAGE_MARK, "").strip()
            if title:
                self.outline.append(OutlineEntry(title, int(name[1]), 1))
            self._heading = None
        if name in _SPACED and not self._in_cell():
            self._blank()
        elif name in _BLOCKS or name in _HEADINGS:
            self._break()

    def _stand_in(self, tag: Tag) -> None:
        """What an element without text of its own says in text."""
        if tag.name == "input":
            self.write("[x] " if tag.has_attr("checked") else "[ ] ")
        elif tag.name == "img" and self.authored:
            self.write(str(tag.get("alt", "")))
        elif self.authored and tag.name not in _KNOWN:
            self._line.append(f"<{tag.name}>")

    def _in_cell(self) -> bool:
        return bool(self._cells) and self._cells[-1]

    def _open_cell(self, tag: Tag) -> None:
        simple = id(tag) not in self.layout
        if not simple:
            self._break()
        elif tag.find_previous_sibling(["td", "th"]) is not None and any(map(str.strip, self._line)):
            while self._line and not self._line[-1].strip():
                self._line.pop()
            self._line.append(" | ")
        self._cells.append(simple)

    def _bullet(self) -> None:
        current = self._lists[-1] if self._lists else _List(False, 1)
        indent = "  " * min(max(0, len(self._lists) - 1), DEEPEST_INDENT)
        self._line.append(f"{indent}{current.number}. " if current.ordered else f"{indent}- ")
        current.number += 1

    def _close_link(self) -> None:
        if not self._links:
            return
        address, place = self._links.pop()
        shown = "".join(self._line[place:]).strip()
        if self.authored and address.startswith(("http://", "https://")) and shown and shown not in address:
            self._line.append(f" ({address})")

    def _break(self, *, keep: bool = False) -> None:
        """End the line (within a cell: a space); an empty one is kept only on request."""
        if self._in_cell() and not self._pre:
            self.write(" ")
            return
        line = "".join(self._line)
        self._line = []
        self._links = [(address, 0) for address, _ in self._links]
        if line.strip() or keep:
            self._lines.append(line.rstrip())

    def _blank(self) -> None:
        # A list item's own first paragraph stays on the line of its mark.
        if self._line and re.fullmatch(r"\s*(?:-|\d+\.) ", "".join(self._line)):
            return
        self._break()
        if self._lines and self._lines[-1] and not self._lists:
            self._lines.append("")
