"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from fake_engine import make_answer

from sharedllm_cli.answer import AnswerSentence, NotRead
from sharedllm_cli.cli.call import INTERRUPTED
from sharedllm_cli.cli.reference import ANSWER, EXIT_CODES, reference
from sharedllm_cli.config import Settings, environment_name, flag
from sharedllm_cli.errors import SharedLLMError

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_the_generator_s_output() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m sharedllm_cli.cli.reference > docs/cli.md"


def test_every_setting_stands_there_once_with_flag_help_and_variable() -> None:
    page = reference()
    for knob in fields(Settings):
        [row] = [line for line in page.splitlines() if f"`{environment_name(knob)}`" in line]
        assert flag(knob) in row
        assert page.count(f"| {knob.metadata['help']} |") == 1


def test_every_command_names_the_settings_that_it_takes() -> None:
    section = reference().split("\n## sharedllm plan\n")[1].split("\n## ")[0]
    assert "[Model](#model)" in section
    assert all(f"`--{name}`" in section for name in ("index-dir", "password", "chunk-tokens"))
    assert "--temperature" not in section


def test_every_exit_code_is_explained() -> None:
    codes = {kind.exit_code for kind in (SharedLLMError, *SharedLLMError.__subclasses__())}
    assert set(EXIT_CODES) == codes | {0, INTERRUPTED}


def test_a_command_s_own_option_is_no_setting_though_it_has_the_name_of_one() -> None:
    """`models probe --ratios` are not the tree's, so that no environment variable sets them; defaults are shown."""
    section = reference().split("\n## sharedllm models probe\n")[1].split("\n## ")[0]
    rows = {line.split("`")[1].split()[0]: line for line in section.splitlines() if line.startswith("| `")}
    assert rows["--ratios"].endswith("| `1,2,4,8,16,tree` |")
    assert "--adapter" in rows
    taken = section.split("Takes the [settings]")[1]
    assert "`--policy`" in taken
    assert "`--ratios`" not in taken


def test_the_answers_object_is_told_with_all_its_names() -> None:
    def names(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: names(one) for name, one in value.items()}
        return [names(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None

    told = json.loads(ANSWER.split("```json\n")[1].split("```")[0])
    made = make_answer(
        not_read=[NotRead("budget.xlsx", "club/budget.xlsx", "Excel")],
        sentences=[AnswerSentence("It is lit at dusk.", [1], [])],
    )
    assert names(told) == names(made.to_json())
