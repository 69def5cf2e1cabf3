"""Lists of contents and figures and indexes are known by their shape, and yield to the sections they point to."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.retrieval.boundaries import TokenText
from sharedllm_cli.retrieval.listings import asks_for_a_list_of_contents, listings, raise_lists, yield_to_sections

TITLES = ("Fitting the panel", "Codes of the users", "Testing the siren", "Changing the battery")
BODY = "\n\n".join(
    f"{n} {title}\nThe {title.lower()} takes an hour. It is done twice." for n, title in enumerate(TITLES, 1)
)


@pytest.mark.parametrize(
    "heading", ["Contents", "Table of Contents", "Inhaltsverzeichnis", "Table des matières", "Inhoud"]
)
@pytest.mark.parametrize(
    "form", ["{n} {title} ... {page}", "{title} {page}", "{n}. {title}", "- {title}", "{title}, {page}"]
)
def test_a_list_below_its_heading(heading: str, form: str) -> None:
    entries = "\n".join(form.format(n=n, title=title, page=2 * n + 1) for n, title in enumerate(TITLES, 1))
    text = f"Manual of the panel\n{heading}\n{entries}\n\n{BODY}"
    (start, end) = listings(text)[0]
    assert text[start:end].startswith(heading)
    assert "Changing the battery" in text[start:end]
    assert "takes an hour" not in text[start:end]
    assert len(listings(text)) == 1


def test_figures_and_an_index() -> None:
    figures = "List of illustrations\n" + "\n".join(f"Figure {n}. {title}" for n, title in enumerate(TITLES, 1))
    index = "Index\nbattery, changing the, 11\npanel, fitting the, 3, 12–14\nB\nsiren, 7\nusers, codes of the, 5"
    text = f"{figures}\n\n{BODY}\n\n{index}"
    assert [text[start:end] for start, end in listings(text)] == [figures, index]


def test_lists_without_a_heading() -> None:
    led = "\n".join(f"{title} . . . . {n}" for n, title in enumerate(TITLES, 1))
    index = "\n".join(
        f"{word}, {n}" for n, word in enumerate(("ape", "bee", "cat", "doe", "eel", "fox", "gnu", "hen"), 3)
    )
    assert listings(f"{BODY}\n\n{led}\n\n{BODY}") == [(len(BODY) + 2, len(BODY) + 2 + len(led))]
    assert len(listings(f"{BODY}\n\n{index}")) == 1


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        "Contents\nThe box holds a panel, four screws and a key.\nOpen it with care.\nKeep the lid.",
        "Prices\nRye 12\nOats 9\nBarley 11\nWheat 14",
        "Index\nThe index stood at 104 in May.\nIt fell to 98.\nIt rose again.",
        "On 3 May, 12\nmen came. They left in June, 1904\nand came again in 1905.",
    ],
)
def test_what_is_no_list(text: str) -> None:
    assert listings(text) == []


def document(pieces: list[str]) -> TokenText:
    """A document of which every piece is a leaf of one token."""
    ends = np.cumsum([len(piece) for piece in pieces])
    places = np.arange(len(pieces))
    return TokenText("".join(pieces), ends - [len(piece) for piece in pieces], ends, np.stack([places, places + 1], 1))


def test_lists_yield_where_a_section_matches_and_stay_where_none_does() -> None:
    text = document(["Contents of it. ", "The section. ", "Another. "])
    scores, spans = [np.array([3.0, 2.0, -1.0])], [[(0, 16)]]
    assert yield_to_sections(scores, [np.array([4.0, 3.0, 0.0])], [text], spans)[0].tolist() == [-1.0, 2.0, -1.0]
    assert yield_to_sections(scores, [np.array([4.0, 1.0, 0.0])], [text], spans)[0].tolist() == [3.0, 2.0, -1.0]
    assert yield_to_sections(scores, [np.array([4.0, 3.0, 0.0])], [text], [[]])[0] is scores[0]
    assert raise_lists(scores, [text], spans)[0].argmax() == 0


@pytest.mark.parametrize(
    ("question", "lists"),
    [
        ("What chapters are there?", True),
        ("On which page is the glossary?", True),
        ("Welche Kapitel gibt es?", True),
        ("How is the panel reset after an alarm?", False),
        ("What does chapter 3 say about visitors?", False),
    ],
)
def test_questions_for_the_lists_themselves(question: str, lists: bool) -> None:
    assert asks_for_a_list_of_contents(question) is lists
