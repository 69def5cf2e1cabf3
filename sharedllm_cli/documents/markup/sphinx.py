"""Sphinx's directives and roles, which docutils does not know, as a reader of the built page sees them.

Signatures, code, notes and changes by version are text. What Sphinx would take from other files or from a program is
named as not read. An unknown directive is read as its title and its content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import dedent
from threading import Lock
from typing import Any

from docutils import nodes
from docutils.parsers import rst
from docutils.parsers.rst import directives, roles
from docutils.statemachine import StringList

from sharedllm_cli.documents.markup.sphinx_page import SphinxPage

_OPTION = re.compile(r":([\w-]+):(?:\s+(.*)|$)")
_FIRST_LINE = re.compile(r"\s*\.\.\s+(?:\|[^|]*\|\s*)?[\w:+.-]+\s?::[ \t]*(.*)")
_TITLED = re.compile(r"(.*\S)\s*<[^<>]*>\s*", re.DOTALL)
_SIGNATURE = re.compile(r"[A-Z(.]")


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_OBJECTS = _names(
    "function data exception class attribute property method staticmethod classmethod decorator decoratormethod "
    "coroutinefunction coroutinemethod awaitablefunction awaitablemethod abstractmethod type macro member var struct "
    "union enum enumerator enum-class enum-struct concept alias object describe option cmdoption envvar confval "
    "setting directive directive:option role opcode pdbcommand templatetag templatefilter fieldlookup django-admin "
    "get post put delete patch"
)
_METHODS_OF_HTTP = _names("get post put delete patch options head")
_NAMED_KINDS = _names("class exception struct union enum concept")
_OF_PYTHON = _names("function data exception class decorator coroutinefunction awaitablefunction")
_CODE = _names(
    "code-block sourcecode code testcode testoutput doctest prompt ipython ipython3 console terminal productionlist "
    "graphviz digraph graph mermaid uml plantuml jupyter-execute jupyter-input jupyter-output code-cell plot exec_code "
    "code-tab highlight-block"
)
_SILENT = _names(
    "highlight highlightlang index currentmodule module sectionauthor codeauthor moduleauthor tabularcolumns program "
    "default-domain rst-class cssclass testsetup testcleanup acks-marker namespace namespace-push namespace-pop "
    "currentlibrary"
)
_ELSEWHERE = _names(
    "literalinclude automodule autoclass autoexception autofunction automethod autoattribute autodata autodecorator "
    "autoproperty include bibliography program-output command-output argparse click jupyter-include "
    "remoteliteralinclude"
)
_CHANGES = {
    "versionadded": "Added in version {}",
    "versionchanged": "Changed in version {}",
    "versionremoved": "Removed in version {}",
    "deprecated": "Deprecated since version {}",
    "deprecated-removed": "Deprecated since version {}, removed in version {}",
}
_NOTES = {"seealso": "See also", "todo": "Todo"}


class _Lenient(dict[str, Callable[[str | None], Any]]):
    """Options of a directive of docutils: Sphinx adds some of its own, for which a directive's content is not lost."""

    def __missing__(self, name: str) -> Callable[[str | None], Any]:
        return lambda value: value or ""


_LOCK = Lock()


@contextmanager
def known() -> Iterator[None]:
    """docutils finds Sphinx's directives and roles meanwhile; outside, it is as it was."""
    with _LOCK:
        find_directive, find_role = directives.directive, roles.role

        def directive(name: str, language: Any, document: nodes.document) -> Any:
            if _short(name) in _OBJECTS | _CODE:
                return _SphinxDirective, []
            found, messages = find_directive(name, language, document)
            return (_SphinxDirective, []) if found is None else (_lenient(found), messages)

        def role(name: str, language: Any, lineno: int, reporter: Any) -> Any:
            found, messages = find_role(name, language, lineno, reporter)
            return (_role, []) if found is None else (found, messages)

        vars(directives)["directive"], vars(roles)["role"] = directive, role
        try:
            yield
        finally:
            vars(directives)["directive"], vars(roles)["role"] = find_directive, find_role


def _short(name: str) -> str:
    """A directive's or a role's name without its language: `py:function` is `function`."""
    return name.lower().partition(":")[2] or name.lower()


def _lenient(found: Any) -> Any:
    options = getattr(found, "option_spec", None)
    if not isinstance(found, type) or not options:
        return found
    return type(found.__name__, (found,), {"option_spec": _Lenient(options)})


