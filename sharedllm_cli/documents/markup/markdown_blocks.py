"""Blocks that dialects of Markdown add to CommonMark, as rules of its parser: a title and its content.

Alerts (`> [!NOTE]`), admonitions and tabs (`!!! note`, `=== "Linux"`), fences (`:::tip`, MyST's ```` ```{note} ````),
definition lists, formulas between `$$`, and whatever is nested deeper than the parser goes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from sharedllm_cli.documents.markup.mathml import LONGEST_FORMULA, from_tex

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore

DEEPEST = 120
"""Levels of lists and quotes; what is nested deeper is read line by line, with its marks."""
_ALERT = re.compile(r"\[!([A-Za-z][\w-]*)\][+-]?[ \t]*(.*)")
_INDENTED = re.compile(
    r"(?:(?:!!!|\?\?\?\+?)[ \t]+([\w-]+)[^\"\n]*(?:\"([^\"\n]*)\")?|===[+!]?[ \t]+\"([^\"\n]*)\")[ \t]*"
)
_FENCE = re.compile(r"(:{3,}|`{3,}|~{3,})[ \t]*(?:\{([\w:+-]+)\}|([A-Za-z][\w-]*))?[ \t]*(.*)")
_DEFINITION = re.compile(r":[ \t]+(?=\S)")
_TITLED = """
note tip info warning caution danger important hint attention error success example question quote seealso admonition
abstract summary bug failure details
"""
_UNTITLED = """
tab-set tab-item tabs tab grid grid-item grid-item-card card card-carousel dropdown toggle topic sidebar margin epigraph
pull-quote highlights rubric figure div container aside centered
"""
_OPTION = re.compile(r":[\w-]+:(?:[ \t].*)?$")
_ENDS = re.compile(r"\$\$[ \t]*$")
_ATTRIBUTE = re.compile(r"\{[^{}]*\}")


def add_blocks(parser: MarkdownIt) -> None:
    """Teach a parser of CommonMark these blocks."""
    parser.options["maxNesting"] = DEEPEST + 20
    ends: Any = {"alt": ["paragraph", "reference", "blockquote"]}
    parser.block.ruler.before("table", "deep", _deep)
    parser.block.ruler.before("fence", "formula", _formula, ends)
    parser.block.ruler.before("fence", "container", _container, ends)
    parser.block.ruler.before("fence", "admonition", _admonition, ends)
    parser.block.ruler.before("paragraph", "definitions", _definitions)
    parser.core.ruler.before("inline", "alerts", _alerts)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _paragraph(state: StateBlock, text: str, line: int, name: str = "p") -> None:
    kind = "paragraph" if name == "p" else name
    state.push(f"{kind}_open", name, 1).map = [line, line + 1]
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = text, [line, line + 1], []
    state.push(f"{kind}_close", name, -1)


def _inner(state: StateBlock, first: int, end: int, indent: int) -> None:
    """The blocks of the lines from `first` on, without so much indentation."""
    kept, state.blkIndent = state.blkIndent, indent
    last, state.lineMax = state.lineMax, end
    state.level += 1
    state.md.block.tokenize(state, first, end)
    state.level -= 1
    state.blkIndent, state.lineMax = kept, last


def _deep(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """Beyond its depth the parser would leave out the rest of the document."""
    if state.level < DEEPEST or silent:
        return False
    _paragraph(state, _line(state, first).strip(), first)
    state.line = first + 1
    return True


def _formula(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """`$$` to `$$`, and what stands in a fence of `math`."""
    opening = _line(state, first)
    if state.is_code_block(first) or not opening.startswith("$$"):
        return False
    line = first if len(opening.rstrip()) > 3 and opening.rstrip().endswith("$$") else _next(state, _ENDS, first, last)
    if line is None or state.eMarks[line] - state.bMarks[first] > LONGEST_FORMULA:
        return False
    text = "\n".join(_line(state, number) for number in range(first, line + 1)).strip()[2:]
    if not silent:
        state.push("markup", "", 0).content = f"<p>{from_tex(text[:-2], block=True)}</p>\n"
        state.line = line + 1
    return True


def _container(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A fence around blocks: its title is a paragraph, its marks and options are not read."""
    match = _FENCE.match(_line(state, first))
    if match is None or state.is_code_block(first):
        return False
    mark, directive, kind, title = match[1], match[2], match[3], match[4].strip()
    name = (directive or kind or "").rpartition(":")[2]
    titled, blocks = name.lower() in _TITLED.split(), name.lower() in _UNTITLED.split()
    if mark[0] != ":" and (directive is None or not (titled or blocks)):
        return False  # any other directive holds code, or what Sphinx makes of it
    if silent:
        return True
    end, closed = _closing(state, mark, first, last)
    title = _ATTRIBUTE.sub("", title).strip().strip('"').removeprefix("[").removesuffix("]")
    if directive in ("figure", "div", "container") or title.isdigit():
        title = ""  # of a figure it is the file's name, of a grid the number of its columns
    if title or titled:
        _paragraph(state, title or name.capitalize(), first)
    inner = first + 1
    while inner < end and directive and _OPTION.match(_line(state, inner)):
        inner += 1
    if mark[0] != ":" or closed:
        _inner(state, inner, end, state.blkIndent)
        state.line = end + closed
    else:
        state.line = first + 1  # a lone line of colons takes nothing with it
    return True


