"""reStructuredText as Sphinx builds it: a reader of the page sees signatures, code, notes, and what is not there."""

from __future__ import annotations

import pytest
from docutils.parsers.rst import directives, roles

from sharedllm_cli.documents.markup.restructured import from_rst


def text_of(source: str) -> str:
    return from_rst(source).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (".. versionadded:: 2.5\n   The *pan* too.\n", "Added in version 2.5: The pan too."),
        (".. versionchanged:: 3.0 Faster.\n", "Changed in version 3.0: Faster."),
        (".. deprecated:: 3.1\n\n   Use ``pot``.\n\n   Or else.\n",
         "Deprecated since version 3.1: Use pot.\n\nOr else."),
        (".. deprecated-removed:: 3.1 3.5\n", "Deprecated since version 3.1, removed in version 3.5."),
        (".. function:: boil(water,\n              salt=1)\n\n   Boils.\n", "boil(water,\nsalt=1)\nBoils."),
        (".. py:class:: Pan(width)\n\n   .. method:: heat(x)\n\n      Heats.\n", "class Pan(width)\nheat(x)\nHeats."),
        (".. class:: Pan(width)\n\n   A pan.\n", "class Pan(width)\nA pan."),
        (".. class:: special\n\nWords.\n", "Words."),
        (".. data:: WIDTH\n   :type: int\n   :value: 3\n\n   How wide.\n", "WIDTH: int = 3\nHow wide."),
        (".. module:: pans\n   :synopsis: Pans.\n\n.. function:: boil()\n\n   Boils.\n", "pans.boil()\nBoils."),
        (".. option:: --salt <grams>, -s\n\n   How much.\n", "--salt <grams>, -s\nHow much."),
        (".. code-block:: python\n   :linenos:\n   :emphasize-lines: 1\n\n   x = 1\n     y\n", "x = 1\n  y"),
        (".. code-block:: sh\n   :caption: run.sh\n\n   ls\n", "run.sh\n\nls"),
        (".. code-block::\n\n   x = 1\n", "x = 1"),
        (".. code-block::\n   :linenos:\n\n   x = 1\n", "x = 1"),
        (".. mermaid::\n\n   a --> b\n", "a --> b"),
        (".. seealso:: The *oven*.\n", "See also\n\nThe oven."),
        (".. seealso::\n\n   The oven.\n", "See also\n\nThe oven."),
        (".. tab:: Linux\n   :sync: linux\n\n   Call apt.\n", "Linux\n\nCall apt."),
        (".. centered:: LICENSE\n", "LICENSE"),
        (".. warn-loudly::\n   Hot pans.\n", "Hot pans."),
        (".. only:: html\n\n   Words.\n", "Words."),
        (".. hlist::\n   :columns: 2\n\n   * pan\n   * pot\n", "- pan\n- pot"),
        (".. highlight:: c\n\n.. index:: pan\n\n.. sectionauthor:: Ann <a@b.c>\n\nWords.\n", "Words."),
        (".. glossary::\n\n   pan\n   skillet\n      A flat one.\n\n   pot\n      A deep one.\n",
         "pan\nskillet\nA flat one.\n\npot\nA deep one."),
        (":math:`10^6` and\n\n.. math:: \\frac{a}{b}\n   :label: half\n", "10^6 and\n\na/b"),
        (".. note:: Hot.\n   :colour: red\n", "Note\n\nHot."),
        (".. figure:: pan.png\n   :alt: a pan\n   :figcolour: red\n\n   The caption.\n",
         "[image: a pan]\n\nThe caption."),
    ],
)  # fmt: skip
def test_directives(source: str, text: str) -> None:
    assert text_of(f"Begin.\n\n{source}\nEnd.\n") == f"Begin.\n\n{text}\n\nEnd."


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (":func:`boil`", "boil()"),
        (":meth:`~pans.Pan.heat`", "heat()"),
        (":class:`!Pan`", "Pan"),
        (":c:func:`PyPan_New`", "PyPan_New()"),
        (":doc:`/guide/start`", "guide/start"),
        (":doc:`the start </guide/start>`", "the start"),
        (":file:`/etc/{name}.conf`", "/etc/name.conf"),
        (":menuselection:`File --> Save`", "File ‣ Save"),
        (":guilabel:`&Cancel`", "Cancel"),
        (":no-such-role:`its words`", "its words"),
    ],
)
def test_roles(role: str, text: str) -> None:
    assert text_of(f"See {role} here.\n") == f"See {text} here."


