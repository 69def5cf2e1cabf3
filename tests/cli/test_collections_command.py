"""`collections` and `@NAME` as a user types them: what is printed, JSON, exit codes, mistakes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sharedllm_cli.cli import collections as command
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
from sharedllm_cli.collections import watching, worker
from sharedllm_cli.collections.names import Collection, find
from sharedllm_cli.collections.pool import Setup
from sharedllm_cli.documents.sources import SourceFile
from sharedllm_cli.errors import UsageError


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def call(model_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Commands with a tiny model, whose reading happens in this process."""

    def here(sources: list[SourceFile], setup: Setup, workers: int) -> Iterator[dict[str, Any]]:
        from dataclasses import asdict

        shelf = worker.shelf_of(asdict(setup))
        return (worker.read_one(shelf, source.name, str(source.path)) for source in sources)

    monkeypatch.setattr("sharedllm_cli.collections.updating.read_all", here)
    files = tmp_path / "files"
    files.mkdir()
    (files / "lamp.md").write_text("# The lamp\n\nThe lamp is lit at dusk by the keeper.\n")
    (files / "boat.txt").write_text("The boat is tarred in March by the keeper.")
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str, model: bool = True) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        options = ["--model", str(model_folder()), "--offline"] if model else []
        code = run([*arguments, *options], Console(out, err))
        return Ran(code, out.getvalue(), err.getvalue())

    return called


def test_add_list_show_search_and_rm(call: Callable[..., Ran], tmp_path: Path) -> None:
    added = call("collections", "add", "notes", "files")
    assert (added.code, added.out) == (0, "@notes: 2 documents; 2 new\n")
    listed = call("collections", "list", "--json", model=False).json["collections"]
    assert [(one["name"], one["documents"], one["failed"]) for one in listed] == [("notes", 2, 0)]
    shown = call("collections", "show", "@notes", "--json", model=False).json
    assert [(file["name"], file["state"]) for file in shown["files"]] == [("boat.txt", "read"), ("lamp.md", "read")]
    found = call("search", "@notes", "lamp dusk", "--files")
    assert (found.code, found.out.strip()) == (0, str(tmp_path / "files" / "lamp.md"))
    both = call("search", "@notes", "files/boat.txt", "keeper", "--json").json
    assert {source["document"] for source in both["passages"]} == {"lamp.md", "boat.txt"}
    deleted = call("collections", "rm", "notes", "--yes", model=False)
    assert (deleted.code, deleted.out.split(";")[0]) == (0, "deleted @notes")
    assert (tmp_path / "files" / "lamp.md").exists()
    assert call("collections", "list", model=False).err.startswith("note: there is no collection")


def test_a_mistyped_name_suggests_the_nearest(call: Callable[..., Ran]) -> None:
    call("collections", "add", "notes", "files")
    for arguments in (("search", "@nots", "lamp"), ("read", "@nots"), ("collections", "show", "nots")):
        ran = call(*arguments, model=arguments[0] == "search")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.splitlines()[:2] == ["error: there is no collection @nots", "hint: did you mean @notes?"]


def test_bad_files_are_reported_and_the_exit_code_tells(call: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "files" / "bad.pdf").write_bytes(b"%PDF-1.4 no more")
    ran = call("collections", "add", "notes", "files")
    assert ran.code == 3
    assert "@notes: 2 documents; 2 new, 1 could not be read" in ran.out
    assert "bad.pdf" in ran.err
    again = call("collections", "update", "--json")
    assert again.code == 3
    assert [Path(one["path"]).name for one in again.json["collections"][0]["failures"]] == ["bad.pdf"]
    (tmp_path / "files" / "bad.pdf").unlink()
    assert call("collections", "update").code == 0


