"""A planted fact stands where it is said to stand, once; what is counted is what was answered and what was held."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharedllm_cli.config import Settings
from sharedllm_cli.documents.chunking import plain_ids
from sharedllm_cli.errors import DocumentError, SharedLLMError, UsageError
from sharedllm_cli.generation.prompt import NOT_IN_DOCUMENT
from sharedllm_cli.lab.evaluation import needle as needle_module
from sharedllm_cli.lab.evaluation import questions
from sharedllm_cli.lab.evaluation.answering import Answered, Answerer
from sharedllm_cli.lab.evaluation.arms import DocumentReader
from sharedllm_cli.lab.evaluation.needle import Request, needle
from sharedllm_cli.lab.evaluation.needle_texts import KINDS, Fact, Haystack, draw_fact, most_tokens, read_text
from sharedllm_cli.lab.evaluation.runner import METRICS, PREDICTIONS
from sharedllm_cli.progress import Silent

SENTENCE = "The access code of the lighthouse at Varno is 48213."


def sentences(count: int) -> str:
    """Sentences of different lengths, some of which end a paragraph."""
    words = ("wind", "fog", "tide", "rock", "storm", "harbour")
    pieces = []
    for number in range(count):
        pieces.append(f"In watch {number} the {words[number % 6]} was {'very ' * (number % 4)}strong.")
        pieces.append("\n\n" if number % 7 == 6 else " ")
    return "".join(pieces)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "watches.txt"
    path.write_text(sentences(150), encoding="utf-8")
    return path


def request(text_file: Path, out: Path, **changes: Any) -> Request:
    small: dict[str, Any] = {"lengths": (700, 1500), "depths": (0.0, 50.0, 100.0), "trials": 2, "arms": ("bm25",)}
    return Request((text_file,), out, **(small | changes))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / PREDICTIONS).read_text().splitlines()]


def plain(text: str) -> str:
    return " ".join(text.split())


# What is planted


@pytest.mark.parametrize("depth", [0, 10, 25, 50, 75, 99, 100])
@pytest.mark.parametrize("tokens", [600, 1500, 5000])
def test_the_sentence_stands_once_at_its_depth_between_two_others(
    byte_tokenizer: Any, tokens: int, depth: float
) -> None:
    text = sentences(150)
    haystack = Haystack(text, byte_tokenizer)
    for seed in range(5):
        stretch = haystack.stretch(tokens, np.random.default_rng(seed))
        bare = haystack.text(stretch)
        assert bare in text
        assert tokens - 60 < len(plain_ids(byte_tokenizer, bare)) <= tokens
        assert re.match(r"In watch \d", bare)
        assert bare.endswith(".")
        planted = haystack.plant(stretch, SENTENCE, depth)
        assert planted.text.count(SENTENCE) == 1
        before, after = planted.text.split(SENTENCE)
        assert plain(before + after) == plain(bare), "nothing is lost"
        assert before == "" or before.rstrip() != before, "words are not glued together"
        assert not before or before.rstrip().endswith(".")
        assert not after or re.match(r"\s+In watch \d", after)
        found = 100 * len(before) / (len(before) + len(after) or 1)
        assert found == pytest.approx(depth, abs=100 * 35 / tokens)
        assert found == pytest.approx(planted.depth, abs=100 * 4 / tokens)


def test_paragraphs_stay_paragraphs(byte_tokenizer: Any) -> None:
    haystack = Haystack("One is here.\n\nTwo is there.", byte_tokenizer)
    stretch = haystack.stretch(len(haystack), np.random.default_rng(0))
    assert haystack.plant(stretch, "A fact.", 50).text == "One is here.\n\nA fact.\n\nTwo is there."
    assert haystack.plant(stretch, "A fact.", 0).text == "A fact. One is here.\n\nTwo is there."


def test_text_without_sentences_is_cut_all_the_same(byte_tokenizer: Any) -> None:
    haystack = Haystack("x" * 5000, byte_tokenizer)
    stretch = haystack.stretch(1000, np.random.default_rng(1))
    assert len(haystack.text(stretch)) == 1000
    assert haystack.plant(stretch, SENTENCE, 50).text.count(SENTENCE) == 1


def test_a_stretch_longer_than_the_text_is_refused(byte_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="1000 tokens in a text of 10"):
        Haystack("x" * 10, byte_tokenizer).stretch(1000, np.random.default_rng(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_says_its_value_and_its_question_does_not(kind: str) -> None:
    facts = [draw_fact(np.random.default_rng(seed), kind, "") for seed in range(50)]
    assert len({fact.value for fact in facts}) > 45
    for fact in facts:
        assert fact.sentence.count(fact.value) == 1
        assert fact.value not in fact.question
        assert fact.answered_by(fact.sentence)
        assert len(fact.sentence) <= most_tokens(kind, len), "even where a letter is a token"


def test_a_fact_s_place_and_value_are_unheard_of() -> None:
    first = draw_fact(np.random.default_rng(3), "code", "")
    place = first.sentence.split(" at ")[1].split(" is ")[0]
    for known in (first.value, place):
        other = draw_fact(np.random.default_rng(3), "code", f"{known.lower()} is here")
        assert known not in other.sentence


def test_a_text_that_holds_every_value_is_refused() -> None:
    everything = " ".join(map(str, range(10_000, 100_000)))
    with pytest.raises(DocumentError, match="every number"):
        draw_fact(np.random.default_rng(0), "code", everything)


@pytest.mark.parametrize(
    ("answer", "right"),
    [("48213", True), ("It is 48213.", True), ("148213", False), ("4821", False), ("", False), ("x48213", False)],
)
def test_an_answer_is_right_where_the_value_is_a_word_of_it(answer: str, right: bool) -> None:
    assert Fact("code", SENTENCE, "?", "48213").answered_by(answer) is right


def test_names_are_read_in_any_case() -> None:
    assert Fact("keeper", "", "?", "Varno Lute").answered_by("the keeper was VARNO\n lute!")


def test_all_kinds_of_files_are_joined(text_file: Path, lights_file: Path) -> None:
    text = read_text([text_file, lights_file], reporter=Silent())
    assert text.startswith("In watch 0")
    assert "strong.\n\nThe lamp was lit in 1801." in text


# What is asked and counted


def reads_well(
    self: Answerer, prompt_ids: Sequence[int], tree: Any, gold: Sequence[int], stop: Any, **_: Any
) -> Answered:
    """A model that finds the value beside the words of the question, wherever they stand in its running text."""
    passages, asked = self._shared.base.tokenizer.decode(prompt_ids).split("Question:")
    place = re.search(r"(?:at|of) ([A-Z]\w+)", asked)
    said = re.search(rf" {place[1]} (?:is called|is steered by|is|weighs exactly) (\w+)", passages) if place else None
    answer = said[1] if said else NOT_IN_DOCUMENT
    return Answered(answer, 2.0 * len(gold), 0.0, answer, 1.0, 0.0)


def opened_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the documents that are cut from here on."""
    texts: list[str] = []

    def watched(document: Any, *given: Any) -> Any:
        texts.append(document.text)
        return questions.opened(document, *given)

    monkeypatch.setattr(needle_module, "opened", watched)
    return texts


