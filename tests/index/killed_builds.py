"""Run by a test in a process of its own: builds that kill themselves (SIGKILL) at chosen moments, one root each."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

MOMENTS = ("encoding", "shard-written", "shard-renamed", "journal-torn", "manifest-written", "text", "bundle")


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def build_until(moment: str, root: Path, lower_folder: Path) -> None:
    from index_samples import Progress, load_lower, sample_document, text_and_leaves, trees_key
    from transformers import AutoTokenizer

    from sharedllm_cli import durable
    from sharedllm_cli.index import bundle, layout
    from sharedllm_cli.index.store import IndexStore

    layout.SHARD_BYTES = 20_000
    store, document = IndexStore(root), sample_document()
    whole = Path.replace
    if moment == "text":
        bundle.SMALL_BYTES = 0
        durable.sync_folder = die
        store.write_text(document)
    elif moment == "bundle":
        Path.replace = die  # type: ignore[assignment,method-assign]
        store.write_text(document)
    leaves = text_and_leaves(store, document, AutoTokenizer.from_pretrained(lower_folder))
    progress = Progress(after=lambda done: die() if done > 300 else None) if moment == "encoding" else Progress()
    written = durable.append_line

    def torn(path: Path, line: bytes) -> None:
        if b'"shard":2' in line:
            with path.open("ab") as file:
                file.write(line[:20])
            die()
        written(path, line)

    def renamed(path: Path, line: bytes) -> None:
        if b'"shard":2' in line:
            die()
        written(path, line)

    if moment == "journal-torn":
        durable.append_line = torn
    elif moment == "shard-renamed":
        durable.append_line = renamed
    elif moment == "shard-written":
        Path.replace = lambda self, to: die() if "-00002.safe" in self.name else whole(self, to)  # type: ignore[assignment,method-assign]
    elif moment == "manifest-written":
        Path.rename = lambda self, to: die()  # type: ignore[assignment,method-assign]
    store.build_trees(document.content_hash, trees_key(document), leaves, load_lower(lower_folder), progress)


def main() -> None:
    """One child for each moment; torch is imported once, and no child inherits its threads."""
    folder, lower_folder = Path(sys.argv[1]), Path(sys.argv[2])
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

    from sharedllm_cli.index import build
    from sharedllm_cli.model import lower

    imported = (AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast, build, lower)
    assert all(imported)
    torch.set_num_threads(1)
    for moment in MOMENTS:
        child = os.fork()
        if child == 0:
            try:
                build_until(moment, folder / moment, lower_folder)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"the build was to be killed at {moment}, but ended with {status}")


if __name__ == "__main__":
    main()
