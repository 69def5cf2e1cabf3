"""Every library has a lowest and an end in pyproject.toml, and .ci/oldest tests the lowest."""

from __future__ import annotations

import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
OPTIONAL = PROJECT["optional-dependencies"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
BESIDE = [Requirement(line) for lines in (PYPROJECT["build-system"]["requires"], *OPTIONAL.values()) for line in lines]


def bounds(requirement: Requirement) -> dict[str, Version]:
    return {part.operator: Version(part.version) for part in requirement.specifier}


@pytest.mark.parametrize("requirement", [*NEEDED, *BESIDE], ids=str)
def test_a_range_begins_and_ends(requirement: Requirement) -> None:
    assert set(bounds(requirement)) == {">=", "<"}


@pytest.mark.parametrize("requirement", [*NEEDED, *BESIDE], ids=str)
def test_what_is_installed_lies_within(requirement: Requirement) -> None:
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        assert requirement not in NEEDED
        pytest.skip("not installed here")
    assert requirement.specifier.contains(installed, prereleases=True)


def test_the_oldest_are_the_lowest_of_every_range() -> None:
    shown = subprocess.run(["bash", str(ROOT / ".ci" / "oldest"), "--show"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    extras = ("eval", "watch", "serve", "mcp")
    tested = NEEDED + [Requirement(line) for name in extras for line in OPTIONAL[name]]
    lowest = {requirement.name: bounds(requirement)[">="] for requirement in tested if requirement.name != "torch"}
    pinned = {line.name: bounds(line)["=="] for line in map(Requirement, shown.stdout.splitlines())}
    assert pinned == lowest


def test_the_run_ends_with_the_oldest() -> None:
    assert (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1].startswith("bash .ci/oldest")
