"""What an update finds: new, changed, moved, copied, gone; one bad file; damage; two at once."""

from __future__ import annotations

import os
import stat
import time

import pytest
from keeping import Keeper

from sharedllm_cli.collections import names, updating
from sharedllm_cli.documents.readers import Probe
from sharedllm_cli.errors import StoredIndexError, UsageError


def whats(outcome: updating.UpdateOutcome) -> dict[str, str]:
    return {file.name: file.what for file in outcome.files}


def settle() -> None:
    """Let the change times of files that were just written get old enough to be trusted."""
    time.sleep(0.12)


def test_new_changed_moved_copied_and_gone_files_are_told_apart_by_content(keeper: Keeper) -> None:
    for name in ("stays", "changes", "moves", "goes"):
        keeper.write(f"{name}.txt", f"The file that {name} speaks of a lantern.")
    settle()
    assert whats(keeper.add("notes")) == dict.fromkeys(("stays.txt", "changes.txt", "moves.txt", "goes.txt"), "new")
    keeper.write("changes.txt", "Now it speaks of a rope.")
    (keeper.files / "deep").mkdir()
    (keeper.files / "moves.txt").rename(keeper.files / "deep" / "moved.txt")
    (keeper.files / "goes.txt").unlink()
    keeper.write("copy.txt", "The file that stays speaks of a lantern.")
    settle()
    outcome = keeper.update("notes")
    assert whats(outcome) == {"changes.txt": "changed", "moved.txt": "moved", "goes.txt": "gone", "copy.txt": "copy"}
    assert outcome.unchanged == 1
    assert outcome.documents == 3
    assert {file.name: file.before for file in outcome.files}["moved.txt"] == str(keeper.files / "moves.txt")
    assert not keeper.update("notes").files


def test_nothing_is_read_twice(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.write("one.txt", "A lantern.")
    keeper.write("two.txt", "A rope.")
    settle()
    keeper.add("notes")
    read: list[str] = []
    whole = Probe.read
    monkeypatch.setattr(
        Probe, "read", lambda self, reporter=None: read.append(self.source.name) or whole(self, reporter)
    )
    (keeper.files / "one.txt").rename(keeper.files / "first.txt")
    os.utime(keeper.files / "first.txt")  # as a program does that writes the same bytes anew
    settle()
    assert whats(keeper.update("notes")) == {"first.txt": "moved"}
    assert read == []
    keeper.update("notes", rebuild=True)
    assert read == []


def test_one_bad_file_does_not_stop_the_rest_and_is_not_tried_again_until_it_changes(keeper: Keeper) -> None:
    keeper.write("good.txt", "A lantern.")
    bad = keeper.files / "bad.pdf"
    bad.write_bytes(b"%PDF-1.7\nno more than that")
    settle()
    outcome = keeper.add("notes")
    assert whats(outcome) == {"good.txt": "new", "bad.pdf": "failed"}
    assert [row.name for row in outcome.failed] == ["bad.pdf"]
    assert outcome.failed[0].error
    again = keeper.update("notes")
    assert not again.files
    assert [row.name for row in again.failed] == ["bad.pdf"]
    assert whats(keeper.update("notes", retry=True)) == {"bad.pdf": "failed"}
    found, warnings = keeper.search("lantern")
    assert found == ["good.txt"]
    assert warnings == ["1 file of @notes could not be read: bad.pdf"]


def test_ignored_files_and_folders_are_left_out(keeper: Keeper) -> None:
    for name in ("kept.txt", "draft-1.txt", "drafts/old.txt", "drafts/keep.txt", "deep/secret.md", "deep/open.md"):
        keeper.write(name, f"Words of {name}.")
    (keeper.files / ".sharedllmignore").write_text("draft-*\n/drafts/*\n!/drafts/keep.txt\n")
    (keeper.files / "deep" / ".sharedllmignore").write_text("secret*\n")
    assert sorted(whats(keeper.add("notes"))) == ["keep.txt", "kept.txt", "open.md"]


def test_the_catalogue_is_private_and_a_damaged_one_is_refused_and_made_anew(keeper: Keeper) -> None:
    for number in range(40):
        keeper.write(f"{number}.txt", f"The lantern number {number} hangs at the door. " * 20)
    settle()
    keeper.add("notes")
    path = keeper.collection("notes").catalogue
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    for leftover in path.parent.glob("*.sqlite-*"):
        leftover.unlink()
    with pytest.raises(StoredIndexError) as told:
        keeper.update("notes")
    assert told.value.exit_code == 5
    assert told.value.hint is not None
    assert "--rebuild" in told.value.hint
    assert keeper.update("notes", rebuild=True).documents == 40
    path.write_bytes(b"not a database at all, whatever its name is" * 100)
    with pytest.raises(StoredIndexError):
        keeper.open("@notes")


def test_a_root_that_is_away_keeps_its_documents_in_mind(keeper: Keeper, tmp_path: object) -> None:
    keeper.write("here/one.txt", "A lantern.")
    keeper.write("away/two.txt", "A rope.")
    settle()
    keeper.add("notes", keeper.files / "here", keeper.files / "away")
    (keeper.files / "away").rename(keeper.files / "unplugged")
    found, warnings = keeper.search("rope lantern")
    assert found == ["one.txt"]
    assert any("two.txt" in warning for warning in warnings)
    (keeper.files / "unplugged").rename(keeper.files / "away")
    assert sorted(keeper.search("rope lantern")[0]) == ["one.txt", "two.txt"]
    assert not keeper.update("notes").files


def test_only_one_process_updates_a_collection(keeper: Keeper) -> None:
    keeper.write("one.txt", "A lantern.")
    keeper.add("notes")
    collection = keeper.collection("notes")
    with updating.updating(collection) as first, updating.updating(collection) as second:
        assert first
        assert not second


def test_an_unknown_name_suggests_the_nearest_and_a_name_that_can_be_no_folder_is_refused(keeper: Keeper) -> None:
    keeper.write("one.txt", "A lantern.")
    keeper.add("notes")
    with pytest.raises(UsageError) as told:
        names.find(keeper.home, "@nots")
    assert told.value.hint == "did you mean @notes?"
    for name in ("../up", "a/b", "", ".hidden", "x" * 65):
        with pytest.raises(UsageError):
            names.checked_name(name)


def test_names_that_are_no_text_are_kept(keeper: Keeper) -> None:
    path = os.fsencode(keeper.files) + b"/caf\xe9.txt"
    try:
        with open(path, "wb") as file:
            file.write(b"A lantern.")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    settle()
    assert keeper.add("notes").documents == 1
    assert keeper.catalogue("notes").files()[0].path == os.fsdecode(path)
    assert not keeper.update("notes").files


def test_files_of_other_kinds_are_told(keeper: Keeper) -> None:
    keeper.write("one.txt", "A lantern.")
    keeper.write("contract.doc", "not read")
    settle()
    outcome = keeper.add("notes")
    assert [file.name for file in outcome.not_read] == ["contract.doc"]
    library = keeper.open("@notes").narrowed("lantern")
    assert [file.name for file in library.not_read] == ["contract.doc"]
    assert library.warnings == ["not read in @notes: contract.doc (Word)"]
