"""Help and completion are quick: they load neither torch nor anything else that is heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from sharedllm_cli.cli import completion, options
from sharedllm_cli.cli.app import NAME, make_app
from sharedllm_cli.cli.help import commands

HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "pypdf",
    "pypdfium2",
    "pydantic",
    "rich",
    "prompt_toolkit",
    "sharedllm_cli.engine",
)
PATHS = [(), *(path for path, _ in commands(get_command(make_app()), ()))]
PROGRAM = f"""
import io, sys
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
sys.stdout = io.StringIO()
for path in {PATHS!r}:
    assert run([*path, "--help"], Console()) == 0
    assert sys.stdout.getvalue().startswith("Usage: sharedllm")
    sys.stdout.truncate(0), sys.stdout.seek(0)
sys.stdout = sys.__stdout__
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""


def test_no_help_page_loads_anything_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_fits_the_terminal(width: str) -> None:
    command = [sys.executable, "-m", "sharedllm_cli", "ask", "--help-all"]
    environment = os.environ | {"COLUMNS": width}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    widest = max(len(line) for line in ran.stdout.splitlines() if not line.lstrip().startswith("-"))
    assert widest <= max(int(width), 62)
    assert "--evidence-tokens N" in ran.stdout
    assert "[default: 256]" in " ".join(ran.stdout.split())
    assert "\x1b" not in ran.stdout


def complete(home: Path, words: str) -> list[str]:
    environment = os.environ | {
        "_SHAREDLLM_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "SHAREDLLM_HOME": str(home),
    }
    command = [sys.executable, "-m", "sharedllm_cli"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ran.stdout.split()


def test_completion_of_commands_options_choices_and_models(private_home: Path) -> None:
    assert {"ask", "chat", "index", "plan", "indexes", "models", "doctor"} <= set(complete(private_home, f"{NAME} "))
    assert complete(private_home, f"{NAME} ask --evid") == ["--evidence-tokens"]
    assert complete(private_home, f"{NAME} ask --policy b") == ["bm25"]
    assert complete(private_home, f"{NAME} models show smol") == ["smollm2-135m-instruct"]


def test_completion_of_documents_and_settings(
    private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("book.pdf", "bones.txt", "bolt.png", "notes/one.md", "notes/two.md", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "my book.pdf").touch()
    source = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", source)
    monkeypatch.chdir(tmp_path)
    assert complete(private_home, f"{NAME} ask bo") == ["bones.txt", "book.pdf"]
    assert complete(private_home, f"{NAME} read not") == ["notes/", "notes/one.md", "notes/two.md"]
    assert complete(private_home, f"{NAME} search notes/t") == ["notes/two.md"]
    assert complete(private_home, f"{NAME} ask my") == [], "the shell itself knows how to quote it"
    assert complete(private_home, f"{NAME} ask --adapter no") == ["none", "notes/"]
    assert complete(private_home, f"{NAME} config set max_n") == ["max_new_tokens"]


def test_completion_of_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ["letters", "ledgers"]
    monkeypatch.setattr(
        options,
        "complete_collections",
        lambda begun: [name for name in known if name.startswith(begun[1:])],
        raising=False,
    )
    assert completion.documents("@le") == ["@letters", "@ledgers"]
    assert completion.documents("@li") == []
    assert completion.documents("/no/such/folder/") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell: str) -> None:
    environment = os.environ | {"_SHAREDLLM_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "sharedllm_cli"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "_SHAREDLLM_COMPLETE" in ran.stdout
