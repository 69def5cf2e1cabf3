"""JSON that carries its own hash: a manifest, a remembered stamp is whole or is known not to be."""

from __future__ import annotations

import json
from typing import Any

from sharedllm_cli.durable import sha256_of_bytes


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value that hashes are taken of: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def sealed(value: dict[str, Any]) -> bytes:
    """A JSON object as a readable file that carries its own SHA-256 under `seal`."""
    seal = sha256_of_bytes(canonical_json(value))
    return _spelled({**value, "seal": seal})


def unsealed(data: bytes) -> dict[str, Any] | None:
    """The object of a sealed file, or None where a single byte differs from what `sealed` wrote."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or _spelled(value) != data:
        return None
    seal = value.pop("seal", None)
    return value if seal == sha256_of_bytes(canonical_json(value)) else None


def carries_seal(data: bytes) -> bool:
    """Whether a file looks as if `sealed` had written it, whole or not; an empty one does."""
    return not data or b'"seal"' in data or not data.startswith(b"{")


def _spelled(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
