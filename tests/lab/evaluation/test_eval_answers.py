"""Arms differ in what they read and in nothing else; their numbers are those of plain arithmetic on the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sharedllm_cli.answer import Answer
from sharedllm_cli.answering import reader as answering
from sharedllm_cli.answering.pipeline import Pipeline
from sharedllm_cli.config import Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import UsageError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Prompt
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.lab.evaluation.answers import Request, answers
from sharedllm_cli.lab.evaluation.arms import ARMS, Answered, DocumentReader, Read
from sharedllm_cli.lab.evaluation.questions import Joining, opened, read_joined
from sharedllm_cli.lab.evaluation.runner import CONFIG, METRICS, PREDICTIONS
from sharedllm_cli.lab.evaluation.scoring import DocumentScorer
from sharedllm_cli.lab.training.records import DataFile
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.model.shared import SharedModel, load_shared
from sharedllm_cli.progress import Silent

Reader = Callable[[int], DocumentReader]


def readers(path: Path, settings: Settings, tmp_path: Path, shared: SharedModel | None = None) -> Reader:
    shared = shared or load_shared(settings, tmp_path / "home", Silent())
    documents = read_joined([DataFile(path)], [Joining(2)], skip_bad_lines=False, reporter=Silent())
    store = IndexStore(tmp_path / "indexes", Silent())

    def reader(place: int) -> DocumentReader:
        document = opened(documents[place], shared.base.tokenizer, shared.base.tokenizer_hash, shared.tree)
        return DocumentReader(document, shared, settings, store, Silent())

    return reader


WINDOW = 4096
ASKED = "What was the keeper of Skerry 0 called?"
ROOM = 16


def read(reader: DocumentReader, arm: str) -> Read:
    found = ARMS[arm].read(reader, ASKED, ROOM)
    assert found is not None
    return found


def raw(reader: DocumentReader, ids: list[int], *, shared: bool = False) -> Read:
    """A prompt of these tokens, whatever they spell."""
    return Read(reader.pipeline(ASKED, ROOM), Prompt(ids, "", (), 0, 0, 0), shared=shared)


def test_each_arm_reads_what_its_name_says(lights_file: Path, reading: Settings, tmp_path: Path) -> None:
    reader = readers(lights_file, reading, tmp_path)(0)
    text, found = reader.opened.document.text, {name: read(reader, name) for name in ARMS}
    assert text not in found["closed"].prompt.text
    assert "Agnes" not in found["closed"].prompt.text
    assert text in found["full"].prompt.text
    assert found["truncate"].prompt == found["full"].prompt, "all of it, where it fits"
    assert "Agnes Stone" in found["bm25"].prompt.text
    assert 0 < found["bm25"].prompt.evidence_tokens <= reading.evidence_tokens
    assert found["tree"].prompt == found["closed"].prompt
    trees = {name for name, one in found.items() if one.tree is not None}
    assert trees == {"tree", "tree-wrong", "plain", "sharedllm"}
    assert found["tree"].tree_keys == found["sharedllm"].tree_keys > 0
    assert len({one.prompt.text.split("Question:")[1] for one in found.values()}) == 1


def test_bm25_and_sharedllm_share_prompt_and_budget(lights_file: Path, reading: Settings, tmp_path: Path) -> None:
    reader = readers(lights_file, replace(reading, policy="bm25"), tmp_path)(0)
    assert read(reader, "bm25").prompt == read(reader, "sharedllm").prompt


def test_bm25_searches_by_words_alone_and_the_others_as_they_are_told(
    lights_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = readers(lights_file, replace(reading, policy="late"), tmp_path)(0)
    asked: list[str] = []
    original = DocumentScorer.__call__
    monkeypatch.setattr(
        DocumentScorer, "__call__", lambda self, text, policy: (asked.append(policy), original(self, text, policy))[1]
    )
    for arm in ("closed", "truncate", "full", "bm25", "tree", "sharedllm", "plain"):
        read(reader, arm)
    assert asked == ["bm25", "late", "late", "late"], "and each no more than once, for its time is counted"


def test_a_document_that_does_not_fit_is_cut_in_its_middle_and_not_read_whole(
    lights_file: Path, model_folder: Callable[..., Path], settings: Settings, tmp_path: Path
) -> None:
    small = replace(settings, model=str(model_folder("llama", max_position_embeddings=700)))
    reader = readers(lights_file, small, tmp_path)(0)
    assert ARMS["full"].read(reader, ASKED, ROOM) is None
    cut, text = read(reader, "truncate").prompt, reader.opened.document.text
    first, last = cut.text.split("user\n")[1].split("\n\nQuestion:")[0].rsplit("\n\n", 1)
    assert text.startswith(first)
    assert text.endswith(last)
    assert abs(len(first) - len(last)) < 10
    window = 700 - ROOM
    assert window - 80 < len(cut.token_ids) <= window


def test_fine_reads_the_passages_of_plain_from_stored_keys(
    lights_file: Path, reading: Settings, tmp_path: Path
) -> None:
    """The first chunk's beginning has seen in the index what it sees in the prompt; what is read elsewhere has not."""
    reader = readers(lights_file, replace(reading, tree=False, stored_dtype="float32"), tmp_path)(0)
    fine, plain = read(reader, "fine"), read(reader, "plain")
    assert fine.prompt == plain.prompt
    known = fine.pipeline.read_passages(fine.prompt, fine.retrieved).prefilled  # type: ignore[arg-type]
    assert 0 < known.known_tokens < len(fine.prompt.token_ids)
    gold = [7, 8, 9]
    costs = [reader.answer(one, gold).nll for one in (fine, plain)]
    assert costs[0] != costs[1]
    assert reader.answer(replace(fine, stored=False), gold).nll == pytest.approx(costs[1])


