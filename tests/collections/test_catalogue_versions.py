"""A catalogue of every version that ever landed is opened, or refused with the way to make it anew.

`catalogues/version-N.sqlite` was written by `collections add` at the last commit of version N, of two documents.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from keeping import Keeper

from sharedllm_cli.collections.catalogue import VERSION, Catalogue
from sharedllm_cli.collections.fulltext import FullText
from sharedllm_cli.errors import StoredIndexError

KEPT = Path(__file__).with_name("catalogues")
EARLIER = range(1, VERSION)


def test_there_is_one_of_every_version() -> None:
    kept = sorted(path.stem for path in KEPT.iterdir())
    assert kept == [f"version-{number}" for number in range(1, VERSION + 1)], "store a catalogue of the new version"


def test_this_versions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notes" / "catalogue.sqlite"
    path.parent.mkdir()
    shutil.copy(KEPT / f"version-{VERSION}.sqlite", path)
    catalogue = Catalogue(path)
    catalogue.check()
    assert [(row.name, row.state) for row in catalogue.files()] == [("gulls.txt", "read"), ("log.md", "read")]
    numbers = {row.name: row.id for row in catalogue.documents()}
    assert sorted(numbers) == ["gulls.txt", "log.md"]
    assert [heading[0] for heading in catalogue.headings()[numbers["log.md"]]] == ["Log"]
    assert [row.name for row in FullText(catalogue).ranked("Which beacon?", 5).documents] == ["gulls.txt"]
    catalogue.close()


@pytest.mark.parametrize("version", EARLIER)
def test_an_earlier_one_is_refused_and_made_anew(version: int, keeper: Keeper) -> None:
    keeper.write("log.md", "# Log\n\nThe keeper lit the lamp at dusk.\n")
    keeper.add("notes")
    shutil.copy(KEPT / f"version-{version}.sqlite", keeper.collection("notes").catalogue)
    for act in (keeper.update, lambda name: keeper.open(f"@{name}")):
        with pytest.raises(StoredIndexError, match=f"format version {version}") as told:
            act("notes")
        assert told.value.exit_code == 5
        assert "--rebuild" in str(told.value.hint)
    assert keeper.update("notes", rebuild=True).documents == 1
    assert keeper.search("lamp")[0] == ["log.md"]