def test_cells_count_what_was_answered_and_what_was_held(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answerer, "answer", reads_well)
    asked = request(text_file, tmp_path / "out", arms=("closed", "full", "bm25", "tree"), lengths=(700, 5000))
    reporter = Silent()
    found = needle(asked, settings, home=tmp_path, reporter=reporter)
    assert (found["lengths"], found["depths"], found["trials"]) == ([700, 5000], [0, 50, 100], 2)
    assert list(found["arms"]) == ["closed", "full", "bm25", "tree"]
    assert "left_out" in found["arms"]["tree"]
    closed, full, bm25 = (found["arms"][name] for name in ("closed", "full", "bm25"))
    assert (closed["n"], closed["answered"], closed["held"], closed["refused"]) == (12, 0.0, None, 1.0)
    assert (bm25["n"], bm25["answered"], bm25["held"], bm25["answer_nll"]) == (12, 1.0, 1.0, 2.0)
    assert bm25["answered_interval"] == [pytest.approx(1 / (1 + 1.96**2 / 12), abs=1e-4), 1.0]
    assert (full["n"], full["answered"], full["did_not_fit"]) == (6, 1.0, 6), "the window has 4,096 tokens"
    cells = {(cell["length"], cell["depth"]): cell for cell in full["cells"]}
    assert len(cells) == 6
    assert cells[700, 50]["n"] == 2
    assert (cells[5000, 50]["n"], cells[5000, 50]["answered"]) == (0, None)
    assert {kind: of["n"] for kind, of in bm25["kinds"].items()} == {"code": 6, "keeper": 6}
    assert found == json.loads((tmp_path / "out" / METRICS).read_text())
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {"needle-closed.png", "needle-full.png", "needle-bm25.png"}


