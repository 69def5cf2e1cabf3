"""HTML, Markdown and reStructuredText read as a person would read them aloud."""

from __future__ import annotations

import builtins
import io
import urllib.request
from pathlib import Path

import pytest
from docutils.parsers.rst.directives import misc, tables

from sharedllm_cli.documents import markup, readers
from sharedllm_cli.documents.sources import SourceFile


def test_html_keeps_words_and_drops_what_is_not_read() -> None:
    text = markup.from_html(
        "<html><head><title>The  Title</title><style>p{}</style></head><body><nav>Home About</nav>"
        "<script>alert('x')</script><h1>Head</h1><p>One\n  two <b>bold</b>face,<br>next.</p><div hidden>no</div>"
        "<p>last &amp; least</p></body></html>"
    ).text
    assert text == "The Title\n\nHead\n\nOne two boldface,\nnext.\n\nlast & least"


def test_a_title_that_the_page_repeats_stands_once() -> None:
    assert markup.from_html("<title>Same</title><h1>Same</h1><p>x</p>").text == "Same\n\nx"


def test_tables_are_read_row_by_row() -> None:
    html = "<table><tr><th>Name<th>Age</tr><tr><td>Ann</td> <td><p>5</p></td></tr><tr><td></td><td>6</td></tr></table>"
    assert markup.from_html(html).text == "Name | Age\nAnn | 5\n6"


def test_layout_tables_are_not_rows() -> None:
    text = markup.from_html("<table><tr><td><h2>Left</h2><p>one</p></td><td>side</td></tr></table>").text
    assert text.split() == ["Left", "one", "side"]
    assert "|" not in text


def test_lists_nest_and_count() -> None:
    html = "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=3><li>d<li>e</ol>"
    assert markup.from_html(html).text.split("\n") == ["- a", "  - b", "- c", "", "3. d", "4. e"]


def test_preformatted_text_keeps_its_lines() -> None:
    assert "def f():\n    return  1" in markup.from_html("<p>x</p><pre>def f():\n    return  1\n</pre>").text


def test_headings_are_the_outline() -> None:
    entries = markup.from_html("<h1>A <i>b</i></h1><h3> C </h3>").outline
    assert [(entry.title, entry.level, entry.page) for entry in entries] == [("A b", 1, 1), ("C", 3, 1)]


def test_deep_nesting_ends() -> None:
    assert markup.from_html("<div>" * 5000 + "deep" + "</div>" * 5000).text == "deep"


def test_an_encoding_that_the_page_declares() -> None:
    data = "<html><head><meta charset='iso-8859-2'></head><body>Příliš žluťoučký</body></html>".encode("iso-8859-2")
    assert readers.read(SourceFile("x.html", Path("x.html")), data=data).text == "Příliš žluťoučký"
    wrong = "<html><head><meta charset='no-such'></head><body>naïve</body></html>".encode()
    assert readers.read(SourceFile("x.html", Path("x.html")), data=wrong).text == "naïve"


MARKDOWN = """\
---
title: Front
---
# Head *one*

Soft
break with `code <x>`, [a link](https://example.org/a), <https://auto.org>, <placeholder> and <b>bold</b>.

- item
  - [x] nested

| a | b |
|---|---|
| 1 | 2 |

```python
if x:
    y = "<b>"
```
![a picture](p.png) <script>alert(1)</script>
"""


def test_markdown() -> None:
    found = markup.from_markdown(MARKDOWN)
    assert found.text == (
        "title: Front\n\nHead one\n\n"
        "Soft break with code <x>, a link (https://example.org/a), https://auto.org, <placeholder> and bold.\n\n"
        '- item\n  - [x] nested\n\na | b\n1 | 2\n\nif x:\n    y = "<b>"\n\na picture'
    )
    assert [entry.title for entry in found.outline] == ["Head one"]


RST = """\
Title
=====

Para with *emph*, ``literal`` and :ref:`target`.

.. toctree::
   one

.. include:: {secret}

.. raw:: html

   <b>raw</b>

* item

====  ====
a     b
====  ====
1     2
====  ====

Code::

    x = 1
      y
"""


def test_rst_without_inclusions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    text = markup.from_rst(RST.format(secret=secret)).text
    assert "SECRET" not in text
    assert "raw" not in text
    for part in (
        "Title\n",
        "Para with emph, literal and :ref:`target`.",
        "one",
        "- item",
        "a | b\n1 | 2",
        "x = 1\n  y",
    ):
        assert part in text
    assert "System Message" not in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "source",
    [
        ".. image:: {address}\n   :loading: embed\n   :alt: a picture\n",
        ".. figure:: {address}\n   :loading: embed\n   :figwidth: image\n\n   A caption\n",
        ".. image:: {address}\n   :scale: 50%\n",
        "words |logo| words\n\n.. |logo| image:: {address}\n   :loading: embed\n",
        ".. csv-table:: A table\n   :file: {path}\n",
        ".. csv-table:: A table\n   :url: {address}\n",
        ".. raw:: html\n   :file: {path}\n",
        ".. raw:: html\n   :url: {address}\n",
        ".. include:: {path}\n   :literal:\n",
    ],
)
@pytest.mark.parametrize("suffix", ["svg", "png", "mp4"])
def test_rst_opens_no_other_file(source: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe or a device named there would be read for ever, and a file would end up in the index."""
    secret = tmp_path / f"secret.{suffix}"
    secret.write_text("<svg xmlns='http://www.w3.org/2000/svg'><desc>SECRET</desc></svg>")
    (tmp_path / "docutils.conf").write_text("[general]\nfile_insertion_enabled: yes\nraw_enabled: yes\n")
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    whole = io.open

    def watched(file: object, *arguments: object, **options: object) -> object:
        opened.append(str(file))
        return whole(file, *arguments, **options)  # type: ignore[call-overload]

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", watched)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("an address was followed"))
    for directive in (misc, tables):
        monkeypatch.setattr(directive, "urlopen", urllib.request.urlopen)
    text = markup.from_rst(source.format(address=secret.as_uri(), path=secret)).text
    assert "SECRET" not in text
    assert not [name for name in opened if str(tmp_path) in name or name.endswith("docutils.conf")]
    assert ("A caption" in text) == ("A caption" in source)


def test_substitutions_that_double_each_other_end() -> None:
    doubling = "\n".join(f".. |a{level}| replace:: |a{level - 1}| |a{level - 1}|" for level in range(1, 20))
    text = markup.from_rst(f"before |a19| after\n\n.. |a0| replace:: ha\n{doubling}\n").text
    assert text.startswith("before")
    assert "after" in text
    assert len(text) < 100_000


def test_a_long_line_of_rst_is_read_whole() -> None:
    line = "word " * 50_000
    assert markup.from_rst(f"|it|\n\n{line}\n\n.. |it| replace:: {'short ' * 100}\n").text.count("word") == 50_000


def test_documents_of_markup_have_no_pages() -> None:
    document = readers.read(SourceFile("x.md", Path("x.md")), data=b"# A\n\nwords\n\n## B\n")
    assert not document.paged
    assert len(document.pages) == 1
    assert [entry.title for entry in document.outline] == ["A", "B"]