def test_what_does_not_exist_makes_no_collection(call: Callable[..., Ran]) -> None:
    assert call("collections", "add", "notes", "nowhere").code == 3
    assert call("collections", "add", "../notes", "files").code == 2
    assert call("collections", "add", "notes", "-").code == 2
    assert call("collections", "add", "notes", "@other").code == 2
    assert call("collections", "update").code == 2
    assert call("collections", "list", "--json", model=False).json["collections"] == []


def test_a_damaged_catalogue_is_exit_5_and_made_anew(call: Callable[..., Ran], private_home: Path) -> None:
    call("collections", "add", "notes", "files")
    catalogue = find(private_home, "notes").catalogue
    catalogue.write_bytes(b"this is not a catalogue" * 300)
    for arguments in (("search", "@notes", "lamp"), ("collections", "update"), ("collections", "show", "notes")):
        ran = call(*arguments, model=arguments[1] != "show")
        assert ran.code == 5
        assert "sharedllm collections update notes --rebuild" in ran.err
    assert call("collections", "update", "notes", "--rebuild").code == 0
    assert call("search", "@notes", "lamp").code == 0


def test_read_prints_a_collection_of_one_document_only(call: Callable[..., Ran]) -> None:
    call("collections", "add", "one", "files/lamp.md")
    call("collections", "add", "two", "files")
    assert "lit at dusk" in call("read", "@one", model=False).out
    assert "2 documents" in call("read", "@two", model=False).err


def test_a_file_called_like_a_collection_is_a_file(call: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "@notes").write_text("A file with the lamp of another house.")
    assert "another house" in call("search", "@notes", "lamp").out


@pytest.mark.parametrize(
    ("text", "expected"), [("500MB", 500_000_000), ("1.5 GB", 1_500_000_000), ("20g", 20 * 10**9), ("7", 7)]
)
def test_sizes(text: str, expected: int) -> None:
    assert command.bytes_of(text) == expected


@pytest.mark.parametrize("text", ["much", "-1GB", "nan", "inf", "1XB", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--trees-budget"):
        command.bytes_of(text)


def test_watch_updates_at_first_and_whenever_files_change(
    call: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchfiles = pytest.importorskip("watchfiles")
    call("collections", "add", "notes", "files")

    def events(*folders: str, **_: Any) -> Iterator[set[tuple[int, str]]]:
        assert folders == (str(tmp_path / "files"),)
        yield set()
        (tmp_path / "files" / "new.txt").write_text("A new lantern.")
        yield {(1, str(tmp_path / "files" / "new.txt"))}
        yield {(1, "/elsewhere/other.txt")}

    monkeypatch.setattr(watchfiles, "watch", events)
    ran = call("collections", "watch", "notes")
    assert ran.code == 0
    assert ran.out.splitlines() == ["@notes: 2 documents; 2 unchanged", "@notes: 3 documents; 1 new, 2 unchanged"]


def test_a_file_s_folder_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    roots = (str(tmp_path / "a.txt"), str(tmp_path / "gone" / "deep"), str(tmp_path / "*.md"))
    assert watching.watched_folders(Collection("notes", tmp_path, roots)) == [str(tmp_path.resolve())]


def test_a_name_that_is_missing_or_a_path_within_a_collection_says_what_to_do(call: Callable[..., Ran]) -> None:
    assert call("search", "@", "lamp").err.startswith(
        "error: the name of a collection is missing\nhint: for example: @"
    )
    call("collections", "add", "notes", "files")
    ran = call("search", "@", "lamp")
    assert (ran.code, ran.err) == (2, "error: the name of a collection is missing\nhint: there are: @notes\n")
    ran = call("search", "@notes/lamp.md", "lamp")
    assert ran.code == 2
    lines = ran.err.replace("\n      ", " ").splitlines()
    assert lines[0] == "error: '@notes/lamp.md' names no collection and no file"
    assert "one document of @notes is asked by its path: `sharedllm collections show notes` lists them" in lines[1]
    ran = call("search", "@nots/lamp.md", "lamp")
    assert ran.err.splitlines()[:2] == ["error: there is no collection @nots", "hint: did you mean @notes?"]
