"""A flipped bit in a catalogue: a question finds the same, or is refused with exit 5 and the way to make it anew."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from keeping import Keeper

from sharedllm_cli.collections.catalogue import Catalogue
from sharedllm_cli.collections.fulltext import FullText
from sharedllm_cli.errors import StoredIndexError

FLIPS = 400
"""Bits that are flipped, one at a time; of bytes that are not zero, since most of the file is room for more."""


def everything(path: Path, *, check: bool = False) -> tuple[Any, ...]:
    """All that updates and questions read of a catalogue."""
    catalogue = Catalogue(path)
    try:
        if check:
            catalogue.check()
        text = FullText(catalogue)
        ranked = text.ranked("which lantern hangs at house 49", 5)
        return (
            *(catalogue.files(), catalogue.documents(), catalogue.headings(), catalogue.attached()),
            *(catalogue.passed_over(), catalogue.folders(), ranked.scores, ranked.documents),
            text.holding("lantern house"),
        )
    finally:
        catalogue.close()


@pytest.fixture
def notes(keeper: Keeper) -> Path:
    for number in range(30):
        text = f"# Note {number}\n\nThe lantern {number} hangs at the door of house {number * 7}, of Märten {number}.\n"
        keeper.write(f"{number}.md", text)
    keeper.write("picture.png", "no text")
    keeper.add("notes")
    return keeper.collection("notes").catalogue


def test_a_flipped_bit_changes_nothing_or_is_refused(notes: Path, tmp_path: Path) -> None:
    whole, data = everything(notes), notes.read_bytes()
    chance = random.Random(23)
    used = [place for place, byte in enumerate(data) if byte]
    refused = missed = 0
    for number in range(FLIPS):
        flipped = bytearray(data)
        flipped[chance.choice(used)] ^= 1 << chance.randrange(8)
        path = tmp_path / f"flip-{number}" / notes.name
        path.parent.mkdir()
        path.write_bytes(flipped)
        try:
            found = everything(path)
        except StoredIndexError:
            refused += 1
            continue
        if found != whole:  # of terms, or of where rows lie: the next update, and `collections show`, refuse it
            missed += 1
            with pytest.raises(StoredIndexError, match="is damaged") as told:
                everything(path, check=True)
            assert "--rebuild" in str(told.value.hint)
    assert refused > FLIPS / 4
    assert missed < FLIPS / 10
