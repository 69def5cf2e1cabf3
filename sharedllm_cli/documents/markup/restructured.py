"""reStructuredText as plain text, by way of docutils' HTML. No other file is opened; what is not read is named."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from sharedllm_cli.documents import metadata
from sharedllm_cli.documents.markup.html_reader import MarkupText, from_html
from sharedllm_cli.documents.markup.line_ends import LineEnds

if TYPE_CHECKING:
    from docutils import nodes
    from docutils.parsers import rst
    from docutils.writers import html5_polyglot

MOST_INLINE_SEARCHED = 10**8
"""Marks of a reStructuredText paragraph times its characters: above it, a second's work, it is left as it stands."""
LONGEST_SUBSTITUTION = 10_000
"""Characters that a reStructuredText substitution may stand for; a longer one is not carried out."""
LONGEST_FORMULA = 5000
"""Characters of TeX that are read as a formula; a longer one stands as it is written."""
MOST_LEFT_OUT = 20
"""Directives that are named as not read; of more the number is given."""
_MARK = re.compile(r"[*`_|]")
_NOT_READ = re.compile(r'"([\w-]+)" (?:directive|role) disabled|ignoring "([\w-]+)" directive|deactivated')


def from_rst(source: str) -> MarkupText:
    """The readable text of a reStructuredText file; no other file is opened, nothing raw is passed on."""
    from docutils.core import publish_parts

    from sharedllm_cli.documents.markup import sphinx, sphinx_page

    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "report_level": 3,
        "halt_level": 5,
        "warning_stream": io.StringIO(),
        "line_length_limit": 1 << 30,
        "syntax_highlight": "none",
        "math_output": "MathML",
        "input_encoding": "unicode",
        "output_encoding": "unicode",
    }
    page = sphinx_page.SphinxPage()
    settings["sphinx_page"] = page
    with sphinx.known():
        parts = publish_parts(source, parser=_parser(page.left_out), writer=_writer(), settings_overrides=settings)
    soup = BeautifulSoup(parts["html_body"], "lxml")
    for message in soup.select(".system-message"):
        # What docutils could not carry out or place (a table, a title, a directive) is quoted in its complaint.
        quoted = message.find("pre")
        if quoted is not None:
            quoted.string = sphinx.content_of(quoted.get_text())
            message.replace_with(quoted)
        else:
            message.decompose()
    for heading in soup.find_all(string=re.compile("Docutils System Messages")):
        heading.extract()
    for classifier in soup.select("dt > span.classifier"):
        classifier.insert_before(" : ")
    for label in soup.select("aside > span.label, div.citation > span.label"):
        paragraph = label.find_next_sibling()
        if paragraph is not None and paragraph.name == "p":
            paragraph.insert(0, " ")
            paragraph.insert(0, label.extract())
    for fields in soup.select("dl.field-list, dl.docinfo, dl.option-list"):
        _on_one_line(fields)
    found = from_html(str(soup))
    told = page.left_out
    more = len(told) - MOST_LEFT_OUT
    told = [*told[:MOST_LEFT_OUT], f"{more} more directives are not read"] if more > 0 else told
    return MarkupText(found.text, found.outline, left_out=tuple(told), metadata=metadata.of_fields(page.facts))


def _on_one_line(fields: Tag) -> None:
    """A field's name stands before the first words of its body, an option before what it does."""
    for name in fields.find_all("dt", recursive=False):
        body = name.find_next_sibling()
        if body is None or body.name != "dd":
            continue
        first = next(
            (child for child in body.children if not isinstance(child, NavigableString) or child.strip()), None
        )
        holder = first if isinstance(first, Tag) and first.name == "p" else body
        apart = "  " if "option-list" in (fields.get("class") or ()) else " "
        holder.insert(0, " ".join(name.get_text().split()) + apart)
        name.decompose()


def _parser(left_out: list[str]) -> rst.Parser:
    """docutils' parser, without what makes a file of some kilobytes endless work. Names what it does not read."""
    from docutils import nodes
    from docutils.parsers import rst
    from docutils.transforms import Transform

    from sharedllm_cli.documents.markup import sphinx_page

    lines: list[str] = []

    def hear(message: nodes.system_message) -> None:
        found = _NOT_READ.search(message.children[0].astext()) if message.children else None
        if found is None:
            return
        line = int(message.get("line", 0))
        name = next(filter(None, found.groups()), "")
        near = [text.strip() for text in lines[max(0, line - 4) : line + 1] if f"{name}::" in text]
        shown = near[-1] if near else f"a part given as {name}" if name else "a part of it"
        left_out.append(f"line {line}: {shown:.100} is not read")

    class Read(Transform):
        default_priority = 870  # once references are resolved, before messages are filtered

        def apply(self, **_: Any) -> None:
            sphinx_page.finish(self.document, LineEnds("\n".join(lines)))

    class Parser(rst.Parser):
        def get_transforms(self) -> list[type[Transform]]:
            return [*super().get_transforms(), Read]

        def parse(self, inputstring: str, document: nodes.document) -> None:
            lines[:] = inputstring.splitlines()
            document.reporter.attach_observer(hear)
            super().parse(inputstring, document)
            # A line may be of any length, what stands for a name not: names that double each other would never end.
            document.settings.line_length_limit = LONGEST_SUBSTITUTION

    inliner = rst.states.Inliner()
    follow = inliner.parse

    def parse(
        text: str, lineno: int, memo: SimpleNamespace, parent: nodes.Element
    ) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        # Each mark may be paid with a search to the paragraph's end, each letter of a word with one to the word's.
        marks = len(_MARK.findall(text)) + max(map(len, text.split()), default=0)
        if marks * len(text) > MOST_INLINE_SEARCHED:
            return [nodes.Text(text)], []
        return follow(text, lineno, memo, parent)

    inliner.parse = parse  # type: ignore[method-assign]  # of a subclass docutils does not find the class's patterns
    return Parser(inliner=inliner)


def _writer() -> html5_polyglot.Writer:
    """docutils' writer of HTML, without opening the images, and with the enumerators as they are written."""
    from docutils import nodes
    from docutils.writers import html5_polyglot

    kinds = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I"}

    class Translator(html5_polyglot.HTMLTranslator):
        def visit_image(self, node: nodes.image) -> None:
            node["loading"] = "link"  # `:loading: embed` opens any local file, whatever the settings forbid
            super().visit_image(node)

        def visit_math(self, node: nodes.math) -> None:
            if len(node.astext()) <= LONGEST_FORMULA:
                super().visit_math(node)
                return
            self.body.append(self.starttag(node, "span") + self.encode(node.astext()) + "</span>")
            raise nodes.SkipNode

        def starttag(self, node: Any, tagname: str, *arguments: Any, **attributes: Any) -> str:
            if tagname == "ol" and isinstance(node, nodes.enumerated_list):
                attributes |= {
                    "type": kinds.get(node.get("enumtype", ""), "1"),
                    "data-prefix": node.get("prefix", ""),
                    "data-suffix": node.get("suffix", "."),
                }
            return str(super().starttag(node, tagname, *arguments, **attributes))

    writer = html5_polyglot.Writer()
    writer.translator_class = Translator
    return writer
