"""Transcripts of `index`, `plan`, `indexes`, `models` and `doctor`."""

from __future__ import annotations

import importlib
import io
import json
import os
import pty
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Ran, Script, Stream, call

from sharedllm_cli.answer import ModelUse
from sharedllm_cli.cli import doctor as doctor_module
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.errors import DocumentError
from sharedllm_cli.index.catalog import entries
from sharedllm_cli.index.store import IndexStore
from sharedllm_cli.model.adapter_config import AdapterConfig, adapter_config
from sharedllm_cli.progress import Silent

BAD = ("bad.pdf", DocumentError("bad.pdf is damaged", hint="get another copy"))


# index and plan


def test_index_tells_one_line_a_document() -> None:
    script = Script(failures=[BAD])
    ran = call(script, "index", "a.pdf", "bad.pdf", "--late-states", "--reindex")
    assert ran.code == 3
    assert ran.out == "a.pdf: indexed, 5,000 tokens in 10 chunks, 12 MB, 8.0 s, 625 tokens/s\n"
    assert ran.err.startswith("error: bad.pdf is damaged\nhint: get another copy\n")
    assert script.calls == [("index", (["a.pdf", "bad.pdf"], True, True))]


@pytest.mark.parametrize("command", ["index", "plan"])
def test_what_a_folder_holds_besides_is_listed_whole(command: str, tmp_path: Path) -> None:
    for name in ("minutes.md", "budget.xls", "boats.numbers", ".hidden.doc"):
        (tmp_path / name).write_text("The lamp is lit.")
    found = json.loads(call(Script(), command, str(tmp_path), "--json").out)["not_read"]
    assert [(file["name"], file["kind"]) for file in found] == [("boats.numbers", "Numbers"), ("budget.xls", "Excel")]
    assert found[0]["path"] == str(tmp_path / "boats.numbers")


@pytest.mark.parametrize(
    ("has_gates", "tree", "told"),
    [
        (True, None, "note: answers are based on passages, and read these trees only with --tree\n"),
        (True, "true", ""),
        (False, None, "note: the adapter reads no tree: answers are based on passages alone\n"),
    ],
)
def test_index_ends_with_whether_questions_read_what_it_made(
    monkeypatch: pytest.MonkeyPatch, has_gates: bool, tree: str | None, told: str
) -> None:
    if tree is not None:
        monkeypatch.setenv("SHAREDLLM_TREE", tree)
    script = Script(changes={"model": ModelUse("base", "adapter", True, has_gates, "none", "cpu")})
    assert call(script, "index", "a.pdf").err == told
    assert call(script, "index", "a.pdf", "--quiet").err == ""
    assert call(script, "index", "a.pdf", "--json").err == ""


def test_index_json() -> None:
    ran = call(Script(failures=[BAD]), "index", "a.pdf", "bad.pdf", "--json")
    found = json.loads(ran.out)
    assert [one["name"] for one in found["documents"]] == ["a.pdf"]
    assert found["failures"] == [{"name": "bad.pdf", "error": "bad.pdf is damaged", "hint": "get another copy"}]


def test_plan_is_a_table_on_standard_output() -> None:
    ran = call(Script(), "plan", "a.pdf", "b.pdf")
    assert "20 MB for a batch while indexing; 30 MB for the tree and 40 MB for the prompt of a question" in ran.out
    assert re.search(r"Fits +1\.2 GB of 8\.0 GB free on cpu", ran.out)
    assert ran.code == 0
    assert ran.err == ""
    assert "1 min 30 s" in ran.out
    assert "10,000 tokens, 3 min 00 s to index" in ran.out
    assert not [line for line in ran.out.splitlines() if line != line.rstrip()]


def test_plan_json() -> None:
    found = json.loads(call(Script(), "plan", "a.pdf", "--json").out)
    assert found["documents"][0]["tokens"] == 5000
    assert found["failures"] == []


# indexes


