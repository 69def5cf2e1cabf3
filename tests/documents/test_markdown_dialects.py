"""Markdown as its dialects write it: a reader of the page sees the text, and nothing is lost below any depth."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedllm_cli.documents import readers
from sharedllm_cli.documents.markup.markdown import from_markdown
from sharedllm_cli.documents.sources import SourceFile


def text_of(source: str) -> str:
    return from_markdown(source).text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("> [!NOTE]\n> Hot *pans*.", "Note\nHot pans."),
        ("> [!WARNING] Mind\n> Hot pans.", "Mind\nHot pans."),
        ('!!! note "Mind this"\n    Hot *pans*.\n\n    - a\n', "Mind this\n\nHot pans.\n\n- a"),
        ("!!! warning\n    Hot pans.\nMore.", "Warning\n\nHot pans.\n\nMore."),
        ("??? tip\n    Hot pans.", "Tip\n\nHot pans."),
        ('=== "Linux"\n    Call apt.\n\n=== "Mac"\n    Call brew.', "Linux\n\nCall apt.\n\nMac\n\nCall brew."),
        (":::tip\nHot *pans*.\n:::", "Tip\n\nHot pans."),
        ("::: warning Mind\nHot pans.\n:::", "Mind\n\nHot pans."),
        ("::: {.columns}\nHot pans.\n:::", "Hot pans."),
        (":::: note\nOne.\n::: tip\nTwo.\n:::\n::::", "Note\n\nOne.\n\nTip\n\nTwo."),
        (":::\nHot pans.", "Hot pans."),
        ("```{note} Mind\n:class: red\nHot *pans*.\n```", "Mind\n\nHot pans."),
        ("```{code-block} python\nx = *a*\n```", "x = *a*"),
        ("```{testcode}\n# *a*\nx = 1\n```", "# *a*\nx = 1"),
        ("::::{grid} 2\n:::{card} Pans\nHot *pans*.\n:::\n::::", "Pans\n\nHot pans."),
        ("pan\n: A flat *one*.\n: Of iron.", "pan\nA flat one.\n\nOf iron."),
        ("pan\n\n:   A flat one,\n    of iron.\n\n    Heavy.\n\npot\n:   A deep one.",
         "pan\nA flat one,\nof iron.\n\nHeavy.\n\npot\nA deep one.".replace(",\n", ", ")),
        ("It costs: much\n:smile: indeed", "It costs: much :smile: indeed"),
        ("so $x*y*z$ and $\\frac{a}{b}$", "so x*y*z and a/b"),
        ("between $5 and $10, or $5*2$ of them", "between $5 and $10, or 5*2 of them"),
        ("$$\nx_1 = 2\n\n+ *y*\n$$", "x_1 = 2 + *y*"),
        ("$$10^6$$", "10^6"),
        ("H~2~O, 10^6^ and ~~old~~ ~older~ ==new==", "H2O, 10^6 and [struck out: old] [struck out: older] new"),
        ("a == b == c and x^2 or ~5", "a == b == c and x^2 or ~5"),
        ("see [[Pans#Iron|iron pans]], [[Pots]]", "see iron pans, Pots"),
        ("see {ref}`the pans <pans>`, {py:meth}`~pans.heat`, {math}`10^6`", "see the pans, heat, 10^6"),
        ("thirty-\nfive pans, un-\neven and pre-\nand post", "thirty-five pans, un-even and pre- and post"),
        ("an uneven pan is un-\neven", "an uneven pan is uneven"),
        ("`a-`\nb and\n\n    thirty-\n    five", "a- b and\n\nthirty-\nfive"),
        ("<details>\n<summary>More</summary>\n\nHot **pans**.\n\n</details>", "More\n\nHot pans."),
        ("| pan | price |\n|--|--:|\n| flat<br>iron | `a\\|b` |", "pan | price\nflat iron | a|b"),
        ("Pan[^1].\n\n[^1]: First.\n\n    More of it.\n\nEnd.", "Pan [1].\n\n[1]: First.\n\nMore of it.\n\nEnd."),
        ("[a][pot], [pot] and [b][]\n\n[pot]: https://x.org\n[b]: <u>", "a (https://x.org), pot (https://x.org) and b"),
    ],
)  # fmt: skip
def test_dialects(source: str, text: str) -> None:
    assert text_of(f"Begin.\n\n{source}\n\nThe last.\n") == f"Begin.\n\n{text}\n\nThe last."


@pytest.mark.parametrize("depth", [9, 10, 20, 61, 200, 1000])
@pytest.mark.parametrize("kind", ["list", "one line", "quote", "mixed", "notes"])
def test_nothing_is_lost_below_any_depth(kind: str, depth: int) -> None:
    nested = {
        "list": "\n".join("  " * level + f"- item{level}." for level in range(depth)),
        "one line": "- " * depth + f"item{depth - 1}.",
        "quote": "> " * depth + f"item{depth - 1}.",
        "mixed": "> - " * depth + f"item{depth - 1}.",
        "notes": "\n".join(
            "    " * level + "!!! note\n" + "    " * (level + 1) + f"item{level}." for level in range(depth)
        ),
    }[kind]
    document = readers.read(SourceFile("x.md", Path("x.md")), data=f"{nested}\n\nAfter it.\n\n# Next\n".encode())
    assert f"item{depth - 1}." in document.text
    assert document.text.endswith("After it.\n\nNext")


FRONT = """\
---
title: "Pans: a guide"
author:
  - Ann Bee
  - name: Bob Cee
    email: bob@example.org
date: 2020-05-02
layout: page
servings: 4
description: >
  All about
  pans.
---
"""


def test_front_matter_is_metadata() -> None:
    document = readers.read(SourceFile("x.md", Path("x.md")), data=f"{FRONT}\nWords.\n".encode())
    assert document.metadata == (
        *(("title", "Pans: a guide"), ("author", "Ann Bee, Bob Cee")),
        ("published", "2 May 2020"),
    )
    assert document.text == "Pans: a guide\nservings: 4\ndescription: >\n  All about\n  pans.\n\nWords."


def test_a_title_that_the_text_begins_with_stands_once() -> None:
    assert text_of("---\ntitle: Pans\n---\n# Pans\n\nWords.") == "Pans\n\nWords."
    found = from_markdown('+++\ntitle = "Pans"\nauthors = ["Ann Bee"]\n+++\nWords.')
    assert (found.text, found.metadata) == ("Pans\n\nWords.", (("title", "Pans"), ("author", "Ann Bee")))


@pytest.mark.parametrize("front", ["a: [b", "just words", "- a\n- b", "&a [*a]: x", "{" * 5000])
def test_front_matter_that_is_none_stays(front: str) -> None:
    assert text_of(f"---\n{front}\n---\nWords.").split() == [*front.split(), "Words."]


def test_aliases_that_double_each_other_end() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert text_of(f"---\ntitle: Pans\n{bomb}author: *a59\n---\nWords.").startswith("Pans\na0")


def test_a_rule_at_the_beginning_is_no_front_matter() -> None:
    assert text_of("---\n\nWords.\n\nMore words.") == "Words.\n\nMore words."
