"""What was granted can be named; nothing else is opened or even looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.serving.granted import Granted, NotGrantedError

REFUSED = ("../secret.txt", "secret.txt", "sub/../../secret.txt", "no.txt", "", ".", "..", "/", "a\0b", "~", "-")


@pytest.fixture
def club(tmp_path: Path) -> Path:
    folder = tmp_path / "club"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.md", "sub/a.txt", "sub/c.txt", ".hidden.txt", "picture.png"):
        (folder / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def names(granted: Granted) -> list[str]:
    return [one.name for one in granted.documents()]


def test_a_folder_s_documents_have_the_shortest_names_that_differ(club: Path) -> None:
    granted = Granted([str(club)])
    assert names(granted) == ["club/a.txt", "b.md", "sub/a.txt", "c.txt"]
    assert granted.resolve(["sub/a.txt", "b.md"]) == [str(club / "sub/a.txt"), str(club / "b.md")]
    assert granted.resolve(["club"]) == granted.resolve() == [str(one.path) for one in granted.documents()]
    (club / "new.txt").write_text("new")
    assert granted.find("new.txt").path == club / "new.txt"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_granted_is_refused_unseen(club: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = Granted([str(club)])
    looked_at: list[str] = []
    for function in ("stat", "lstat", "open", "scandir", "readlink"):
        real = getattr(os, function)

        def watched(path: object, *rest: object, _real: object = real, **more: object) -> object:
            looked_at.append(os.path.abspath(os.fspath(path)) if isinstance(path, str | Path) else str(path))
            return _real(path, *rest, **more)  # type: ignore[operator]

        monkeypatch.setattr(os, function, watched)
    with pytest.raises(NotGrantedError):
        granted.resolve([name])
    assert [path for path in looked_at if not path.startswith(str(club))] == []


def test_whole_paths_are_refused_and_a_file_there_is_refused_as_a_missing_one(club: Path) -> None:
    granted = Granted([str(club)])
    messages = []
    for path in (club.parent / "secret.txt", club.parent / "nothing.txt"):
        with pytest.raises(NotGrantedError) as refused:
            granted.resolve([str(path)])
        messages.append(refused.value.message.replace(path.name, ""))
    assert messages[0] == messages[1]
    with pytest.raises(NotGrantedError):
        granted.resolve("a.txt")


def test_links_are_followed_within_the_folder_only(club: Path) -> None:
    outside = club.parent / "outside"
    outside.mkdir()
    (outside / "d.txt").write_text("d")
    (club / "in.txt").symlink_to("sub/c.txt")
    (club / "whole.txt").symlink_to(club / "b.md")
    (club / "back.txt").symlink_to("sub/../a.txt")
    (club / "out.txt").symlink_to("../secret.txt")
    (club / "far.txt").symlink_to(club.parent / "secret.txt")
    (club / "round.txt").symlink_to("sub/../../club/a.txt")
    (club / "loop.txt").symlink_to("loop.txt")
    (club / "two.txt").symlink_to("out.txt")
    (club / "folder").symlink_to(outside, target_is_directory=True)
    (club / "through.txt").symlink_to("folder/d.txt")
    found = names(Granted([str(club)]))
    assert {"in.txt", "whole.txt", "back.txt"} <= set(found)
    assert not {"out.txt", "far.txt", "round.txt", "loop.txt", "two.txt", "through.txt", "d.txt"} & set(found)


def test_a_granted_file_is_that_file_alone(club: Path) -> None:
    granted = Granted([str(club / "a.txt")])
    assert names(granted) == ["a.txt"]
    with pytest.raises(NotGrantedError):
        granted.resolve(["b.md"])
    (club / "a.txt").unlink()
    (club / "a.txt").symlink_to(club.parent / "secret.txt")
    with pytest.raises(NotGrantedError):
        granted.resolve(["a.txt"])


def test_patterns_and_added_files_are_granted_and_mistakes_told(club: Path) -> None:
    granted = Granted([str(club / "*.md")])
    assert names(granted) == ["b.md"]
    granted.add(str(club / "a.txt"))
    assert names(granted) == ["b.md", "a.txt"]
    with pytest.raises(DocumentError, match="does not exist"):
        Granted([str(club / "missing.pdf")])
    with pytest.raises(DocumentError, match="standard input"):
        Granted(["-"])
    with pytest.raises(NotGrantedError, match="no document is granted"):
        Granted([]).resolve()
    assert issubclass(NotGrantedError, UsageError)


def test_a_collection_is_given_on_by_its_name(club: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Anna.")
    (tmp_path / "link.txt").symlink_to(letter)
    listed = [str(letter), str(tmp_path / "gone.txt"), str(tmp_path / "link.txt")]
    granted = Granted([str(club / "a.txt")], sets=lambda: {"@letters": listed})
    assert granted.resolve(["@letters"]) == ["@letters"]
    assert granted.resolve() == ["@letters", str(club / "a.txt")]
    assert granted.resolve(["letter.txt"]) == [str(letter)]
    assert [one.name for one in granted.documents()] == ["a.txt", "letter.txt"]
    with pytest.raises(NotGrantedError):
        granted.resolve(["@others"])


def test_a_collection_is_among_the_names_of_the_hint_and_no_document(club: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Anna.")
    for number in range(9):
        (club / f"{number}.txt").write_text("more")
    granted = Granted([str(club)], sets=lambda: {"@letters": [str(letter)]})
    with pytest.raises(NotGrantedError) as refused:
        granted.resolve(["zzzzzz"])
    assert refused.value.hint is not None
    assert "granted are: @letters, " in refused.value.hint
    with pytest.raises(NotGrantedError, match="@letters is a collection"):
        granted.find("@letters")
