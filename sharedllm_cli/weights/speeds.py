"""How fast each base model answered here: the last measured answer, in `<home>/models/speeds.json`.

A memory only: deleting or damaging it costs nothing but the numbers. No benchmark is run.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.home import models_folder
from sharedllm_cli.weights.registry import now

_LEAST_TOKENS = 8
"""An answer of fewer tokens says little of the speed of decoding."""


@dataclass(frozen=True)
class Speed:
    """One answer's speed: `first_token_s` from the question to its first token (search and prefill), `tokens_per_s`
    while it was decoded; the device, and when it was measured (ISO 8601, UTC).
    """

    first_token_s: float
    tokens_per_s: float
    device: str
    measured: str

    @property
    def words(self) -> str:
        """For a table."""
        return f"first token after {self.first_token_s:.1f} s, {self.tokens_per_s:.0f} tokens/s ({self.device})"


def remember_speed(
    home: Path, model: str, *, device: str, first_token_s: float, tokens_per_s: float, new_tokens: int
) -> None:
    """Note what an answer took, replacing what was noted of the model and device; too short an answer is left out.

    A home folder that can't be written forgets, and nothing else happens.
    """
    if new_tokens < _LEAST_TOKENS or tokens_per_s <= 0:
        return
    found = _read(home)
    of_model = found.get(model)
    entries = of_model if isinstance(of_model, dict) else {}
    entries[device] = asdict(Speed(round(first_token_s, 3), round(tokens_per_s, 2), device, now()))
    found[model] = entries
    with suppress(OSError):
        durable.make_private_folder(models_folder(home))
        durable.replace_bytes(_file(home), json.dumps(found, indent=1).encode(), sync_name=False)


def last_speed(home: Path, model: str) -> Speed | None:
    """The speed of a model's last measured answer, on whichever device; None where none was measured."""
    entries = _read(home).get(model)
    speeds = []
    for entry in entries.values() if isinstance(entries, dict) else ():
        with suppress(TypeError, ValueError, KeyError):
            numbers = float(entry["first_token_s"]), float(entry["tokens_per_s"])
            speeds.append(Speed(*numbers, str(entry["device"]), str(entry["measured"])))
    return max(speeds, key=lambda speed: speed.measured, default=None)


def _file(home: Path) -> Path:
    return models_folder(home) / "speeds.json"


def _read(home: Path) -> dict[str, Any]:
    try:
        found = json.loads(_file(home).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
