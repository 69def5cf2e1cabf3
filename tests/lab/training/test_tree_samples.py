"""Samples that read a tree: planned over documents, read as `ask` reads them, and what may learn from them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_trees import LiveTrees

from sharedllm_cli.config import Encoding, Injection, InjectionConfig, TreeConfig
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.training.corpus import Documents, LocatedDocument, Split, locate
from sharedllm_cli.lab.training.objective import NextTokens, TrainedUpper
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import read_records
from sharedllm_cli.lab.training.sample import NO_TARGET, Batch, Sample, by_length
from sharedllm_cli.lab.training.sampled_trees import StoredTrees, TreePlan, TreeReader, chunks_of, plan
from sharedllm_cli.lab.training.validation import Validation, exchanged_trees
from sharedllm_cli.model.adapter import Adapter, AdapterConfig, LowRankConfig, model_shape
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=128)


def located(data_file: Path, tokenizer: Any, tree: TreeConfig = TREE) -> list[LocatedDocument]:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    return [locate(record, tokenizer, tree, paged=False) for record in records]


def random_values(documents: Sequence[LocatedDocument], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=one.leaves.leaf_count) for one in documents]


def tree_samples(data_file: Path, tokenizer: Any, **mixture: Any) -> QuestionSamples:
    settings = Mixture(least_evidence=150, most_evidence=400, least_tree=800, most_tree=1600, **mixture)
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    documents = Documents([(1.0, records)], tokenizer, TREE, paged=0.0)
    return QuestionSamples(documents, tokenizer, seed=0, window=4096, mixture=settings)


def reading(base: BaseModel, form: Injection = "merged", seed: int = 0) -> UpperModel:
    """A tiny upper model that reads the tree, with low-rank weights that are not zero."""
    low_rank = LowRankConfig(2, 4.0, (2, 3), ("q_proj", "down_proj"), (0, 1))
    config = AdapterConfig(base.name, model_shape(base.model), InjectionConfig(form, 2), TREE, low_rank)
    torch.manual_seed(seed)
    adapter = Adapter(base.model, config)
    adapter.copy_projections(base.model)
    adapter.open_gates(0.4)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.1)
    return UpperModel(base.model, adapter)


def test_a_plan_tiles_all_its_documents(data_file: Path, byte_tokenizer: Any) -> None:
    documents = located(data_file, byte_tokenizer)[:3]
    made = plan(documents, random_values(documents))
    spans = []
    chunks = [(number, chunk) for number, one in enumerate(documents) for chunk in range(len(one.leaves.trees))]
    for node in made.nodes:
        document, chunk = chunks[node.chunk]
        own = documents[document].leaves
        span = own.trees[chunk].span(node.level, node.index)
        spans.append((document, own.chunk_starts[chunk] + span.start, own.chunk_starts[chunk] + span.end))
    for number, one in enumerate(documents):
        own_spans = sorted(span[1:] for span in spans if span[0] == number)
        assert own_spans[0][0] == 0
        assert own_spans[-1][1] == one.leaves.token_count
        assert all(before[1] == after[0] for before, after in itertools.pairwise(own_spans))
    assert made.chunk_count == len(chunks)
    assert made.tokens == sum(one.leaves.token_count for one in documents)


@pytest.mark.parametrize("encoding", ["node", "chunk"])
def test_stored_trees_are_live_ones_within_their_rounding(
    tiny: BaseModel, data_file: Path, tmp_path: Path, encoding: Encoding
) -> None:
    documents = located(data_file, tiny.tokenizer, replace(TREE, encoding=encoding))[:2]
    upper, lower = reading(tiny), LowerModel(tiny.model, 2)
    made = plan(documents, random_values(documents))
    live = TreeReader(upper, LiveTrees(lower)).read([made])
    store = IndexStore(tmp_path / "trees")
    for _ in range(2):  # built, then found
        stored = TreeReader(upper, StoredTrees(store, tiny, lower, Silent())).read([made])
        for layer in (0, 1):
            bound = float(live.keys[layer].abs().max()) / 60
            torch.testing.assert_close(stored.keys[layer], live.keys[layer], atol=bound, rtol=0)
            torch.testing.assert_close(stored.values[layer], live.values[layer], atol=bound, rtol=0)


@pytest.mark.parametrize("form", ["merged", "additive"])
def test_the_loss_is_that_of_the_upper_model_with_the_tree(tiny: BaseModel, data_file: Path, form: Injection) -> None:
    upper, lower = reading(tiny, form), LowerModel(tiny.model, 2)
    reader = TreeReader(upper, LiveTrees(lower))
    samples = tree_samples(data_file, tiny.tokenizer, tree_only=1.0)
    drawn = [sample for sample in (samples[number] for number in range(6)) if (sample.branches <= 1).all()]
    assert len(drawn) >= 2
    drawn[0] = replace(drawn[0], weight=0.25)
    loss = NextTokens("qa", reader).loss(TrainedUpper(upper), drawn, torch.device("cpu"))
    total = 0.0
    for sample in drawn:
        assert sample.tree is not None
        with torch.no_grad():
            logits = upper.forward(torch.from_numpy(sample.token_ids)[None], reader.read([sample.tree]))[0]
        learned = torch.from_numpy(sample.targets)
        chosen = learned != NO_TARGET
        own = float(torch.nn.functional.cross_entropy(logits[chosen], learned[chosen], reduction="sum"))
        total += sample.weight * own
    assert float(loss.detach()) == pytest.approx(total, rel=1e-4)


def test_what_reads_a_tree_learns_and_the_base_does_not(tiny: BaseModel, data_file: Path) -> None:
    upper, lower = reading(tiny), LowerModel(tiny.model, 2)
    model = TrainedUpper(upper)
    sample = tree_samples(data_file, tiny.tokenizer, tree_only=1.0)[0]
    loss = NextTokens("qa", TreeReader(upper, LiveTrees(lower))).loss(model, [sample], torch.device("cpu"))
    loss.backward()
    learned = model.trained_parameters()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in learned.values())
    assert {"injections.0.gate", "low_rank.1.q_proj.up", "low_rank.2.q_proj.down"} <= set(learned)
    own = {id(parameter) for parameter in learned.values()}
    assert all(parameter.grad is None for parameter in model.parameters() if id(parameter) not in own)


def test_a_closed_gate_is_not_trained(tiny: BaseModel) -> None:
    low_rank = LowRankConfig(2, 4.0, (2,), ("q_proj",))
    config = AdapterConfig(tiny.name, model_shape(tiny.model), InjectionConfig("merged", 2), TREE, low_rank)
    model = TrainedUpper(UpperModel(tiny.model, Adapter(tiny.model, config)))
    assert {name.split(".")[0] for name in model.trained_parameters()} == {"low_rank"}


def test_an_adapter_without_anything_to_learn_is_refused(tiny: BaseModel) -> None:
    adapter = Adapter.untrained(tiny.model, "tiny", InjectionConfig("merged", 2), TREE)
    with pytest.raises(UsageError, match="no weights"):
        TrainedUpper(UpperModel(tiny.model, adapter))


def test_a_tree_alone_holds_the_document_that_is_asked_unless_it_is_missing(
    data_file: Path, byte_tokenizer: Any
) -> None:
    samples = tree_samples(data_file, byte_tokenizer, tree_only=1.0, missing=0.5, named_title=1.0)
    cases = [samples.case(number) for number in range(40)]
    for case in cases:
        (asked,) = case.asked
        assert case.tree is not None
        assert not case.passages
        assert case.tree.tokens >= 800
        titles = {document.title for document in case.tree.documents}
        assert any(title in asked.question.replace('"', " ").replace(":", " ") for title in titles) or not (
            asked.answerable
        )
        assert asked.answerable is (asked.answer != NOT_IN_DOCUMENT)
    assert {case.asked[0].answerable for case in cases} == {True, False}


def test_samples_with_and_without_trees_stand_apart(data_file: Path, byte_tokenizer: Any) -> None:
    samples = tree_samples(data_file, byte_tokenizer, tree_only=0.5)
    drawn = [samples[number] for number in range(20)]
    groups = by_length(drawn, 4000)
    assert sum(len(group) for group in groups) == 20
    assert all(len({sample.tree is None for sample in group}) == 1 for group in groups)
    assert {group[0].tree is None for group in groups} == {True, False}


def test_samples_with_trees_depend_on_seed_and_number_alone(data_file: Path, byte_tokenizer: Any) -> None:
    one = tree_samples(data_file, byte_tokenizer, tree_only=1.0)[7]
    other = tree_samples(data_file, byte_tokenizer, tree_only=1.0)
    _ = other[3]
    again = other[7]
    assert one.tree is not None
    assert again.tree is not None
    assert one.tree.nodes == again.tree.nodes
    assert one.token_ids.tolist() == again.token_ids.tolist()


def test_an_exchanged_tree_shares_no_document(data_file: Path, byte_tokenizer: Any) -> None:
    samples = tree_samples(data_file, byte_tokenizer, tree_only=1.0)
    drawn = [samples[number] for number in range(12)]
    exchanged = exchanged_trees(drawn)
    assert len(exchanged) == 12
    for before, after in zip(drawn, exchanged, strict=True):
        assert before.tree is not None
        assert after.tree is not None
        assert before.token_ids is after.token_ids
        assert not {id(one) for one in before.tree.documents} & {id(one) for one in after.tree.documents}
    assert exchanged_trees(drawn[:1]) == []
    controls = Validation(drawn).controls()
    assert set(controls) == {"validation_loss", "tree_right", "tree_wrong", "tree_none"}
    assert all(sample.tree is None for sample in controls["tree_none"])


def test_a_batch_knows_nothing_of_trees(data_file: Path, byte_tokenizer: Any) -> None:
    sample: Sample = tree_samples(data_file, byte_tokenizer, tree_only=1.0)[0]
    batch = Batch.of([sample, replace(sample, tree=None)], torch.device("cpu"))
    assert torch.equal(batch.token_ids[0], batch.token_ids[1])


def test_fewer_documents_are_spread_over_the_file() -> None:
    records: list[Any] = list(range(20))
    split = Split.of(records, hold_back=2, validation=3, path="f", most=5)
    assert split.training == [0, 3, 6, 9, 12]
    assert split.validation == [15, 16, 17]


def holds(tree: TreePlan, text: str) -> bool:
    """Whether a text stands in one of the chunks that are read, word for word."""
    read = {node.chunk for node in tree.nodes}
    before = 0
    for document in tree.documents:
        leaves, leaf = document.leaves, 0
        for chunk, own in enumerate(leaves.trees, start=before):
            spans = [leaves.leaf_characters(leaf + place, document.opened.document) for place in range(own.leaf_count)]
            leaf += own.leaf_count
            if chunk in read and text in document.opened.document.text[spans[0][0] : spans[-1][1]]:
                return True
        before += len(leaves.trees)
    return False


def test_a_tree_alone_can_lack_the_answer_in_two_ways(data_file: Path, byte_tokenizer: Any) -> None:
    samples = tree_samples(data_file, byte_tokenizer, tree_only=1.0, missing=1.0)
    cases = [samples.case(number) for number in range(40)]
    assert all(case.asked[0].answer == NOT_IN_DOCUMENT for case in cases)
    taken_out = [case for case in cases if case.tree is not None and case.tree.chunks is not None]
    assert 10 <= len(taken_out) <= 30, "half of them"
    for case in taken_out:
        assert case.tree is not None
        assert not any(holds(case.tree, answer) for answer in case.asked[0].answers)


def test_a_tree_alone_holds_its_answer(data_file: Path, byte_tokenizer: Any) -> None:
    samples = tree_samples(data_file, byte_tokenizer, tree_only=1.0, missing=0.0)
    for number in range(20):
        case = samples.case(number)
        assert case.tree is not None
        assert case.asked[0].answerable
        assert case.tree.chunks is None
        assert any(case.asked[0].answer in one.opened.document.text for one in case.tree.documents)


def test_chunks_left_out_are_as_if_the_text_had_never_held_them(data_file: Path, byte_tokenizer: Any) -> None:
    documents = located(data_file, byte_tokenizer)[:2]
    values = random_values(documents)
    before = len(documents[0].leaves.trees)
    leaf = sum(tree.leaf_count for tree in documents[1].leaves.trees[:1])
    gone = chunks_of(documents, documents[1], frozenset({0, leaf}))
    assert gone == {before, before + 1}
    whole, part = plan(documents, values), plan(documents, values, without=gone)
    assert part.nodes == tuple(node for node in whole.nodes if node.chunk not in gone)
    assert part.chunk_count == whole.chunk_count - 2