def test_fine_wrong_reads_the_other_documents_passages(lights_file: Path, reading: Settings, tmp_path: Path) -> None:
    request = Request((DataFile(lights_file),), tmp_path / "out", arms=("fine", "fine-wrong"), joins=(2,), limit=4)
    found = answers(request, replace(reading, tree=False), home=tmp_path, reporter=Silent())["arms"]
    assert found["fine"]["n"] == found["fine-wrong"]["n"] > 0
    assert found["fine"]["answer_nll"] != found["fine-wrong"]["answer_nll"]
    alone = replace(request, limit=1, out=tmp_path / "alone", joins=(50,))
    arms = answers(alone, replace(reading, tree=False), home=tmp_path, reporter=Silent())["arms"]
    assert "left_out" in arms["fine-wrong"]


def test_the_wrong_tree_is_the_other_documents(
    lights_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Any]] = []
    original = DocumentReader.tree

    def watched(reader: DocumentReader, scored: Any) -> Any:
        seen.append((reader.opened.name, scored.lexical.terms))
        return original(reader, scored)

    monkeypatch.setattr(DocumentReader, "tree", watched)
    request = Request((DataFile(lights_file),), tmp_path / "out", arms=("tree", "tree-wrong"), joins=(2,), limit=20)
    found = answers(request, reading, home=tmp_path, reporter=Silent())
    right, wrong = seen[::2], seen[1::2]
    # The same question: its own document's title chooses the part there, and is made of common words elsewhere.
    assert all(set(terms) <= set(others) for (_, terms), (_, others) in zip(right, wrong, strict=True))
    assert all(name != other for (name, _), (other, _) in zip(right, wrong, strict=True))
    assert found["arms"]["tree"]["answer_nll"] != found["arms"]["tree-wrong"]["answer_nll"]


