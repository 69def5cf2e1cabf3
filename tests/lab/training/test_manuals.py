"""Questions from the titles of a manual, answered by the opening or the steps of their sections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharedllm_cli.lab.training.manuals import Section, Verbs, chosen, pair, question, records, sections

PROSE = "You want to create a lamp, to set it, to use the wick and to clean the lens. " * 3
VERBS = Verbs([PROSE])
PAGE = """<html><body><p>&lt;&lt;&lt; Prev | Next &gt;&gt;&gt;</p><h1>Chapter 2. Lamps</h1><p>A lamp gives light.</p>
<h2>2.1. Creating a lamp</h2><p>Before you begin, buy oil.</p><ol><li>Open the door.</li><li>Fill in the oil.</li></ol>
<p>Then wait.</p><h2>Examples</h2><p>None is given here.</p></body></html>"""


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def section(title: str, *paragraphs: str) -> Section:
    return Section(title, 1, paragraphs)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "lamps.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_sections_lose_their_numbers_and_lines_of_navigation(page: Path) -> None:
    found = list(sections([page]))
    assert [one.title for one in found] == ["Lamps", "Creating a lamp", "Examples"]
    assert found[0].paragraphs == ("A lamp gives light.",)


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("Creating a lamp", "create a lamp"),
        ("Setting the wick", "set the wick"),
        ("Using oil", "use oil"),
        ("To clean the lens", "clean the lens"),
        ("How to clean the lens", "clean the lens"),
        ("Clean the lens", "clean the lens"),
    ],
)
def test_a_title_that_names_a_deed_asks_how(title: str, asked: str) -> None:
    found = [question(title, VERBS, random(seed)) for seed in range(8)]
    assert all((one is not None and asked in one and "ow" in one) or "do to" in str(one) for one in found)
    assert len(set(found)) > 1


@pytest.mark.parametrize("title", ["Examples", "See also", "2 < 3", "Missing lamps of the old kind here", "A b c d e"])
def test_a_title_that_asks_nothing_is_left_out(title: str) -> None:
    assert question(title, VERBS, random()) is None


def test_steps_answer_whole() -> None:
    made = pair(
        section("Creating a lamp", "Before you begin, buy oil.", "1. Open the door.\n2. Fill in the oil."),
        VERBS,
        random(),
    )
    assert made is not None
    assert made.answer == "1. Open the door. 2. Fill in the oil."


def test_a_meaning_is_told_only_by_a_sentence_with_its_words() -> None:
    defined = section("Wick holder", "A wick holder is the part that holds a wick upright in the lamp.")
    told = pair(defined, VERBS, random())
    assert told is not None
    assert told.answer.startswith("A wick holder is")
    used = section("Wick holder", "It has been in use for a long time by most of the keepers.")
    assert pair(used, VERBS, random()) is None


def test_evidence_is_where_the_answer_stands(page: Path) -> None:
    (record,) = records("lamps", list(sections([page])), VERBS, random())
    for one in record["qas"]:
        ((start, end),) = one["evidence"]
        assert " ".join(record["document"][start:end].split()) == one["answers"][0]
    assert len(record["qas"]) == 1


def test_what_was_taken_out_has_no_answer_and_stands_nowhere(page: Path) -> None:
    (record,) = records("lamps", list(sections([page])), VERBS, random(), taken_out=1.0)
    assert [one["answers"] for one in record["qas"]] == [[]]
    assert "Fill in the oil" not in record["document"]
    assert "Lamps" in record["document"]


def test_so_many_questions_are_kept() -> None:
    made = [{"qas": [{"id": f"{n}-{i}", "answers": ["x"] if i else []} for i in range(5)]} for n in range(4)]
    kept = [one for record in chosen(made, 8, random()) for one in record["qas"]]
    assert sum(bool(one["answers"]) for one in kept) == 8
    assert sum(not one["answers"] for one in kept) == 2