def _next(state: StateBlock, kind: re.Pattern[str], first: int, last: int) -> int | None:
    """The next line of a kind below one, if there is one; all lines are looked at once a document and kind."""
    places = state.env.get(kind.pattern)
    if places is None:
        lines = (state.src[begin:end] for begin, end in zip(state.bMarks, state.eMarks, strict=True))
        places = state.env[kind.pattern] = [number for number, text in enumerate(lines) if kind.search(text)]
    place = bisect_right(places, first)
    return places[place] if place < len(places) and places[place] < last else None


def _pairs(state: StateBlock) -> dict[int, int]:
    """The line that closes a fence of colons, by the line that opens it."""
    if "pairs" not in state.env:
        pairs: dict[int, int] = {}
        opened: dict[int, list[int]] = {}
        for number, (begin, end) in enumerate(zip(state.bMarks, state.eMarks, strict=True)):
            text = state.src[begin:end].strip()
            length = len(text) - len(text.lstrip(":"))
            if length >= 3 and length < len(text):
                opened.setdefault(length, []).append(number)
            elif length >= 3 and opened.get(length):
                pairs[opened[length].pop()] = number
        state.env["pairs"] = pairs
    found: dict[int, int] = state.env["pairs"]
    return found


def _closing(state: StateBlock, mark: str, first: int, last: int) -> tuple[int, bool]:
    """The line that closes a fence, and whether one does."""
    if mark[0] == ":":
        line = _pairs(state).get(first)
    else:
        line = _next(state, re.compile(rf"^[ >\t]*{re.escape(mark)}{re.escape(mark[0])}*[ \t]*$"), first, last)
    return (line, True) if line is not None and line < last else (last, False)


def _admonition(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A title whose content is indented by four below it."""
    match = _INDENTED.fullmatch(_line(state, first))
    if match is None or state.is_code_block(first):
        return False
    if silent:
        return True
    title = match[3] if match[1] is None else match[1].capitalize() if match[2] is None else match[2]
    if title:
        _paragraph(state, title, first)
    indent = state.sCount[first] + 4
    end = first + 1
    while end < last and (state.isEmpty(end) or state.sCount[end] >= indent):
        end += 1
    _inner(state, first + 1, end, indent)
    state.line = end
    return True


def _definitions(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A term on a line of its own, and its definitions below it, each behind a colon."""
    start = _first_definition(state, first, last)
    if silent or start is None or state.is_code_block(first):
        return False
    state.push("dl_open", "dl", 1)
    _paragraph(state, _line(state, first).strip(), first, "dt")
    line: int | None = start
    while line is not None:
        match = _DEFINITION.match(_line(state, line))
        width = len(match[0]) if match else 0
        indent = state.sCount[line] + min(width, 4)
        kept = state.tShift[line], state.sCount[line]
        state.tShift[line] += width
        state.sCount[line] += width
        end = line + 1
        while end < last and (state.isEmpty(end) or state.sCount[end] >= indent or _is_lazy(state, end)):
            end += 1
        state.push("dd_open", "dd", 1)
        _inner(state, line, end, min(indent, state.sCount[line]))
        state.push("dd_close", "dd", -1)
        state.tShift[line], state.sCount[line] = kept
        line = end if end < last and _begins_definition(state, end) else None
        state.line = end
    state.push("dl_close", "dl", -1)
    return True


def _is_lazy(state: StateBlock, line: int) -> bool:
    """Whether a line goes on in the paragraph above it without its indentation."""
    return not state.isEmpty(line - 1) and not _begins_definition(state, line) and state.sCount[line] >= state.blkIndent


def _begins_definition(state: StateBlock, line: int) -> bool:
    return 0 <= state.sCount[line] - state.blkIndent < 4 and _DEFINITION.match(_line(state, line)) is not None


def _first_definition(state: StateBlock, first: int, last: int) -> int | None:
    """The line of the definition that follows a term, next to it or behind a blank line."""
    for line in (first + 1, first + 2):
        if line >= last:
            return None
        if not state.isEmpty(line):
            return line if _begins_definition(state, line) else None
    return None


def _alerts(state: StateCore) -> None:
    """A quotation that begins with `[!NOTE]` has that as its title."""
    tokens = state.tokens
    for place in range(2, len(tokens)):
        if tokens[place].type == "inline" and tokens[place - 2].type == "blockquote_open":
            first, _, rest = tokens[place].content.partition("\n")
            if (match := _ALERT.fullmatch(first)) is not None:
                title = match[2].strip() or match[1].capitalize()
                tokens[place].content = f"{title}\\\n{rest}" if rest else title