def test_several_files_are_also_told_apart(lights_file: Path, settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "others.jsonl"
    other.write_bytes(lights_file.read_bytes())
    files = (DataFile(lights_file), DataFile(other))
    request = Request(files, tmp_path / "both", arms=("closed", "bm25"), joins=(1, 2), limit=12)
    found = answers(request, settings, home=tmp_path, reporter=Silent())
    apart = found["files"]
    assert set(apart) == {"lights.jsonl", "others.jsonl"}
    for arm in ("closed", "bm25"):
        parts = [one["arms"][arm] for one in apart.values()]
        assert sum(part["n"] for part in parts) == found["arms"][arm]["n"]
        pooled = sum(part["n"] * part["f1"] for part in parts) / found["arms"][arm]["n"]
        assert found["arms"][arm]["f1"] == pytest.approx(pooled)
    assert all(len(one["differences"]) == 1 for one in apart.values())
    alone = Request(files[:1], tmp_path / "alone", arms=("closed",), limit=3)
    assert "files" not in answers(alone, settings, home=tmp_path, reporter=Silent())


def test_full_counts_every_token_of_the_window(lights_file: Path, settings: Settings, tmp_path: Path) -> None:
    reader = readers(lights_file, settings, tmp_path)(0)
    room = WINDOW - len(read(reader, "closed").prompt.token_ids) - reader.opened.tokens
    fits = ARMS["full"].read(reader, ASKED, room - 2)  # two bytes part the document from the question
    assert fits is not None
    assert reader.opened.document.text in fits.prompt.text
    for answer_tokens in (room - 1, room, room + 1):
        assert ARMS["full"].read(reader, ASKED, answer_tokens) is None


@pytest.mark.parametrize("tree", [True, False])
def test_the_arm_sharedllm_answers_as_ask_does(
    lights_file: Path, reading: Settings, tmp_path: Path, tree: bool
) -> None:
    settings = replace(reading, tree=tree)
    engine = Engine(settings, home=tmp_path / "home", reporter=Silent())
    reader = readers(lights_file, settings, tmp_path, engine.shared)(0)
    path = tmp_path / "lights.txt"
    path.write_text(reader.opened.document.text)
    *_, told = engine.ask(engine.open([str(path)]), ASKED)
    assert isinstance(told, Answer)
    got = read(reader, "sharedllm")
    answered = reader.answer(got, [5, 6, 7])
    assert answered.answer == told.answer
    assert answered.route == told.route == "passages"
    assert got.tree_keys == told.tree.kept_keys
    assert (got.tree_keys > 0) is tree


def test_a_verdict_is_weighed_as_ask_weighs_it(
    lights_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed: list[Any] = []

    def without_prior(_: Any, prefilled: Any) -> Any:
        weighed.append(prefilled)
        return prefilled

    monkeypatch.setattr(Pipeline, "weighs_verdict", lambda *_: True)
    monkeypatch.setattr(answering.Reader, "without_prior", without_prior)
    monkeypatch.setattr(answering.Reader, "with_verdict_by_reason", lambda *_: iter([("No. It is dark.", "stop")]))
    reader = readers(lights_file, reading, tmp_path)(0)
    assert reader.answer(read(reader, "sharedllm"), [5, 6, 7]).answer == "No. It is dark."
    assert weighed


@pytest.mark.parametrize("arm", ["closed", "sharedllm"])
@pytest.mark.parametrize("gold", [[65], [65, 66, 67, 68]])
def test_nll_is_that_of_one_pass_over_prompt_and_answer(
    lights_file: Path, reading: Settings, tmp_path: Path, arm: str, gold: list[int]
) -> None:
    shared = load_shared(reading, tmp_path / "home", Silent())
    reader = readers(lights_file, reading, tmp_path, shared)(0)
    got = read(reader, arm)
    found = reader.answer(got, gold)
    with torch.no_grad():
        logits = shared.upper.forward(torch.tensor([got.prompt.token_ids + gold]), got.tree)[0]
    scores = logits.log_softmax(-1)
    start = len(got.prompt.token_ids) - 1
    expected = -sum(float(scores[start + place, token]) for place, token in enumerate(gold))
    assert found.nll == pytest.approx(expected, rel=1e-4)
    assert reader.answer(got, []).answer == found.answer, "scoring leaves no trace"


@pytest.mark.parametrize("family", [("llama", {}), ("mistral", {"sliding_window": 16})], ids=lambda one: one[0])
def test_what_is_scored_leaves_the_answer_as_it_was(
    family: tuple[str, dict[str, int]],
    lights_file: Path,
    model_folder: Callable[..., Path],
    settings: Settings,
    tmp_path: Path,
) -> None:
    folder = model_folder(family[0], max_position_embeddings=WINDOW, **family[1])
    settings = replace(settings, model=str(folder), max_new_tokens=12)
    shared = load_shared(settings, tmp_path, Silent())
    reader = readers(lights_file, settings, tmp_path, shared)(0)
    prompt = list(range(40, 140))
    alone = reader.answer(raw(reader, prompt), [])
    scored = reader.answer(raw(reader, prompt), [50, 60, 70])
    assert scored.answer == alone.answer
    assert scored.refusal_nll == alone.refusal_nll
    tokenizer = shared.base.tokenizer
    ids = [*tokenizer.encode(NOT_IN_DOCUMENT, add_special_tokens=False), tokenizer.eos_token_id]
    logits = shared.base.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids), reduction="sum")
    assert alone.refusal_nll == pytest.approx(float(expected), rel=1e-4)
    said, cost = list(prompt), 0.0
    for _ in range(12):  # an untrained model is as likely to say the sentence as not at all
        scores = shared.base.model(torch.tensor([said])).logits[0, -1].log_softmax(-1)
        said.append(int(scores.argmax()))
        cost -= float(scores.max())
        if said[-1] == tokenizer.eos_token_id:
            break
    assert alone.otherwise_nll == pytest.approx(cost, rel=1e-4)


