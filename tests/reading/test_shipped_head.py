"""The scoring head that is shipped is the one that is written about, and is used with the default model's weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from sharedllm_cli.config import DEFAULT_MODEL
from sharedllm_cli.reading.heads import SHIPPED, read_head, shipped_head

ROOT = Path(__file__).parents[2]
FILE = SHIPPED / f"{DEFAULT_MODEL}.safetensors"


def test_it_was_made_with_the_weights_that_the_default_adapter_was_trained_on() -> None:
    adapter = json.loads((ROOT / "sharedllm_cli" / "adapters" / DEFAULT_MODEL / "adapter.json").read_text("utf-8"))
    head, provenance = read_head(FILE)
    assert provenance["base"] == DEFAULT_MODEL
    assert provenance["base_weights"] in json.dumps(adapter), "else it would silently not be used"
    assert np.isfinite(head.projection).all()
    assert shipped_head(DEFAULT_MODEL, provenance["base_weights"]) is not None
    assert shipped_head(DEFAULT_MODEL, "0" * 64) is None


def test_its_hash_stands_where_its_making_is_written() -> None:
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in (ROOT / "docs" / "training.md").read_text("utf-8")
