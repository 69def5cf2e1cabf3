"""A file of Sphinx as a whole: what it says of itself, references to its own titles, the fields of its functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from docutils import nodes

from sharedllm_cli.documents.markup.line_ends import LineEnds

_NAMES_OF_FIELDS = {
    **dict.fromkeys(("param", "parameter", "arg", "argument", "key", "keyword", "kwarg", "kwparam"), "Parameters"),
    **dict.fromkeys(("var", "ivar", "cvar"), "Variables"),
    **dict.fromkeys(("raises", "raise", "except", "exception", "throws"), "Raises"),
    **dict.fromkeys(("returns", "return"), "Returns"),
    **dict.fromkeys(("yields", "yield"), "Yields"),
    "rtype": "Return type",
}
_TYPES = {"type": "Parameters", "paramtype": "Parameters", "kwtype": "Parameters", "vartype": "Variables"}
_HIDDEN_FIELDS = frozenset({"orphan", "tocdepth", "nocomments", "nosearch", "no-search"})


@dataclass
class SphinxPage:
    """What the directives of one file know of each other.

    `left_out` are sentences about what is not read, `facts` what the file says of itself (name and value).
    """

    left_out: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    module: str = ""
    within: int = 0


def finish(document: nodes.document, ends: LineEnds) -> None:
    """What needs the whole file: facts of the file, references, fields of functions."""
    page: SphinxPage = document.settings.sphinx_page
    for information in list(document.findall(nodes.docinfo)):
        for entry in [child for child in information.children if isinstance(child, nodes.Element)]:
            named = isinstance(entry, nodes.field)
            name = entry.children[0].astext().lower() if named else entry.tagname
            if name in _HIDDEN_FIELDS:
                information.remove(entry)
            values = entry.children if name == "authors" else [entry.children[1] if named else entry]
            page.facts += [(name, value.astext()) for value in values]
        if not information.children:
            information.parent.remove(information)
    _resolve(document)
    _join_words(document, ends)
    _gather_fields(document)


def _resolve(document: nodes.document) -> None:
    """References to a section or a figure of this file show its title, as on the page."""
    titles: dict[str, str] = {}
    for label, identifier in document.nameids.items():
        holder = document.ids.get(identifier) if identifier is not None else None
        kind = nodes.title if isinstance(holder, nodes.section) else nodes.caption
        if isinstance(holder, nodes.section | nodes.figure) and (title := holder.next_node(kind)) is not None:
            titles[label] = title.astext()
    for reference in list(document.findall(nodes.inline)):
        shown = titles.get(nodes.fully_normalize_name(reference.astext()))
        if "sphinx-ref" in reference["classes"] and shown:
            reference.clear()
            reference += nodes.Text(shown)


def _join_words(document: nodes.document, ends: LineEnds) -> None:
    """A line ends behind the hyphen of a word that goes on in the next."""
    for text in list(document.findall(nodes.Text)):
        if "-\n" in text and text.parent is not None and not isinstance(text.parent, nodes.FixedTextElement):
            text.parent.replace(text, nodes.Text(ends.joined(str(text))))


def _gather_fields(document: nodes.document) -> None:
    """Fields of a function (`:param x:`, `:returns:`) as the page shows them: one list of parameters, their types."""
    for fields in list(document.findall(nodes.field_list)):
        known_fields = [(one, one[0].astext().split()) for one in fields.children if isinstance(one, nodes.field)]
        if any(words and (words[0] in _NAMES_OF_FIELDS or words[0] in _TYPES) for _, words in known_fields):
            _gather(fields, known_fields)


def _gather(fields: nodes.field_list, found: list[tuple[nodes.field, list[str]]]) -> None:
    types = {
        (_TYPES[words[0]], words[-1]): one[1].astext() for one, words in found if len(words) > 1 and words[0] in _TYPES
    }
    groups: dict[str, nodes.bullet_list] = {}
    kept: list[nodes.Node] = []
    met: set[tuple[str, str]] = set()
    for one, words in found:
        group = _NAMES_OF_FIELDS.get(words[0]) if words else None
        if group is None or (len(words) == 1 and group in ("Parameters", "Variables")):
            kept += [] if words and words[0] in _TYPES else [one]
        elif len(words) == 1:
            one[0] = nodes.field_name("", group)
            kept.append(one)
        else:
            if group not in groups:
                groups[group] = nodes.bullet_list()
                kept.append(nodes.field("", nodes.field_name("", group), nodes.field_body("", groups[group])))
            raised = group == "Raises"
            name = " ".join(words[1:]) if raised else words[-1]
            met.add((group, name))
            kind = types.get((group, name), "" if raised else " ".join(words[1:-1]))
            groups[group] += _item(f"{name} ({kind})" if kind else name, one.children[1].children)
    for (group, name), kind in types.items():
        if (group, name) not in met:
            holder = groups.setdefault(group, nodes.bullet_list())
            if not holder.children:
                kept.append(nodes.field("", nodes.field_name("", group), nodes.field_body("", holder)))
            holder += _item(f"{name} ({kind})", [])
    fields.clear()
    fields += kept


def _item(name: str, body: Sequence[nodes.Node]) -> nodes.list_item:
    opening = nodes.paragraph("", name)
    rest = list(body)
    if rest and isinstance(rest[0], nodes.paragraph):
        opening += [nodes.Text(" – "), *rest.pop(0).children]
    return nodes.list_item("", opening, *rest)
