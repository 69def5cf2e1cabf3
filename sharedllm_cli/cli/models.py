"""`sharedllm models`: base models and adapters on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sharedllm_cli.cli.call import Call
from sharedllm_cli.cli.help import Command, Group
from sharedllm_cli.cli.options import Yes, argument, complete_models, option, with_settings
from sharedllm_cli.cli.preflight import agreed
from sharedllm_cli.cli.probe import probe
from sharedllm_cli.cli.terminal.tables import plain, show_facts, show_table, size
from sharedllm_cli.config import Settings
from sharedllm_cli.configuration import change_config
from sharedllm_cli.errors import ModelError
from sharedllm_cli.model.adapter_config import AdapterConfig, adapter_folder, read_config

app = typer.Typer(help="Manage base models and adapters.", cls=Group)

Name = Annotated[
    str, argument("MODEL", "A name from `models list`.", autocompletion=complete_models, show_default=True)
]
NameOrDefault = Annotated[
    str | None,
    argument(
        "MODEL", "A name from `models list`; by default the model that `ask` uses.", autocompletion=complete_models
    ),
]
Chosen = Annotated[
    str | None,
    argument(
        "[MODEL]",
        "A name from `models list`, a folder, a GGUF file or a hub id; without one the default is printed.",
        autocompletion=complete_models,
    ),
]
NO_ADAPTER = "none: answers are based on verbatim passages alone"


@app.command("list", cls=Command)
@with_settings(json=True)
def list_models(call: Call) -> None:
    """List the models that are known by name or installed."""
    from sharedllm_cli.weights.encoders import ENCODER
    from sharedllm_cli.weights.known import known_models
    from sharedllm_cli.weights.registry import installed
    from sharedllm_cli.weights.speeds import last_speed

    here = {model.name: model for model in installed(call.home)}
    default = call.settings.model.lower()
    known: dict[str, Any] = {model.name: model for model in known_models()}
    known[ENCODER.name] = ENCODER
    names = list(dict.fromkeys([*known, *here]))
    if call.json:
        entries = [
            _entry(name, known.get(name), here.get(name)) | {"default": name == default, "speed": _speed(call, name)}
            for name in names
        ]
        call.console.json({"models": entries})
        return
    rows = []
    for name in names:
        model, folder = known.get(name), here.get(name)
        extent = size(folder.bytes) if folder else f"{size(model.fetched_bytes)} to fetch" if model else ""
        about = model.description if model else f"from {folder.source}" if folder else ""
        installed_here = ("yes" if folder else "no") + (", default" if name == default else "")
        memory = size(model.memory_bytes) if model else ""
        speed = last_speed(call.home, name)
        measured = speed.words if speed else "not measured yet"
        rows.append((name, installed_here, extent, memory, measured, model.licence if model else "", about))
    columns = ("Model", "Installed", "Disk", "Memory", "Speed here", "Licence", "About")
    show_table(call.console, columns, rows, right="Disk,Memory", spare="Licence")


def _speed(call: Call, name: str) -> Any:
    from sharedllm_cli.weights.speeds import last_speed

    speed = last_speed(call.home, name)
    return plain(speed) if speed else None


def _entry(name: str, known: Any, here: Any) -> dict[str, Any]:
    return {
        "name": name,
        "installed": here is not None,
        "path": str(here.path) if here else None,
        "bytes": here.bytes if here else None,
        "source": here.source if here else None,
        "memory_bytes": known.memory_bytes if known else None,
        "licence": known.licence if known else None,
        "description": known.description if known else None,
    }


@app.command(cls=Command)
@with_settings("offline")
def pull(call: Call, name: NameOrDefault = None) -> None:
    """Fetch a base model once, the default one where none is named; afterwards the network is never needed."""
    from sharedllm_cli.model.loading import prepare
    from sharedllm_cli.weights.pull import pull as fetch

    name = name or call.settings.model
    call.console.kept = "what was fetched whole is kept; run the same command again"
    folder = fetch(name, home=call.home, reporter=call.console, offline=call.settings.offline)
    prepare(folder, call.settings, home=call.home, reporter=call.console)
    if call.json:
        call.console.json({"name": name, "path": str(folder)})
    else:
        call.console.line(f"{name} is ready: {folder}")


@app.command(cls=Command)
@with_settings()
def default(call: Call, name: Chosen = None) -> None:
    """Print the model that is used where none is named, or set it, in the configuration file."""
    from sharedllm_cli.weights.registry import settled

    if name is None:
        if call.json:
            call.console.json({"model": call.settings.model})
        else:
            call.console.result(call.settings.model)
        return
    chosen = settled(name, call.home)
    change_config(call.config_path, {"model": chosen})
    if call.json:
        call.console.json({"model": chosen, "file": str(call.config_path)})
    else:
        call.console.line(f"{chosen} is now the default model, in {call.config_path}")


@app.command(cls=Command)
@with_settings()
def rm(call: Call, name: Name, yes: Yes = False) -> int:
    """Delete an installed base model; indexes stay."""
    from sharedllm_cli.weights.registry import remove

    if not agreed(call, f"Delete the model {name}?", yes):
        return 0
    removed = remove(name, call.home, call.console)
    if call.json:
        call.console.json(plain(removed))
    else:
        call.console.line(f"deleted {removed.name}, {size(removed.bytes)}")
    return 0


@app.command(cls=Command)
@with_settings()
def prune(
    call: Call,
    dry_run: Annotated[bool, option("--dry-run", "Only print what would be deleted.")] = False,
    yes: Yes = False,
) -> int:
    """Delete what is of no use: converted GGUF files that are gone or have changed, and interrupted downloads."""
    from sharedllm_cli.weights.registry import delete_leftover, prunable, remove

    items = prunable(call.home)
    total = size(sum(item.bytes for item in items))
    if not call.json:
        for item in items:
            call.console.line(f"{item.name}: {item.why} ({size(item.bytes)})")
    if not items:
        call.console.note("nothing to delete")
    going = bool(items) and not dry_run and agreed(call, f"Delete all of this ({total})?", yes)
    for item in items if going else ():
        if item.leftover:
            delete_leftover(item.path)
        else:
            remove(item.name, call.home, call.console)
    if going:
        call.console.note(f"deleted {total}")
    if call.json:
        call.console.json({"deleted": going, "items": [plain(item) for item in items]})
    return 0


@app.command(cls=Command)
@with_settings("adapter", "offline")
def show(
    call: Call,
    name: Annotated[
        str | None,
        argument(
            "[MODEL]",
            "A name, a folder or a GGUF file; by default the model that `ask` uses.",
            autocompletion=complete_models,
        ),
    ] = None,
) -> None:
    """Show what a base model is, and whether its adapter is trained and on what. Loads no weights."""
    facts = base_facts(name or call.settings.model, call.home, offline=call.settings.offline)
    adapter = adapter_facts(call.settings, facts["name"])
    if call.json:
        shown = {"trained": adapter.trained, "folder": adapter.folder, "config": adapter.config}
        call.console.json({"model": plain(facts), "adapter": plain(shown)})
        return
    show_facts(call.console, base_text(facts), title=str(facts["name"]))
    call.console.result("")
    show_facts(call.console, adapter_text(adapter), title="Adapter")


app.command("probe", cls=Command)(probe)


def base_facts(name: str, home: Path, *, offline: bool) -> dict[str, Any]:
    """What is known of a base model by its configuration alone; ModelError where it can't be had or isn't supported."""
    from sharedllm_cli.weights.known import known_model
    from sharedllm_cli.weights.registry import describe, installed_folder, provenance

    known = known_model(name)
    folder = installed_folder(known.name if known else name, home)
    made = provenance(folder) if folder else None
    path = folder or (Path(name).expanduser().absolute() if Path(name).expanduser().exists() else None)
    described = describe(name, home, offline=offline)
    weights = {"float32": described.weights_bytes(4), "bfloat16": described.weights_bytes(2)}
    weights |= {quantize: described.weights_bytes(2, quantize) for quantize in ("8bit", "4bit")}
    return {
        **plain(described),
        "weights_bytes": weights,
        "path": str(path) if path else None,
        "source": made.source if made else None,
        "licence": made.licence if made else known.licence if known else None,
        "weights_hash": made.weights_hash if made else None,
    }


def base_text(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts of a base model for reading."""
    lines = [
        ("Family", str(facts["family"])),
        ("Parameters", f"{facts['parameter_count'] / 1e6:,.0f} M"),
        ("Weights", ", ".join(f"{size(taken)} in {kind}" for kind, taken in facts["weights_bytes"].items())),
        ("Layers", str(facts["layer_count"])),
        (
            "Heads",
            f"{facts['attention_heads']}, {facts['key_value_heads']} of keys and values, {facts['head_dim']} wide",
        ),
        ("Window", f"{facts['window']:,} tokens"),
        ("Licence", str(facts["licence"] or "not known")),
        ("Lies in", str(facts["path"] or f"not fetched yet: sharedllm models pull {facts['name']}")),
    ]
    return lines + ([("Came from", str(facts["source"]))] if facts["source"] else [])


