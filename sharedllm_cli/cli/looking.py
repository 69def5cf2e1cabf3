"""What can be looked at: a file with the whole answer (`--report`), one source in a viewer (`--open`, `/open`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm_cli.durable import replace_bytes, sha256_of_text, writing
from sharedllm_cli.errors import UsageError
from sharedllm_cli.home import HOME_ELSEWHERE, ensure_private
from sharedllm_cli.reading.sights import Sights
from sharedllm_cli.serving.report import PIXELS, refuse_overwriting, report, source_page, write_report

if TYPE_CHECKING:
    from sharedllm_cli.answer import Answer
    from sharedllm_cli.cli.call import Call
    from sharedllm_cli.reading.library import Library

__all__ = ["keep_report", "open_source", "refuse_overwriting"]

KEPT = 20
"""Opened sources whose files are kept in the home folder; older ones go."""
VIEWER_SECONDS = 5.0
"""A viewer that has not failed by then is taken to show the file."""


def keep_report(call: Call, answer: Answer, library: Library, path: Path, *, overwrite: bool) -> None:
    """Write the answer as a report; raises UsageError and ResourceError as `write_report` does."""
    with call.console.waiting("drawing the pages"):
        opened = library.opened_for({source.document for source in answer.sources})
        sights = Sights(opened, call.settings.password).of(answer.sources, answer.found_words, side=PIXELS)
    write_report(path, report(answer, sights, call.settings), overwrite=overwrite)
    call.console.note(f"report: {path}")


def open_source(
    call: Call, answer: Answer, library: Library, number: int, *, password: str | None, asked_by: str = "--open"
) -> None:
    """Show a source in the system's viewer, and say where its file is; UsageError for a number that no source has.

    `password` opens an encrypted file; `asked_by` is what the user typed before the number.
    """
    count = len(answer.sources)
    if not 1 <= number <= count:
        there = f"its sources are 1 to {count}" if count > 1 else "it has one source" if count else "it has none"
        raise UsageError(f"{asked_by} {number}: the answer has no such source", hint=there)
    source = answer.sources[number - 1]
    with call.console.waiting("drawing the page"):
        (sight,) = Sights(library.opened_for({source.document}), password).of([source], answer.found_words, drawn=True)
    stem = re.sub(r"[^\w.-]+", "-", Path(source.document).stem)[:60].strip("-.") or "source"
    where = f"-page-{source.page}" if sight.picture else ""
    mark = sha256_of_text(f"{source.document}\0{source.page}\0{source.quote}")[:8]
    if sight.picture:
        suffix, data = sight.picture.kind.removeprefix("image/"), sight.picture.data
    else:
        suffix, data = "html", source_page(number, source, sight).encode("utf-8", "replace")
    folder = ensure_private(call.home / "opened")
    path = folder / f"{stem}{where}-{mark}.{suffix}"
    with writing(folder, HOME_ELSEWHERE):
        replace_bytes(path, data, sync_name=False)
    _forget_older(folder)
    if sight.remark:
        call.console.warn(sight.remark)
    opened = view(path, os.environ)
    told = f"source {number}{' opened' if opened else ''}: {path}"
    if opened:
        call.console.say_plain(told)
    else:
        call.console.tell_plain(told)  # nothing else shows where the source is


def view(path: Path, environment: Mapping[str, str]) -> bool:
    """Show a file in the system's viewer; False where there is none, or it fails at once."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.startfile(path)
            return True
        return False
    if sys.platform == "darwin":
        program = shutil.which("open")
    else:
        desktop = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
        program = shutil.which("xdg-open") if desktop else None
    if program is None:
        return False
    nowhere = subprocess.DEVNULL
    try:
        child = subprocess.Popen(
            [program, str(path)], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
        return child.wait(VIEWER_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False


def _forget_older(folder: Path) -> None:
    with suppress(OSError):
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[KEPT:]:
            path.unlink()
