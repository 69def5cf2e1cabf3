"""Questions of yes or no that are made from sentences, and as many of either answer."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from sharedllm_cli.lab.training import denials
from sharedllm_cli.lab.training.denials import balanced, made_from
from sharedllm_cli.lab.training.reasons import Sentence
from sharedllm_cli.lab.training.records import Record

LOWERCASE = frozenset({"negative", "the", "a"})


def asked(text: str) -> tuple[str, bool] | None:
    made = made_from(Sentence(0, text), LOWERCASE, random.Random(0))
    return (made.question, made.denied) if made else None


@pytest.mark.parametrize(
    ("text", "question", "denied"),
    [
        (
            "Negative indices are not allowed in index matrices.",
            "Are negative indices allowed in index matrices?",
            True,
        ),
        ("The lamp is lit at dusk each day, by the keeper.", "Is the lamp lit at dusk each day?", False),
        ("Berlin cannot be reached by boat in winter.", "Can Berlin be reached by boat in winter?", True),
        ("The keepers can't open the door at night.", "Can the keepers open the door at night?", True),
        ("You may copy the program for your own use.", "May you copy the program for your own use?", False),
    ],
)
def test_a_sentence_is_turned_into_the_question_it_answers(text: str, question: str, denied: bool) -> None:
    assert asked(text) == (question, denied)


@pytest.mark.parametrize(
    "text",
    [
        "It is not allowed in the matrices of this kind.",  # what `it` is stands elsewhere
        "The lamp is not lit unless the keeper is there.",  # no is not the whole answer
        "The man who lit the lamp is not the keeper here.",  # the first verb may be another's
        "You may not be interested in the reports of trouble.",  # forbids, or says what is possible
        "The lamp is lit at dusk; the door is not open.",
        "The lamp is lit.",
    ],
)
def test_a_sentence_that_says_neither_plainly_is_left(text: str) -> None:
    assert asked(text) is None


def test_every_verb_has_as_many_of_yes_as_of_no() -> None:
    texts = [f"The lamp number {n} is {'not ' if n % 4 == 0 else ''}lit at dusk each day." for n in range(40)]
    texts += [f"The door number {n} must {'not ' if n % 4 else ''}stay open at night." for n in range(40)]
    draw = random.Random(3)
    made = [one for place, text in enumerate(texts) if (one := made_from(Sentence(0, text), LOWERCASE, draw, place))]
    counted = Counter((one.verb, one.denied) for one in balanced(made, draw))
    assert counted["is", True] == counted["is", False] == 10
    assert {counted[verb, True] - counted[verb, False] for verb in ("is", "must", "may")} == {0}


def test_the_command_writes_answers_with_their_sentence_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = "The lamp is lit at dusk each day. The lower door is not locked by the keeper."
    rows = [
        {"doc_id": str(n), "title": "T", "document": document, "qas": [{"id": "1", "question": "Q?", "answers": ["x"]}]}
        for n in range(3)
    ]
    data, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(sys, "argv", ["denials", "--data", str(data), "--out", str(out), "--hold-back", "1"])
    denials.main()
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["doc_id"] for one in written] == ["0", "1"]
    first, second = written[0]["qas"]
    assert (first["question"], first["answers"]) == (
        "Is the lamp lit at dusk each day?",
        ["Yes. The lamp is lit at dusk each day."],
    )
    (start, end), *_ = second["evidence"]
    assert second["answers"] == [f"No. {document[start:end]}"]


def test_no_document_gives_more_than_its_share() -> None:
    document = " ".join(f"The lamp number {n} is {'not ' if n % 2 else ''}lit at dusk each day." for n in range(100))
    record = Record(doc_id="d", title="", document=document, questions=())
    (line,) = denials.lines([record], 0)
    assert len(line["qas"]) == 2 * denials.MOST_A_DOCUMENT
