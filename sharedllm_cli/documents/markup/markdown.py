"""Markdown as plain text: CommonMark with tables, strike-through and notes, front matter and dialects.

Front matter (YAML between `---`, TOML between `+++`) is metadata; what else it says stays in the text.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.markup.html_reader import MarkupText, from_html
from sharedllm_cli.documents.markup.line_ends import LineEnds
from sharedllm_cli.documents.markup.markdown_blocks import add_blocks
from sharedllm_cli.documents.markup.markdown_inline import NOTE, add_inline
from sharedllm_cli.documents.metadata import Metadata

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


MOST_INLINE_SEARCHED = 2 * 10**9
"""Marks of a paragraph times its characters: above it, seconds of work, it is left as it stands."""
_MARK = re.compile(r"[\[`$~^={<]")
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
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
    """The readable text of a Markdown file; what front matter says of it is its metadata; the rest of that stays.

    The title of the front matter stands above the text, unless the text begins with it.
    """
    found = _FRONT_MATTER.match(source)
    front = read_front_matter(found[2], found[1]) if found else FrontMatter()
    body = source[found.end() :] if found else source
    rendered = from_html(_parser(body).render(body), authored=True)
    titled = front.title and front.title.casefold() not in rendered.text[: len(front.title) + 200].casefold()
    above = "\n".join(filter(None, (front.title if titled else "", front.rest)))
    text = "\n\n".join(filter(None, (above, rendered.text)))
    return MarkupText(text, rendered.outline, metadata=front.metadata)


def _parser(source: str) -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    add_blocks(parser)
    add_inline(parser)
    parser.core.ruler.at("inline", _inline)
    parser.block.ruler.before("reference", "note", _note_line, {"alt": []})
    parser.core.ruler.before("inline", "attributes", _without_attributes)
    parser.core.ruler.push("elements", _text_in_angles)
    ends = LineEnds(source)
    parser.core.ruler.push("line_ends", lambda state: _with_words_joined(state, ends))
    parser.add_render_rule("html_block", _html_block)
    parser.add_render_rule("markup", lambda renderer, tokens, index, options, env: tokens[index].content)
    return parser


def _inline(state: StateCore) -> None:
    """What stands within the lines of each block; a paragraph of marks alone, each a search to its end, is text."""
    from markdown_it.token import Token

    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = token.children or []
        if len(_MARK.findall(token.content)) * len(token.content) > MOST_INLINE_SEARCHED:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _with_words_joined(state: StateCore, ends: LineEnds) -> None:
    """A line ends behind the hyphen of a word that goes on in the next."""
    for token in state.tokens:
        children = token.children or []
        for before, line_end, after in zip(children, children[1:], children[2:], strict=False):
            if line_end.type != "softbreak" or not before.type == after.type == "text":
                continue
            if (seam := ends.seam(before.content, after.content)) is not None:
                before.content = before.content[:-1] + seam
                line_end.type, line_end.content = "text", ""


def _note_line(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A note's own line is a paragraph: as the target of a link (`[^1]: Ibid.`) it would vanish."""
    start = state.bMarks[first] + state.tShift[first]
    match = NOTE.match(state.src, start)
    if match is None or not match[2] or state.is_code_block(first):
        return False
    if silent:
        return True
    line = first + 1
    while (
        line < last and not state.isEmpty(line) and not NOTE.match(state.src, state.bMarks[line] + state.tShift[line])
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


LARGEST = 1 << 16
"""Characters of front matter that are parsed; a longer one stays as it is."""
_ENTRY = re.compile(r"^(?=[\w\"'\[].*)", re.MULTILINE)
_NAME = re.compile(r"[\"']?([\w][\w .:-]*?)[\"']?\s*[:=]")
# What only the site's program reads.
_OF_THE_PROGRAM = """
layout permalink draft slug weight toc sidebar sidebar_label sidebar_position sidebar_class_name nav_order has_children
has_toc hide_title hide_table_of_contents parent aliases url redirect_from redirect_to id nav_exclude jupytext
kernelspec orphan type theme published comments
"""


@dataclass(frozen=True)
class FrontMatter:
    """The facts, the title, and the entries that are neither facts nor for the site's program, as they are written."""

    metadata: Metadata = ()
    title: str = ""
    rest: str = ""


def read_front_matter(text: str, fence: str) -> FrontMatter:
    """What stands between two fences; all of it is rest where it can't be parsed."""
    values = _parsed(text, fence)
    if values is None:
        return FrontMatter(rest=text.strip("\n"))
    named = [(str(name), value) for name, value in values.items()]
    facts = metadata.of_fields([(name, word) for name, value in named for word in _words(value)])
    kinds = {name for name, value in named if any(metadata.of_fields([(name, word)]) for word in _words(value))}
    dropped = kinds.union(_OF_THE_PROGRAM.split())
    entries = [entry for entry in _ENTRY.split(text) if entry.strip() and _name(entry) not in dropped]
    title = next((value for kind, value in facts if kind == "title"), "")
    return FrontMatter(facts, title, "".join(entries).strip("\n"))


def _name(entry: str) -> str:
    match = _NAME.match(entry)
    return match[1] if match else ""


def _parsed(text: str, fence: str) -> Mapping[str, Any] | None:
    import yaml

    if len(text) > LARGEST:
        return None
    try:
        found = tomllib.loads(text) if fence == "+++" else yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _words(value: Any) -> list[str]:
    """A value as texts: one, or those of a list; of an author with a name and more, the name."""
    one_or_more = value[: metadata.MOST_NAMES] if isinstance(value, list) else [value]
    named = [one.get("name") if isinstance(one, dict) else one for one in one_or_more]
    return [str(one) for one in named if isinstance(one, str | int | float | date) and not isinstance(one, bool)]
