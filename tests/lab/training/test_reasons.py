"""Yes and no with the sentence that settles it, and questions that a document almost answers."""

from __future__ import annotations

import numpy as np
import pytest

from sharedllm_cli.errors import DocumentError, exit_with
from sharedllm_cli.lab.training.question_samples import near_miss
from sharedllm_cli.lab.training.reasons import joined, sentences, with_reason
from sharedllm_cli.lab.training.records import Question

TEXT = "La Rambla -- La Rambla is a street. The street was built on a river bed. We do not sell maps of it."


def reason(question: str, answer: str, *, spans: bool = False) -> list[str] | None:
    found = with_reason(Question("1", question, (answer,)), TEXT, spans=spans)
    return None if found is None else found["answers"]


def test_a_sentence_knows_where_it_begins_and_a_title_is_none_of_its_words() -> None:
    found = list(sentences(TEXT))
    assert [one.text for one in found][:2] == ["La Rambla", "La Rambla is a street."]
    assert all(TEXT[one.start : one.end] == one.text for one in found)


def test_the_reason_is_the_sentence_that_shares_most_words() -> None:
    assert reason("was the street built on a river", "yes") == ["Yes. The street was built on a river bed."]


def test_a_question_that_no_sentence_settles_is_left_out() -> None:
    assert reason("is the sea of glass deep", "yes") is None
    assert reason("when was the street built", "yes") is None


def test_a_sentence_that_denies_says_no() -> None:
    assert reason("Do you sell maps of the street?", "sell maps", spans=True) == ["No. We do not sell maps of it."]
    assert reason("Was the street built on a bed?", "river bed", spans=True) == [
        "Yes. The street was built on a river bed."
    ]


def test_evidence_moves_with_its_document() -> None:
    made = with_reason(Question("1", "was the street built on a river", ("yes",)), TEXT, spans=False)
    record = {"doc_id": "a", "title": "A", "document": TEXT, "qas": [made]}
    (together,) = joined([record, {**record, "doc_id": "b"}], 30)
    spans = [question["evidence"][0] for question in together["qas"]]
    assert [together["document"][start:end] for start, end in spans] == ["The street was built on a river bed."] * 2


@pytest.mark.parametrize("seed", range(20))
def test_a_near_miss_asks_about_what_is_not_shown(seed: int) -> None:
    random = np.random.default_rng(seed)
    others = ["Who met Anna Karlson?", "a The miller", "a Bo"]
    found = near_miss("When did Ida leave Malmo in 1,204?", others, "Anna Karlson met Ida in Malmo.", random)
    if found is not None:
        assert found.put_in in found.question
        assert found.put_in == "Bo" or found.put_in[:2] in ("1,", "99")


def test_a_question_without_a_name_or_number_has_no_near_miss() -> None:
    assert near_miss("who was he?", ["Who met Anna?"], "", np.random.default_rng(0)) is None


def test_a_fault_of_a_module_run_by_itself_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise DocumentError("there is no data file x.jsonl", hint="name one that is there")

    with pytest.raises(SystemExit) as ended:
        exit_with(fails)
    assert ended.value.code == DocumentError.exit_code
    assert capsys.readouterr().err == "error: there is no data file x.jsonl\nhint: name one that is there\n"
