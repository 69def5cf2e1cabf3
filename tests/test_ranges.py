"""Every dependency has a tested range: the oldest release that `.ci/oldest` installs, and the newest that was tried."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [Requirement(one) for one in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["eval"]]]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_range_begins_and_ends(requirement: Requirement) -> None:
    assert sorted(specifier.operator for specifier in requirement.specifier) == ["<", ">="]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_what_is_installed_is_within_the_range(requirement: Requirement) -> None:
    version = metadata.version(requirement.name)
    assert requirement.specifier.contains(version.split("+")[0], prereleases=True), f"{requirement} and {version}"


def test_the_oldest_environment_has_the_lower_bounds() -> None:
    script = ROOT / ".ci" / "oldest"
    shown = subprocess.run(["bash", str(script), "--show"], capture_output=True, text=True, check=True).stdout
    pins = dict(line.split("==") for line in shown.split())
    lowest = {one.name: re.search(r">=([\w.]+)", str(one.specifier)) for one in REQUIREMENTS if one.name != "torch"}
    assert pins == {name: found[1] for name, found in lowest.items() if found}