def adapter_text(adapter: AdapterFacts) -> list[tuple[str, str]]:
    """The facts of an adapter for reading."""
    from sharedllm_cli.index.manifest import ENCODING_WORDS, ENCODINGS

    if adapter.config is None:
        return [("Adapter", adapter.text)] + ([("To do", adapter.advice)] if adapter.advice else [])
    injection, tree = adapter.config.injection, adapter.config.tree
    layers = f"{injection.first_layer} to {injection.lower_layers - 1}"
    return [
        ("Lies in", str(adapter.folder)),
        ("Made for", adapter.config.base),
        ("Trained", f"yes{training_text(adapter.config)}" if adapter.trained else "no"),
        ("Injection", f"{injection.form}, in layers {layers}"),
        (
            "Tree",
            f"chunks of {tree.chunk_tokens:,} tokens, {tree.height} levels, ratios {','.join(map(str, tree.ratios))}, "
            + ENCODING_WORDS[ENCODINGS[tree.encoding]],
        ),
        ("Reads", _reading_text(adapter.config)),
        ("Refuses", _refusal_text(adapter.config.refuse_from)),
        ("Answers", _choice_text(adapter.config.candidates)),
    ]


def _reading_text(config: AdapterConfig) -> str:
    """What a question reads under this adapter, unless the user says."""
    passages = f"{Settings().passage_budget(config.evidence_tokens):,} tokens of passages"
    return f"{passages} and the tree, if it reads one" if config.beside_passages else f"{passages}, no tree beside them"


