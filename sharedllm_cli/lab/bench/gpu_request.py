"""What `bench.gpu` was asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.config import DEFAULT_MODEL, Settings
from sharedllm_cli.home import home_folder

BUDGET = 520.0
"""Seconds for all parts together; what a part does not use, those after it may."""


@dataclass(frozen=True)
class Asked:
    """What the script was asked: `dry` takes miniatures, `seconds` is the budget of all parts."""

    device: str = "cuda"
    model: str = DEFAULT_MODEL
    home: str | None = None
    dry: bool = False
    seconds: float = BUDGET

    @property
    def folder(self) -> Path:
        """Where models are."""
        return Path(self.home) if self.home else home_folder(os.environ)

    def settings(self, **changes: Any) -> Settings:
        """Settings of a part on the device."""
        small = {"chunk_tokens": 64} if self.dry else {}
        return Settings(device=self.device, **{**small, **changes})
