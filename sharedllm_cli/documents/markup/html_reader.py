"""HTML as plain text that still shows headings, lists, tables, formulas and code; Markdown and reStructuredText too.

The last two are turned into HTML by their own libraries (`markdown.py`, `restructured.py`), so that one writer serves
all three. Programs, menus and hidden elements are left out; a page whose `nav` is never closed hides nearly all of its
words, so there they are its text.
"""

from __future__ import annotations

import html
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bs4 import BeautifulSoup, Tag
from bs4.element import CData, NavigableString, PageElement, TemplateString
from lxml import etree

from sharedllm_cli.documents.markup.html_elements import Facts
from sharedllm_cli.documents.markup.html_text import HEADINGS, PAGE_MARK, WHOLE, Writer
from sharedllm_cli.documents.metadata import Metadata
from sharedllm_cli.documents.pages import OutlineEntry


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


# A cell with one of these inside is layout, not a table's cell.
_NOT_IN_CELLS = ["table", "pre", *sorted(HEADINGS)]
_SPACES = re.compile(r"\s+")
_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>|\A\ufeff")
_NAMED = re.compile(r"&(\w{2,32});")
_KEPT_NAMES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_CDATA = ("<![CDATA[", "]]>")
_EPUB = "http://www.idpf.org/2007/ops"
LONGEST_LABEL = 20
"""Characters of a printed page's number."""


@dataclass(frozen=True)
class MarkupText:
    """The plain text and the headings in it (all on page 1).

    `pages` are the labels of the pages of a print edition, in the order of their marks (`PAGE_MARK`) in the text.
    `left_out` are sentences about what the file names and does not hold. `metadata` is what the file says of itself.
    """

    text: str
    outline: tuple[OutlineEntry, ...]
    pages: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    metadata: Metadata = ()


def from_html(source: str, *, authored: bool = False, print_pages: Mapping[str, str] | None = None) -> MarkupText:
    """The readable text of an HTML page: no scripts, styles and navigation; the title, if the page does not repeat it.

    `authored` is HTML that Markdown made: links show their address.
    With `print_pages` (labels by the id of an element, "" for the beginning) each page of a print edition has a mark in
    the text where it begins; those that the elements themselves are marked as are found without it.
    """
    source = source.replace(PAGE_MARK, "") if print_pages is not None else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bs4 warns of XHTML, and of text that looks like an address or a file name
        soup = BeautifulSoup(source, "lxml")
    return _written(soup, authored=authored, print_pages=print_pages)


def from_xhtml(source: str, *, print_pages: Mapping[str, str] | None = None) -> MarkupText:
    """The readable text of a page of XHTML, by the rules of XML; of one that is not well-formed, by those of HTML.

    Its `title` is left out: in a book it is mostly the book's own, in every part.
    """
    root = _parsed(source.replace(PAGE_MARK, ""))
    if root is None:
        return from_html(source, print_pages=print_pages)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        soup = BeautifulSoup(etree.tostring(root, encoding="unicode"), "xml")
    for tag in soup.find_all(True):
        tag.name = tag.name.rpartition(":")[2].lower()
        kind = next((value for name, value in tag.attrs.items() if getattr(name, "namespace", None) == _EPUB), None)
        if kind is not None:
            tag["epub:type"] = kind
    return _written(soup, authored=False, print_pages=print_pages, titled=False)