@pytest.fixture
def stored(private_home: Path, tmp_path: Path) -> Path:
    """A home in which one document, book.txt, has been read."""
    source = tmp_path / "book.txt"
    source.write_text("The lamp is lit at dusk.")
    text = source.read_text()
    digest = __import__("hashlib").sha256(text.encode()).hexdigest()
    document = Document("book.txt", str(source), "txt", digest, text, (Page(1, None, 0, len(text), text),), paged=False)
    IndexStore(private_home / "indexes", Silent()).write_text(document)
    return private_home / "indexes"


def test_list_and_show(stored: Path) -> None:
    ran = call(Script(), "indexes", "list")
    assert "book.txt" in ran.out
    assert "1 in" in ran.err
    assert "Document" in call(Script(), "indexes", "show", "book.txt").out
    found = json.loads(call(Script(), "indexes", "list", "--json").out)
    assert found["indexes"][0]["name"] == "book.txt"
    assert json.loads(call(Script(), "indexes", "show", "book.txt", "--json").out)["complete"] is True


def test_another_folder_is_looked_into_when_asked(stored: Path, tmp_path: Path) -> None:
    assert json.loads(call(Script(), "indexes", "list", "--json", "-o", str(tmp_path / "no")).out)["indexes"] == []


def test_verify_finds_a_flipped_byte(stored: Path) -> None:
    assert call(Script(), "indexes", "verify").out == "book.txt: whole\n"
    [entry] = entries(stored)
    victim = max((path for path in entry.folder.iterdir()), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(data)
    ran = call(Script(), "indexes", "verify", "book.txt")
    assert ran.code == 5
    assert ran.out.startswith("book.txt: not whole\n  bundle.safetensors ")
    assert "hint: sharedllm index --reindex" in ran.err
    ran = call(Script(), "indexes", "verify", "--json")
    assert ran.code == 5
    assert json.loads(ran.out)["indexes"][0]["problems"]


def test_an_unknown_index_is_wrong_usage(stored: Path) -> None:
    assert call(Script(), "indexes", "show", "nothing").code == 2


def test_rm_needs_to_be_told_twice(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ran = call(Script(), "indexes", "rm", "book.txt")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert len(entries(stored)) == 1
    assert call(Script(), "indexes", "rm", "book.txt", "--yes").out.startswith("deleted the index of book.txt")
    assert entries(stored) == []


@pytest.mark.parametrize(("typed", "left"), [("n\n", 1), ("\n", 1), ("", 1), ("y\n", 0)])
def test_on_a_terminal_the_user_is_asked(stored: Path, monkeypatch: pytest.MonkeyPatch, typed: str, left: int) -> None:
    answers = Stream(terminal=True)
    answers.write(typed)
    answers.seek(0)
    monkeypatch.setattr("sys.stdin", answers)
    ran = call(Script(), "indexes", "rm", "book.txt", terminal=True)
    assert ran.code == 0
    assert "Delete the index of book.txt" in ran.err
    assert len(entries(stored)) == left


def test_prune_deletes_what_lost_its_document(stored: Path, tmp_path: Path) -> None:
    assert "nothing to delete" in call(Script(), "indexes", "prune", "--yes").err
    (tmp_path / "book.txt").unlink()
    ran = call(Script(), "indexes", "prune", "--dry-run")
    assert "is gone" in ran.out
    assert len(entries(stored)) == 1
    assert call(Script(), "indexes", "prune").code == 2
    assert json.loads(call(Script(), "indexes", "prune", "--yes", "--json").out)["deleted"] is True
    assert entries(stored) == []


# models


def test_models_list_says_what_is_installed() -> None:
    assert "smollm2-135m-instruct no" in " ".join(call(Script(), "models", "list").out.split())
    found = json.loads(call(Script(), "models", "list", "--json").out)
    assert found["models"][0]["installed"] is False


def test_show_needs_no_weights(tmp_path: Path) -> None:
    ran = call(Script(), "models", "show")
    assert ran.code == 0
    assert "Layers      30" in ran.out
    assert "not fetched yet" in ran.out
    assert "Weights     538 MB in float32, 269 MB in bfloat16, 163 MB in 8bit, 112 MB in 4bit" in ran.out


FILES = [{"file": "stories.jsonl", "weight": 1.0}, {"file": "papers.jsonl", "weight": 0.5}]


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        (None, "no"),
        (
            {"objective": "question answering", "data": "stories.jsonl", "steps": 75},
            "yes (objective question answering, data stories.jsonl, steps 75)",
        ),
        ({"objective": "qa", "data": FILES}, "yes (objective qa, on stories.jsonl, papers.jsonl)"),
    ],
)
def test_show_tells_whether_the_adapter_is_trained_and_on_what(
    tmp_path: Path, trained: dict[str, Any] | None, told: str
) -> None:
    config = AdapterConfig("tiny", (4, 32, 4, 2, 8), InjectionConfig(lower_layers=2), TreeConfig(), trained=trained)
    (tmp_path / "adapter.json").write_text(json.dumps(config.to_json()))
    ran = call(Script(), "models", "show", "--adapter", str(tmp_path))
    assert f"Trained    {told}\n" in ran.out
    assert "merged, in layers 0 to 1" in ran.out
    assert "3 levels, ratios 16,8,4, each node encoded alone" in ran.out
    found = json.loads(call(Script(), "models", "show", "--adapter", str(tmp_path), "--json").out)
    assert found["adapter"]["trained"] is (trained is not None)


