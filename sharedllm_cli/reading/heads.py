"""The scoring heads that are shipped: one small file a base model, used only with the weights it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from sharedllm_cli.errors import ModelError
from sharedllm_cli.retrieval.late_head import LateHead

SHIPPED = Path(__file__).parents[1] / "heads"
_ARRAYS = ("projection", "centre", "question_bias", "leaf_bias", "direction")


@cache
def shipped_head(base: str, weights_hash: str) -> LateHead | None:
    """The head shipped for a base model by its name, None where there is none or it was trained on other weights."""
    path = SHIPPED / f"{base}.safetensors"
    if not path.is_file():
        return None
    head, provenance = read_head(path)
    return head if provenance.get("base_weights") == weights_hash else None


def head_bytes(head: LateHead, provenance: Mapping[str, Any]) -> bytes:
    """A head as a safetensors file: half-precision arrays; its numbers and what made it as JSON in the header."""
    fields = asdict(head)
    arrays = {name: np.ascontiguousarray(fields.pop(name), dtype=np.float16) for name in _ARRAYS}
    return safetensors_numpy.save(arrays, {"numbers": json.dumps(fields), "provenance": json.dumps(dict(provenance))})


def read_head(path: Path) -> tuple[LateHead, dict[str, Any]]:
    """The head of a file and what made it. Raises ModelError for a file that is none."""
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in _ARRAYS}
            header = file.metadata() or {}
        numbers = json.loads(header["numbers"])
        numbers["shares"] = tuple(numbers["shares"])
        return LateHead(**arrays, **numbers), json.loads(header["provenance"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as failure:
        raise ModelError(f"{path.name} is no scoring head") from failure
