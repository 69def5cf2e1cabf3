"""README and docs can't lie: their commands are extractable, their links lead somewhere, their options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
ARCHIVE = ROOT / "docs" / "log"
"""Its commands are those of the commits that it names, not of this one."""
CONTINUED = re.compile(r"\\\n *")
SHELLS = {"", "sh", "bash", "console", "shell"}
USAGE = re.compile(r"\[OPTIONS\]|COMMAND|…")
"""Marks a line that shows the form of a command instead of a command."""
CONNECTORS = {"|", "&&", "||", ";", ">", "2>"}


def ci_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(ROOT / ".ci" / "run"), *arguments], capture_output=True, text=True)


def shell_lines(page: Path) -> Iterator[str]:
    """Every command line of the page's fenced shell blocks, without its prompt, continued lines joined."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language in SHELLS:
            lines = (line.removeprefix("$ ") for line in CONTINUED.sub("", block).splitlines())
            yield from (line for line in lines if "sharedllm" in line and not USAGE.search(line))


def tool_calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of the tool in a shell line, wherever in a pipe or list of commands it stands."""
    words = shlex.split(line, comments=True)
    starts = [place for place, word in enumerate(words) if word.split("/")[-1] == "sharedllm"]
    for start in starts:
        if start and words[start - 1] not in CONNECTORS and "=" not in words[start - 1]:
            continue
        end = next((place for place in range(start, len(words)) if words[place] in CONNECTORS), len(words))
        yield words[start + 1 : end]


def calls() -> list[tuple[Path, list[str]]]:
    pages = [page for page in PAGES if ARCHIVE not in page.parents]
    return [(page, call) for page in pages for line in shell_lines(page) for call in tool_calls(line)]


@pytest.mark.parametrize("name", ["try", "check"])
def test_ci_finds_the_commands(name: str) -> None:
    shown = ci_run("--show", name)
    assert shown.returncode == 0, shown.stderr
    command = shown.stdout.strip()
    assert "\n" not in command
    assert command in CONTINUED.sub("", README.read_text("utf-8"))
    assert command.startswith("python3 -m venv .venv && "), "each works by itself on a fresh machine"


def test_a_missing_command_is_an_error() -> None:
    shown = ci_run("--show", "nothing")
    assert shown.returncode != 0
    assert "nothing" in shown.stderr


def test_the_first_command_asks_the_example_document() -> None:
    *_, arguments = tool_calls(ci_run("--show", "try").stdout)
    assert arguments[0] == "ask"
    assert (ROOT / arguments[1]).is_file()


def test_the_second_command_is_the_whole_check() -> None:
    check = ci_run("--show", "check").stdout
    for part in ("ruff check", "ruff format --check", "mypy", "pytest -n auto --cov"):
        assert part in check
    assert "fail_under = 85" in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"[a-z]+:|#", target):
            path = page.parent / target.partition("#")[0]
            assert path.exists(), f"{page.name}: {target}"
            assert path.resolve().is_relative_to(ROOT.resolve())


def test_the_readme_names_the_disk_that_the_default_model_takes() -> None:
    from sharedllm_cli.weights.known import known_models

    model = known_models()[0]
    text = " ".join(README.read_text("utf-8").split())
    found = re.search(r"the base model: (\d+) MB, which need (\d+) MB of disk", text)
    assert found is not None
    most = max(model.building_bytes, model.converted_bytes)
    for megabytes, count in zip(found.groups(), (model.fetched_bytes, most), strict=True):
        assert abs(int(megabytes) * 1e6 - count) <= 1e6  # beside the weights there are a tokenizer and a configuration


def _parse(arguments: list[str]) -> None:
    """Parse a command line as the tool would, without running it."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from sharedllm_cli.cli.app import make_app

    command: Any = get_command(make_app())
    path = ["sharedllm"]
    while isinstance(command, TyperGroup) and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"no command {arguments[0]!r}"
        path.append(arguments[0])
        command, arguments = command.commands[arguments[0]], arguments[1:]
    if not set(arguments) & {"--help", "-h", "--version"}:
        command.make_context(" ".join(path), list(arguments))


@pytest.mark.parametrize(
    ("page", "call"), calls(), ids=lambda value: value.name if isinstance(value, Path) else " ".join(value)
)
def test_every_command_line_parses(page: Path, call: list[str]) -> None:
    _parse(call)


def test_a_wrong_option_would_be_noticed() -> None:
    from typer.exceptions import TyperException

    with pytest.raises(TyperException):
        _parse(["ask", "book.pdf", "--no-such-option", "Who?"])


def test_the_readme_shows_the_main_commands() -> None:
    shown = {call[0] for page, call in calls() if page == README and call}
    assert {"ask", "index", "chat", "plan", "indexes", "models"} <= shown
    assert len(calls()) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_no_machine_and_no_registry_host(page: Path) -> None:
    assert not re.search(
        r"/(?:work|root|home)/|py" + r"pi\.org|python" + r"hosted|deb\.debian", page.read_text("utf-8")
    )
