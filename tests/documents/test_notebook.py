"""The cells of a notebook in order: text, code and what it printed; no pictures, and no colours of a terminal."""

from __future__ import annotations

import json

import pytest
from office_making import read

from sharedllm_cli.errors import DocumentError


def notebook(*cells: dict[str, object], **more: object) -> str:
    return json.dumps({"nbformat": 4, "cells": list(cells), "metadata": {}, **more})


def code(source: str, *outputs: dict[str, object]) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def test_cells_are_read_in_order() -> None:
    document = read(
        notebook(
            {"cell_type": "markdown", "source": ["# Tides\n", "\n", "Heights of **May**."]},
            code("print(3)", {"output_type": "stream", "text": ["3\n"]}),
            code("1/0", {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division by zero"}),
            code("x", {"output_type": "execute_result", "data": {"text/plain": "\x1b[31m42\x1b[0m"}}),
        ),
        "a.ipynb",
    )
    assert document.text == (
        "Tides\n\nHeights of May.\n\nprint(3)\n\n3\n\n1/0\n\nZeroDivisionError: division by zero\n\nx\n\n42"
    )
    assert [one.title for one in document.outline] == ["Tides"]
    assert document.kind == "notebook"


def test_a_table_is_rows_and_a_picture_is_said() -> None:
    html = "<table><thead><tr><th>port</th><th>m</th></tr></thead><tr><td>Hull</td><td>6.4</td></tr></table>"
    table = {"output_type": "execute_result", "data": {"text/html": [html], "text/plain": "port m"}}
    picture = {"output_type": "display_data", "data": {"image/png": "iVBO", "text/plain": "<Figure>"}}
    document = read(notebook(code("df", table), code("plot", picture)), "a.ipynb")
    assert document.text == "df\n\nport | m\nHull | 6.4\n\nplot"
    assert document.warnings == ("a.ipynb: 1 picture among the outputs not read",)


@pytest.mark.parametrize(
    ("kind", "piece"), [("text/html", "<table><tr><td><b>2</b></table>"), ("text/markdown", "**2**\n\n")]
)
def test_an_output_that_is_cut_before_it_is_read_is_said(kind: str, piece: str) -> None:
    output = {"output_type": "display_data", "data": {kind: piece + "<!-- -->\n\n" * 200_000}}
    document = read(notebook(code("x", output)), "a.ipynb")
    assert document.text.startswith("x\n\n2")
    assert document.warnings == ("a.ipynb: 1 output cut at 100,000 characters",)


def test_the_oldest_form_is_read() -> None:
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "heading", "level": 2, "source": ["Tides"]},
           {"cell_type": "code", "input": ["x = 1"], "outputs": []}]}]}  # fmt: skip
    assert read(json.dumps(old), "a.ipynb").text == "Tides\n\nx = 1"


@pytest.mark.parametrize("text", ['{"cells": [', "{}", '{"cells": 3}', '{"worksheets": [{"cells": 7}]}'])
def test_what_is_no_notebook_is_an_error(text: str) -> None:
    with pytest.raises(DocumentError, match="notebook"):
        read(text, "a.ipynb")


@pytest.mark.parametrize("cells", [[None, 3, {}], [{"cell_type": "code", "source": {"a": 1}, "outputs": 7}]])
def test_odd_cells_are_passed_over(cells: list[object]) -> None:
    whole = json.dumps({"cells": [*cells, {"cell_type": "raw", "source": "kept"}]})
    assert read(whole, "a.ipynb").text == "kept"
