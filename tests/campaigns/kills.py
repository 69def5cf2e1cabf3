"""Kills `search` and `index` at random moments and asks again: the answer must be the same, or the exit code 5.

    python tests/campaigns/kills.py --kills 200 --model FOLDER     (a tiny model's folder; without it search alone)

Prints after each kill how many there were of what came next, and fails at the first other answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "sharedllm_cli"]
QUERY = "keeper lamp dusk"
EACH_ROOT = 2
"""So many kills hit one folder of indexes, then a fresh one is begun."""


def documents(folder: Path) -> list[str]:
    """A short text, a marked-up one, and one long enough for folders of parts."""
    line = "On day {0} the keeper lit the lamp at dusk and counted {0} gulls.\n\n"
    (folder / "short.txt").write_text("".join(line.format(day) for day in range(20)))
    (folder / "notes.md").write_text("# Log\n\n" + "".join(line.format(day) for day in range(200)))
    (folder / "long.txt").write_text("".join(line.format(day) for day in range(20_000)))
    return [str(folder / name) for name in ("short.txt", "notes.md", "long.txt")]


def search(files: list[str], environment: dict[str, str]) -> tuple[int, Any]:
    """Exit code and passages."""
    done = subprocess.run(
        [*COMMAND, "search", *files, QUERY, "--json"], capture_output=True, text=True, env=environment, check=False
    )
    passages = json.loads(done.stdout).get("passages") if done.returncode == 0 else None
    if done.returncode not in (0, 5):
        raise SystemExit(f"exit code {done.returncode}: {done.stderr}")
    return done.returncode, passages


def verified(environment: dict[str, str]) -> str:
    """What verify says: whole, unfinished, or damaged."""
    done = subprocess.run(
        [*COMMAND, "indexes", "verify", "--json"], capture_output=True, text=True, env=environment, check=False
    )
    problems = [problem for one in json.loads(done.stdout)["indexes"] for problem in one["problems"]]
    if not problems:
        return "whole"
    return "unfinished" if all(problem["unfinished"] for problem in problems) else f"damaged: {problems}"


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = documents(folder)
        environment = {**os.environ, "SHAREDLLM_HOME": str(folder / "home"), "SHAREDLLM_OFFLINE": "1"}
        if given.model:
            environment["SHAREDLLM_MODEL"] = given.model
        started = time.monotonic()
        code, right = search(files, environment)
        took = time.monotonic() - started
        assert code == 0
        assert right
        for number in range(given.kills):
            if number % EACH_ROOT == 0:
                shutil.rmtree(folder / "home" / "indexes", ignore_errors=True)
            action = "index" if given.model and number % 2 else "search"
            arguments = [*files, *([QUERY] if action == "search" else [])]
            child = subprocess.Popen(
                [*COMMAND, action, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
            )
            time.sleep(chance.uniform(0.1, took * (3 if action == "index" else 0.9)))
            counts["finished before"] += child.poll() is not None
            child.send_signal(signal.SIGKILL)
            child.wait()
            state = verified(environment)
            counts[f"verify: {state}"] += 1
            code, passages = search(files, environment)
            counts[f"next search: exit {code}"] += 1
            print(number + 1, json.dumps(dict(sorted(counts.items()))), flush=True)
            if code == 0 and passages != right:
                raise SystemExit(f"another answer after kill {number} of {action}")
        left = list((folder / "home" / "indexes").rglob("*.new"))
        counts["files left beside"] += len(left)
    print(json.dumps(dict(sorted(counts.items())), indent=1))


if __name__ == "__main__":
    main()
