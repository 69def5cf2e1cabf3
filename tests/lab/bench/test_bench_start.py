"""The script that times a start, over checkouts whose command is a few lines: what is run, in turn, and told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sharedllm_cli.lab.bench import start
from sharedllm_cli.lab.bench.start import Request, lines, main, measure

COMMAND = """
import os, sys
from pathlib import Path

home = Path(os.environ["SHAREDLLM_HOME"])
assert (home / "models" / "here").exists()
with open({log!r}, "a") as log:
    print({name!r}, *sys.argv[1:], file=log)
print("the answer")
sys.exit({code})
"""


def checkout(tmp_path: Path, name: str, code: int = 0) -> Path:
    """A folder whose `sharedllm_cli` notes how it is called."""
    package = tmp_path / name / "sharedllm_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    text = COMMAND.format(log=str(tmp_path / "log"), name=name, code=code)
    (package / "__main__.py").write_text(text, encoding="utf-8")
    return package.parent


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "here").touch()
    return tmp_path / "models"


def test_checkouts_are_asked_in_turn_cold_and_warm(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "THIS", checkout(tmp_path, "now"))
    monkeypatch.setenv("SHAREDLLM_HOME", str(tmp_path))
    before = checkout(tmp_path, "before")
    assert main(["book.pdf", "Who?", "--repeats", "2", "--against", str(before), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["checkouts"]
    assert [(one["first"]["runs"], one["cold"]["runs"], one["warm"]["runs"]) for one in told] == [(1, 2, 2)] * 2
    book = str(Path("book.pdf").resolve())
    cold, warm = f"ask --quiet --no-serve {book} Who?", f"ask --quiet {book} Who?"
    assert (tmp_path / "log").read_text("utf-8").splitlines() == [
        *(f"{name} {line}" for name in ("before", "now") for line in (f"ask --no-serve {book} Who?", cold)),
        *(f"{name} ask --keep 10m {book} Who?" for name in ("before", "now")),
        *(f"{name} {line}" for _ in range(2) for name in ("before", "now") for line in (cold, warm)),
        *(f"{name} serve --stop" for name in ("before", "now")),
    ]


def test_a_command_that_fails_ends_the_run(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "THIS", checkout(tmp_path, "now", code=3))
    with pytest.raises(subprocess.CalledProcessError):
        measure(Request("book.pdf", "Who?"), models)


def test_the_table_compares_with_the_first_checkout(tmp_path: Path) -> None:
    one, other = start.Checkout(tmp_path / "one", tmp_path), start.Checkout(tmp_path / "other", tmp_path)
    for timed, seconds in ((one.first, 9.0), (one.cold, 8.0), (one.warm, 2.0)):
        timed.add(seconds, 1.0)
    for timed, seconds in ((other.first, 9.0), (other.cold, 4.0), (other.warm, 0.5)):
        timed.add(seconds, 1.0)
    _, first, second = lines([one, other])
    assert "1.00 of the first line's" in first
    assert "0.50 of the first line's" in second
    assert "| 4.0 |" in first
    assert "| 8.0 |" in second
