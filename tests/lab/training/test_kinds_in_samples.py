"""The kind of a question in a sample: its rule in the prompt, where its answer stands, and near misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.answering.kinds import RULES, Kind
from sharedllm_cli.config import TreeConfig
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, RULE, PassageText
from sharedllm_cli.lab.training.corpus import Documents, LocatedDocument, locate
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import Question, Record, read_records
from sharedllm_cli.lab.training.sample import question_answers
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=256)
FILLER = "The wind of the coast is known to every sailor. " * 8
REASON = "The lamp was lit by the keeper's own hand each night."


def located(tokenizer: Any, *questions: Question) -> LocatedDocument:
    record = Record("d", "Skerry", f"{FILLER}{REASON} {FILLER}", questions)
    return locate(record, tokenizer, TREE, paged=False)


@pytest.mark.parametrize("kinds", [False, True])
def test_the_rule_of_its_kind_stands_after_a_question_for_an_adapter_that_learns_it(
    kinds: bool, byte_tokenizer: Any
) -> None:
    passages = [PassageText("a", None, None, REASON, 1.0)]
    for question, kind in (("Who lit it?", Kind.SHORT), ("Why was it lit?", Kind.EXPLANATION)):
        sample = question_answers(byte_tokenizer, passages, [(question, "x")], 4096, kinds=kinds)
        assert sample is not None
        rule = RULES[kind] if kinds else RULE
        asked = prompt.build(
            byte_tokenizer, window=4096, max_new_tokens=2, question=question, passages=passages, rule=rule
        )
        assert sample.token_ids.tolist() == [*asked.token_ids, *byte_tokenizer.encode("x")]


def test_an_answer_stands_where_the_data_say(byte_tokenizer: Any) -> None:
    span = (len(FILLER), len(FILLER) + len(REASON))
    (found,) = located(
        byte_tokenizer, Question("1", "Was the lamp lit by hand?", (f"Yes. {REASON}",), (span,))
    ).questions
    assert found.answer == f"Yes. {REASON}"
    assert not found.needs_all
    (same,) = located(byte_tokenizer, Question("1", "Who lit the lamp?", (REASON,))).questions
    assert found.gold == same.gold


def test_a_question_of_yes_or_no_is_answered_by_nothing_else(byte_tokenizer: Any) -> None:
    assert not located(byte_tokenizer, Question("1", "Was the lamp lit by hand?", ("the keeper's own hand",))).questions


def test_long_answers_are_for_the_kinds_that_need_them(byte_tokenizer: Any) -> None:
    words = " ".join(FILLER.split()[:60])
    assert not located(byte_tokenizer, Question("1", "Who lit it?", (words,))).questions
    assert located(byte_tokenizer, Question("1", "How do I light it?", (words,))).questions


def test_a_near_miss_is_met_with_a_refusal(data_file: Path, byte_tokenizer: Any) -> None:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    numbered = Question("n", "Was it 7 metres, or how tall?", ("metres",))
    records = [Record(one.doc_id, one.title, one.document, (*one.questions, numbered)) for one in records]
    settings = {"least_evidence": 150, "most_evidence": 400, "foreign_question": 0.0, "hard_unanswerable": 0.0}

    def asked(share: float) -> list[str]:
        documents = Documents([(1.0, records)], byte_tokenizer, TREE, paged=0.0)
        mixture = Mixture(near_miss=share, left_missed=0.0, **settings)  # type: ignore[arg-type]
        samples = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096, mixture=mixture)
        cases = [samples.case(number).asked for number in range(24)]
        return [one.question for case in cases for one in case if one.answer == NOT_IN_DOCUMENT]

    assert not asked(0.0)
    missed = asked(1.0)
    assert missed
    assert all("metres" in question and " 7 " not in question for question in missed)
