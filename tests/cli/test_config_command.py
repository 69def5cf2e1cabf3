"""`sharedllm config`: where each value comes from; the file keeps its remarks, and takes nothing that is invalid."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from fake_engine import Ran, Script, call

from sharedllm_cli import UsageError
from sharedllm_cli.configuration import change_config, read_config

FILE = """# mine
max-new-tokens = 99  # short

# the model of the office
system = \"\"\"
Be brief.
seed = 3
\"\"\"
"""


@pytest.fixture
def file(private_home: Path) -> Path:
    path = private_home / "config.toml"
    path.write_text(FILE)
    return path


def config(*words: str) -> Ran:
    return call(Script(), "config", *words)


def test_show_names_each_origin(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDLLM_SEED", "5")
    shown = json.loads(config("show", "--json").out)
    assert shown["file"] == str(file)
    settings = shown["settings"]
    assert settings["max_new_tokens"] == {"value": 99, "origin": str(file)}
    assert settings["seed"] == {"value": 5, "origin": "SHAREDLLM_SEED"}
    assert settings["policy"] == {"value": "hybrid", "origin": "default"}
    rows = [line.split() for line in config("show").out.splitlines()]
    assert ["max_new_tokens", "99", str(file)] in rows
    assert config("show", "max-new-tokens").out == "99\n"
    assert list(json.loads(config("show", "seed", "policy", "--json").out)["settings"]) == ["seed", "policy"]


def test_a_password_is_never_shown(file: Path) -> None:
    done = config("set", "password", "hunter2")
    assert "hunter2" not in done.out + done.err
    assert tomllib.loads(file.read_text())["password"] == "hunter2"
    assert "hunter2" not in config("show").out + config("show", "--json").out + config("show", "password").out
    assert "hunter2" not in config("set", "password", "hunter2", "--json").out


def test_set_keeps_the_rest_of_the_file(file: Path) -> None:
    done = config("set", "max_new_tokens", "120")
    assert (done.code, done.out) == (0, f"max_new_tokens = 120, in {file}\n")
    assert file.read_text() == FILE.replace("99", "120")
    assert config("set", "seed", "7").code == 0
    assert tomllib.loads(file.read_text()) == {"max-new-tokens": 120, "system": "Be brief.\nseed = 3\n", "seed": 7}
    assert "# the model of the office" in file.read_text()
    assert config("set", "seed=8", "tree=no", "temperature=0.5").code == 0
    found = read_config(file)
    assert (found["seed"], found["tree"], found["temperature"]) == (8, False, 0.5)


def test_set_makes_the_file(private_home: Path) -> None:
    assert config("path").out == f"{private_home / 'config.toml'}\n"
    assert json.loads(config("path", "--json").out)["exists"] is False
    assert config("set", "quantize", "none").code == 0
    assert (private_home / "config.toml").read_text() == 'quantize = "none"\n'
    assert (private_home / "config.toml").stat().st_mode & 0o077 == 0
    assert json.loads(config("path", "--json").out)["exists"] is True


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("sead", "7"), "unknown setting 'sead'", "did you mean: seed"),
        (("seed", "seven"), "seed must be a whole number, got 'seven'", ""),
        (("quantize", "16bit"), "--quantize can't be '16bit'", "choose one of auto, none, 8bit, 4bit"),
        (("tree", "perhaps"), "tree must be true or false, got 'perhaps'", ""),
        (("top_p", "2"), "--top-p must be above 0 and at most 1, got 2.0", ""),
        (("tree_height", "2"), "a tree of height 2 needs 2 ratios, got 3", ""),
        (("seed",), "'seed' is no SETTING=VALUE", "config set seed 7"),
        (("adapter", "nowhere/at/all"), "there is no folder", "an adapter is a folder, or none"),
        (("model", "smollm2-135-instruct"), "there is no model", "smollm2-135m-instruct"),
    ],
)
def test_set_refuses_what_is_invalid(file: Path, words: tuple[str, ...], message: str, hint: str) -> None:
    done = config("set", *words)
    assert done.code in (2, 4)
    assert message in done.err
    assert hint in done.err
    assert file.read_text() == FILE


def test_what_depends_on_each_other_is_set_at_once(file: Path) -> None:
    assert config("set", "tree_height=2", "ratios=8,4").code == 0
    assert read_config(file)["ratios"] == "8,4"


def test_folders_are_written_whole(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert config("set", "index_dir=kept", "adapter=mine").code == 0
    assert read_config(file)["index_dir"] == str(tmp_path / "kept")
    assert read_config(file)["adapter"] == str(tmp_path / "mine")
    assert config("set", "adapter", "none").code == 0
    assert read_config(file)["adapter"] == "none"


def test_the_environment_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAREDLLM_SEED", "5")
    assert "SHAREDLLM_SEED is set in the environment and goes before the file" in config("set", "seed", "7").err


def test_unset_brings_the_default_back(file: Path) -> None:
    assert config("unset", "max_new_tokens").code == 0
    assert "max-new-tokens" not in file.read_text()
    assert "# the model of the office" in file.read_text()
    again = config("unset", "max_new_tokens")
    assert again.code == 2
    assert "is not in" in again.err


def test_a_file_with_an_unknown_setting_is_mended_here(file: Path) -> None:
    file.write_text('modle = "x"\n' + FILE)
    assert config("show").code == 2
    refused = config("set", "seed", "1")
    assert "unknown setting 'modle' in the configuration file" in refused.err
    assert config("path").code == 0
    assert config("unset", "modle").code == 0
    assert file.read_text() == FILE


def test_a_linked_file_stays_where_it_is(file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    file.rename(kept)
    file.symlink_to(kept)
    change_config(file, {"seed": 4})
    assert file.is_symlink()
    assert read_config(kept)["seed"] == 4


def test_what_is_no_toml_is_left_alone(file: Path) -> None:
    file.write_bytes(b"seed = \xff")
    with pytest.raises(UsageError, match="is not valid TOML"):
        change_config(file, {"seed": 1})
    assert file.read_bytes() == b"seed = \xff"
