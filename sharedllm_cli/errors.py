"""Everything that can go wrong, drawn once.

    SharedLLMError                 exit 1   a fault of ours
    ├── UsageError                 exit 2   wrong usage: an unknown value, a missing argument
    ├── DocumentError              exit 3   a document can't be read: missing, encrypted, damaged, no text
    ├── ModelError                 exit 4   the model can't be had or isn't supported
    ├── StoredIndexError           exit 5   an index is damaged, foreign or from another version
    └── ResourceError              exit 6   not enough memory or disk

Each has one sentence that says what happened and, where there is something to do, one that says what. The command
line prints them as `error: …` and `hint: …` in one place (`cli/app.py`). Foreign exceptions are translated where the
foreign library is called, so that no other floor has to know its exceptions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn


class SharedLLMError(Exception):
    """A failure with one line for the user and, if there is a way out, one hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SharedLLMError):
    """The command was called with invalid values."""

    exit_code = 2


class DocumentError(SharedLLMError):
    """A document can't be read: missing, encrypted, damaged or without any text."""

    exit_code = 3


class ModelError(SharedLLMError):
    """A base model or an adapter can't be had, isn't supported or doesn't fit its base."""

    exit_code = 4


class StoredIndexError(SharedLLMError):
    """An index on disk is damaged, made for something else, or of another format version."""

    exit_code = 5


class ResourceError(SharedLLMError):
    """The machine has not enough memory or disk for what was asked."""

    exit_code = 6


def failure_text(name: str, error: SharedLLMError) -> str:
    """A document's failure in one sentence, for the warnings of an answer."""
    return error.message if name in error.message else f"{name}: {error.message}"


def exit_with(main: Callable[[], int | None]) -> NoReturn:
    """Run the command line of a module (`python -m …`) and exit with its code; an error is one line, and its hint."""
    try:
        sys.exit(main())
    except SharedLLMError as problem:
        hint = f"\nhint: {problem.hint}" if problem.hint else ""
        print(f"error: {problem.message}{hint}", file=sys.stderr)
        sys.exit(problem.exit_code)