def test_numbers_by_arm_and_their_differences(
    lights_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads the year off its prompt, and refuses where there is nothing."""

    def said(self: DocumentReader, read: Read, gold: list[int]) -> Any:
        rest: Any = (1.0, 0.5, 0, 0, 0, None)
        text = bytes(self._shared.base.tokenizer.decode(read.prompt.token_ids), "utf-8").decode()
        about, asked = text.split("Question:")
        if "lamp lit" in asked and (place := about.find("lit in ")) > 0:
            year = about[place + 7 : place + 11]
            return Answered(year, 1.0 * len(gold), 0.0, year, *rest)
        return Answered(NOT_IN_DOCUMENT, 3.0 * len(gold), 0.0, "no", *rest)

    monkeypatch.setattr(DocumentReader, "answer", said)
    arms = ("closed", "truncate", "tree", "full")
    request = Request((DataFile(lights_file),), tmp_path / "out", arms=arms, limit=99)
    reporter = Silent()
    found = answers(request, settings, home=tmp_path, reporter=reporter)
    assert found["questions"] == {"asked": 12, "answerable": 8, "candidates": 12}
    closed, full = found["arms"]["closed"], found["arms"]["full"]
    assert (closed["n"], closed["f1"], closed["em"], closed["answer_nll"]) == (8, 0.0, 0.0, 3.0)
    assert (full["n"], full["f1"], full["em"], full["refused"]) == (8, 0.5, 0.5, 0.5)
    assert full["unanswerable"] == {"n": 4, "refused": 1.0}
    assert full["rouge_l"] == 0.5
    # a byte a token and the first accepted answer: four years at 1 nat, four times "Nobody" at 3
    assert full["answer_nll"] == pytest.approx((4 * 4 * 1 + 4 * 6 * 3) / (4 * 4 + 4 * 6))
    assert found["arms"]["tree"] == {"n": 0, "left_out": "the adapter reads no tree, so it would be closed again"}
    assert any("the arm tree is left out" in warning for warning in reporter.warnings)
    pairs = {(one["arm"], one["against"]): one for one in found["differences"]}
    assert set(pairs) == {("truncate", "closed"), ("full", "closed"), ("full", "truncate")}
    assert pairs["full", "closed"]["f1"]["mean"] == 0.5
    low, high = pairs["full", "closed"]["f1"]["interval"]
    assert 0 < low < 0.5 < high < 1
    assert pairs["full", "truncate"]["f1"] == {"n": 8, "mean": 0.0, "interval": [0.0, 0.0]}
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["data"]["files"][0]["file"] == "lights.jsonl"
    assert config["model"]["reads_tree"] is False


def test_a_resumed_run_equals_an_uninterrupted_one(
    lights_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str, resume: bool = False, **changes: Any) -> dict[str, Any]:
        arms = ("closed", "tree", "tree-wrong", "sharedllm")
        request = Request((DataFile(lights_file),), tmp_path / out, arms=arms, limit=5, joins=(2,), resume=resume)
        return answers(request, replace(reading, **changes), home=tmp_path, reporter=Silent())

    for module in ("sharedllm_cli.answering.reader", "sharedllm_cli.lab.evaluation.answers"):
        monkeypatch.setattr(f"{module}.perf_counter", lambda: 0.0)
    whole = run("whole")
    with monkeypatch.context() as patch:
        left = iter(range(9))
        original = DocumentReader.answer

        def interrupted(*given: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(*given, **named)

        patch.setattr(DocumentReader, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("cut")
    predictions = tmp_path / "cut" / PREDICTIONS
    assert len(predictions.read_text().splitlines()) == 9
    predictions.write_text(predictions.read_text()[:-20])
    with pytest.raises(UsageError, match="another settings evidence tokens"):
        run("cut", resume=True, evidence_tokens=100)
    assert run("cut", resume=True) == whole
    for name in (METRICS, PREDICTIONS, CONFIG):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_trees_are_shared_between_runs_and_the_user_s_own_are_left_alone(
    lights_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, trees = tmp_path / "user", tmp_path / "trees"

    def run(out: str) -> dict[str, Any]:
        request = Request((DataFile(lights_file),), tmp_path / out, arms=("tree",), limit=3, trees=trees)
        return answers(request, replace(reading, index_dir=str(user)), home=tmp_path, reporter=Silent())["arms"]

    first = run("a")["tree"]["answer_nll"]
    monkeypatch.setattr(LowerModel, "encode", lambda *given: pytest.fail("the trees are there"))
    assert run("b")["tree"]["answer_nll"] == first
    assert list(trees.glob("*/trees-*"))
    assert not user.exists()


def test_without_adapter_the_base_model_answers(lights_file: Path, reading: Settings, tmp_path: Path) -> None:
    request = Request((DataFile(lights_file),), tmp_path / "out", arms=("bm25", "sharedllm"), limit=2, adapter=False)
    answers(request, reading, home=tmp_path, reporter=Silent())
    facts = json.loads((tmp_path / "out" / CONFIG).read_text())["model"]
    assert (facts["adapter"], facts["reads_tree"]) == (None, False)


@pytest.mark.parametrize(
    ("arms", "words"), [(("best",), "unknown arm"), ((), "no arm"), (("bm25", "bm25"), "twice"), (("tree",), "no arm")]
)
def test_arms_that_can_t_be_meant(
    lights_file: Path, settings: Settings, tmp_path: Path, arms: tuple[str, ...], words: str
) -> None:
    def ask() -> None:
        request = Request((DataFile(lights_file),), tmp_path / "out", arms=arms)
        answers(request, settings, home=tmp_path, reporter=Silent())

    with pytest.raises(UsageError, match=words):
        ask()


@pytest.fixture
def kinds_file(tmp_path: Path) -> Path:
    """A document with a question for each of several routes."""
    asked = {
        "Who kept the lamp?": ["Agnes"],
        "Which submarine exploded?": [],
        "How many lamps were there?": ["two"],
        "What is the title of this document?": ["Of Lamps"],
    }
    qas = [{"id": str(at), "question": text, "answers": own} for at, (text, own) in enumerate(asked.items())]
    text = "Of Lamps\n\n" + "There were two lamps. Agnes kept the lamp. The wind blows from the sea. " * 60
    path = tmp_path / "kinds.jsonl"
    path.write_text(json.dumps({"doc_id": "1", "document": text, "qas": qas}) + "\n")
    return path


def test_answers_are_counted_by_the_route_that_gave_them(kinds_file: Path, settings: Settings, tmp_path: Path) -> None:
    request = Request((DataFile(kinds_file),), tmp_path / "out", arms=("bm25", "plain", "sharedllm"), limit=9)
    found = answers(request, replace(settings, evidence_tokens=200), home=tmp_path, reporter=Silent())
    routes = found["routes"]
    assert {route: of["asked"] for route, of in routes.items()} == {
        "front_matter": 1,
        "no_term_matches": 1,
        "passages": 1,
        "several": 1,
    }
    nothing = routes["no_term_matches"]["arms"]
    assert nothing["sharedllm"]["unanswerable"] == {"n": 1, "refused": 1.0}
    assert nothing["plain"]["unanswerable"] == {"n": 1, "refused": 0.0}, "the model is asked whatever the words"
    assert {one["arm"] for one in routes["passages"]["differences"]} == {"plain", "sharedllm"}
    lines = [json.loads(line) for line in (tmp_path / "out" / PREDICTIONS).read_text().splitlines()]
    assert {line["arm"] for line in lines if "route" in line} == {"bm25", "sharedllm"}
    assert {line["route"] for line in lines if line["arm"] == "sharedllm"} == set(routes)