@pytest.mark.parametrize(
    ("measured", "reads", "refuses", "answers"),
    [
        (
            {},
            "1,024 tokens of passages and the tree, if it reads one",
            "where decoding does",
            "the likeliest, word by word",
        ),
        (
            {"beside_passages": False, "evidence_tokens": 384, "refuse_from": 0.25, "candidates": 4},
            "384 tokens of passages, no tree beside them",
            "from a probability of 0.25",
            "of 4 likely short ones the one nearest to the question's words",
        ),
    ],
)
def test_show_tells_what_the_adapter_was_measured_to_be_good_for(
    tmp_path: Path, measured: dict[str, Any], reads: str, refuses: str, answers: str
) -> None:
    shape = (4, 32, 4, 2, 8)
    config = AdapterConfig("tiny", shape, InjectionConfig(lower_layers=2), TreeConfig(), trained={}, **measured)
    (tmp_path / "adapter.json").write_text(json.dumps(config.to_json()))
    ran = call(Script(), "models", "show", "--adapter", str(tmp_path))
    assert f"Reads      {reads}\n" in ran.out
    assert f"Refuses    {refuses}\n" in ran.out
    assert f"Answers    {answers}\n" in ran.out


def test_offline_pull_is_a_model_that_can_t_be_had() -> None:
    ran = call(Script(), "models", "pull", "smollm2-135m-instruct", "--offline")
    assert ran.code == 4
    assert "without --offline" in ran.err


def test_rm_of_a_model_that_is_not_there() -> None:
    assert call(Script(), "models", "rm", "gpt", "--yes").code == 4


# doctor


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.import_module

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return whole(name, *rest, **named)

    monkeypatch.setattr(doctor_module.importlib, "import_module", refuse)


def doctor(*flags: str) -> Ran:
    ran = call(Script(), "doctor", *flags)
    assert ran.code == 0
    return ran


def test_doctor_without_torch_says_what_to_do(without_torch: None) -> None:
    out = doctor().out
    assert "not installed" in out
    assert "→ python -m pip install" in out
    assert "1 to fix" in out