def test_held_and_answered_are_two_things(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Answerer,
        "answer",
        lambda self, prompt, tree, gold, stop, **_: Answered("I don't know", 0.0, 0.0, "no", 0.0, 0.0),
    )
    found = needle(request(text_file, tmp_path / "out"), settings, home=tmp_path, reporter=Silent())["arms"]["bm25"]
    assert (found["answered"], found["held"], found["refused"]) == (0.0, 1.0, 0.0)


def test_documents_have_the_length_and_the_depth_they_are_counted_under(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = opened_texts(monkeypatch)
    monkeypatch.setattr(Answerer, "answer", reads_well)
    needle(request(text_file, tmp_path / "out", arms=("bm25", "sharedllm")), settings, home=tmp_path, reporter=Silent())
    told = lines(tmp_path / "out")[::2]
    assert len(texts) == len(told) == 12, "each is tokenized once, whatever the number of arms"
    stretches: dict[tuple[int, int], set[str]] = {}
    for place, (text, line) in enumerate(zip(texts, told, strict=True)):
        assert text.count(line["sentence"]) == text.count(line["value"]) == 1
        assert line["length"] - 60 < line["document_tokens"] == len(text) <= line["length"]
        assert line["stands_at"] == pytest.approx(line["depth"], abs=100 * 35 / line["length"])
        bare = plain(text.replace(line["sentence"], ""))
        stretches.setdefault((line["length"], place // 3 % 2), set()).add(bare)
    assert all(len(bare) == 1 for bare in stretches.values()), "one stretch for all depths"
    assert len({line["value"] for line in told}) == 12, "and a fact of its own for each"


def test_an_answer_does_not_depend_on_what_else_is_asked(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = opened_texts(monkeypatch)
    monkeypatch.setattr(Answerer, "answer", reads_well)
    needle(request(text_file, tmp_path / "all"), settings, home=tmp_path, reporter=Silent())
    one = request(text_file, tmp_path / "one", lengths=(1500,), depths=(50.0,), trials=2)
    needle(one, settings, home=tmp_path, reporter=Silent())
    asked = {line["key"]: line for line in lines(tmp_path / "all")}
    assert [asked[line["key"]] for line in lines(tmp_path / "one")] == lines(tmp_path / "one")
    with_all, alone = texts[:12], texts[12:]
    assert len(alone) == 2
    assert set(alone) < set(with_all), "nor does what it is asked of"
    needle(replace(one, out=tmp_path / "other", seed=1), settings, home=tmp_path, reporter=Silent())
    assert lines(tmp_path / "other")[0]["sentence"] != lines(tmp_path / "one")[0]["sentence"]


def test_a_resumed_run_equals_an_uninterrupted_one(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str, resume: bool = False, **changes: Any) -> dict[str, Any]:
        asked = request(text_file, tmp_path / out, arms=("bm25", "closed"), resume=resume, lengths=(700,), **changes)
        return needle(asked, settings, home=tmp_path, reporter=Silent())

    whole = run("whole")
    with monkeypatch.context() as patch:
        left = iter(range(5))
        original = Answerer.answer

        def interrupted(*given: Any, **named: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(*given, **named)

        patch.setattr(Answerer, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("cut")
    assert len(lines(tmp_path / "cut")) == 5
    with pytest.raises(UsageError, match="another data trials: 2, not 3"):
        run("cut", resume=True, trials=3)
    assert run("cut", resume=True) == whole
    for name in (METRICS, PREDICTIONS):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    monkeypatch.setattr(needle_module, "opened", lambda *given: pytest.fail("all is answered"))
    assert run("whole", resume=True) == whole


# Trees


def test_the_wrong_tree_is_that_of_the_stretch_without_the_fact(
    text_file: Path, reading: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = DocumentReader.tree

    def watched(reader: DocumentReader, scored: Any) -> Any:
        seen.append(reader.opened.document.text)
        return original(reader, scored)

    monkeypatch.setattr(DocumentReader, "tree", watched)
    asked = request(text_file, tmp_path / "out", arms=("tree", "tree-wrong"), lengths=(700,), trials=1)
    found = needle(asked, reading, home=tmp_path, reporter=Silent())["arms"]
    assert found["tree"]["answer_nll"] != found["tree-wrong"]["answer_nll"]
    told = lines(tmp_path / "out")
    assert all(line["tree_keys"] > 0 for line in told)
    for right, wrong, line in zip(seen[::2], seen[1::2], told[::2], strict=True):
        assert line["value"] in right
        assert plain(right.replace(line["sentence"], "")) == plain(wrong)
    assert len(set(seen[1::2])) == 1
    assert not any(line["held"] for line in told)


@pytest.mark.parametrize("kept", [True, False])
def test_trees_are_kept_where_they_are_to_be_shared(
    text_file: Path, reading: Settings, tmp_path: Path, kept: bool
) -> None:
    trees = tmp_path / "trees" if kept else None
    asked = request(text_file, tmp_path / "out", arms=("tree", "tree-wrong"), lengths=(700,), trials=1, trees=trees)
    needle(asked, reading, home=tmp_path, reporter=Silent())
    assert len(list((trees or tmp_path / "out").glob("**/trees-*"))) == (4 if kept else 0)


# Mistakes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lengths": ()}, "--lengths"),
        ({"lengths": (700, 700)}, "--lengths"),
        ({"lengths": (0,)}, "--lengths"),
        ({"depths": ()}, "--depths"),
        ({"depths": (5.0, 5.0)}, "--depths"),
        ({"depths": (101.0,)}, "0 to 100"),
        ({"depths": (float("nan"),)}, "0 to 100"),
        ({"trials": 0}, "--trials"),
        ({"arms": ("best",)}, "unknown arm 'best'"),
        ({"texts": ()}, "no text"),
        ({"lengths": (100_000,)}, r"the text has [\d,]+ tokens, fewer than the length 100,000"),
        ({"lengths": (60,)}, "no room for a planted fact"),
        ({"texts": (Path("missing.txt"),)}, "missing.txt"),
        ({"texts": (Path("missing.jsonl.xz"),)}, "no data file"),
    ],
)
def test_what_can_t_be_meant(
    text_file: Path, settings: Settings, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    def ask() -> None:
        asked = replace(request(text_file, tmp_path / "out"), **changes)
        needle(asked, settings, home=tmp_path, reporter=Silent())

    with pytest.raises(SharedLLMError, match=words):
        ask()


def test_without_matplotlib_the_numbers_are_kept(
    text_file: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answerer, "answer", reads_well)
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    reporter = Silent()
    needle(request(text_file, tmp_path / "out"), settings, home=tmp_path, reporter=reporter)
    assert (tmp_path / "out" / METRICS).is_file()
    assert not list((tmp_path / "out").glob("*.png"))
    assert "needle-bm25.png is not drawn" in reporter.warnings[-1]
