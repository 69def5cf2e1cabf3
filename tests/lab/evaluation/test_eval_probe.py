"""`models probe`: its losses are those of plain arithmetic, and documents that can't be told apart have no gap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_byte_tokenizer

from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig, parse_layer_span
from sharedllm_cli.context.search import search
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError
from sharedllm_cli.generation import prompt
from sharedllm_cli.index.nodes import LiveNodes
from sharedllm_cli.lab.evaluation import probe as probe_module
from sharedllm_cli.lab.evaluation.probe import Posed, ProbedDocument, Request, answer_losses, probe
from sharedllm_cli.lab.evaluation.probe_results import Cell, default_spans, gaps, parse_ratio
from sharedllm_cli.lab.evaluation.questions import Asked, JoinedDocument, Joining, opened, read_joined
from sharedllm_cli.lab.evaluation.runner import PREDICTIONS
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.shared import load_shared
from sharedllm_cli.progress import Silent

LAYERS = 4
WINDOW = 4096


@pytest.fixture
def probed(settings: Settings) -> Settings:
    """Chunks so short that documents have several; no matter how many layers the settings want."""
    return replace(settings, chunk_tokens=128, lower_layers=None)


def request(path: Path, **changes: Any) -> Request:
    values: dict[str, Any] = {"layers": ((0, 2), (1, 4)), "ratios": (3, "tree"), "at_ratio": 3, "limit": 8}
    return Request((DataFile(path),), **(values | changes))


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    return {line["key"]: line for line in map(json.loads, (folder / PREDICTIONS).read_text("utf-8").splitlines())}


def rotated(states: torch.Tensor, positions: torch.Tensor, base: float) -> torch.Tensor:
    """[heads, L, D] turned by its positions [L], in pairs of the first and second half."""
    half = states.shape[-1] // 2
    angles = positions[:, None].double() * base ** -(torch.arange(half).double() / half)
    first, second = states[..., :half], states[..., half:]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def heads(states: torch.Tensor, width: int) -> torch.Tensor:
    return states.view(states.shape[0], -1, width).transpose(0, 1)


@torch.no_grad()
def loss_by_hand(model: Any, posed: Posed, chunks: list[list[int]], layers: range, ratio: int) -> float:
    """The mean loss of the answer in float64: one softmax over the kept keys of all chunks and the text's own."""
    decoder, width, base = model.model, model.config.head_dim, model.config.rope_parameters["rope_theta"]
    states = [decoder(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in chunks]
    kept = [[min(end, len(ids)) - 1 for end in range(ratio, len(ids) + ratio, ratio)] for ids in chunks]
    ids = [*posed.prompt_ids, *posed.answer_ids]
    hidden, places = decoder.embed_tokens(torch.tensor(ids)), torch.arange(len(ids))
    later = places[None, :] > places[:, None]
    for number, layer in enumerate(decoder.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        query = heads(attention.q_proj(normed), width)
        keys = [rotated(heads(attention.k_proj(normed), width), places, base)]
        values = [heads(attention.v_proj(normed), width)]
        group = len(query) // len(keys[0])
        logits = rotated(query, places, base) @ keys[0].repeat_interleave(group, 0).mT
        logits = [logits.masked_fill(later, float("-inf"))]
        for chunk, (seen, positions) in enumerate(zip(states, kept, strict=True)):
            if number in layers:
                own = layer.input_layernorm(seen[number][0, positions])
                key = rotated(heads(attention.k_proj(own), width), torch.full((len(positions),), chunk), base)
                turned = rotated(query, torch.full((len(ids),), len(chunks)), base)
                logits.append(turned @ key.repeat_interleave(group, 0).mT)
                values.append(heads(attention.v_proj(own), width))
        weights = (torch.cat(logits, dim=-1) / width**0.5).softmax(dim=-1)
        read = weights @ torch.cat(values, dim=1).repeat_interleave(group, 0)
        hidden = hidden + attention.o_proj(read.transpose(0, 1).reshape(len(ids), -1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    said = model.lm_head(decoder.norm(hidden)).log_softmax(-1)
    first = len(posed.prompt_ids)
    return -float(np.mean([said[place - 1, ids[place]] for place in range(first, len(ids))]))


def pose(question: str, answer: str) -> Posed:
    tokenizer = make_byte_tokenizer()
    gold = tokenizer(answer, add_special_tokens=False)["input_ids"]
    built = prompt.build(tokenizer, window=WINDOW, max_new_tokens=len(gold), question=question)
    return Posed(question, built.token_ids, gold)


def test_right_wrong_and_closed_are_those_of_plain_arithmetic(
    lights_file: Path, probed: Settings, tiny_folder: Path, tmp_path: Path
) -> None:
    probe(request(lights_file, out=tmp_path / "out"), probed, home=tmp_path, reporter=Silent())
    found = list(lines(tmp_path / "out").values())
    model: Any = load(str(tiny_folder), home=tmp_path, device="cpu").model.double()
    texts = {document.name: document.text for document in read_joined_file(lights_file)}
    order = list(dict.fromkeys(line["document"] for line in found))
    assert len(order) == 4
    for line in (found[0], found[-1]):
        place = order.index(line["document"])
        others = {"right": order[place], "wrong": order[place + 1] if place < 3 else order[2]}
        posed = pose(line["question"], line["answer"])
        for name, document in others.items():
            ids = make_byte_tokenizer()(texts[document], add_special_tokens=False)["input_ids"]
            chunks = [ids[start : start + 128] for start in range(0, len(ids), 128)]
            for key, layers in (("0-2/3", range(2)), ("1-4/3", range(1, 4)), ("0-4/3", range(4))):
                by_hand = loss_by_hand(model, posed, chunks, layers, 3)
                assert line["cells"][key][name] == pytest.approx(by_hand, abs=1e-4), (name, key)
                assert line["cells"][key][f"{name}_keys"] == sum(-(-len(chunk) // 3) for chunk in chunks)
        assert line["closed"] == pytest.approx(loss_by_hand(model, posed, [], range(0), 3), abs=1e-4)


def read_joined_file(path: Path) -> Any:
    return read_joined([DataFile(path)], [Joining(1)], skip_bad_lines=False, reporter=Silent())


def test_closed_is_the_base_model_exactly(
    lights_file: Path, probed: Settings, tiny_folder: Path, tmp_path: Path
) -> None:
    """Bit for bit, of the same batch, although every layer has an open gate."""
    probe(request(lights_file, out=tmp_path / "out"), probed, home=tmp_path, reporter=Silent())
    plain: Any = load(str(tiny_folder), home=tmp_path, device="cpu").model
    found = list(lines(tmp_path / "out").values())
    for first in range(0, len(found), 2):
        pair = found[first : first + 2]
        asked = [pose(line["question"], line["answer"]) for line in pair]
        texts = [[*one.prompt_ids, *one.answer_ids[:-1]] for one in asked]
        longest = max(map(len, texts))
        with torch.inference_mode():
            logits = plain(torch.tensor([text + [0] * (longest - len(text)) for text in texts]), use_cache=False).logits
        for row, one, line in zip(logits, asked, pair, strict=True):
            start = len(one.prompt_ids) - 1
            said = row[start : start + len(one.answer_ids)]
            loss = torch.nn.functional.cross_entropy(said, torch.tensor(one.answer_ids))
            assert line["closed"] == float(loss)


def test_questions_side_by_side_lose_what_they_lose_alone(lights_file: Path, probed: Settings, tmp_path: Path) -> None:
    one = request(lights_file, per_document=1, limit=4, out=tmp_path / "alone")
    both = request(lights_file, per_document=2, limit=8, out=tmp_path / "both")
    for each in (one, both):
        probe(each, probed, home=tmp_path, reporter=Silent())
    alone, beside = lines(tmp_path / "alone"), lines(tmp_path / "both")
    common = set(alone) & set(beside)
    assert common
    for key in common:
        assert alone[key]["closed"] == pytest.approx(beside[key]["closed"], abs=1e-5)
        for cell, read in alone[key]["cells"].items():
            assert read["right"] == pytest.approx(beside[key]["cells"][cell]["right"], abs=1e-5), cell


def test_two_documents_of_the_same_words_have_no_gap(lights_file: Path, probed: Settings, tmp_path: Path) -> None:
    line = lights_file.read_text("utf-8").splitlines()[0]
    same = tmp_path / "same.jsonl"
    same.write_text(f"{line}\n{line}\n", encoding="utf-8")
    found = probe(request(same), probed, home=tmp_path, reporter=Silent())
    assert found["questions"]["asked"] == 4
    for row in (*found["layers"], *found["ratios"]):
        assert (row["gap"], row["gap_interval"]) == (0, [0, 0])
        assert row["gain"] == pytest.approx(found["closed"] - row["right"])
        assert row["gain"] != 0, "the tree is read all the same"


def test_the_real_tree_is_that_of_ask(lights_file: Path, probed: Settings, tmp_path: Path) -> None:
    """Preserved nodes of the search, each encoded alone; remembered nodes are the same as fresh ones."""
    shared = load_shared(replace(probed, adapter="none", lower_layers=LAYERS), tmp_path, Silent())
    probe_module._open_gates(shared)
    base = shared.base
    document = opened(read_joined_file(lights_file)[0], base.tokenizer, base.tokenizer_hash, shared.tree)
    source = ProbedDocument(document, shared, ["tree"], "bm25")
    for text in ("When was the lamp lit?", "What was the keeper called?", "When was the lamp lit?"):
        nodes = search(document.leaves.trees, DocumentScorer(document, shared)(text, "bm25").nodes)
        fresh = shared.upper.context(LiveNodes(shared.lower, document.leaves).compressed(nodes), document.chunks)
        found = source.context("tree", [Posed(text, [], [])])
        assert fresh is not None
        assert list(found.keys) == list(range(LAYERS))
        for layer in range(LAYERS):
            assert torch.allclose(found.keys[layer], fresh.keys[layer], atol=1e-5)
            assert torch.allclose(found.values[layer], fresh.values[layer], atol=1e-5)


def test_losses_weigh_tokens_and_intervals_redraw_documents() -> None:
    cell = Cell((1, 3), (1, 2), 4)

    def line(tokens: int, closed: float, right: float, wrong: float) -> dict[str, Any]:
        read = {"right": right, "wrong": wrong, "right_keys": 25, "wrong_keys": 9}
        return {"gold_tokens": tokens, "closed": closed, "document_tokens": 100, "cut": True, "cells": {cell.key: read}}

    documents = [[line(3, 4.0, 2.0, 2.5), line(1, 2.0, 1.0, 1.5)], [line(4, 5.0, 3.0, 5.0)]]
    found = gaps(documents, [cell], [], 0)
    assert found["closed"] == pytest.approx((12 + 2 + 20) / 8)
    assert found["questions"] == {"asked": 3, "answer_tokens": 8}
    assert found["documents"] == {"asked": 2, "cut": 2, "tokens": 100}
    (row,) = found["layers"]
    assert (row["layers"], row["first_layer"], row["lower_layers"], row["ratio"]) == ("1-3", 1, 3, 4)
    assert row["tokens_per_key"] == 4
    assert row["right"] == pytest.approx((6 + 1 + 12) / 8)
    assert row["wrong"] == pytest.approx((7.5 + 1.5 + 20) / 8)
    assert row["gap"] == pytest.approx(10 / 8)
    assert row["gap_interval"] == pytest.approx([0.5, 2.0]), "either document alone, never one question of two"
    assert row["gain"] == pytest.approx((34 - 19) / 8)


def test_long_documents_are_cut_and_asked_only_what_is_left(
    lights_file: Path, probed: Settings, tmp_path: Path
) -> None:
    cut = request(lights_file, tokens=64, out=tmp_path / "out")
    found = probe(cut, probed, home=tmp_path, reporter=Silent())
    assert found["documents"] == {"asked": 4, "cut": 4, "tokens": 64}
    for line in lines(tmp_path / "out").values():
        assert (line["document_tokens"], line["cut"]) == (64, True)
        assert line["question"] == "When was the lamp lit?", "the keeper's name stands beyond the cut"
    assert found["questions"]["asked"] == 4


def test_what_stands_nowhere_or_in_the_kept_part_is_asked() -> None:
    whole = JoinedDocument("d", "The lamp was lit in 1801. Its keeper was Agnes Stone.", ())
    kept = JoinedDocument("d", whole.text[:25], ())

    def may(*answers: str, evidence: tuple[tuple[int, int], ...] = ()) -> bool:
        return probe_module._may_stand(Asked("k", "Who?", answers, evidence), kept, whole)

    assert may("in 1801")
    assert may("Two hundred years ago")
    assert may("Agnes Stone.", "lamp"), "one accepted answer is enough"
    assert not may("agnes stone.", "Two hundred years ago")
    assert may("lamp", evidence=((0, 25),))
    assert not may("lamp", evidence=((0, 25), (30, 40)))


def test_an_adapter_is_probed_by_its_own_gates(
    lights_file: Path, probed: Settings, tiny_folder: Path, tmp_path: Path
) -> None:
    def saved(name: str, gate: float) -> Path:
        base = load(str(tiny_folder), home=tmp_path, device="cpu")
        config = InjectionConfig("merged", lower_layers=3, first_layer=1)
        adapter = Adapter.untrained(base.model, base.name, config, TreeConfig(128))
        for injection in adapter.injections.values():
            injection.gate.data.fill_(gate)  # type: ignore[union-attr, operator]
        adapter.save(tmp_path / name, trained={"objective": "none: gates set by a test"})
        return tmp_path / name

    def rows(**changes: Any) -> list[dict[str, Any]]:
        asked = request(lights_file, ratios=(2, "tree"), **changes)
        rows: list[dict[str, Any]] = probe(asked, probed, home=tmp_path, reporter=Silent())["ratios"]
        return rows

    native = rows(layers=None, adapter=saved("native", 0.0))
    untrained = rows(at_layers=(1, 3))
    shut = rows(layers=None, adapter=saved("shut", -3.0))
    assert [row["layers"] for row in native] == ["1-3", "1-3"]
    for own, plain, other in zip(native, untrained, shut, strict=True):
        assert own["right"] == pytest.approx(plain["right"], abs=1e-5)
        assert own["gap"] == pytest.approx(plain["gap"], abs=1e-5)
        assert abs(own["right"] - other["right"]) > 1e-3
    with pytest.raises(UsageError, match="reads no tree"):
        rows(layers=None, adapter=saved("closed", float("-inf")))


def test_an_interrupt_keeps_what_was_measured_and_a_resumed_run_ends_the_same(
    lights_file: Path, probed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = probe(request(lights_file), probed, home=tmp_path, reporter=Silent())
    assert whole["interrupted"] is False
    calls: list[int] = []

    def interrupted(after: int) -> Any:
        def losses(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt
            return answer_losses(*arguments)

        return losses

    readings = 1 + 2 * 4
    monkeypatch.setattr(probe_module, "answer_losses", interrupted(2 * readings + 3))
    part = probe(request(lights_file, out=tmp_path / "out"), probed, home=tmp_path, reporter=Silent())
    assert (part["interrupted"], part["documents"]["asked"], part["questions"]["asked"]) == (True, 2, 4)
    calls.clear()
    monkeypatch.setattr(probe_module, "answer_losses", interrupted(1000))
    again = request(lights_file, out=tmp_path / "out", resume=True)
    assert probe(again, probed, home=tmp_path, reporter=Silent()) == whole
    assert len(calls) == 2 * readings, "the two documents that were left"
    calls.clear()
    monkeypatch.setattr(probe_module, "answer_losses", interrupted(3))
    with pytest.raises(KeyboardInterrupt):
        probe(request(lights_file), probed, home=tmp_path, reporter=Silent())


def test_questions_are_drawn_by_the_seed(lights_file: Path) -> None:
    documents = read_joined_file(lights_file)

    def drawn(seed: int) -> list[str]:
        chosen = probe_module._draw(documents, request(lights_file, limit=5, seed=seed), make_byte_tokenizer())
        assert len({one.document.name for one in chosen}) == len(chosen) == 3
        return [asked.key for one in chosen for asked in one.asked]

    assert drawn(0) == drawn(0)
    assert len(drawn(0)) == 5, "two, two and one"
    two = probe_module._draw(documents, request(lights_file, limit=2), make_byte_tokenizer())
    assert [len(one.asked) for one in two] == [1, 1], "two documents, however few the questions"
    assert len({tuple(drawn(seed)) for seed in range(4)}) > 1


def test_the_default_layers_fit_the_model() -> None:
    assert default_spans(30) == ((0, 10), (0, 15), (0, 20), (0, 25), (0, 30), (10, 25), (10, 30), (15, 30))
    assert default_spans(1) == ((0, 1),)
    for count in range(1, 80):
        spans = default_spans(count)
        assert len(set(spans)) == len(spans)
        assert all(0 <= first < end <= count for first, end in spans)
        assert (0, count) in spans


@pytest.mark.parametrize("text", ["", "5", "5-", "-5", "5-5", "7-5", "a-b", "0-15-20"])
def test_layers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="layers look like"):
        parse_layer_span(text)


@pytest.mark.parametrize("text", ["", "0", "-4", "2.5", "Tree"])
def test_ratios_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a ratio is"):
        parse_ratio(text)


def test_layers_and_ratios_are_read() -> None:
    assert parse_layer_span(" 10-25 ") == (10, 25)
    assert (parse_ratio("4"), parse_ratio(" tree ")) == (4, "tree")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"layers": ((0, 5),)}, UsageError, "0-5 end above the model's 4 layers"),
        ({"at_layers": (2, 9)}, UsageError, "2-9 end above"),
        ({"layers": ((0, 2), (0, 2))}, UsageError, "--layers names one twice"),
        ({"ratios": (2, 2)}, UsageError, "--ratios names one twice"),
        ({"adapter": Path("a")}, UsageError, "in its own layers"),
        ({"layers": None, "adapter": Path("nowhere")}, SharedLLMError, "is not an adapter"),
        ({"limit": 1}, DocumentError, "two documents, and there are those of 1"),
        ({"layers": (), "ratios": ()}, UsageError, "nothing to read"),
        ({"data": ()}, UsageError, "nothing to ask"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    lights_file: Path, probed: Settings, tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    values: dict[str, Any] = {"data": (DataFile(lights_file),), "layers": ((0, 2),)} | changes
    with pytest.raises(error, match=words):
        probe(Request(**values), probed, home=tmp_path, reporter=Silent())
