"""Markdown as plain text: CommonMark with tables, strike-through and notes, and what its dialects put into files."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sharedllm_cli.documents.characters import WINDOWS_1252
from sharedllm_cli.documents.markup.html_reader import MarkupText, from_html

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


DEEPEST = 120
"""Levels of lists and quotes. The parser drops what is nested deeper, and all that follows it."""
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_WINDOWS_ENTITY = re.compile(r"&#(?:[xX]0*([89][0-9a-fA-F])|0*(1[2-5]\d));")
_NOTE = re.compile(r"\[\^([^\]\s]{1,64})\](:?)")
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)([^<>]*)>")
_ATTRIBUTES = re.compile(r"[ \t]*\{:?[ \t]*[#.][^{}\n]{0,200}\}[ \t]*$")
_LINE_OF_ATTRIBUTES = re.compile(r"^[ \t]*\{:[^{}\n]{0,200}\}[ \t]*$", re.MULTILINE)
_VOID = _names("area base br col embed hr img input link meta source track wbr")
_OF_HTML = """
a abbr acronym address area article aside audio b base bdi bdo big blockquote body br button canvas caption center cite
code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer
form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend li link main
map mark math menu meta meter nav noscript object ol optgroup option output p param picture pre progress q rp rt ruby s
samp script search section select slot small source span strike strong style sub summary sup svg table tbody td template
textarea tfoot th thead time title tr track tt u ul var video wbr
"""
_OF_FORMULAS = """
mi mn mo ms mtext mspace mrow mfrac msqrt mroot mfenced msub msup msubsup munder mover munderover mtable mtr mtd
semantics annotation mphantom mstyle mpadded merror mmultiscripts path circle rect line g text tspan
"""
_ELEMENTS = _names(_OF_HTML) | _names(_OF_FORMULAS)


def from_markdown(source: str) -> MarkupText:
    """The readable text of a Markdown file; front matter stands before it as it is, with its author, title and date."""
    front = _FRONT_MATTER.match(source)
    body = source[front.end() :] if front else source
    rendered = from_html(_parser().render(body), authored=True)
    return MarkupText(f"{front[2]}\n{rendered.text}", rendered.outline) if front else rendered


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": DEEPEST}).enable(["table", "strikethrough"])
    parser.inline.ruler.before("entity", "windows_entity", _windows_entity)
    parser.inline.ruler.before("link", "note", _note)
    parser.block.ruler.before("reference", "note", _note_line, {"alt": []})
    parser.core.ruler.before("inline", "attributes", _without_attributes)
    parser.core.ruler.push("elements", _text_in_angles)
    parser.add_render_rule("html_block", _html_block)
    return parser


def _windows_entity(state: StateInline, silent: bool) -> bool:
    """`&#150;` is a dash in every browser: these numbers mean what they mean in Windows-1252."""
    match = _WINDOWS_ENTITY.match(state.src, state.pos)
    code = (int(match[1], 16) if match[1] else int(match[2])) if match else 0
    character = WINDOWS_1252.get(code)
    if match is None or character is None:
        return False
    if not silent:
        state.push("text", "", 0).content = character
    state.pos = match.end()
    return True


def _note(state: StateInline, silent: bool) -> bool:
    """`word[^2]` is the mark of a note, apart from its word."""
    match = _NOTE.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        apart = " " if state.pos and not state.src[state.pos - 1].isspace() else ""
        state.push("text", "", 0).content = f"{apart}[{match[1]}]{match[2]}"
    state.pos = match.end()
    return True


def _note_line(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A note's own line is a paragraph: as the target of a link (`[^1]: Ibid.`) it would vanish."""
    start = state.bMarks[first] + state.tShift[first]
    match = _NOTE.match(state.src, start)
    if match is None or not match[2] or state.is_code_block(first):
        return False
    if silent:
        return True
    line = first + 1
    while (
        line < last and not state.isEmpty(line) and not _NOTE.match(state.src, state.bMarks[line] + state.tShift[line])
    ):
        line += 1
    state.line = line
    state.push("paragraph_open", "p", 1).map = [first, line]
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(first, line, state.blkIndent, False).strip()
    inline.map, inline.children = [first, line], []
    state.push("paragraph_close", "p", -1)
    return True


def _without_attributes(state: StateCore) -> None:
    """Anchors and classes behind headings (`{#install}`) and in lines of their own are for the page's maker."""
    for before, token in zip([None, *state.tokens], state.tokens, strict=False):
        if token.type == "inline" and "{" in token.content:
            if before is not None and before.type == "heading_open":
                token.content = _ATTRIBUTES.sub("", token.content)
            token.content = _LINE_OF_ATTRIBUTES.sub("", token.content)


def _text_in_angles(state: StateCore) -> None:
    """`Vec<T>` and `<name>` are text: what is no element of HTML, and what opens within a word and never closes."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            _as_text(token.children)


def _as_text(children: Sequence[Token]) -> None:
    closings: Counter[str] = Counter()
    for place in range(len(children) - 1, -1, -1):
        token = children[place]
        match = _TAG.match(token.content) if token.type == "html_inline" else None
        if match is None:
            continue
        name = match[2]
        before = children[place - 1].content[-1:] if place and children[place - 1].type == "text" else ""
        if name.lower() not in _ELEMENTS or _is_lone(match, before, closings):
            token.type = "text"


def _is_lone(match: re.Match[str], before: str, closings: Counter[str]) -> bool:
    """Whether a tag opens right behind a word and is never closed; tags are asked from the last to the first."""
    name = match[2]
    if match[1]:
        closings[name] += 1
        return False
    if closings[name]:
        closings[name] -= 1
        return False
    return name.lower() not in _VOID and before.isalnum()


def _html_block(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    content = tokens[index].content
    closings: Counter[str] = Counter()
    pieces: list[str] = []
    end = len(content)
    for match in reversed(list(_TAG.finditer(content))):
        before = content[match.start() - 1 : match.start()] if match.start() else ""
        if match[2].lower() not in _ELEMENTS or _is_lone(match, before, closings):
            pieces += [content[match.end() : end], html.escape(match[0])]
            end = match.start()
    return content[:end] + "".join(reversed(pieces))
