"""`sharedllm config`: the settings without flags, the file that has them, and where each value came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import argument, complete_setting, with_settings
from sharedllm_cli.cli.terminal.tables import show_table
from sharedllm_cli.config import Settings, environment_name, known_setting, setting_from_text
from sharedllm_cli.configuration import change_config, read_config
from sharedllm_cli.errors import SharedLLMError, UsageError

app = typer.Typer(help="Show and change the settings that hold where no flag is given.", cls=Group)

PLACES = frozenset({"adapter", "index_dir"})
"""Settings that name a folder, which is written whole: a command may run elsewhere."""

Names = Annotated[
    list[str] | None,
    argument("[SETTING...]", "Names of settings; all of them by default.", autocompletion=complete_setting),
]
Values = Annotated[
    list[str],
    argument("SETTING VALUE", "A setting and its value, or several as SETTING=VALUE.", autocompletion=complete_setting),
]
Removed = Annotated[
    list[str], argument("SETTING...", "Settings that are in the file.", autocompletion=complete_setting)
]


@app.command(cls=Command)
@with_settings()
def show(call: Call, settings: Names = None) -> None:
    """Show each setting's value and where it comes from; of a single one named, the value alone."""
    shown = settings_json(call)
    wanted = [known_setting(name).name for name in settings or shown]
    shown = {name: shown[name] for name in wanted}
    if call.json:
        call.console.json({"file": str(call.config_path), "settings": shown})
    elif settings and len(wanted) == 1:
        value = shown[wanted[0]]["value"]
        call.console.line("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
    else:
        show_settings(call, shown)


@app.command("set", cls=Command)
@with_settings(file=False)
def set_values(call: Call, values: Values) -> None:
    """Write settings into the configuration file; its other lines and remarks stay as they are.

    A value is checked as a flag's is. What depends on each other is set at once: `tree_height=2 ratios=8,4`.
    """
    changed = {name: _value(call, name, text) for name, text in _pairs(values)}
    change_config(call.config_path, changed)
    _report(call, changed)


@app.command(cls=Command)
@with_settings(file=False)
def unset(call: Call, settings: Removed) -> None:
    """Remove settings from the configuration file, so that their defaults hold again."""
    there = {key.replace("-", "_"): None for key in read_config(call.config_path)}
    names = [name if (name := text.replace("-", "_")) in there else known_setting(text).name for text in settings]
    if absent := [name for name in names if name not in there]:
        raise UsageError(f"{absent[0]} is not in {call.config_path}", hint="`sharedllm config show` shows where it is")
    changed = dict.fromkeys(names)
    change_config(call.config_path, changed)
    _report(call, changed)


@app.command(cls=Command)
@with_settings(file=False)
def path(call: Call) -> None:
    """Print the path of the configuration file, which need not exist."""
    if call.json:
        call.console.json({"file": str(call.config_path), "exists": call.config_path.is_file()})
    else:
        call.console.line(str(call.config_path))


def _pairs(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`SETTING VALUE`, or any number of `SETTING=VALUE`, with the settings' own names."""
    if len(values) == 2 and "=" not in values[0]:
        yield known_setting(values[0]).name, values[1]
        return
    for pair in values:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"{pair!r:.80} is no SETTING=VALUE", hint="for example: sharedllm config set seed 7")
        yield known_setting(name).name, text


def _value(call: Call, name: str, text: str) -> Any:
    """The value that a text means, checked; UsageError or ModelError for one that can't be."""
    if name == "model":
        from sharedllm_cli.weights.registry import settled

        return settled(text, call.home)
    if name in PLACES and text != "none":
        folder = Path(text).expanduser().absolute()
        if name == "adapter" and not folder.is_dir():
            raise UsageError(f"there is no folder {folder}", hint="an adapter is a folder, or none")
        return str(folder)
    return setting_from_text(name, text)


def _report(call: Call, changed: dict[str, Any]) -> None:
    if call.json:
        call.console.json({"file": str(call.config_path), "changed": {**changed, **_hidden(changed)}})
    else:
        for name, value in ({**changed, **_hidden(changed)}).items():
            done = "removed" if value is None else f"= {str(value).lower() if isinstance(value, bool) else value}"
            call.console.line(f"{name} {done}, in {call.config_path}")
    for name in changed:
        variable = environment_name(known_setting(name)) if name in _known() else ""
        if os.environ.get(variable):
            call.console.warn(f"{variable} is set in the environment and goes before the file")


def _hidden(changed: dict[str, Any]) -> dict[str, str]:
    return {SECRET: "…"} if changed.get(SECRET) else {}


def _known() -> frozenset[str]:
    from sharedllm_cli.config import Settings

    return frozenset(Settings.__dataclass_fields__)


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
