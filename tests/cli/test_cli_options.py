"""Every setting is an option, and every option arrives where it acts."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Script, call
from typer.main import get_command

from sharedllm_cli.cli.app import make_app
from sharedllm_cli.cli.options import CONVERSATION, EVERYTHING, GROUPS, group_of
from sharedllm_cli.config import Settings, environment_name, flag

OTHER_VALUES: dict[str, Any] = {
    "model": "./tiny",
    "adapter": "./adapter",
    "device": "cuda:1",
    "read_seconds": 30.0,
    "read_memory": 8.0,
    "ocr": True,
    "quantize": "8bit",
    "dtype": "bfloat16",
    "attention": "eager",
    "cuda_graphs": True,
    "offline": True,
    "preset": "paper-lm",
    "lower_layers": 7,
    "chunk_tokens": 256,
    "tree_height": 2,
    "ratios": "8,4,2",
    "encoding": "chunk",
    "injection": "additive",
    "stored_dtype": "float16",
    "index_dir": "elsewhere",
    "policy": "bm25",
    "evidence_tokens": 99,
    "grains": "fine",
    "tree": False,
    "refuse_from": 0.3,
    "candidates": 3,
    "max_new_tokens": 17,
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 42,
    "system": "Answer in French.",
    "password": "secret",
    "save": False,
    "serve": False,
}
"""A value of each setting that is not its default. `tree_height` needs ratios to match, given beside it."""

COMPANIONS = {"tree_height": {"ratios": "8,4"}}


def as_flags(name: str, value: Any) -> list[str]:
    knob = {knob.name: knob for knob in fields(Settings)}[name]
    if isinstance(value, bool):
        return [flag(knob) if value else flag(knob).replace("--", "--no-", 1)]
    return [flag(knob), str(value)]


def test_the_values_cover_every_setting_and_are_not_the_defaults() -> None:
    assert set(OTHER_VALUES) == {knob.name for knob in fields(Settings)}
    for name, value in OTHER_VALUES.items():
        assert value != getattr(Settings(), name)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (command, name)
        for command in ("ask", "chat")
        for name in OTHER_VALUES
        if command == "chat" or name in EVERYTHING
    ],
)
def test_every_flag_arrives_in_the_engine_s_settings(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO(""))
    (tmp_path / "book.pdf").write_text("x")
    arguments = [command, str(tmp_path / "book.pdf"), *(["When?"] if command == "ask" else [])]
    wanted = {name: OTHER_VALUES[name], **COMPANIONS.get(name, {})}
    for setting, value in wanted.items():
        arguments += as_flags(setting, value)
    script = Script()
    ran = call(script, *arguments)
    assert ran.code == 0, ran.err
    [settings] = script.settings
    for setting, value in wanted.items():
        assert getattr(settings, setting) == value
    untouched = {knob.name for knob in fields(Settings)} - set(wanted)
    assert all(getattr(settings, other) == getattr(Settings(), other) for other in untouched)


def test_ask_offers_every_setting_and_the_groups_hold_each_once() -> None:
    of_chat = set(CONVERSATION.names)
    assert sorted([*EVERYTHING, *of_chat]) == sorted(knob.name for knob in fields(Settings))
    assert len(EVERYTHING) == sum(len(group.names) for group in GROUPS if group is not CONVERSATION)
    ask = get_command(make_app()).commands["ask"]  # type: ignore[attr-defined]
    offered = {parameter.name: parameter for parameter in ask.params}
    assert not of_chat & set(offered)
    for knob in (knob for knob in fields(Settings) if knob.name not in of_chat):
        option = offered[knob.name]
        assert option.default is None
        assert option.help == knob.metadata["help"]
        assert option.rich_help_panel == group_of(knob.name)


ADVANCED = ("--evidence-tokens", "--top-p", "--chunk-tokens", "--candidates", "--cuda-graphs")


@pytest.mark.parametrize("command", ["ask", "chat", "index", "plan", "train"])
def test_help_shows_what_a_person_needs_and_help_all_every_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(Script(), command, "--help").code == 0
    brief = capsys.readouterr().out
    assert call(Script(), command, "--help-all").code == 0
    whole = capsys.readouterr().out
    every = [option for parameter in get_command(make_app()).commands[command].params for option in parameter.opts]  # type: ignore[attr-defined]
    assert [option for option in every if option.startswith("--") and option not in whole] == ["--help-all"]
    assert not [option for option in ADVANCED if option in brief]
    assert "--help-all" in brief
    for option in ("--model", "--offline", "--json", "--verbose"):
        assert option in brief


def test_ask_help_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    call(Script(), "ask", "--help")
    options = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  -")]
    assert len(options) <= 15 + len(("--help", "--help-all"))


@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_a_temperature_is_a_number_of_at_least_0(value: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    ran = call(Script(), "ask", str(tmp_path / "a.txt"), "Why?", "--temperature", value)
    assert ran.code == 2
    assert "--temperature must be at least 0" in ran.err


def test_a_mistake_in_an_option_points_to_where_it_stands() -> None:
    assert "hint: see: sharedllm ask --help-all\n" in call(Script(), "ask", "book.pdf", "When?", "--top-p", "7").err
    assert "hint: see: sharedllm indexes list --help\n" in call(Script(), "indexes", "list", "--top-p", "7").err


def test_no_command_has_an_option_that_its_function_does_not_take() -> None:
    root = get_command(make_app())
    for command in root.commands.values():  # type: ignore[attr-defined]
        for parameter in command.params if not hasattr(command, "commands") else ():
            assert parameter.name in inspect.signature(command.callback).parameters


def ask_with(script: Script, tmp_path: Path, *flags: str) -> Any:
    (tmp_path / "book.pdf").write_text("x")
    return call(script, "ask", str(tmp_path / "book.pdf"), "When?", *flags)


def test_flag_over_environment_over_file_over_default(
    tmp_path: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    (private_home / "config.toml").write_text("seed = 1\nmax-new-tokens = 11\ntop_p = 0.5\n")
    monkeypatch.setenv("SHAREDLLM_SEED", "2")
    monkeypatch.setenv("SHAREDLLM_MAX_NEW_TOKENS", "12")
    ask_with(script, tmp_path, "--seed", "3")
    [settings] = script.settings
    assert (settings.seed, settings.max_new_tokens, settings.top_p) == (3, 12, 0.5)
    assert settings.evidence_tokens == Settings().evidence_tokens


def test_a_switch_of_the_file_can_be_switched_back(tmp_path: Path, private_home: Path) -> None:
    (private_home / "config.toml").write_text("offline = true\ntree = false\n")
    script = Script()
    ask_with(script, tmp_path)
    ask_with(script, tmp_path, "--no-offline", "--tree")
    assert [(one.offline, one.tree) for one in script.settings] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    "text", ["modle = 'x'", "seed = 'x'", "policy = 'best'", "seed = -1", "seed = ", "[ask]\nseed = 1", "\xff"]
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, private_home: Path, text: str) -> None:
    path = private_home / "config.toml"
    path.write_bytes(text.encode("latin-1"))
    ran = ask_with(Script(), tmp_path)
    assert ran.code == 2
    assert str(path) in ran.err


def test_a_setting_that_is_nearly_spelled_is_suggested(tmp_path: Path, private_home: Path) -> None:
    (private_home / "config.toml").write_text("evidence-token = 5\n")
    assert "did you mean: evidence_tokens" in ask_with(Script(), tmp_path).err
    (private_home / "config.toml").write_text("colour = 5\n")
    assert "known: adapter, attention" in ask_with(Script(), tmp_path).err


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for knob in fields(Settings):
        if knob.metadata["choices"] or knob.name == "seed":
            monkeypatch.setenv(environment_name(knob), "nonsense")
            ran = ask_with(Script(), tmp_path)
            assert ran.code == 2
            assert environment_name(knob) in ran.err
            monkeypatch.delenv(environment_name(knob))


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("search", "{book}", "gate", "--min-score"), "--min-score"),
        (("indexes", "prune", "--older-than"), "--older-than"),
        (("chats", "rm", "--older-than"), "--older-than"),
        (("train", "--data", "{book}", "--out", "run", "--learning-rate"), "--learning-rate"),
        (("train", "--data", "{book}", "--out", "run", "--max-minutes"), "--max-minutes"),
        (("bench", "--max-seconds"), "--max-seconds"),
        (("ask", "{book}", "Why?", "--top-p"), "--top-p"),
        (("ask", "{book}", "Why?", "--refuse-from"), "--refuse-from"),
    ],
)
@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
def test_no_option_takes_a_number_without_an_end(
    arguments: tuple[str, ...], flag: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("x")
    ran = call(Script(), *(word.format(book=tmp_path / "a.txt") for word in arguments), value)
    assert ran.code == 2
    assert flag in ran.err


@pytest.mark.parametrize("seed", ["-1", str(2**63), "9" * 5000])
def test_a_seed_is_one_that_random_generators_take(seed: str, tmp_path: Path) -> None:
    ran = ask_with(Script(), tmp_path, "--seed", seed)
    assert (ran.code, "--seed" in ran.err) == (2, True)


def test_a_password_that_was_typed_in_pieces_is_the_one_that_was_set() -> None:
    assert Settings(password="Mu\u0308ller-Strasse").password == "M\u00fcller-Strasse"
