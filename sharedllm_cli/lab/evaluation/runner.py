"""An evaluation on disk: a folder that tells what was asked of what, and goes on where it was stopped.

`config.json` holds everything that shapes the numbers, `predictions.jsonl` one line for each finished piece of work,
`metrics.json` what they come to, written last. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sharedllm_cli import durable
from sharedllm_cli.errors import DocumentError, UsageError

CONFIG, PREDICTIONS, METRICS = "config.json", "predictions.jsonl", "metrics.json"
MISPLACED = "misplaced "
"""The keys of questions that are asked of another document than their own begin so."""
_ELSEWHERE = "choose another --out"


class Run:
    """The finished pieces of work by their keys; with a folder they are on the disk as soon as they are added."""

    def __init__(self, folder: Path | None, config: Mapping[str, Any], *, resume: bool = False) -> None:
        """Begin in a fresh folder, or go on in one whose configuration is the same.

        Raises UsageError where the folder holds a run that is not resumed or was configured otherwise, DocumentError
        where what it holds can't be read.
        """
        self.folder = folder
        self._done: dict[str, dict[str, Any]] = {}
        if folder is None:
            return
        present = (folder / CONFIG).is_file()
        if not present and folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"{folder} holds something else", hint="choose another --out")
        if present and not resume:
            raise UsageError(f"{folder} holds a run already", hint="go on with it by --resume, or choose another --out")
        if present:
            _check_same(read_config(folder), json.loads(json.dumps(config)))
            self._done = dict(finished_lines(folder / PREDICTIONS))
        with durable.writing(folder, _ELSEWHERE):
            durable.make_private_folder(folder)
            if not present:
                durable.replace_bytes(folder / CONFIG, _spelled(config))
            # Written anew, so that a torn last line can't swallow the next one.
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in self._done.values()]
            durable.replace_bytes(folder / PREDICTIONS, "".join(lines).encode("utf-8", "surrogatepass"))

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._done[key]

    def add(self, key: str, line: Mapping[str, Any]) -> None:
        """Keep a finished piece of work."""
        kept = {"key": key, **line}
        self._done[key] = kept
        if self.folder is not None:
            with durable.writing(self.folder, _ELSEWHERE):
                text = json.dumps(kept, ensure_ascii=False)
                durable.append_line(self.folder / PREDICTIONS, text.encode("utf-8", "surrogatepass"))

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write what the predictions come to."""
        if self.folder is not None:
            with durable.writing(self.folder, _ELSEWHERE):
                durable.replace_bytes(self.folder / METRICS, _spelled(metrics))


def check_named(noun: str, flag: str, names: Sequence[str], known: Collection[str]) -> None:
    """Raises UsageError where a flag names none of these (arms, policies), one twice, or one that there isn't."""
    if not names or len(set(names)) < len(names):
        raise UsageError(f"{flag} names no {noun}, or one twice")
    for name in names:
        if name not in known:
            raise UsageError(f"unknown {noun} {name!r}", hint=f"choose among {', '.join(known)}")


def interval_json(estimate: Any) -> dict[str, Any] | None:
    """An estimate as it stands in the metrics: its mean and its 95 % interval."""
    if estimate is None:
        return None
    data = asdict(estimate)
    return {"n": data["n"], "mean": data["mean"], "interval": [data["low"], data["high"]]}


def finished_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The whole lines of a predictions file by their keys; the last may be torn, and is then left out."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            kept = json.loads(line.decode("utf-8", "surrogatepass"))
            yield str(kept["key"]), kept
        except (ValueError, KeyError, TypeError):
            continue


def read_config(folder: Path) -> dict[str, Any]:
    """What shaped a run's numbers; DocumentError where it can't be read."""
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path} can't be read: {error}", hint="give the folder of another run") from error
    return data if isinstance(data, dict) else {}


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> None:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            _check_same(old, new, f"{path}{key} ")
        elif old != new:
            raise UsageError(
                f"the run was started with another {path}{key.replace('_', ' ')}: {old!r}, not {new!r}",
                hint="resume with the same settings, or choose another --out",
            )


def _spelled(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