def test_doctor_shows_a_long_path_whole_on_a_narrow_terminal(
    without_torch: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("long" * 20)
    monkeypatch.setenv("SHAREDLLM_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "40")
    shown = re.sub("\x1b[^m]*m", "", call(Script(), "doctor", terminal=True).out)
    assert f"{home}/config.toml(nonethere)" in re.sub(r"\s", "", shown)
    assert "…" not in shown


def test_doctor_tells_where_each_setting_came_from(
    without_torch: None, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (private_home / "config.toml").write_text("top_p = 0.5\n")
    monkeypatch.setenv("SHAREDLLM_SEED", "4")
    monkeypatch.setenv("SHAREDLLM_PASSWORD", "opensesame")
    out = doctor("--device", "cpu", "--json").out
    settings = json.loads(out)["settings"]
    assert set(settings) == set(Settings.__dataclass_fields__)
    assert settings["device"] == {"value": "cpu", "origin": "flag"}
    assert settings["seed"] == {"value": 4, "origin": "SHAREDLLM_SEED"}
    assert settings["top_p"] == {"value": 0.5, "origin": str(private_home / "config.toml")}
    assert settings["policy"]["origin"] == "default"
    assert "opensesame" not in out + doctor().out


def test_doctor_tells_what_the_adapter_makes_of_settings_that_nobody_gave(
    without_torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = adapter_config(Settings(), Settings().model)
    assert shipped is not None
    (row,) = [line.split() for line in doctor().out.splitlines() if line.startswith("evidence_tokens")]
    assert row == ["evidence_tokens", str(shipped.evidence_tokens), "adapter"]
    monkeypatch.setenv("SHAREDLLM_EVIDENCE_TOKENS", "99")
    settings = json.loads(doctor("--json").out)["settings"]
    assert settings["evidence_tokens"] == {"value": 99, "origin": "SHAREDLLM_EVIDENCE_TOKENS"}
    assert settings["refuse_from"] == {"value": None, "origin": "default", "adapter": shipped.refuse_from}
    assert settings["candidates"]["adapter"] == shipped.candidates == 4
    assert settings["lower_layers"]["adapter"] == shipped.injection.lower_layers
    untrained = json.loads(doctor("--json", "--adapter", "none").out)["settings"]
    assert not any("adapter" in entry for entry in untrained.values())
    monkeypatch.setenv("SHAREDLLM_TEMPERATURE", "0.5")
    assert json.loads(doctor("--json").out)["settings"]["candidates"].get("adapter") is None, "drawn by chance"
    monkeypatch.setenv("SHAREDLLM_PRESET", "paper-lm")
    preset = json.loads(doctor("--json").out)["settings"]
    assert "adapter" not in preset["lower_layers"]
    assert "adapter" in preset["refuse_from"]


def test_doctor_survives_a_folder_that_is_no_adapter(without_torch: None, tmp_path: Path) -> None:
    assert "adapter" not in json.loads(doctor("--json", "--adapter", str(tmp_path)).out)["settings"]["refuse_from"]


def test_doctor_knows_a_mistyped_variable(without_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDLLM_MODLE", "x")
    assert "SHAREDLLM_MODLE is set, but is not a setting" in doctor().out


def test_doctor_survives_anything(without_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(doctor_module, "_memory", broken)
    monkeypatch.setattr(doctor_module, "_version", lambda name: None)
    monkeypatch.setattr(doctor_module.util, "find_spec", lambda name: None)
    found = json.loads(doctor("--json", "--adapter", "/nowhere", "--model", "./none", "--quantize", "4bit").out)
    states = {finding["topic"]: finding["state"] for finding in found["findings"]}
    assert states["look"] == states["torch"] == states["bitsandbytes"] == "problem"
    assert all(
        finding["advice"]
        for finding in found["findings"]
        if finding["state"] == "problem" and finding["topic"] != "look"
    )


def test_confirm_reads_a_real_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave) as typed:
        monkeypatch.setattr("sys.stdin", typed)
        os.write(master, b"yes\n")
        assert Console(sys.stdout, Stream(terminal=False)).confirm("Sure?")
    os.close(master)
