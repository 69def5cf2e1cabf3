"""What is asked: joined documents keep their words and spans, and the drawing depends on the seed alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.config import TreeConfig
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.evaluation.questions import JoinedDocument, Joining, opened, read_joined, select, with_misplaced
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.progress import Silent


def joined(path: Path, join: int) -> tuple[JoinedDocument, ...]:
    return read_joined([DataFile(path)], [Joining(join)], skip_bad_lines=False, reporter=Silent())


def test_joined_documents_stand_below_their_titles_and_questions_name_them(lights_file: Path) -> None:
    first, second = joined(lights_file, 3)
    records = [json.loads(line) for line in lights_file.read_text().splitlines()]
    assert first.text == "\n\n".join(f"{one['title']}\n\n{one['document']}" for one in records[:3])
    assert second.text == f"Skerry 3\n\n{records[3]['document']}", "the last one has what is left, nothing is dropped"
    assert [one.text for one in first.asked[:4:3]] == [
        'In "Skerry 0": When was the lamp lit?',
        'In "Skerry 1": When was the lamp lit?',
    ]
    alone = joined(lights_file, 1)
    assert [one.text for one in alone] == [one["document"] for one in records]
    assert alone[1].asked[0].text == "When was the lamp lit?"


def test_without_titles_only_the_questions_change(lights_file: Path) -> None:
    named = joined(lights_file, 3)
    plain = read_joined([DataFile(lights_file)], [Joining(3, titles=False)], skip_bad_lines=False, reporter=Silent())
    assert [one.text for one in plain] == [one.text for one in named], "headings stay"
    assert plain[0].asked[3].text == "When was the lamp lit?"
    for before, after in zip(named[0].asked, plain[0].asked, strict=True):
        assert before.text.endswith(f": {after.text}")
        assert replace(before, text=after.text) == after
    assert Joining(3).facts() == {"join": 3, "last": None}, "runs from before there was a choice can be resumed"
    assert Joining(3, titles=False).facts() != Joining(3).facts()
    assert Joining.of(2, (3,), (None,), titles=False) == (Joining(3, titles=False),) * 2


def test_evidence_moves_with_its_document(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = []
    for title, text in (("One", "aaa bbb"), ("", "ccc ddd"), ("Three", "eee fff")):
        qas = [{"id": "1", "question": "Which?", "answers": [], "evidence": [[4, 7]]}]
        lines.append(json.dumps({"doc_id": title, "title": title, "document": text, "qas": qas}))
    path.write_text("\n".join(lines))
    (document,) = joined(path, 3)
    spans = [one.evidence[0] for one in document.asked]
    assert [document.text[start:end] for start, end in spans] == ["bbb", "ddd", "fff"]
    assert [one.text for one in document.asked] == ['In "One": Which?', "Which?", 'In "Three": Which?']


@pytest.mark.parametrize("evidence", [3, [3], [[1, 2, 3]], [["a", "b"]], [[2, 1]], [[0, 99]]])
def test_evidence_outside_the_document_is_a_bad_line(tmp_path: Path, evidence: Any) -> None:
    path = tmp_path / "a.jsonl"
    qas = [{"id": "1", "question": "Which?", "answers": ["b"], "evidence": evidence}]
    path.write_text(json.dumps({"doc_id": "a", "title": "", "document": "a b c", "qas": qas}))
    with pytest.raises(DocumentError, match=r"line 1: question 1 has evidence"):
        joined(path, 1)


def test_an_answer_that_says_there_is_none_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    answers: list[list[str]] = [["It is red."], [], ["The document does not say."]]
    qas = [{"id": str(place), "question": "Which?", "answers": one} for place, one in enumerate(answers)]
    path.write_text(json.dumps({"doc_id": "a", "title": "", "document": "a b c", "qas": qas}))
    assert [one.answerable for one in joined(path, 1)[0].asked] == [True, False, False]


def test_the_seed_draws_and_the_order_is_the_documents(lights_file: Path) -> None:
    documents = joined(lights_file, 1)
    draws = {seed: [one.key for _, one in select(documents, limit=5, seed=seed).chosen] for seed in range(4)}
    assert draws[0] == [one.key for _, one in select(documents, limit=5, seed=0).chosen]
    assert len({tuple(keys) for keys in draws.values()}) > 1
    everything = [one.key for document in documents for one in document.asked]
    for keys in draws.values():
        assert keys == sorted(set(keys), key=everything.index)
    assert len(select(documents, limit=99, seed=0).chosen) == len(everything) == 12
    with pytest.raises(DocumentError):
        select(documents, limit=5, seed=0, wanted=lambda place, one: False)


def test_only_the_last_documents_are_taken(lights_file: Path) -> None:
    everything = joined(lights_file, 1)
    kept = read_joined([DataFile(lights_file)], [Joining(1, 3)], skip_bad_lines=False, reporter=Silent())
    assert kept == everything[1:]
    assert read_joined([DataFile(lights_file)], [Joining(1, 9)], skip_bad_lines=False, reporter=Silent()) == everything


def test_misplaced_questions_are_not_answered_where_they_are_asked(lights_file: Path) -> None:
    documents = joined(lights_file, 1)
    drawn = select(documents, limit=3, seed=0)
    both = with_misplaced(drawn, 4, seed=0)
    more = [pair for pair in both.chosen if pair not in drawn.chosen]
    assert len(more) == 4
    assert len(both.chosen) == 7
    assert [place for place, _ in both.chosen] == sorted(place for place, _ in both.chosen)
    answers = {
        f"misplaced {one.key}": (place, one) for place, document in enumerate(documents) for one in document.asked
    }
    for place, one in more:
        owner, original = answers[one.key]
        assert (place, one.text, one.answerable) == ((owner - 1) % 4, original.text, False)
        assert not any(answer in documents[place].text for answer in original.answers)
    assert with_misplaced(drawn, 0, seed=0) == drawn
    with pytest.raises(DocumentError, match="only 8 questions"):
        with_misplaced(drawn, 9, seed=0)
    with pytest.raises(DocumentError, match="only 0 questions"):
        with_misplaced(select(joined(lights_file, 4), limit=3, seed=0), 1, seed=0)


def test_each_file_is_joined_in_its_own_way(lights_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "others.jsonl"
    other.write_bytes(lights_file.read_bytes())
    files = [DataFile(lights_file), DataFile(other)]
    both = Joining.of(2, (1, 2), (None, 3))
    documents = read_joined(files, both, skip_bad_lines=False, reporter=Silent())
    own = read_joined(files[:1], both[:1], skip_bad_lines=False, reporter=Silent())
    rest = read_joined(files[1:], both[1:], skip_bad_lines=False, reporter=Silent())
    assert documents == own + rest
    assert [document.file for document in documents] == ["lights.jsonl"] * 4 + ["others.jsonl"] * 2
    chosen = with_misplaced(select(documents, limit=10, seed=0), 5, seed=0)
    parts = [chosen.of_file(file) for file in ("lights.jsonl", "others.jsonl")]
    assert [pair for part in parts for pair in part.chosen] == list(chosen.chosen)
    assert all(part.chosen for part in parts)
    for place, asked in chosen.chosen:
        assert asked.key.removeprefix("misplaced ").startswith(documents[place].file), "a question stays in its file"
    assert Joining.of(3, (4,), (None,)) == (Joining(4),) * 3
    for joins, lasts in (((1, 2), (None,)), ((1,), (1, 2, 3, 4))):
        with pytest.raises(UsageError, match="for 3 data files"):
            Joining.of(3, joins, lasts)
    with pytest.raises(UsageError, match="at least 1"):
        Joining.of(1, (0,), (None,))


def test_two_files_of_one_name_are_refused(lights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    same = tmp_path / "other" / lights_file.name
    same.write_bytes(lights_file.read_bytes())
    files = [DataFile(lights_file), DataFile(same)]
    with pytest.raises(UsageError, match="two data files are called lights"):
        read_joined(files, [Joining(), Joining()], skip_bad_lines=False, reporter=Silent())


def test_a_document_is_opened_whole_and_without_a_file(lights_file: Path, byte_tokenizer: Any) -> None:
    document = joined(lights_file, 4)[0]
    found = opened(document, byte_tokenizer, "hash", TreeConfig(64, 2, (8, 4)))
    assert found.document.text == document.text
    assert found.tokens == len(document.text.encode())
    assert not found.paged
