"""Where things are kept: by the environment, private to the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import config_file, ensure_private, home_folder, indexes_folder, models_folder


def test_the_variable_moves_everything(tmp_path: Path) -> None:
    environment = {"SHAREDLLM_HOME": str(tmp_path)}
    assert home_folder(environment) == tmp_path
    assert config_file(environment) == tmp_path / "config.toml"
    assert (models_folder(tmp_path), indexes_folder(tmp_path)) == (tmp_path / "models", tmp_path / "indexes")


@pytest.mark.parametrize("environment", [{}, {"SHAREDLLM_HOME": ""}])
def test_without_it_the_users_own_folders_are_taken(environment: dict[str, str]) -> None:
    assert home_folder(environment).name == "sharedllm"
    assert config_file(environment).parts[-2:] == ("sharedllm", "config.toml")
    assert home_folder(environment).is_absolute()


def test_a_home_is_absolute_and_knows_the_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert home_folder({"SHAREDLLM_HOME": "~/kept"}) == tmp_path / "kept"
    assert home_folder({"SHAREDLLM_HOME": "kept"}) == tmp_path / "kept"


def test_created_folders_are_private_and_existing_ones_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    made = ensure_private(tmp_path / "a" / "b")
    assert {made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777} == {0o700}
    assert ensure_private(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="can't create the folder") as caught:
            ensure_private(path)
        assert caught.value.hint is not None
        assert "SHAREDLLM_HOME" in caught.value.hint


def test_models_that_tests_pull_never_land_in_the_users_own_folders(kept_models: Path) -> None:
    own = home_folder({})
    assert own not in kept_models.resolve().parents