def _choice_text(candidates: int | None) -> str:
    if not candidates or candidates == 1:
        return "the likeliest, word by word"
    return f"of {candidates} likely short ones the one nearest to the question's words"


def _refusal_text(threshold: float | None) -> str:
    return "where decoding does" if threshold is None else f"from a probability of {threshold:g}"


@dataclass(frozen=True)
class AdapterFacts:
    """An adapter in a line; `config` is None where there is none or it can't be read, `advice` then says what to do."""

    text: str
    trained: bool = False
    advice: str | None = None
    folder: Path | None = None
    config: AdapterConfig | None = None


def adapter_facts(settings: Settings, base_name: str) -> AdapterFacts:
    """The adapter that these settings choose for a base model."""
    folder = adapter_folder(settings, base_name)
    if folder is None:
        return AdapterFacts(NO_ADAPTER)
    try:
        config = read_config(folder)
    except ModelError as error:
        return AdapterFacts(error.message, advice=error.hint, folder=folder)
    what = "untrained" if config.trained is None else "trained" + training_text(config)
    return AdapterFacts(f"{folder}, {what} for {config.base}", config.trained is not None, None, folder, config)


def training_text(config: AdapterConfig) -> str:
    """What an adapter was trained on, as its provenance tells it."""
    made = config.trained or {}
    told = [f"{name} {value}" for name, value in made.items() if isinstance(value, str | int | float)]
    data = made.get("data")
    files = [entry["file"] for entry in data if "file" in entry] if isinstance(data, list) else []
    if files:
        told.append(f"on {', '.join(files)}")
    return f" ({', '.join(told)})" if told else ""
