"""What a folder holds and is not read is told by name and kind; what is no file of the user's is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedllm_cli.answer import NotRead
from sharedllm_cli.documents.sources import NAMED, expand, not_read, told
from sharedllm_cli.errors import DocumentError

CLUB = (
    "minutes.md",
    "budget.xls",
    "contract.doc",
    "boats.numbers",
    "sub/letter.msg",
    "photo.JPG",
    "script.py",
    "README",
)
LITTER = (".DS_Store", ".hidden.docx", "Thumbs.db", "desktop.ini", "~$budget.xlsx", "contract.docx~", ".git/notes.docx")


@pytest.fixture
def club(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*CLUB, *LITTER):
        path = tmp_path / "club" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "club"


def passed_over(*arguments: str) -> dict[str, list[str]]:
    found: dict[str, list[NotRead]] = {}
    expand(arguments, [], found)
    return {argument: [file.name for file in files] for argument, files in found.items()}


EVERYTHING = ["boats.numbers", "budget.xls", "contract.doc", "photo.JPG", "README", "script.py", "sub/letter.msg"]


def test_a_folder_says_what_it_does_not_read(club: Path) -> None:
    assert passed_over("club") == {"club": EVERYTHING}
    assert [source.name for source in expand(["club"])] == ["minutes.md"]
    assert not_read(["club"])[0] == NotRead("boats.numbers", "club/boats.numbers", "Numbers")


def test_a_pattern_says_so_too_and_a_named_kind_is_what_is_asked_for(club: Path) -> None:
    found = passed_over("club/*")["club/*"]
    assert sorted(Path(name).name for name in found) == sorted(Path(name).name for name in [*EVERYTHING[:-1]])
    assert passed_over("club/*.numbers") == {}


def test_what_another_argument_reads_or_has_told_of_is_not_told_again(club: Path) -> None:
    assert passed_over("club", str(club / "boats.numbers"), str(club / "sub")) == {
        "club": [name for name in EVERYTHING if name != "boats.numbers"]
    }


def test_a_folder_without_a_document_names_what_it_holds(club: Path) -> None:
    with pytest.raises(DocumentError) as raised:
        expand(["club/sub"])
    assert raised.value.message == "the folder club/sub contains no document"
    assert (raised.value.hint or "").startswith("not read in club/sub: letter.msg (mail); looked for files ending in")


def files(*names: str) -> list[NotRead]:
    from sharedllm_cli.documents.sources import kind_of

    return [NotRead(name, name, kind_of(Path(name))) for name in names]


def test_one_line_names_the_files_those_with_text_first() -> None:
    assert told("club/", files("a.png", "b.docx", "c.xyz", "README")) == (
        "not read in club: b.docx (Word), c.xyz (xyz), README (no suffix), a.png (image)"
    )
    assert told(".", files("a.csv")) == "not read in this folder: a.csv (table)"


def test_many_files_are_counted_by_kind() -> None:
    many = files(
        *(f"{number}.png" for number in range(30)), *(f"{number}.zip" for number in range(7)), "a.docx", "b.eml"
    )
    line = told("club", many)
    assert line.startswith("not read in club: a.docx (Word), b.eml (mail), 0.png (image), 1.png (image), 2.png (image)")
    assert line.endswith(" and 34 more: 27 images, 7 archives")
    assert line.count("(") == NAMED - 1
    counts = told("x", files(*(f"{place}.docx" for place in range(8)), "a.zip", "b.what")).partition("more: ")[2]
    assert counts == "3 Word files, 1 archive, 1 other" or counts == "4 Word files, 1 archive"
