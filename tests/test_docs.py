"""What the documents say of the code must be there: every file, and every name in it, that they point at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POINTERS = re.compile(r"`([\w./]+\.py)(?:: ([^`]+))?`")
DOCUMENTS = ("architecture.md", "method.md", "index-format.md", "training.md", "benchmarks.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_points_at_is_there(document: str) -> None:
    found = POINTERS.findall((ROOT / "docs" / document).read_text("utf-8"))
    assert found
    for path, names in found:
        places = [place for place in (ROOT / "sharedllm_cli" / path, ROOT / path) if place.is_file()]
        places += list((ROOT / "sharedllm_cli").rglob(path)) if "/" not in path else []
        assert places, f"there is no {path}"
        text = "\n".join(place.read_text("utf-8") for place in places)
        for name in re.findall(r"\w+", re.sub(r"\[[^]]*\]|\([^)]*\)", "", names)):
            assert re.search(rf"\b{name}\b", text), f"{path} has no {name}"