def _parsed(source: str) -> etree._Element | None:
    """The root element of well-formed XHTML; None for any other text. No entity is followed, nothing is fetched."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(_with_characters(_DECLARATION.sub("", source, count=1)), parser)
    except (etree.LxmlError, ValueError):
        return None
    return root if next(root.iter(etree.Entity), None) is None else None


def _with_characters(source: str) -> str:
    """Named characters of HTML (`&nbsp;`) as such, which XML knows only of a DTD; CDATA sections stay as they are."""
    pieces: list[str] = []
    position = 0
    while position < len(source):
        start = source.find(_CDATA[0], position)
        end = source.find(_CDATA[1], start) if start >= 0 else -1
        stop, following = (start, end + len(_CDATA[1])) if end >= 0 else (len(source), len(source))
        pieces += [_NAMED.sub(_character, source[position:stop]), source[stop:following]]
        position = following
    return "".join(pieces)


def _character(match: re.Match[str]) -> str:
    return match[0] if match[1] in _KEPT_NAMES else html.unescape(match[0])


def _written(
    soup: BeautifulSoup, *, authored: bool, print_pages: Mapping[str, str] | None, titled: bool = True
) -> MarkupText:
    facts = _facts(soup)
    writer = Writer(authored, facts)
    if print_pages and "" in print_pages:
        writer.begin_page(print_pages[""])
    own = next((found for found in soup.find_all("title", limit=9) if found.find_parent("svg") is None), None)
    title = _SPACES.sub(" ", own.get_text()).strip() if own else ""
    for element, entering in _walk(soup, facts, marks=print_pages is not None):
        if isinstance(element, Tag):
            if entering and print_pages is not None and (label := print_page(element, print_pages)):
                writer.begin_page(label)
            (writer.enter if entering else writer.leave)(element)
        elif isinstance(element, NavigableString) and type(element) in (NavigableString, CData, TemplateString):
            writer.write(str(element))
    text = writer.text()
    if titled and title and title.casefold() not in _SPACES.sub(" ", text[: len(title) + 200]).casefold():
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


def _facts(soup: BeautifulSoup) -> Facts:
    root = soup.find("html")
    lang = str(root.get("lang") or root.get("xml:lang") or "") if isinstance(root, Tag) else ""
    named: defaultdict[str, list[Tag]] = defaultdict(list)
    for element in soup.descendants:
        if isinstance(element, Tag):
            named[element.name].append(element)

    def around(names: Iterable[str]) -> frozenset[int]:
        return _around(element for name in names for element in named.get(name, ()))

    facts = Facts(
        layout=around(_NOT_IN_CELLS),
        lists=around(["ul", "ol"]),
        headed=around(["th", "caption"]),
        linked=around(["a"]),
        formulas=around(["math"]),
        lang=lang,
    )
    return replace(facts, main=main_text(soup, facts))


def _around(elements: Iterable[PageElement]) -> frozenset[int]:
    """The ids of all elements that hold one of these at any depth, each looked at once however deep they nest."""
    found: set[int] = set()
    for inner in elements:
        for above in inner.parents:
            if id(above) in found:
                break
            found.add(id(above))
    return frozenset(found)


def _walk(root: Tag, facts: Facts, *, marks: bool) -> Iterator[tuple[PageElement, bool]]:
    """Every element as it opens (True) and closes (False), without recursion: hostile pages nest deeply."""
    waiting: list[tuple[PageElement, bool]] = [(child, True) for child in reversed(root.contents)]
    while waiting:
        element, entering = waiting.pop()
        if isinstance(element, Tag):
            if entering and is_hidden(element, facts) and not (marks and is_page_mark(element)):
                continue
            yield element, entering
            if entering:
                waiting.append((element, False))
                inner = [] if element.name in WHOLE else element.contents
                waiting += [(child, True) for child in reversed(inner)]
        else:
            yield element, True


_NEVER = _names("script style head iframe embed datalist rt rp")
_DROPPED = _names("nav noscript template object canvas button dialog")
_UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_ASIDE = re.compile(r"modal|popup|pop-up|cookie|consent|lightbox|overlay|newsletter|login|adblock", re.IGNORECASE)
_NOTE = re.compile(r"\b(?:footnote|endnote|rearnote|note)s?(?:\s|$)")
_MATHML = "http://www.w3.org/1998/Math/MathML"
_HEADS = ["h1", "h2", "h3", "h4", "h5", "h6", "dt", "th", "summary", "legend", "caption"]
MOST_OF_THE_PAGE = 3
"""A hidden element is the page's text if it has so many times the words of all else, links not counted."""
LEAST_WORDS = 30
"""Words of such an element at least, unless the page would be empty without it."""
SENTENCE = 3
"""Words of a button at least that opens a part of the page, for it to be a heading."""
MOST_WRAPPED = 8
"""Hidden elements within each other that may be the page's text."""


