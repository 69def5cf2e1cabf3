"""Samples of text that continues after its tree."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_trees import LiveTrees

from sharedllm_cli.config import InjectionConfig, TreeConfig
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.lab.training.corpus import Documents, load_splits, pieces, spread
from sharedllm_cli.lab.training.question_samples import Mixture, QuestionSamples
from sharedllm_cli.lab.training.records import DataFile, Record, read_records
from sharedllm_cli.lab.training.sample import NO_TARGET
from sharedllm_cli.lab.training.sampled_trees import TreePlan, TreeReader
from sharedllm_cli.lab.training.text_samples import TEXT_TARGETS, ContinueSamples, MixedSamples
from sharedllm_cli.model.adapter import Adapter, AdapterConfig, LowRankConfig, model_shape
from sharedllm_cli.model.loading import BaseModel
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.progress import Silent

TREE = TreeConfig(chunk_tokens=256)  # of leaves of 32 tokens
MIXTURE = Mixture(least_tree=300, most_tree=700, text_tokens=80)


def documents_of(data_file: Path, tokenizer: Any) -> Documents:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    return Documents([(1.0, records)], tokenizer, TREE, paged=0.0, by_length=True)


def spans(tree: TreePlan) -> list[tuple[int, int, int, int]]:
    """(document, first token, end token, level) of every node that is read."""
    chunks = [(number, chunk) for number, own in enumerate(tree.documents) for chunk in range(len(own.leaves.trees))]
    found = []
    for node in tree.nodes:
        document, chunk = chunks[node.chunk]
        own = tree.documents[document].leaves
        span = own.trees[chunk].span(node.level, node.index)
        found.append((document, own.chunk_starts[chunk] + span.start, own.chunk_starts[chunk] + span.end, node.level))
    return found


def test_going_on_follows_the_chunks_of_the_tree(data_file: Path, byte_tokenizer: Any) -> None:
    samples = ContinueSamples(documents_of(data_file, byte_tokenizer), seed=0, mixture=MIXTURE)
    for number in range(20):
        sample = samples[number]
        assert sample.tree is not None
        assert sample.tree.chunks is not None
        assert len(sample) == MIXTURE.text_tokens
        assert (sample.targets != NO_TARGET).all()
        assert sample.targets[:-1].tolist() == sample.token_ids[1:].tolist()
        own = sample.tree.documents[0].leaves
        read = sorted(span[1:3] for span in spans(sample.tree))
        assert read[-1][1] - read[0][0] == sum(end - start for start, end in read), "nothing is read twice"
        following = own.tokens.ids[read[-1][1] : read[-1][1] + len(sample)].tolist()
        assert following == sample.token_ids.tolist()
        finest = [span for span in spans(sample.tree) if span[3] == TREE.height]
        assert max(end for _, _, end, _ in finest) == read[-1][1], "what is nearest to the text is finest"


def test_chunks_that_are_read_are_numbered_from_zero(tiny: BaseModel, data_file: Path) -> None:
    samples = ContinueSamples(documents_of(data_file, tiny.tokenizer), seed=0, mixture=MIXTURE)
    sample = next(one for one in map(samples.__getitem__, range(50)) if one.tree and (one.tree.chunks or (0,))[0] > 0)
    assert sample.tree is not None
    assert sample.tree.chunks is not None
    upper, lower = reading(tiny), LowerModel(tiny.model, 2)
    context = TreeReader(upper, LiveTrees(lower)).read([sample.tree])
    first = sample.tree.chunks[0]
    whole = TreeReader(upper, LiveTrees(lower)).read(
        [replace(sample.tree, chunks=tuple(range(sample.tree.chunks[-1] + 1)))]
    )
    assert torch.equal(context.values[1], whole.values[1])
    assert first > 0
    assert not torch.equal(context.keys[1], whole.keys[1]), "other numbers, other rotations"


def reading(base: BaseModel) -> UpperModel:
    low_rank = LowRankConfig(2, 4.0, (2, 3), ("q_proj", "down_proj"), (0, 1))
    config = AdapterConfig(base.name, model_shape(base.model), InjectionConfig("merged", 2), TREE, low_rank)
    torch.manual_seed(0)
    adapter = Adapter(base.model, config)
    adapter.open_gates(0.0)
    for name, parameter in adapter.named_parameters():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.1)
    return UpperModel(base.model, adapter)


def test_a_silenced_adapter_is_the_base_model(tiny: BaseModel) -> None:
    tokens = torch.arange(20, 40)[None]
    with torch.no_grad():
        plain = tiny.model(tokens).logits
        upper = reading(tiny)
        assert not torch.equal(upper.forward(tokens, None), plain)
        with upper.adapter.disabled():
            assert torch.equal(upper.forward(tokens, None), plain)
        assert not torch.equal(upper.forward(tokens, None), plain)


def test_long_documents_are_cut_and_nothing_is_lost() -> None:
    text = "".join(f"Line {number} of a long book.\n" for number in range(5000))
    cut = pieces([Record("b", "Book", text, ()), Record("s", "Short", "short", ())], 20_000)
    assert "".join(record.document for record in cut[:-1]) == text
    assert cut[-1] == Record("s", "Short", "short", ())
    assert all(len(record.document) <= 32_000 for record in cut)
    assert all(record.document.endswith("\n") for record in cut[:-1])
    assert len({record.doc_id for record in cut}) == len(cut)


def test_samples_of_text_depend_on_seed_and_number_alone(data_file: Path, byte_tokenizer: Any) -> None:
    one = ContinueSamples(documents_of(data_file, byte_tokenizer), seed=3, mixture=MIXTURE)[4]
    other = ContinueSamples(documents_of(data_file, byte_tokenizer), seed=3, mixture=MIXTURE)
    _ = other[1]
    np.testing.assert_array_equal(one.token_ids, other[4].token_ids)
    assert one.tree is not None
    assert other[4].tree is not None
    assert one.tree.nodes == other[4].tree.nodes


def test_documents_too_short_are_said(byte_tokenizer: Any) -> None:
    documents = Documents([(1.0, [Record("d", "", "too short", ())])], byte_tokenizer, TREE, by_length=True)
    with pytest.raises(DocumentError, match="too short"):
        ContinueSamples(documents, seed=0, mixture=MIXTURE)[0]


def test_a_text_file_is_data_whose_last_parts_are_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "old_book.txt.xz"
    text = "".join(f"Line {number} of a long book.\n" for number in range(30_000))
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write(text)
    ((weight, split),) = load_splits(
        [DataFile(path, 0.5)], hold_back=2, validation=2, skip_bad_lines=False, reporter=Silent()
    )
    assert weight == 0.5
    assert split.training[0].title == "old book"
    known = "".join(record.document for record in (*split.training, *split.validation))
    assert text.startswith(known)
    assert len(split.validation) == 2
    assert len(text) - len(known) > 48_000


def test_texts_among_questions_count_as_much_as_an_answer(data_file: Path, byte_tokenizer: Any) -> None:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    documents = Documents([(1.0, records)], byte_tokenizer, TREE, paged=0.0)
    questions = QuestionSamples(documents, byte_tokenizer, seed=0, window=4096, mixture=replace(MIXTURE, tree_only=1.0))
    read = documents_of(data_file, byte_tokenizer)
    texts = ContinueSamples(read, seed=0, mixture=MIXTURE)
    mixed, again = (MixedSamples(questions, texts, share=0.5, seed=0) for _ in range(2))
    kinds = []
    for number in range(60):
        found = mixed[number]
        alike = [np.array_equal(found.token_ids, kind[number].token_ids) for kind in (texts, questions)]
        assert sum(alike) == 1
        kinds.append(alike.index(True))
        assert found.weighed == pytest.approx(found.target_count if kinds[-1] == 1 else TEXT_TARGETS)
        assert np.array_equal(again[number].token_ids, found.token_ids)
    assert 18 <= kinds.count(0) <= 42


def test_pieces_of_a_file_are_spread_over_it() -> None:
    records = [Record(str(number), None, "x" * 200_000, ()) for number in range(3)]
    cut = pieces(records)
    assert len(cut) > 9
    few = spread(cut, 4)
    assert [one.doc_id.split("#")[0] for one in few] == ["0", "0", "1", "2"]
    assert len({one.doc_id for one in few}) == 4
    assert spread(cut, None) == spread(cut, len(cut)) == spread(cut, 99) == cut