def test_references_within_the_file_show_the_title() -> None:
    source = (
        "Pans\n====\n\nSee :ref:`heat`, :ref:`cold` and :ref:`map`.\n\n.. _heat:\n\n"
        "How to heat\n-----------\n\nHot.\n\n"
        ".. _map:\n\n.. figure:: map.png\n\n   A map of pans.\n"
    )
    assert "See How to heat, cold and A map of pans." in text_of(source)


def test_fields_and_options_are_lines() -> None:
    source = (
        "Pans\n====\n\n:Author: Ann Bee\n:Date: 2020-05-02\n:Status: draft\n\nWords.\n\n:Price: 5\n:Weight: 2 kg\n\n"
        "-a, --all         Show all.\n--salt=GRAMS      How much\n                  salt.\n"
    )
    found = from_rst(source)
    for line in ("Author: Ann Bee", "Status: draft", "Price: 5", "Weight: 2 kg", "-a, --all Show all."):
        assert line in found.text.split("\n")
    assert "--salt=GRAMS How much salt." in found.text
    assert found.metadata == (("author", "Ann Bee"), ("published", "2 May 2020"))


def test_fields_of_a_function_are_gathered() -> None:
    source = (
        ".. function:: boil(water, salt)\n\n   Boils.\n\n   :param int water: how much\n   :param salt: how salty\n"
        "   :type salt: float\n   :type lid: bool\n   :returns: the *soup*\n"
        "   :rtype: Soup\n   :raises HotError: too hot\n"
    )
    lines = [line for line in text_of(source).split("\n") if line]
    assert lines == [
        *("boil(water, salt)", "Boils.", "Parameters:", "- water (int) – how much", "- salt (float) – how salty"),
        *("- lid (bool)", "Returns: the soup", "Return type: Soup", "Raises:", "- HotError – too hot"),
    ]


def test_what_is_not_there_is_named() -> None:
    source = (
        "Words.\n\n.. toctree::\n   :maxdepth: 2\n\n   start\n   The end <finish>\n\n"
        ".. literalinclude:: pan.py\n   :language: python\n\n"
        ".. autoclass:: pans.Pan\n   :members:\n\n   More on pans.\n\n"
        ".. click:: pans:main\n"
    )
    found = from_rst(source)
    assert found.left_out == (
        "line 3: .. toctree:: (start, The end <finish>) is not read",
        "line 9: .. literalinclude:: pan.py is not read",
        "line 12: .. autoclass:: pans.Pan is not read",
        "line 17: .. click:: pans:main is not read",
    )
    assert found.text == "Words.\n\n- The end\n\nMore on pans."


@pytest.mark.parametrize(
    "source",
    [
        "+-----+\n| pan  |\n+-----+\n",
        ".. list-table::\n\n   * pan\n",
        ".. note::\n\n   x\n\n   pan\n   ===\n\n   y\n",
        ".. admonition::\n\n   pan\n",
        ".. image::\n   :alt: pan\n\n   pan\n",
        "=====\npan\n\nwords\n",
    ],
)
def test_what_docutils_cannot_place_is_not_lost(source: str) -> None:
    text = text_of(f"Begin.\n\n{source}\nEnd.\n")
    assert "pan" in text
    assert text.endswith("End.")


def test_docutils_is_as_before_afterwards() -> None:
    before = directives.directive, roles.role
    text_of(".. versionadded:: 1\n")
    assert (directives.directive, roles.role) == before