def is_hidden(tag: Tag, facts: Facts) -> bool:
    """What a reader of the page does not see as text. A formula's MathML is hidden where a picture of it is shown."""
    name = tag.name
    if name in _NEVER:
        return not (name == "script" and str(tag.get("type", "")).startswith("math/"))
    if id(tag) in facts.main:
        return False
    if name in _DROPPED:
        return not _is_shown(tag)
    if tag.get("role") == "navigation" or "katex-html" in (tag.get("class") or ()):
        return True
    if (parent := tag.parent) is not None and parent.name == "switch" and name in ("case", "default"):
        return _is_other_case(tag, parent)
    if _NOTE.search(f"{tag.get('epub:type', '')} {tag.get('role', '')}"):
        return False  # reading systems show a hidden note on request
    if tag.has_attr("hidden") and str(tag["hidden"]).lower() != "until-found":
        return True
    if name in ("ul", "ol") and facts.main and _is_menu(tag, facts):
        return True
    return bool(_UNSEEN.search(str(tag.get("style", "")))) and id(tag) not in facts.formulas


def _is_other_case(tag: Tag, switch: Tag) -> bool:
    """Whether an epub's switch shows another of its children: of the cases, the one with a formula can be read."""
    cases = [
        case for case in switch.find_all("case", recursive=False) if _MATHML in str(case.get("required-namespace"))
    ]
    return tag is not cases[0] if cases else tag.name == "case"


def _is_shown(tag: Tag) -> bool:
    if tag.name == "button":
        # The heading of a part that opens with a click.
        if tag.find_parent(_HEADS) is not None:
            return True
        opens = tag.has_attr("aria-expanded") or tag.has_attr("aria-controls")
        return opens and len(tag.get_text(" ").split()) >= SENTENCE
    if tag.name == "template":
        return tag.has_attr("shadowrootmode")
    return tag.name == "dialog" and tag.has_attr("open")


def _is_menu(tag: Tag, facts: Facts) -> bool:
    """Whether a list within a `nav` that holds the page's text is the menu that the `nav` was for."""
    if not any(id(above) in facts.main and _is_navigation(above) for above in tag.parents):
        return False
    return not any(word for word, linked in _words(tag, facts) if not linked)


def _is_navigation(tag: Tag) -> bool:
    return tag.name == "nav" or tag.get("role") == "navigation"


def main_text(page: Tag, facts: Facts) -> frozenset[int]:
    """The ids of the hidden elements that hold the page's text."""
    found: frozenset[int] = frozenset()
    root = page
    for _ in range(MOST_WRAPPED):
        shown, hidden = 0, []
        waiting: list[Tag] = [page]
        while waiting:
            for child in waiting.pop().contents:
                if not isinstance(child, Tag):
                    shown += len(child.split()) if type(child) is NavigableString else 0
                elif id(child) in found or not is_hidden(child, facts):
                    waiting.append(child)
                elif child.name not in _NEVER and not (_is_navigation(child) and child.get("epub:type")):
                    hidden.append(child)
        if not hidden:
            break
        counted = [(sum(count for count, linked in _words(tag, facts) if not linked), tag) for tag in hidden]
        words, root = max(counted, key=lambda one: one[0])
        aside = root.name in ("dialog", "template") or _ASIDE.search(f"{root.get('class', '')} {root.get('id', '')}")
        least = max(LEAST_WORDS, MOST_OF_THE_PAGE * shown) if shown else 1
        if words < least or (aside and shown):
            break
        found |= {id(root)}
    return found


def _words(tag: Tag, facts: Facts) -> Iterator[tuple[int, bool]]:
    """How many words each text in an element has, and whether it is within a link."""
    waiting: list[tuple[Tag, bool]] = [(tag, tag.name == "a")]
    while waiting:
        element, linked = waiting.pop()
        for child in element.contents:
            if isinstance(child, Tag):
                if child.name not in _NEVER:
                    waiting.append((child, linked or child.name == "a"))
            elif type(child) is NavigableString:
                yield len(child.split()), linked
