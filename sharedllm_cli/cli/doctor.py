"""`sharedllm doctor`: what this machine has, what to do about what is missing, and where each setting came from.

Looks only: nothing here may fail or fetch.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from sharedllm_cli import __version__
from sharedllm_cli.cli.call import Call, calm_libraries
from sharedllm_cli.cli.configuration import settings_json, show_settings
from sharedllm_cli.cli.options import MODEL, with_settings
from sharedllm_cli.cli.terminal.console import one_line
from sharedllm_cli.cli.terminal.tables import size
from sharedllm_cli.config import Settings, environment_name
from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.home import HOME_VARIABLE, config_file, obstacle

SIGNS = {"ok": ("✓", "ok", "green"), "note": ("·", "--", "cyan"), "problem": ("✗", "!!", "bold red")}
State = Literal["ok", "note", "problem"]
LITTLE_DISK = 3e9
"""Bytes below which free disk is a problem: a small model's weights and a large document's index fill more."""
LITTLE_MEMORY = 2e9
"""Bytes of free memory below which even the default model may not load."""
TORCH_ADVICE = "python -m pip install --force-reinstall 'torch>=2.6'"


@with_settings(*MODEL.names, "index_dir")
def doctor(call: Call) -> None:
    """Look at this machine: what is there, what is missing and what to do about it, where each setting comes from."""
    calm_libraries(verbose=call.console.verbose)
    findings = examine(call.settings, call.home, os.environ)
    if call.json:
        call.console.json({"findings": [asdict(finding) for finding in findings], "settings": settings_json(call)})
        return
    show_findings(call, findings)
    call.console.result("")
    show_settings(call, settings_json(call))
    problems = sum(finding.state == "problem" for finding in findings)
    call.console.result("")
    call.console.result("no problems found" if not problems else f"{problems} to fix, marked above")


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


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what it is, how it stands, and what to do where it stands badly."""

    topic: str
    value: str
    state: State = "ok"
    advice: str | None = None


