"""What /set changes, refuses and shows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from chat_talk import talk
from fake_engine import Script

from sharedllm_cli.cli.chat.settings import names
from sharedllm_cli.config import OF_A_QUESTION, Settings
from sharedllm_cli.engine import Engine
from sharedllm_cli.progress import Silent


def test_a_setting_changes_the_next_question_and_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    lines = ("/set top-p 0.5", "/set evidence_tokens 64", "/set tree on", "/set system Answer in French.", "one")
    ran = talk(script, monkeypatch, *lines, "/set top-p default", "/set tree default", "/set system default", "two")
    one, two = script.used
    assert (one.top_p, one.evidence_tokens, one.tree, one.system) == (0.5, 64, True, "Answer in French.")
    assert (two.top_p, two.evidence_tokens, two.tree, two.system) == (1.0, 64, None, None)
    assert "top-p  0.5 (default: 1)" in ran.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ('a\\b"c"d', 'a\\b"c"d'),
        ("back\\slash", "back\\slash"),
        ("it's", "it's"),
        ('"one', '"one'),
        ("'", "'"),
        ("'one\"", "'one\""),
        ('"yes" or "no"', '"yes" or "no"'),
        ("'two  words'", "two  words"),
        ('"a\\b"', "a\\b"),
        ('"it\'s"', "it's"),
        ("'\"one\"'", '"one"'),
    ],
)
@pytest.mark.parametrize("name", ["password", "system"])
def test_quotes_are_taken_off_a_value_only_where_they_stand_around_the_whole_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, typed: str, meant: str
) -> None:
    script = Script()
    talk(script, monkeypatch, f"/set {name} {typed}", "When?")
    assert getattr(script.used[0], name) == meant


def test_default_is_what_holds_without_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDLLM_SEED", "7")
    script = Script()
    ran = talk(script, monkeypatch, "one", "/set seed default", "two", flags=("--seed", "3"))
    assert [settings.seed for settings in script.used] == [3, 7]
    assert "seed  7\n" in ran.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/set top-p 2", "--top-p must be above 0 and at most 1, got 2.0"),
        ("/set seed x", "--seed must be a whole number, got 'x'"),
        ("/set policy best", "--policy can't be 'best'"),
        ("/set tree maybe", "--tree can't be 'maybe'"),
        ("/set model other", "--model can't change during a chat"),
        ("/set tempratur 1", "unknown setting 'tempratur'\nhint: did you mean: temperature"),
        ("/set nonsense", "unknown setting 'nonsense'\nhint: one of: policy"),
    ],
)
def test_a_wrong_setting_is_refused_in_the_words_of_its_flag(
    monkeypatch: pytest.MonkeyPatch, line: str, says: str
) -> None:
    script = Script()
    ran = talk(script, monkeypatch, line, "one")
    assert f"error: {says}" in ran.err
    assert ran.code == 2
    assert script.used == [Settings()]


def test_every_setting_of_a_question_is_shown_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = talk(Script(), monkeypatch, "/set", flags=("--password", "secret")).err
    for name in names():
        assert f"  {name} " in shown
    assert "evidence-tokens  384 (the adapter's)" in shown
    assert "secret" not in shown
    assert "given (default: none)" in shown
    explained = talk(Script(), monkeypatch, "/set policy").err
    assert "How passages and nodes are scored for a question. One of: hybrid, hybrid-words, meaning, bm25" in explained


def test_a_setting_reaches_the_trees_that_were_made_with_others(tmp_path: Path) -> None:
    """The engine makes its trees once; they must not go on to tell of the policy before."""
    engine = Engine(Settings(), home=tmp_path, reporter=Silent())
    engine.__dict__["shared"] = None
    assert engine.trees._policy == "hybrid"
    engine.use(Settings(policy="bm25"))
    assert engine.trees._policy == "bm25"
    assert engine.settings.policy == "bm25"


def test_the_settings_of_a_question_are_those_that_load_nothing() -> None:
    fixed = {knob.name for knob in fields(Settings)} - set(OF_A_QUESTION)
    assert fixed == {
        *("model", "adapter", "device", "quantize", "dtype", "attention", "offline", "preset", "lower_layers"),
        *(
            "chunk_tokens",
            "tree_height",
            "ratios",
            "encoding",
            "injection",
            "stored_dtype",
            "index_dir",
            "save",
            "serve",
        ),
    }
