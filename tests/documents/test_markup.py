"""HTML, Markdown and reStructuredText read as a person would read them aloud."""

from __future__ import annotations

import builtins
import io
import urllib.request
from pathlib import Path

import pytest
from docutils.parsers.rst.directives import misc, tables

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.markup import html_reader, markdown, restructured
from sharedllm_cli.documents.sources import SourceFile


def test_html_keeps_words_and_drops_what_is_not_read() -> None:
    text = html_reader.from_html(
        "<html><head><title>The  Title</title><style>p{}</style></head><body><nav>Home About</nav>"
        "<script>alert('x')</script><h1>Head</h1><p>One\n  two <b>bold</b>face,<br>next.</p><div hidden>no</div>"
        "<p>last &amp; least</p></body></html>"
    ).text
    assert text == "The Title\n\nHead\n\nOne two boldface,\nnext.\n\nlast & least"


def test_a_title_that_the_page_repeats_stands_once() -> None:
    assert html_reader.from_html("<title>Same</title><h1>Same</h1><p>x</p>").text == "Same\n\nx"


def test_tables_are_read_row_by_row() -> None:
    html = "<table><tr><th>Name<th>Age</tr><tr><td>Ann</td> <td><p>5</p></td></tr><tr><td></td><td>6</td></tr></table>"
    assert html_reader.from_html(html).text == "Name | Age\nAnn | 5\n| 6", "its column stays its own"


def test_layout_tables_are_not_rows() -> None:
    text = html_reader.from_html("<table><tr><td><h2>Left</h2><p>one</p></td><td>side</td></tr></table>").text
    assert text.split() == ["Left", "one", "side"]
    assert "|" not in text


def test_lists_nest_and_count() -> None:
    html = "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=3><li>d<li>e</ol>"
    assert html_reader.from_html(html).text.split("\n") == ["- a", "  - b", "- c", "", "3. d", "4. e"]


def test_preformatted_text_keeps_its_lines() -> None:
    assert "def f():\n    return  1" in html_reader.from_html("<p>x</p><pre>def f():\n    return  1\n</pre>").text


def test_headings_are_the_outline() -> None:
    entries = html_reader.from_html("<h1>A <i>b</i></h1><h3> C </h3>").outline
    assert [(entry.title, entry.level, entry.page) for entry in entries] == [("A b", 1, 1), ("C", 3, 1)]


def test_deep_nesting_ends() -> None:
    assert html_reader.from_html("<div>" * 5000 + "deep" + "</div>" * 5000).text == "deep"


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
    found = markdown.from_markdown(MARKDOWN)
    assert found.text == (
        "Front\n\nHead one\n\n"
        "Soft break with code <x>, a link (https://example.org/a), https://auto.org, <placeholder> and bold.\n\n"
        '- item\n  - [x] nested\n\na | b\n1 | 2\n\nif x:\n    y = "<b>"\n\n[image: a picture]'
    )
    assert [entry.title for entry in found.outline] == ["Head one"]
    assert found.metadata == (("title", "Front"),)


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
    text = restructured.from_rst(RST.format(secret=secret)).text
    assert "SECRET" not in text
    assert "raw" not in text
    for part in (
        "Title\n",
        "Para with emph, literal and target.",
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
    text = restructured.from_rst(source.format(address=secret.as_uri(), path=secret)).text
    assert "SECRET" not in text
    assert not [name for name in opened if str(tmp_path) in name or name.endswith("docutils.conf")]
    assert ("A caption" in text) == ("A caption" in source)


def test_substitutions_that_double_each_other_end() -> None:
    doubling = "\n".join(f".. |a{level}| replace:: |a{level - 1}| |a{level - 1}|" for level in range(1, 20))
    text = restructured.from_rst(f"before |a19| after\n\n.. |a0| replace:: ha\n{doubling}\n").text
    assert text.startswith("before")
    assert "after" in text
    assert len(text) < 100_000


def test_a_long_line_of_rst_is_read_whole() -> None:
    line = "word " * 50_000
    assert restructured.from_rst(f"|it|\n\n{line}\n\n.. |it| replace:: {'short ' * 100}\n").text.count("word") == 50_000


def test_documents_of_markup_have_no_pages() -> None:
    document = readers.read(SourceFile("x.md", Path("x.md")), data=b"# A\n\nwords\n\n## B\n")
    assert not document.paged
    assert len(document.pages) == 1
    assert [entry.title for entry in document.outline] == ["A", "B"]


def test_markdown_keeps_what_its_dialects_mean() -> None:
    source = (
        "# Install {#install .first}\n\nRents 1990&#150;1995, `&#150;`, Vec<T>, Vec<B> and a<b>c</b>, ~~450~~ "
        "480.\nGranite[^1] and stone[^note].\n\n[^1]: Ibid.\n[^note]: Longer\n    words.\n\n{: .class}\n\n- [ ] "
        "open\n\n"
        "<T>\nblock\n</T>\n"
    )
    found = markdown.from_markdown(source)
    assert found.text == (
        "Install\n\nRents 1990–1995, &#150;, Vec<T>, Vec<B> and ac, [struck out: 450] 480. Granite [1] and "
        "stone [note]."
        "\n\n[1]: Ibid.\n\n[note]: Longer words.\n\n- [ ] open\n\n<T> block </T>"
    )
    assert [entry.title for entry in found.outline] == ["Install"]


def test_markdown_deeper_than_its_parser_goes_is_not_lost() -> None:
    items = "\n".join("  " * level + f"- item {level}" for level in range(14))
    text = markdown.from_markdown(f"{items}\n\nAfter the list.\n").text
    assert "item 13" in text
    assert text.endswith("After the list.")


def test_rst_keeps_classifiers_and_enumerators() -> None:
    source = (
        "path : str\n   The path.\ndepth : int, optional\n   How deep.\n\na. rent\nb. heat\n\n(c) 2020 by me\n\n"
        "II. two\nIII. three\n\nA. Einstein was a physicist.\n\nnote [1]_ here\n\n.. [1] The note.\n"
    )
    text = restructured.from_rst(source).text
    for line in (
        *("path : str", "depth : int, optional", "a. rent\nb. heat", "(c) 2020 by me", "II. two\nIII. three"),
        *("A. Einstein was a physicist.", "note [1] here", "[1] The note."),
    ):
        assert line in text


def test_rst_names_what_it_does_not_read() -> None:
    table = b".. csv-table:: Rents\n   :file: rents.csv\n\n"
    source = b"Words.\n\n.. include:: annex.rst\n\n" + table + b".. raw:: html\n\n   <b>hi</b>"
    document = readers.read(SourceFile("x.rst", Path("x.rst")), data=source)
    assert document.warnings == (
        "x.rst, line 3: .. include:: annex.rst is not read",
        "x.rst, line 5: .. csv-table:: Rents is not read",
        "x.rst, line 8: .. raw:: html is not read",
    )


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (":ref:`setup`", "setup"),
        (":ref:`the setup <setup>`", "the setup"),
        (":py:func:`~os.path.join`", "join()"),
    ],
)
def test_roles_of_sphinx_are_read_as_their_text(role: str, text: str) -> None:
    assert restructured.from_rst(f"See {role} here.").text == f"See {text} here."
