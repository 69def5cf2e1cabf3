"""Each setting's value and where it came from, as `doctor` and `config show` print them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.terminal.tables import show_table
from sharedllm_cli.config import Settings, environment_name
from sharedllm_cli.errors import SharedLLMError

SECRET = "password"
"""The setting whose value is never shown."""


def settings_json(call: Call) -> dict[str, dict[str, Any]]:
    """Each setting's value and origin, and what the adapter makes of one not given; a password is never shown."""
    from sharedllm_cli.model.adapter_config import left_to_adapter

    try:
        decided = left_to_adapter(call.settings, call.settings.model.lower())
    except SharedLLMError:  # reported by `doctor`, or by the command that needs it
        decided = {}
    shown: dict[str, dict[str, Any]] = {}
    for knob in fields(Settings):
        value, origin = getattr(call.settings, knob.name), call.resolved.origins[knob.name]
        secret = knob.name == SECRET and value is not None
        where = {"environment": environment_name(knob), "file": str(call.config_path)}.get(origin, origin)
        shown[knob.name] = {"value": "…" if secret else value, "origin": where}
        if knob.name in decided:
            shown[knob.name]["adapter"] = decided[knob.name]
    return shown


def show_settings(call: Call, settings: dict[str, dict[str, Any]]) -> None:
    """The table of settings, their values and where these came from."""
    rows = [
        (name, text(entry["adapter"]), "adapter")
        if "adapter" in entry
        else (name, text(entry["value"]), entry["origin"])
        for name, entry in settings.items()
    ]
    show_table(call.console, ("Setting", "Value", "From"), rows)


def text(value: Any) -> str:
    """A setting's value in a table."""
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