def parts_of(block: list[str]) -> tuple[int, dict[str, str], int]:
    """How many lines of a directive's block are its argument, its options, and the line where its content begins.

    The first line is what stands behind `::` (it may be empty).
    """
    place = 1
    while block[0].strip() and place < len(block) and block[place].strip() and not _OPTION.match(block[place].lstrip()):
        place += 1
    argument, options = place, {}
    while place < len(block) and (match := _OPTION.match(block[place].lstrip())) is not None:
        options[match[1].lower()] = (match[2] or "").strip()
        place += 1
    while place < len(block) and not block[place].strip():
        place += 1
    return argument, options, place


def content_of(block_text: str) -> str:
    """The content of a directive that could not be carried out, as it is written; other text whole."""
    first, *lines = block_text.split("\n")
    match = _FIRST_LINE.match(first)
    if match is None:
        return block_text
    block = [match[1], *dedent("\n".join(lines)).split("\n")]
    argument, _, place = parts_of(block)
    return "\n".join([*filter(None, block[:argument]), *block[place:]])


class _SphinxDirective(rst.Directive):
    has_content = True

    def run(self) -> list[nodes.Node]:
        first = _FIRST_LINE.match(self.block_text.partition("\n")[0])
        lines = self.content
        if first is None or not first[1].strip():
            lines = StringList([""], items=[("", self.lineno)]) + lines
        argument, self.settings, place = parts_of(list(lines))
        self.title = [line.strip() for line in lines[:argument] if line.strip()]
        self.body = lines[place:]
        self.page: SphinxPage = self.state.document.settings.sphinx_page
        short = _short(self.name)
        found = self._silent(short)
        if found is None:
            found = self._of_objects(short) if short in _OBJECTS else self._shown(short)
        return found

    def _silent(self, short: str) -> list[nodes.Node] | None:
        """What shows nothing, or only what stands in it, on the page itself; None for any other directive."""
        if short in ("module", "currentmodule") and self.title:
            self.page.module = "" if self.title[0] == "None" else self.title[0]
        if short == "toctree":
            return self._toctree()
        if short in _ELSEWHERE or (short.startswith("auto") and short not in _OBJECTS):
            self._not_read()
            return self._parsed()
        if short in _SILENT or (short == "class" and self._is_style()):
            return self._parsed()
        return None

    def _shown(self, short: str) -> list[nodes.Node]:
        if short in _CODE:
            return self._code()
        if short in _CHANGES:
            return self._change(_CHANGES[short])
        if short in _NOTES:
            return [nodes.admonition("", nodes.title("", _NOTES[short]), *self._titled(), *self._parsed())]
        if short == "glossary":
            return self._glossary()
        if not list(self.body) and len(self.title) == 1 and " " not in self.title[0] and short != "centered":
            self._not_read()
            return []
        layout = re.fullmatch(r"[\d ]*", " ".join(self.title)) or short in ("only", "ifconfig", "tabs")
        inner = self._parsed()
        return inner if layout else [*self._titled(), *inner]

    def _is_style(self) -> bool:
        """`class` is a style in docutils and a class in Sphinx: a capital, a dot or a bracket makes a class of it."""
        return ":" not in self.name and not _SIGNATURE.search(" ".join(self.title))

    def _not_read(self, more: str = "") -> None:
        title = " ".join([*self.title[:1], more] if more else self.title[:1])
        self.page.left_out.append(f"line {self.lineno}: .. {self.name}:: {title:.80} is not read".replace("  ", " "))

    def _parsed(self) -> list[nodes.Node]:
        holder = nodes.container()
        if any(line.strip() for line in self.body):
            self.state.nested_parse(self.body, self.content_offset, holder)
        return list(holder.children)

    def _inline(self, text: str) -> list[nodes.Node]:
        found, messages = self.state.inline_text(text, self.lineno)
        return [*found, *messages]

    def _titled(self) -> list[nodes.Node]:
        texts = [" ".join(self.title), *(self.settings.get(name, "") for name in ("caption", "title", "header"))]
        found: list[nodes.Node] = [nodes.paragraph("", "", *self._inline(text)) for text in texts if text]
        return found

    def _toctree(self) -> list[nodes.Node]:
        entries = [line.strip() for line in self.body if line.strip()]
        shown = ", ".join(entries[:4]) + (f", … {len(entries)} files" if len(entries) > 4 else "")
        self._not_read(f"({shown})")
        titles = [match[1] for entry in entries if (match := _TITLED.fullmatch(entry))]
        items = [nodes.list_item("", nodes.paragraph("", title)) for title in titles]
        return [*self._titled(), *([nodes.bullet_list("", *items)] if items else [])]

    def _code(self) -> list[nodes.Node]:
        lines = list(self.body)
        caption = self.settings.get("caption", "")
        above: list[nodes.Node] = [nodes.paragraph("", "", *self._inline(caption))] if caption else []
        # Without a blank line behind the first, code is written as the argument is: the language is one word.
        code = "\n".join([*(self.title if len(self.title) > 1 or not any(lines) else []), *lines])
        return [*above, nodes.literal_block(code, code)] if code.strip() else above

    def _change(self, form: str) -> list[nodes.Node]:
        words = " ".join(self.title).split()
        count = form.count("{}")
        said = form.format(*(words + ["?"] * count)[:count])
        rest, inner = " ".join(words[count:]), self._parsed()
        opening = nodes.paragraph("", "", nodes.Text(f"{said}: " if rest or inner else f"{said}."))
        opening += self._inline(rest) if rest else []
        if not rest and inner and isinstance(inner[0], nodes.paragraph):
            opening += inner.pop(0).children
        return [opening, *inner]

    def _of_objects(self, short: str) -> list[nodes.Node]:
        """Signatures and what is said of them, as terms and their definition."""
        *_, kind = short.split(":")
        page = self.page
        prefix = f"{page.module}." if page.module and not page.within and kind in _OF_PYTHON else ""
        word = f"{kind} " if kind in _NAMED_KINDS else f"{kind.upper()} " if kind in _METHODS_OF_HTTP else ""
        signatures = [f"{word}{prefix}{line.rstrip(chr(92))}" for line in self.title]
        if signatures:
            kinds = ((": ", "type"), (" = ", "value"))
            signatures[-1] += "".join(f"{sign}{self.settings[name]}" for sign, name in kinds if self.settings.get(name))
        page.within += 1
        try:
            inner = self._parsed()
        finally:
            page.within -= 1
        terms = [nodes.term("", signature) for signature in signatures]
        return [nodes.definition_list("", nodes.definition_list_item("", *terms, nodes.definition("", *inner)))]

    def _glossary(self) -> list[nodes.Node]:
        """Terms, several of which may stand above one definition."""
        found = nodes.definition_list()
        place, lines = 0, self.body
        while place < len(lines):
            terms: list[nodes.Node] = []
            while place < len(lines) and lines[place].strip() and not lines[place][0].isspace():
                terms.append(nodes.term("", "", *self._inline(lines[place].split(" : ")[0])))
                place += 1
            start = place
            while place < len(lines) and (not lines[place].strip() or lines[place][0].isspace()):
                place += 1
            block = lines[start:place]
            block.trim_left(min((len(text) - len(text.lstrip()) for text in block if text.strip()), default=0))
            definition = nodes.definition()
            self.state.nested_parse(block, self.content_offset + start, definition)
            found += nodes.definition_list_item("", *terms, definition)
        return [found] if len(found) else []


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """A role that docutils does not know, as its text: `:func:`~os.path.join`` is `join()`."""
    text = text.replace("\0", "\\")
    short = _short(name)
    if (match := _TITLED.fullmatch(text)) is not None:
        return [nodes.inline(rawtext, match[1])], []
    shown = text.lstrip("!")
    if short in ("ref", "numref"):
        return [nodes.inline(rawtext, shown, classes=["sphinx-ref"], names=[])], []
    if shown.startswith("~"):
        shown = re.split(r"[./]", shown[1:])[-1]
    if short in ("func", "meth") and not shown.endswith(")"):
        shown += "()"
    elif short in ("file", "samp"):
        shown = re.sub(r"(?<!\\)[{}]", "", shown)
    elif short == "menuselection":
        shown = shown.replace("-->", "‣")
    elif short == "guilabel":
        shown = re.sub(r"&(?=\S)", "", shown)
    elif short in ("cve", "cwe"):
        shown = f"{short.upper()} {shown}"
    elif short == "doc":
        shown = shown.lstrip("/")
    return [nodes.inline(rawtext, shown)], []
