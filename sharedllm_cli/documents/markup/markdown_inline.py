"""What dialects of Markdown write within a line, as rules of its parser: formulas, notes, roles, raised text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from sharedllm_cli.documents.characters import WINDOWS_1252
from sharedllm_cli.documents.markup.mathml import from_tex

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

_WINDOWS_ENTITY = re.compile(r"&#(?:[xX]0*([89][0-9a-fA-F])|0*(1[2-5]\d));")
NOTE = re.compile(r"\[\^([^\]\s]{1,64})\](:?)")
# As Pandoc has it: no space inside the marks, and no digit behind them, so that $5 and $10 are prices.
_FORMULA = re.compile(r"\$\$(?P<block>[^$]{1,5000})\$\$|\$(?![\s$])(?P<line>[^$\n]{1,1000})(?<![\s\\])\$(?![\d$])")
_ROLE = re.compile(r"\{([A-Za-z][\w:+.-]{0,40})\}`([^`\n]{1,500})`")
_TITLED = re.compile(r"(.*\S)\s*<[^<>]*>\s*")
_WIKI_LINK = re.compile(r"\[\[([^\[\]|\n]{1,200})(?:\|([^\[\]\n]{1,200}))?\]\]")
_LOWERED = re.compile(r"~([^\s~]{1,30})~(?!~)")
_RAISED = re.compile(r"\^([^\s^\[\]]{1,30})\^")
_MARKED = re.compile(r"==([^=\s](?:[^=\n]{0,500}[^=\s])?)==(?![=\w])")


def add_inline(parser: MarkdownIt) -> None:
    """Teach a parser of CommonMark these."""
    ruler = parser.inline.ruler
    ruler.before("entity", "windows_entity", _windows_entity)
    ruler.before("escape", "formula", _rule("$", _formula))
    ruler.before("link", "note", _rule("[", _note))
    ruler.before("link", "wiki_link", _rule("[", _wiki_link))
    ruler.before("backticks", "role", _rule("{", _role))
    ruler.before("strikethrough", "script", _rule("~^", _script))
    ruler.before("emphasis", "marked", _rule("=", _marked))


def _rule(
    starts: str, found: Callable[[StateInline], tuple[str, str, int] | None]
) -> Callable[[StateInline, bool], bool]:
    """A rule for text that begins with one of these characters; `found` gives a token's kind, content and end."""

    def rule(state: StateInline, silent: bool) -> bool:
        if state.src[state.pos] not in starts or (token := found(state)) is None:
            return False
        kind, content, end = token
        if not silent:
            state.push(kind, "", 0).content = content
        state.pos = end
        return True

    return rule


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


def _before(state: StateInline) -> str:
    return state.src[state.pos - 1] if state.pos else ""


def _formula(state: StateInline) -> tuple[str, str, int] | None:
    match = _FORMULA.match(state.src, state.pos)
    if match is None or _before(state).isalnum():
        return None
    return "markup", from_tex(match["block"] or match["line"]), match.end()


def _note(state: StateInline) -> tuple[str, str, int] | None:
    """`word[^2]` is the mark of a note, apart from its word."""
    match = NOTE.match(state.src, state.pos)
    if match is None:
        return None
    apart = " " if state.pos and not _before(state).isspace() else ""
    return "text", f"{apart}[{match[1]}]{match[2]}", match.end()


def _wiki_link(state: StateInline) -> tuple[str, str, int] | None:
    match = _WIKI_LINK.match(state.src, state.pos)
    return None if match is None else ("text", match[2] or match[1], match.end())


def _role(state: StateInline) -> tuple[str, str, int] | None:
    """MyST's roles, `{ref}`the setup <setup>`` and `{math}`x^2``."""
    match = _ROLE.match(state.src, state.pos)
    if match is None:
        return None
    if match[1] == "math":
        return "markup", from_tex(match[2]), match.end()
    titled = _TITLED.fullmatch(match[2])
    whole = match[2].removeprefix("!")
    shown = whole.rpartition(".")[2] if whole.startswith("~") else whole
    return "text", titled[1] if titled else shown, match.end()


def _script(state: StateInline) -> tuple[str, str, int] | None:
    """`H~2~O` and `10^6^`; a stroke through a whole word (`~so~`) stands apart from the word before."""
    lowered = state.src[state.pos] == "~"
    match = (_LOWERED if lowered else _RAISED).match(state.src, state.pos)
    before = _before(state)
    attached = before.isalnum() or (before != "" and before in ")]")
    if match is None or before == "~" or not (lowered or attached):
        return None
    name = "del" if lowered and not attached else "sub" if lowered else "sup"
    return "markup", f"<{name}>{html.escape(match[1])}</{name}>", match.end()


def _marked(state: StateInline) -> tuple[str, str, int] | None:
    match = _MARKED.match(state.src, state.pos)
    return None if match is None or _before(state).isalnum() else ("text", match[1], match.end())
