"""The real engine on a tiny random model and a byte tokenizer: what is read, built, found again and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_byte_tokenizer, make_tiny_model

from sharedllm_cli import engine as engine_module
from sharedllm_cli.answer import Answer
from sharedllm_cli.answering import reader as reader_module
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.documents import readers
from sharedllm_cli.engine import Engine
from sharedllm_cli.errors import DocumentError, StoredIndexError, UsageError
from sharedllm_cli.generation.decoding import Drawn, Sampler
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT, Turn
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import LowerModel
from sharedllm_cli.progress import Silent

SHAPE = {"max_position_embeddings": 8192}
STORY = (
    "The harbour master of Kessel keeps a ledger bound in green leather. "
    "Every ship that enters pays eleven silver marks at the stone desk. "
    "Old Marten lights the northern beacon an hour before sunset. "
    "In winter the beacon burns whale oil, in summer it burns resin. "
    "The bakers of the upper town sell rye bread on market days. "
    "A storm in the year of the comet broke the eastern mole. "
    "Since then fishermen moor their boats behind the granary. "
    "The key of the custom house hangs in the chapel of Saint Odile. "
)


@pytest.fixture
def model(model_folder: Callable[..., Path]) -> str:
    return str(model_folder("llama", **SHAPE))


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "harbour.txt"
    path.write_text(
        "\f".join([STORY, "The second page tells of the granary. " * 15, "A page about bees and clover. " * 20])
    )
    return str(path)


@pytest.fixture
def open_adapter(tmp_path: Path) -> str:
    """An adapter whose gates are open, so that the tree is read."""
    base = make_tiny_model("llama", **SHAPE)
    adapter = Adapter.untrained(base, "tiny", InjectionConfig("merged", 2), TreeConfig(512, 3, (16, 8, 4)))
    with torch.no_grad():
        for injection in adapter.injections.values():
            injection.gate.fill_(1.0)  # type: ignore[union-attr, operator]
    folder = tmp_path / "open-adapter"
    adapter.save(folder, trained={"objective": "none: gates opened by a test"})
    return str(folder)


def make(model: str, home: Path, reporter: Any = None, **changes: Any) -> Engine:
    values = {"model": model, "device": "cpu", "chunk_tokens": 512, "evidence_tokens": 300, "max_new_tokens": 6}
    return Engine(Settings(**(values | changes)), home=home, reporter=reporter or Silent())


def ask(engine: Engine, paths: list[str], question: str, **options: Any) -> tuple[str, Answer]:
    pieces, answer = [], None
    for item in engine.ask(engine.open(paths), question, **options):
        if isinstance(item, Answer):
            assert answer is None, "one answer, and it comes last"
            answer = item
        else:
            assert answer is None
            pieces.append(item)
    assert answer is not None
    return "".join(pieces), answer


def forbid(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError(f"{name} must not be called")

    monkeypatch.setattr(owner, name, never)


def test_answer_has_sources_with_page_and_exact_words(model: str, private_home: Path, story: str) -> None:
    text, answer = ask(make(model, private_home), [story], "What does the beacon burn in winter?")
    assert answer.answer == text.strip()
    assert 1 <= len(answer.sources) <= 8
    best = answer.sources[0]
    assert "beacon burns whale oil" in best.quote
    assert (best.page, best.document, best.verified) == (1, "harbour.txt", True)
    whole = Path(story).read_text()
    assert all(source.quote in whole for source in answer.sources)
    assert answer.coverage.pages == 3
    text = make(model, private_home).open([story]).documents[0].document.text
    assert answer.coverage.tokens == len(text), "a byte a token: nothing is dropped"
    assert 0 < answer.coverage.tokens_read <= 300
    assert answer.timing.new_tokens >= 1
    assert answer.peak_bytes > 0


def test_untrained_injection_builds_no_trees(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, LowerModel, "encode")
    _, answer = ask(make(model, private_home), [story], "Who lights the beacon?")
    assert not answer.model.reads_tree
    assert not answer.model.trained
    assert (answer.tree.preserved_nodes, answer.tree.kept_keys, answer.tree.ratio) == (0, 0, None)
    assert not list((private_home / "indexes").glob("*/trees-*"))


def test_second_question_reads_no_file_and_compresses_nothing(
    model: str, private_home: Path, story: str, open_adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "Who lights the northern beacon?"
    first_text, first = ask(make(model, private_home, adapter=open_adapter), [story], question)
    assert first.model.reads_tree
    assert not first.index.trees_hit
    assert first.tree.preserved_nodes > 0
    assert first.coverage.tokens_read == first.coverage.tokens
    forbid(monkeypatch, readers, "read")
    forbid(monkeypatch, LowerModel, "encode")
    again_text, again = ask(make(model, private_home, adapter=open_adapter), [story], question)
    assert again.index.text_hit
    assert again.index.trees_hit
    assert again_text == first_text
    assert again.sources == first.sources
    assert again.tree == first.tree


def test_the_tree_is_read(model: str, private_home: Path, story: str, open_adapter: str) -> None:
    engine = make(model, private_home, adapter=open_adapter, evidence_tokens=0)
    _, answer = ask(engine, [story], "Who lights the northern beacon?")
    chunks = answer.coverage.chunks
    assert answer.tree.preserved_nodes == 4 * chunks
    assert answer.tree.ratio == pytest.approx(8.0, rel=0.05)
    assert answer.sources, "sources are shown though nothing stands verbatim"


def test_the_tree_can_be_switched_off(model: str, private_home: Path, story: str, open_adapter: str) -> None:
    question = "Who lights the northern beacon?"
    _, answer = ask(make(model, private_home, adapter=open_adapter), [story], question)
    _, plain = ask(make(model, private_home, adapter=open_adapter, tree=False), [story], question)
    assert plain.tree.preserved_nodes == 0
    assert plain.model.reads_tree, "the adapter reads trees, the user switched it off"
    assert plain.answer != answer.answer, "the tree that was read made a difference"


@pytest.mark.parametrize("policy", ["hybrid", "bm25", "late", "paper-cosine", "right"])
def test_every_policy_answers(model: str, private_home: Path, story: str, open_adapter: str, policy: str) -> None:
    engine = make(model, private_home, adapter=open_adapter, policy=policy)
    _, answer = ask(engine, [story], "Where does the key of the custom house hang?")
    assert answer.tree.policy == policy
    assert answer.tree.preserved_nodes > 0
    assert answer.sources


def test_stored_states_serve_the_late_policy(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_engine = make(model, private_home, policy="late")
    live = [source.quote for source in ask(live_engine, [story], "Who lights the beacon?")[1].sources]
    engine = make(model, private_home, policy="late")
    outcomes, failures = engine.index([story], late_states=True)
    assert not failures
    assert not outcomes[0].skipped
    assert engine.index([story], late_states=True)[0][0].skipped
    seen = record_states(monkeypatch)
    _, answer = ask(engine, [story], "Who lights the beacon?")
    assert seen == [len("Who lights the beacon?")], "only the question goes through the lower model"
    assert [source.quote for source in answer.sources] == live
    forbid(monkeypatch, engine.store, "read_states")
    _, again = ask(engine, [story], "Who lights the beacon?")
    assert [source.quote for source in again.sources] == live, "read once for all questions of a session"


def test_short_document_stands_whole(model: str, private_home: Path, tmp_path: Path, open_adapter: str) -> None:
    note = tmp_path / "note.txt"
    note.write_text("Tea")
    _, answer = ask(make(model, private_home, adapter=open_adapter), [str(note)], "What does it say?")
    assert answer.coverage.tokens == answer.coverage.tokens_read == 3
    assert answer.tree.preserved_nodes == 1
    assert [source.quote for source in answer.sources] == ["Tea"]


def test_several_documents_name_their_own(
    model: str, private_home: Path, tmp_path: Path, story: str, open_adapter: str
) -> None:
    other = tmp_path / "mill.txt"
    other.write_text("The miller Aldous grinds barley at night. " * 5)
    engine = make(model, private_home, adapter=open_adapter, evidence_tokens=120)
    library = engine.open([story, str(other), str(tmp_path / "absent.txt")])
    assert [document.name for document in library.documents] == ["harbour.txt", "mill.txt"]
    assert [type(failure) for _, failure in library.failures] == [DocumentError]
    answer = next(item for item in engine.ask(library, "What does Aldous grind?") if isinstance(item, Answer))
    assert answer.sources[0].document == "mill.txt"
    assert answer.coverage.chunks == sum(document.chunks for document in library.documents)
    with pytest.raises(DocumentError):
        engine.open([str(tmp_path / "absent.txt")])


def test_pages_bound_what_is_read(model: str, private_home: Path, story: str, open_adapter: str) -> None:
    engine = make(model, private_home, adapter=open_adapter)
    _, answer = ask(engine, [story], "What is told of the bees?", pages=(3, 3))
    assert {source.page for source in answer.sources} == {3}
    assert answer.coverage.tokens_read < answer.coverage.tokens
    with pytest.raises(UsageError, match="only 3 pages"):
        ask(engine, [story], "What is told of the granary?", pages=(9, 9))


def test_question_without_any_word_of_the_document_is_not_answered(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(model, private_home, evidence_tokens=120)
    library = engine.open([story])
    forbid(monkeypatch, reader_module, "decode_stream")
    items = list(engine.ask(library, "Explain photosynthesis quantitatively?"))
    answer = items[-1]
    assert isinstance(answer, Answer)
    assert items[0] == NOT_IN_DOCUMENT
    assert not answer.answered
    assert "photosynthesis" in (answer.reason or "")
    assert answer.sources == []
    assert answer.coverage.tokens_read == 0


def test_words_that_no_document_holds_are_named_as_typed(model: str, private_home: Path, story: str) -> None:
    _, answer = ask(make(model, private_home, evidence_tokens=120), [story], "Do Zeppelins or ships light the beacon?")
    assert any("Zeppelins" in warning and "ships" not in warning for warning in answer.warnings)


def test_leaning_question_is_looked_for_with_the_one_before(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(model, private_home, evidence_tokens=120)
    history = [Turn("Who lights the northern beacon?", "Old Marten.")]
    seen = record_states(monkeypatch)
    _, answer = ask(engine, [story], "And when?", history=history)
    # Weights without training order the best few by chance.
    assert any("northern beacon" in source.quote for source in answer.sources[:2])
    assert len("Who lights the northern beacon?") <= min(seen)
    assert len("And when?") not in seen, "leaves are scored for what is looked for, and for nothing else"


def record_states(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens went through the lower model to be scored, call by call."""
    seen: list[int] = []
    for name, whole in (("attended", LowerModel.attended), ("states", LowerModel.states)):
        monkeypatch.setattr(LowerModel, name, lambda *a, whole=whole: seen.append(a[1].numel()) or whole(*a))
    return seen


