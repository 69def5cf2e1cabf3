"""What the user names is what is read: each file once, in a natural order, and what is missing is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sharedllm_cli.documents.sources import FORMATS, SUFFIXES, SourceFile, expand
from sharedllm_cli.errors import DocumentError


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("b2.txt", "b10.txt", "B1.md", "sub/c.pdf", "sub/deep/d.HTML", ".hidden.txt", ".git/x.txt", "run.exe"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_help_names_each_format_that_a_folder_is_searched_for() -> None:
    named = {name.lower() for name in FORMATS.split(", ")}
    kinds = {SUFFIXES[f".{name}"] for name in named}
    assert kinds | {"saved page"} == set(SUFFIXES.values())


def names(*arguments: str) -> list[str]:
    return [source.name for source in expand(arguments)]


def test_a_folder_gives_known_kinds_in_natural_order(library: Path) -> None:
    assert names(".") == ["B1.md", "b2.txt", "b10.txt", "c.pdf", "d.HTML"]


def test_a_named_file_may_be_of_any_kind_and_hidden(library: Path) -> None:
    assert names("run.exe", ".hidden.txt") == ["run.exe", ".hidden.txt"]


def test_globs_are_matched_when_the_shell_did_not(library: Path) -> None:
    assert names("*.txt") == ["b2.txt", "b10.txt"]
    assert names("**/*.pdf") == ["c.pdf"]
    assert names("**") == ["B1.md", "b2.txt", "b10.txt", "c.pdf", "d.HTML"]
    assert names("s*") == ["c.pdf", "d.HTML"]
    assert names("b[0-9].txt") == ["b2.txt"]
    assert names("*.exe") == ["run.exe"]


def test_a_name_that_looks_like_a_glob_is_a_file_first(library: Path) -> None:
    (library / "odd[1].txt").write_text("x")
    assert names("odd[1].txt") == ["odd[1].txt"]


def test_each_once_in_the_order_given(library: Path) -> None:
    os.symlink(library / "b2.txt", library / "link.txt")
    found = names("b10.txt", "./b2.txt", str(library / "b2.txt"), "link.txt", "*.txt", "-", "-")
    assert found == ["b10.txt", "b2.txt", "standard input"]


def test_a_file_is_one_by_whatever_links_it_is_reached(library: Path) -> None:
    os.symlink(library / "sub", library / "other")
    os.symlink(library / "b2.txt", library / "sub" / "link.txt")
    assert names("sub", "other", "other/c.pdf", "other/../sub/c.pdf", "b2.txt") == ["c.pdf", "d.HTML", "link.txt"]
    assert names("other/link.txt", "b2.txt") == ["link.txt"]


def test_the_links_of_a_folder_are_followed_once_for_all_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").write_text("x")
    followed: list[str] = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: (followed.append(path), realpath(path))[1])
    assert len(expand([str(tmp_path)])) == 50
    assert followed == [str(tmp_path)]


def test_names_are_the_shortest_that_tell_apart(tmp_path: Path) -> None:
    for name in ("one/a/book.txt", "two/a/book.txt", "two/c/book.txt", "other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert names(str(tmp_path)) == ["one/a/book.txt", "other.txt", "two/a/book.txt", "c/book.txt"]


def test_standard_input() -> None:
    assert expand(["-"]) == [SourceFile("standard input", None)]


def test_a_missing_file_names_the_nearest(library: Path) -> None:
    with pytest.raises(DocumentError, match=r"b3\.txt does not exist") as caught:
        expand(["b3.txt"])
    assert caught.value.hint == "did you mean b2.txt?"
    with pytest.raises(DocumentError) as caught:
        expand(["nowhere/b2.txt"])
    assert caught.value.hint == "there is no folder nowhere"
    with pytest.raises(DocumentError) as caught:
        expand(["zzzzzzzzz"])
    assert caught.value.hint is None


def test_nothing_found_is_an_error(library: Path) -> None:
    (library / "empty").mkdir()
    for argument in ("empty", "*.epub", "", "a\0b"):
        with pytest.raises(DocumentError):
            expand([argument])


def test_bad_ones_are_collected_and_the_rest_go_on(library: Path) -> None:
    failures: list[tuple[str, DocumentError]] = []
    found = expand(["b2.txt", "a lost book.txt", "*.epub", "sub"], failures)
    assert [source.name for source in found] == ["b2.txt", "c.pdf", "d.HTML"]
    assert [(argument, failure.exit_code) for argument, failure in failures] == [("a lost book.txt", 3), ("*.epub", 3)]


def test_devices_are_refused() -> None:
    with pytest.raises(DocumentError, match="device"):
        expand(["/dev/null"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_folder_and_a_pattern_give_regular_files_only(library: Path) -> None:
    """A pipe that nobody writes to would be waited for without end; named by itself it is what the user asks for."""
    os.mkfifo(library / "a1.txt")
    os.mkfifo(library / "sub" / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a2.txt")
        assert names(".") == ["B1.md", "b2.txt", "b10.txt", "c.pdf", "d.HTML"]
    assert names("*") == ["B1.md", "b2.txt", "b10.txt", "c.pdf", "d.HTML"]
    assert names("**") == ["B1.md", "b2.txt", "b10.txt", "c.pdf", "d.HTML"]
    assert names("*.txt") == ["b2.txt", "b10.txt"]
    assert names("a1.txt") == ["a1.txt"]


def test_a_link_to_nothing_in_a_folder_is_told_when_it_is_read(library: Path) -> None:
    os.symlink(library / "gone.txt", library / "a1.txt")
    assert names(".")[0] == "a1.txt"


def test_a_folder_that_links_to_itself_ends(library: Path) -> None:
    os.symlink(library, library / "sub" / "loop")
    assert len(names(".")) == 5
