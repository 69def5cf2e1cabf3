"""What an exception that nobody translated means to the user."""

from __future__ import annotations

import os
import sys

from sharedllm_cli.durable import FULL
from sharedllm_cli.errors import ResourceError, SharedLLMError
from sharedllm_cli.memory import is_out_of_memory

PIPE_CLOSED = 128 + 13
"""What a shell reports for a program whose reader went away (128 + SIGPIPE)."""

MEMORY_HINT = "close other programs, choose a smaller --model, or try --quantize 4bit"


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
    return SharedLLMError(
        f"something went wrong inside sharedllm: {type(error).__name__}: {error}",
        hint="this is a fault of ours; run the command again with --verbose and report what it prints",
    )


def broken_pipe() -> int:
    """The reader of a stream went away (`| head`, `2>&1 | head`): leave quietly, nothing more can be written there.

    What an answer still has to say on the other stream goes too: its reader would be shown a part as if it were all.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return PIPE_CLOSED