def test_the_papers_policy_uses_the_vectors_of_the_trees_it_builds(
    model: str, private_home: Path, story: str, open_adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_states(monkeypatch)
    question = "Who lights the beacon?"
    _, answer = ask(make(model, private_home, adapter=open_adapter, policy="paper-cosine"), [story], question)
    assert not answer.index.trees_hit
    assert seen == [len(question)], "no node goes through the first layer a second time"


def test_warnings_of_reading_stand_in_the_answer(model: str, private_home: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.txt"
    damaged.write_bytes(("Übermäßig späte Gäste. " * 40).encode() + b"\xff" + STORY.encode())
    engine = make(model, private_home)
    for _ in range(2):
        _, answer = ask(engine, [str(damaged)], "Who lights the beacon?")
        assert sum("could not be decoded" in warning for warning in answer.warnings) == 1


def test_passages_that_do_not_fit_the_window_are_not_counted_as_read(
    model_folder: Callable[..., Path], private_home: Path, story: str
) -> None:
    small = str(model_folder("llama", max_position_embeddings=500))
    _, answer = ask(make(small, private_home, evidence_tokens=300), [story], "Who pays marks for the granary?")
    assert any("did not fit" in warning for warning in answer.warnings)
    assert 0 < answer.coverage.tokens_read < 250


def test_the_prompt_is_told_as_a_detail(model: str, private_home: Path, story: str) -> None:
    told: list[tuple[str, str]] = []
    reporter = Silent()
    reporter.detail = lambda title, text: told.append((title, text))  # type: ignore[method-assign]
    ask(make(model, private_home, reporter), [story], "Who lights the beacon?")
    assert [title for title, _ in told] == ["the model", "the search", "the prompt"]
    assert "MB of weights (quantize none" in told[0][1]
    assert "Who lights the beacon?" in told[2][1]
    assert "[page 1] " in told[2][1]
    assert "lights the northern beacon" in told[2][1]


def test_conversation_that_outgrows_the_window_says_so(
    model_folder: Callable[..., Path], private_home: Path, story: str
) -> None:
    small = str(model_folder("llama", max_position_embeddings=900))
    history = [Turn(f"Question {number} about the harbour?", "x" * 150) for number in range(6)]
    reporter = Silent()
    _, answer = ask(
        make(small, private_home, reporter, evidence_tokens=120), [story], "Who pays marks?", history=history
    )
    assert any("oldest" in warning for warning in answer.warnings)
    assert set(reporter.warnings) <= set(answer.warnings)


def test_damage_is_refused_and_reindex_mends_it(model: str, private_home: Path, story: str) -> None:
    engine = make(model, private_home)
    engine.index([story])
    shard = next((private_home / "indexes").glob("*/trees-*/*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoredIndexError) as caught:
        ask(make(model, private_home), [story], "Who lights the beacon?")
    assert "reindex" in (caught.value.hint or "")
    mended = make(model, private_home)
    library = mended.open([story], reindex=True)
    assert isinstance(list(mended.ask(library, "Who lights the beacon?"))[-1], Answer)


def test_index_is_built_once_and_says_why_again(model: str, private_home: Path, story: str) -> None:
    engine = make(model, private_home)
    first = engine.index([story])[0][0]
    assert not first.skipped
    assert first.reason is None
    assert first.bytes > 0
    assert first.tokens_per_s > 0
    assert engine.index([story])[0][0].skipped
    engine.trees.find = lambda opened: None  # type: ignore[method-assign]  # not there yet when it is looked for
    waited = engine.index([story])[0][0]
    assert waited.skipped, "another process built them meanwhile"
    assert waited.tokens_per_s == 0
    other = make(model, private_home, lower_layers=3).index([story])[0][0]
    assert not other.skipped
    assert "lower layers" in (other.reason or "")
    Path(story).write_text(STORY + "One more line.")
    notes: list[str] = []
    reporter = Silent()
    reporter.note = notes.append  # type: ignore[method-assign]
    changed = make(model, private_home, reporter).index([story])[0][0]
    assert not changed.skipped
    assert any("another content" in note for note in notes)


def test_plan_tells_before_any_work(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(model, private_home)
    forbid(monkeypatch, engine_module, "load_shared")
    rows, failures = engine.plan([story])
    assert not failures
    assert not rows[0].indexed
    assert not (private_home / "indexes").exists(), "nothing is stored"
    assert rows[0].index_seconds > 0
    monkeypatch.undo()
    outcome = make(model, private_home).index([story])[0][0]
    after = make(model, private_home).plan([story])[0][0]
    assert after.indexed
    assert after.tokens == outcome.tokens
    trees = sum(path.stat().st_size for path in (private_home / "indexes").glob("*/trees-*/*.safetensors"))
    assert after.index_bytes == pytest.approx(trees, rel=0.05)


def test_a_plan_counts_the_type_that_the_model_runs_in(model: str, private_home: Path, story: str) -> None:
    wide = make(model, private_home).plan([story])[0][0]
    half = make(model, private_home, dtype="bfloat16").plan([story])[0][0]
    assert half.weights_bytes == wide.weights_bytes // 2
    assert half.memory_bytes < wide.memory_bytes
    coarse = make(model, private_home, ratios="64,32,16").plan([story])[0][0]
    assert coarse.index_bytes < wide.index_bytes, "what is kept follows from the ratios"
    assert coarse.tree_bytes == wide.tree_bytes == 0, "and without an adapter no question reads it"


def test_a_model_without_a_chat_template_answers_once(
    model_folder: Callable[..., Path], private_home: Path, story: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on with a question of its own: the answer ends where that begins."""
    folder = tmp_path / "templateless"
    shutil.copytree(model_folder("llama", **SHAPE), folder)
    for path in (folder / "chat_template.jinja", folder / "tokenizer_config.json"):
        if path.suffix == ".jinja":
            path.unlink(missing_ok=True)
        else:
            told = json.loads(path.read_text())
            told.pop("chat_template", None)
            path.write_text(json.dumps(told))
    said = iter([*b" Marten.\n\nQuestion: And who", 257])

    drawn = lambda *_: Drawn(torch.tensor([byte_id(next(said))]), torch.tensor(0.0))  # noqa: E731
    monkeypatch.setattr(Sampler, "draw", drawn)
    text, answer = ask(make(str(folder), private_home, max_new_tokens=60), [story], "Who lights the beacon?")
    assert text == "Marten."
    assert answer.answer == "Marten."
    assert not any("longest length" in warning for warning in answer.warnings)


def byte_id(value: int) -> int:
    tokenizer = make_byte_tokenizer()
    return value if value > 255 else int(tokenizer(chr(value), add_special_tokens=False)["input_ids"][0])


def test_temperature_zero_ignores_the_seed(model: str, private_home: Path, story: str) -> None:
    answers = {ask(make(model, private_home, seed=seed), [story], "Who lights the beacon?")[0] for seed in (0, 1, 2)}
    assert len(answers) == 1
    sampled = {
        ask(make(model, private_home, seed=seed, temperature=2.0, max_new_tokens=12), [story], "Who lights it?")[0]
        for seed in (0, 1, 2, 3)
    }
    assert len(sampled) > 1


def test_closing_the_answer_stops_it(
    model: str, private_home: Path, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    engine = make(model, private_home, max_new_tokens=50)
    library = engine.open([story])
    upper = engine.shared.upper
    original = upper.decode_step
    monkeypatch.setattr(upper, "decode_step", lambda *arguments: steps.append(1) or original(*arguments))
    pieces: Iterator[Any] = engine.ask(library, "Who lights the beacon?")
    next(pieces)
    done = len(steps)
    pieces.close()  # type: ignore[attr-defined]
    assert len(steps) == done


def test_a_model_that_would_read_nothing_is_refused(
    model: str, private_home: Path, story: str, open_adapter: str
) -> None:
    untrained = make(model, private_home, evidence_tokens=0)
    switched_off = make(model, private_home, adapter=open_adapter, evidence_tokens=0, tree=False)
    for engine in (untrained, switched_off):
        with pytest.raises(UsageError, match="read nothing"):
            next(engine.ask(engine.open([story]), "Who lights the beacon?"))


def test_empty_question_is_wrong_usage(model: str, private_home: Path, story: str) -> None:
    engine = make(model, private_home)
    with pytest.raises(UsageError):
        list(engine.ask(engine.open([story]), "   "))