def examine(settings: Settings, home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything in turn; a look that fails is a finding too."""
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _program,
        _torch,
        lambda: _libraries(settings),
        _processor,
        _memory,
        lambda: _model(settings, home),
        lambda: _runs(settings, home),
        lambda: _adapter(settings),
        lambda: _reading(settings),
        lambda: _storage(settings, home),
        lambda: _environment(environment),
    )
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding("look", f"failed: {type(error).__name__}: {error}", "problem"))
    return findings


def _program() -> Iterator[Finding]:
    yield Finding("sharedllm", __version__)
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _torch() -> Iterator[Finding]:
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:
        reason = "not installed" if isinstance(error, ModuleNotFoundError) else f"can't be loaded: {error}"
        yield Finding("torch", reason, "problem", TORCH_ADVICE)
        return
    yield Finding("torch", str(torch.__version__))
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield Finding(f"cuda:{number}", f"{facts.name}, {size(facts.total_memory)}")
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "mps (Apple)")
    elif shutil.which("nvidia-smi"):
        advice = "install a torch built for CUDA: https://pytorch.org/get-started/locally"
        yield Finding("gpu", "an NVIDIA driver is installed, but torch sees no GPU", "problem", advice)
    else:
        yield Finding("gpu", "none: computing on the CPU", "note")


def _libraries(settings: Settings) -> Iterator[Finding]:
    quantized, flash = settings.quantize in ("4bit", "8bit"), settings.attention == "flash"
    yield _library("transformers", "not installed", _pip("transformers"), needed=True)
    yield _library("onnxruntime", "not installed: answers are written slowly", _pip("onnxruntime"), needed=False)
    yield _library("bitsandbytes", "not installed: no --quantize on a GPU", _pip("bitsandbytes"), needed=quantized)
    extra = "python -m pip install 'sharedllm-cli[flash]' (needs CUDA to build)" if flash else None
    yield _library("flash-attn", "not installed: torch's own kernels are used", extra, needed=flash)
    if util.find_spec("pip") is None:
        yield Finding("pip", "not installed: models come from the hub", "note", "python -m ensurepip")
    else:
        yield Finding("pip", _version("pip") or "installed")


def _library(name: str, absent: str, advice: str | None, *, needed: bool) -> Finding:
    version = _version(name)
    return Finding(name, version) if version else Finding(name, absent, "problem" if needed else "note", advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _pip(name: str) -> str:
    return f"python -m pip install {name}"


def _processor() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", str(usable))


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{size(memory.available)} free of {size(memory.total)}"
    little = memory.available < LITTLE_MEMORY
    yield Finding("memory", text, "problem" if little else "ok", "close other programs" if little else None)


def _model(settings: Settings, home: Path) -> Iterator[Finding]:
    from sharedllm_cli.weights.known import known_model
    from sharedllm_cli.weights.registry import installed_folder

    name = settings.model
    folder = installed_folder(name.lower(), home) or installed_folder(name, home)
    path = Path(name).expanduser()
    if folder or path.exists():
        yield Finding("model", f"{name}, {folder or path}")
    elif known := known_model(name):
        text = f"{name}, not fetched yet ({size(known.fetched_bytes)})"
        state: State = "problem" if settings.offline else "note"
        yield Finding("model", text, state, f"sharedllm models pull {name}")
    else:
        advice = "`sharedllm models list` shows the known names"
        yield Finding(
            "model", f"{name}, not installed and not a known name (a hub id is fetched when used)", "note", advice
        )


def _runs(settings: Settings, home: Path) -> Iterator[Finding]:
    """How the model would be loaded here, and whether it has room; nothing where it is not known by name or folder."""
    from sharedllm_cli.weights.registry import describe

    try:
        from sharedllm_cli import planning
        from sharedllm_cli.model.placement import attention_name, place
    except Exception:  # no torch, which its own line tells
        return
    try:
        facts = describe(settings.model, home, offline=True)
        chosen = place(
            facts,
            device=settings.device,
            dtype=settings.dtype,
            quantize=settings.quantize,
            attention=settings.attention,
        )
    except ModelError:  # it is not here yet, which the model's own line tells
        return
    except UsageError as problem:
        yield Finding("runs", problem.message, "problem", problem.hint)
        return
    dtype = str(chosen.dtype).removeprefix("torch.")
    attention = attention_name(chosen.attention)
    weights = planning.weights_bytes(facts, chosen)
    how = f"on {chosen.device} in {dtype}, quantize {chosen.quantize}, attention {attention}"
    yield Finding("runs", f"{how}; weights {size(weights)}")
    room = planning.fit(facts, chosen, planning.batch_bytes(facts, chosen))
    advice = None if room.fits else "choose a smaller --model or --quantize 4bit, or close other programs"
    yield Finding("room", room.words, "ok" if room.fits else "problem", advice)


def _adapter(settings: Settings) -> Iterator[Finding]:
    from sharedllm_cli.cli.models import adapter_facts

    facts = adapter_facts(settings, settings.model.lower())
    yield Finding("adapter", facts.text, "ok" if facts.trained else "note", facts.advice)


def _reading(settings: Settings) -> Iterator[Finding]:
    """What documents are read within."""
    from sharedllm_cli.documents.process import held_by_system
    from sharedllm_cli.documents.readers import Limits

    limits = Limits.of(replace(settings, ocr=False))
    held = held_by_system(limits)
    by = f"the system limits {' and '.join(held)}" if held else "this system has no limits: memory is watched alone"
    text = f"{limits.seconds:g} s without progress, {size(limits.memory_bytes)} of memory, a process of its own"
    yield Finding("reading", f"{text}; {by}", "ok" if "memory" in held else "note")
    try:
        Limits.of(settings)
    except UsageError as problem:
        yield Finding("ocr", problem.message, "problem", problem.hint)


def _storage(settings: Settings, home: Path) -> Iterator[Finding]:
    folders = {"home": home} | ({"indexes": Path(settings.index_dir).expanduser()} if settings.index_dir else {})
    for topic, folder in folders.items():
        if why := obstacle(folder):
            advice = f"set {HOME_VARIABLE} or --index-dir to a folder that you can write to"
            yield Finding(topic, f"{folder} can't be used: {why}", "problem", advice)
            continue
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        little = free < LITTLE_DISK
        freeing = "`sharedllm indexes prune` frees space" if little else None
        yield Finding(topic, f"{folder}, {size(free)} free", "problem" if little else "ok", freeing)


def _environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    path = config_file(environment)
    yield Finding("configuration", f"{path}" if path.is_file() else f"{path} (none there)")
    known = {environment_name(knob) for knob in fields(Settings)} | {HOME_VARIABLE}
    for name in sorted(environment):
        if name.startswith("SHAREDLLM_") and name not in known:
            advice = f"known are {', '.join(sorted(known))}"
            yield Finding("environment", f"{name} is set, but is not a setting", "problem", advice)
