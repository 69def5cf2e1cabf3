"""Samples: the prompt of `ask`, only answers to be learned, and branches that know nothing of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.generation import prompt
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, PassageText
from sharedllm_cli.lab.training.corpus import Documents, LocatedDocument, locate
from sharedllm_cli.lab.training.objective import TrainedUpper
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import Question, Record, read_records
from sharedllm_cli.lab.training.sample import NO_TARGET, Batch, by_length, question_answers
from sharedllm_cli.model.adapter import Adapter, AdapterConfig, LowRankConfig, model_shape
from sharedllm_cli.model.loading import BaseModel, load
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=256)
PASSAGES = [PassageText("a.txt", 1, "1", "The lamp was lit in 1801.", 1.0)]
ASKED = [("When was it lit?", "1801"), ("Who lit it?", NOT_IN_DOCUMENT), ("When was the lamp put out?", "never")]


def trained(base: BaseModel, seed: int = 0) -> TrainedUpper:
    """A tiny upper model with low-rank weights that are not zero."""
    low_rank = LowRankConfig(2, 4.0, (2, 3), ("q_proj", "down_proj"))
    config = AdapterConfig(base.name, model_shape(base.model), InjectionConfig("merged", 2), TREE, low_rank)
    torch.manual_seed(seed)
    adapter = Adapter(base.model, config)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.1)
    return TrainedUpper(UpperModel(base.model, adapter))


def samples_of(data_file: Path, tokenizer: Any, seed: int = 0, **mixture: Any) -> QuestionSamples:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    settings = Mixture(least_evidence=150, most_evidence=400, **mixture)
    documents = Documents([(1.0, records)], tokenizer, TREE, paged=settings.paged)
    return QuestionSamples(documents, tokenizer, seed=seed, window=4096, mixture=settings)


def test_a_question_alone_is_the_prompt_of_ask_and_its_answer(byte_tokenizer: Any) -> None:
    sample = question_answers(byte_tokenizer, PASSAGES, ASKED[:1], 4096)
    assert sample is not None
    asked = prompt.build(byte_tokenizer, window=4096, max_new_tokens=5, question=ASKED[0][0], passages=PASSAGES)
    answer = byte_tokenizer.encode("1801")
    assert sample.token_ids.tolist() == [*asked.token_ids, *answer]
    learned = sample.targets[sample.targets != NO_TARGET].tolist()
    assert learned == [*answer, byte_tokenizer.eos_token_id]
    first = len(asked.token_ids) - 1
    assert (sample.targets[:first] == NO_TARGET).all()
    assert (sample.targets[first:] != NO_TARGET).all()


def test_what_does_not_fit_the_window_is_no_sample(byte_tokenizer: Any) -> None:
    long = [PassageText("a", None, None, "word " * 200, 1.0), *PASSAGES]
    assert question_answers(byte_tokenizer, long, ASKED[:1], 1000) is None


def test_a_branch_computes_what_it_would_compute_alone(tiny: BaseModel) -> None:
    model = trained(tiny)
    together = question_answers(tiny.tokenizer, PASSAGES, ASKED, 4096)
    alone = [question_answers(tiny.tokenizer, PASSAGES, [one], 4096) for one in ASKED]
    assert together is not None
    assert len(together) < sum(len(one) for one in alone if one)
    device = torch.device("cpu")
    with torch.no_grad():
        logits = model(Batch.of([together], device))
        each = torch.cat([model(Batch.of([one], device)) for one in alone if one])
    torch.testing.assert_close(logits, each, rtol=1e-4, atol=1e-4)


def test_side_by_side_is_one_by_one(tiny: BaseModel) -> None:
    model = trained(tiny)
    made = [question_answers(tiny.tokenizer, PASSAGES, ASKED[:count], 4096) for count in (1, 3, 2)]
    samples = [one for one in made if one]
    device = torch.device("cpu")
    with torch.no_grad():
        together = model(Batch.of(samples, device))
        each = torch.cat([model(Batch.of([one], device)) for one in samples])
    torch.testing.assert_close(together, each, rtol=1e-4, atol=1e-4)


def test_the_logits_are_those_of_the_upper_model(tiny: BaseModel) -> None:
    model = trained(tiny)
    sample = question_answers(tiny.tokenizer, PASSAGES, ASKED[:1], 4096)
    assert sample is not None
    with torch.no_grad():
        ours = model(Batch.of([sample], torch.device("cpu")))
        plain = model.base(input_ids=torch.from_numpy(sample.token_ids)[None]).logits[0]
    torch.testing.assert_close(ours, plain[torch.from_numpy(sample.targets) != NO_TARGET], rtol=1e-4, atol=1e-4)


def test_a_sliding_window_is_kept_within_a_branch(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = model_folder("mistral", max_position_embeddings=4096, sliding_window=16)
    base = load(str(folder), home=tmp_path, device="cpu", attention="sdpa", reporter=Silent())
    model = trained(base)
    tokenizer = base.tokenizer
    alone = [question_answers(tokenizer, PASSAGES, [one], 4096) for one in ASKED]
    together = question_answers(tokenizer, PASSAGES, ASKED, 4096)
    assert together is not None
    with torch.no_grad():
        plain = torch.cat(
            [
                model.base(input_ids=torch.from_numpy(one.token_ids)[None]).logits[0][one.targets != NO_TARGET]
                for one in alone
                if one
            ]
        )
        torch.testing.assert_close(model(Batch.of([together], torch.device("cpu"))), plain, rtol=1e-4, atol=1e-4)


def test_only_weights_of_the_top_layers_get_gradients(tiny: BaseModel) -> None:
    model = trained(tiny)
    sample = question_answers(tiny.tokenizer, PASSAGES, ASKED, 4096)
    assert sample is not None
    model(Batch.of([sample], torch.device("cpu"))).logsumexp(-1).sum().backward()
    own = {id(parameter) for parameter in model.trained_parameters().values()}
    assert all(parameter.grad is not None for parameter in model.trained_parameters().values())
    assert all(parameter.grad is None for parameter in model.parameters() if id(parameter) not in own)
    assert {name.split(".")[1] for name in model.trained_parameters()} == {"2", "3"}


def test_samples_of_like_length_stand_together(byte_tokenizer: Any) -> None:
    made = [question_answers(byte_tokenizer, PASSAGES, ASKED[:count], 4096) for count in (1, 3, 1, 2)]
    samples = [one for one in made if one]
    longest = max(len(sample) for sample in samples)
    groups = by_length(samples, 2 * longest)
    assert sorted(len(sample) for group in groups for sample in group) == sorted(len(sample) for sample in samples)
    assert [len(group) for group in groups] == [2, 2]
    assert [len(group) for group in by_length(samples, 1)] == [1, 1, 1, 1]


def test_a_sample_depends_on_seed_and_number_alone(data_file: Path, byte_tokenizer: Any) -> None:
    one, other = samples_of(data_file, byte_tokenizer), samples_of(data_file, byte_tokenizer)
    late = other[5]
    for name in ("token_ids", "positions", "branches", "targets"):
        np.testing.assert_array_equal(getattr(one[5], name), getattr(late, name))
    different = samples_of(data_file, byte_tokenizer, seed=1)
    assert one[5].token_ids.tolist() != different[5].token_ids.tolist()


def test_answers_stand_in_the_passages_exactly_where_they_are_asked_for(data_file: Path, byte_tokenizer: Any) -> None:
    samples = samples_of(data_file, byte_tokenizer)
    counts = {True: 0, False: 0}
    for number in range(60):
        case = samples.case(number)
        shown = " ".join(" ".join(passage.text for passage in case.passages).split())
        for asked in case.asked:
            counts[asked.answerable] += 1
            assert (asked.answers[0] in shown) is asked.answerable
            assert asked.answer == (asked.answers[0] if asked.answerable else NOT_IN_DOCUMENT)
    assert counts[True] > counts[False] > 0


def ropes(count: int = 60) -> Record:
    """A document of which no two sentences are alike, with a question about each tenth."""
    text = " ".join(f"Rope {number} is {number + 3} fathoms long." for number in range(count))
    questions = tuple(
        Question(str(number), f"How long is rope {number}?", (f"{number + 3} fathoms",))
        for number in range(5, count, 10)
    )
    return Record("ropes", "Ropes", text, questions)


def test_passages_keep_the_budget_and_stand_apart_in_the_document(byte_tokenizer: Any) -> None:
    record = ropes()
    documents = Documents([(1.0, [record])], byte_tokenizer, TREE, paged=0.0)
    samples = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096, mixture=Mixture(150, 400))
    apart = 0
    for number in range(30):
        passages = samples.case(number).passages
        assert all(passage.text in record.document for passage in passages)
        spans = sorted((record.document.index(one.text), len(one.text)) for one in passages)
        assert all(start + length <= later for (start, length), (later, _) in pairwise(spans))
        assert sum(length for _, length in spans) <= 400
        apart += len(passages) > 1
    assert apart > 10


def test_the_passage_that_the_search_finds_best_is_read_last_and_one_that_was_put_in_is_not(
    byte_tokenizer: Any,
) -> None:
    """The search here likes the last leaf of a document best; where it misses the answer, that is put in."""

    def end(question: str, documents: Sequence[LocatedDocument]) -> list[np.ndarray]:
        return [np.arange(document.leaves.leaf_count, dtype=np.float64) for document in documents]

    settings = Mixture(130, 160, hard_unanswerable=0.0, left_missed=0.0)
    record = ropes()
    documents = Documents([(1.0, [record])], byte_tokenizer, TREE, paged=0.0)
    samples = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096, mixture=settings, scores=end)
    put_in = 0
    for number in range(30):
        case = samples.case(number)
        places = [record.document.index(passage.text) for passage in case.passages]
        assert places == sorted(places), "later leaves are better, so that this search's order is the document's"
        answer = case.asked[0].answers[0]
        put_in += len(places) > 1 and answer in case.passages[0].text and answer not in case.passages[-1].text
    assert put_in > 10


def test_questions_share_passages_that_each_would_read_in_the_same_order(data_file: Path, byte_tokenizer: Any) -> None:
    documents = Documents(
        [(1.0, read_records(data_file, skip_bad_lines=False, reporter=Silent()))], byte_tokenizer, TREE, paged=0.0
    )
    # Every question finds the leaf best that its length tells, of three far apart.
    lengths = {"When was the lamp lit?": 0, "What was the keeper called?": 1, "How tall is the tower?": 0}

    def search(question: str, asked: Sequence[LocatedDocument]) -> list[np.ndarray]:
        found = []
        for document in asked:
            values = np.zeros(document.leaves.leaf_count)
            values[[0, document.leaves.leaf_count // 2]] = 2.0, 2.0
            values[0 if lengths[question] else document.leaves.leaf_count // 2] = 3.0
            found.append(values)
        return found

    settings = Mixture(200, 200, second_document=0.0, hard_unanswerable=0.0, left_missed=0.0, foreign_question=0.0)
    samples = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096, mixture=settings, scores=search)
    together = [
        {lengths[asked.question] for asked in case.asked}
        for case in map(samples.case, range(40))
        if len(case.passages) > 1 and len(case.asked) > 1
    ]
    assert together
    assert all(len(kinds) == 1 for kinds in together)


def test_documents_that_stand_whole_keep_their_order_and_all_their_questions(
    data_file: Path, byte_tokenizer: Any
) -> None:
    """The search likes the first of two documents best, and each question another one: neither moves whole ones."""

    def first(question: str, asked: Sequence[LocatedDocument]) -> list[np.ndarray]:
        places = range(len(asked), 0, -1) if "lit" in question else range(len(asked))
        return [np.full(one.leaves.leaf_count, float(place)) for one, place in zip(asked, places, strict=True)]

    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    documents = Documents([(1.0, records)], byte_tokenizer, TREE, paged=0.0)
    settings = Mixture(9000, 9000, second_document=1.0, hard_unanswerable=0.0, foreign_question=0.0, named_title=0.0)
    samples = QuestionSamples(documents, byte_tokenizer, seed=0, window=30000, mixture=settings, scores=first)
    cases = [case for case in map(samples.case, range(20)) if len(case.passages) == 2]
    assert len(cases) > 10
    for case in cases:
        assert len(case.asked) == 3
        assert case.asked[0].answers[0] in case.passages[0].text, "the document that is asked stands first"


def test_two_documents_are_named_in_their_passages(data_file: Path, byte_tokenizer: Any) -> None:
    samples = samples_of(data_file, byte_tokenizer, second_document=1.0, named_title=1.0, foreign_question=0.0)
    named = [samples.case(number) for number in range(20)]
    assert any(len({passage.document for passage in case.passages}) == 2 for case in named)
    for case in named:
        if len({passage.document for passage in case.passages}) == 2:
            assert all("Skerry" in asked.question for asked in case.asked)


def test_a_document_that_fits_the_budget_stands_whole(byte_tokenizer: Any) -> None:
    record = Record("d", "", "Yes is the answer. It is said here.", (Question("1", "Is it said?", ("yes",)),))
    documents = Documents([(1.0, [record])], byte_tokenizer, TREE, paged=0.0)
    case = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096).case(0)
    assert [passage.text for passage in case.passages] == [record.document]
    assert [asked.answer for asked in case.asked] == ["yes"]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (("1801",), "1801"),
        (("LIT  IN\n1801.",), "LIT  IN\n1801."),
        (("in the year 1066", "in 1801"), "in 1801"),
        (("1801 was when lamps were lit",), "1801 was when lamps were lit"),
        (("a green dragon",), None),
        (("word " * 41,), None),
    ],
)
def test_an_answer_is_located_word_for_word_or_by_its_words(
    byte_tokenizer: Any, answers: tuple[str, ...], found: str | None
) -> None:
    record = Record(
        "d", "", "The lamp was lit in 1801. " + "Waves beat on rocks. " * 40, (Question("1", "When?", answers),)
    )
    located = locate(record, byte_tokenizer, TREE, paged=True)
    assert [one.answer for one in located.questions] == ([] if found is None else [found])
    for one in located.questions:
        assert 0 in one.gold
