"""One call of the command: its settings, where they came from, its console; and what its errors mean to the user.

The engine is made here and nowhere else, so that a test can put a fake one in its place; nothing heavy is imported
before a command asks for it.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedllm_cli.config import Resolved, Settings, environment_name, flag, resolve
from sharedllm_cli.durable import FAILING, FULL
from sharedllm_cli.errors import ResourceError, SharedLLMError, UsageError
from sharedllm_cli.home import config_file, home_folder, indexes_folder, run_folder
from sharedllm_cli.memory import is_out_of_memory

if TYPE_CHECKING:
    from sharedllm_cli.cli.terminal.console import Console
    from sharedllm_cli.engine import Engine
    from sharedllm_cli.progress import Reporter
    from sharedllm_cli.serving.shell_client import WarmEngine

INTERRUPTED = 128 + 2
"""What a shell reports for a program that Ctrl-C ended (128 + SIGINT)."""
PIPE_CLOSED = 128 + 13
"""What a shell reports for a program whose reader went away (128 + SIGPIPE)."""
MEMORY_HINT = "close other programs, choose a smaller --model, or try --quantize 4bit"
FAILING_HINT = "look at the disk and the system's log; `sharedllm indexes verify` checks what is stored"


@dataclass(frozen=True)
class Call:
    """What every command gets: the settled settings and the way to talk to the user."""

    resolved: Resolved
    home: Path
    console: Console
    config_path: Path
    json: bool = False

    @property
    def settings(self) -> Settings:
        return self.resolved.settings

    @property
    def index_folder(self) -> Path:
        """The folder that holds the indexes: --index-dir, else the one in the home folder."""
        chosen = self.settings.index_dir
        return Path(chosen).expanduser() if chosen else indexes_folder(self.home)

    def engine(self) -> Engine:
        """The engine for this call; making it loads neither model nor document."""
        with self.console.waiting("starting"):
            return make_engine(self.settings, self.home, self.console)

    def warm_engine(self, documents: Sequence[str], keep: float | None = None) -> WarmEngine | None:
        """The engine of a running process of this user with the same model; None where there is none for the documents.

        With `keep` it stays for so many seconds at least.
        """
        if not self.settings.serve or not run_folder(self.home).is_dir():
            return None
        from sharedllm_cli.serving.ahead import can_open
        from sharedllm_cli.serving.shell_client import find_warm

        if not can_open(documents):
            return None
        return find_warm(self.settings, self.home, self.console, self.engine, keep=keep)


def open_call(
    console: Console,
    flags: Mapping[str, Any],
    *,
    file: bool = True,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Call:
    """Settle flags, environment and configuration file into a call; UsageError where one of them is invalid.

    Without `file` the configuration file is not read.
    """
    console.quiet, console.verbose = quiet, verbose
    path = config_file(os.environ)
    values = _settings_in(path) if file else {}
    try:
        resolved = resolve(flags, os.environ, values)
    except UsageError as error:
        raise UsageError(error.message + _place(error.message, flags, path), hint=error.hint) from None
    return Call(resolved, home_folder(os.environ), console, path, json)


def _settings_in(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        return {}
    from sharedllm_cli.configuration import read_config

    return read_config(path)


def _place(message: str, flags: Mapping[str, Any], path: Path) -> str:
    """Where the value that a message refuses was written, if that was not the command line."""
    if "configuration file" in message:
        return f" {path}"
    for knob in fields(Settings):
        if message.startswith(f"{flag(knob)} ") and flags.get(knob.name) is None:
            name = environment_name(knob)
            return f" (environment variable {name})" if os.environ.get(name) else f" (configuration file {path})"
    return ""


def make_engine(settings: Settings, home: Path, reporter: Reporter) -> Engine:
    """An engine for these settings."""
    calm_libraries(verbose=bool(getattr(reporter, "verbose", False)))
    with uncollected():
        from sharedllm_cli.engine import Engine

    return Engine(settings, home=home, reporter=reporter)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within: what an import makes stays, and a quarter of its time would go into looking."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor are they looked at later
        if was_on:
            gc.enable()


def calm_libraries(*, verbose: bool) -> None:
    """Keep third-party chatter (load reports, bars, deprecations) off the user's screen unless asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for each other give way: beside another busy program they would else keep each other waiting.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if verbose:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    if not sys.warnoptions:  # whoever asks Python for warnings gets them
        warnings.filterwarnings("ignore")


def translate(error: Exception) -> SharedLLMError:
    """The error to show: itself if it is ours, ResourceError for lack of memory or disk, else a fault of ours."""
    if isinstance(error, SharedLLMError):
        return error
    if is_out_of_memory(error):
        return ResourceError("not enough memory for this model and document", hint=MEMORY_HINT)
    if isinstance(error, OSError) and error.errno in FULL:
        where = f" at {error.filename}" if error.filename else ""
        return ResourceError(
            f"the disk is full{where}", hint="`sharedllm indexes prune` frees space; --index-dir takes another disk"
        )
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        where = f" at {error.filename}" if error.filename else ""
        return ResourceError(
            f"a file would be larger than this shell or disk allows{where}", hint="raise the limit (ulimit -f)"
        )
    if isinstance(error, OSError) and error.errno in FAILING:
        where = f" at {error.filename}" if error.filename else ""
        return ResourceError(f"the system failed{where}: {(error.strerror or str(error)).lower()}", hint=FAILING_HINT)
    return SharedLLMError(
        f"internal error: {type(error).__name__}: {error}",
        hint="this is a bug in sharedllm: run the command again with --verbose and report the output",
    )


def broken_pipe() -> int:
    """The reader of a stream went away (`| head`, `2>&1 | head`): leave quietly, nothing more can be written there.

    What an answer still has to say on the other stream goes too: its reader would be shown a part as if it were all.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return PIPE_CLOSED
