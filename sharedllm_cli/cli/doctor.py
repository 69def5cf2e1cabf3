"""`sharedllm doctor`: what this machine has, what to do about what is missing, and where each setting came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from sharedllm_cli.cli.options import MODEL, with_settings
from sharedllm_cli.cli.session import Call, calm_libraries
from sharedllm_cli.cli.terminal.console import one_line
from sharedllm_cli.cli.terminal.tables import show_table
from sharedllm_cli.config import Settings, environment_name
from sharedllm_cli.errors import SharedLLMError

if TYPE_CHECKING:
    from sharedllm_cli.cli.machine import Finding

SIGNS = {"ok": ("✓", "ok", "green"), "note": ("·", "--", "cyan"), "problem": ("✗", "!!", "bold red")}


@with_settings(*MODEL.names, "index_dir")
def doctor(call: Call) -> None:
    """Look at this machine: what is there, what is missing and what to do about it, where each setting comes from."""
    from sharedllm_cli.cli.machine import examine

    calm_libraries(verbose=call.console.verbose)
    findings = examine(call.settings, call.home, os.environ)
    if call.json:
        call.console.json({"findings": [asdict(finding) for finding in findings], "settings": settings_json(call)})
        return
    show_findings(call, findings)
    call.console.result("")
    rows = [
        (name, text(entry["adapter"]), "adapter")
        if "adapter" in entry
        else (name, text(entry["value"]), entry["origin"])
        for name, entry in settings_json(call).items()
    ]
    show_table(call.console, ("Setting", "Value", "From"), rows)
    problems = sum(finding.state == "problem" for finding in findings)
    call.console.result("")
    call.console.result("nothing stands in the way" if not problems else f"{problems} to put right, marked above")


def show_findings(call: Call, findings: Sequence[Finding]) -> None:
    """One line a finding, and below it what to do."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for overflow in (None, None, "fold"):
        grid.add_column(no_wrap=overflow is None, overflow=overflow or "ellipsis")
    for finding in findings:
        sign, plain, style = SIGNS[finding.state]
        words = Text(one_line(finding.value))
        if finding.advice:
            words.append(f"\n→ {one_line(finding.advice)}", style="bold" if finding.state == "problem" else "dim")
        grid.add_row(Text(call.console.sign(sign, plain), style=style), Text(finding.topic, style="dim"), words)
    call.console.result(grid)


def settings_json(call: Call) -> dict[str, dict[str, Any]]:
    """Each setting's value and origin, and what the adapter makes of one not given; a password is never shown."""
    from sharedllm_cli.model.adapter_config import left_to_adapter

    try:
        decided = left_to_adapter(call.settings, call.settings.model.lower())
    except SharedLLMError:  # told among the findings, or by the command that needs it
        decided = {}
    shown: dict[str, dict[str, Any]] = {}
    for knob in fields(Settings):
        value, origin = getattr(call.settings, knob.name), call.resolved.origins[knob.name]
        secret = knob.name == "password" and value is not None
        where = {"environment": environment_name(knob), "file": str(call.config_path)}.get(origin, origin)
        shown[knob.name] = {"value": "…" if secret else value, "origin": where}
        if knob.name in decided:
            shown[knob.name]["adapter"] = decided[knob.name]
    return shown


def text(value: Any) -> str:
    """A setting's value in a table."""
    if value is None:
        return "–"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
