"""Ask questions of long documents on your own machine, through a tree of compressed keys and values.

From Python: `Engine().answer("book.pdf", "Who wrote the letter?")`; docs/python.md has more. Names are imported when
they are first used, so that `import sharedllm_cli` itself loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sharedllm_cli.answer import Answer, AnswerSentence, Coverage, NotRead, SearchResult, Source
    from sharedllm_cli.async_engine import AsyncEngine
    from sharedllm_cli.config import Settings
    from sharedllm_cli.configuration import user_settings
    from sharedllm_cli.engine import Engine, IndexOutcome, Library, OpenDocument
    from sharedllm_cli.errors import (
        DocumentError,
        ModelError,
        ResourceError,
        SharedLLMError,
        StoredIndexError,
        UsageError,
    )
    from sharedllm_cli.generation.prompt import Turn
    from sharedllm_cli.planning import PlanRow
    from sharedllm_cli.progress import Reporter, Silent, Task

__version__ = "0.1.0"

_HOMES = {
    "Answer": "answer",
    "AnswerSentence": "answer",
    "AsyncEngine": "async_engine",
    "Coverage": "answer",
    "DocumentError": "errors",
    "Engine": "engine",
    "IndexOutcome": "engine",
    "Library": "engine",
    "ModelError": "errors",
    "NotRead": "answer",
    "OpenDocument": "engine",
    "PlanRow": "planning",
    "Reporter": "progress",
    "ResourceError": "errors",
    "SearchResult": "answer",
    "Settings": "config",
    "SharedLLMError": "errors",
    "Silent": "progress",
    "Source": "answer",
    "StoredIndexError": "errors",
    "Task": "progress",
    "Turn": "generation.prompt",
    "UsageError": "errors",
    "user_settings": "configuration",
}
"""Each public name and the module that has it."""

__all__ = [
    "Answer",
    "AnswerSentence",
    "AsyncEngine",
    "Coverage",
    "DocumentError",
    "Engine",
    "IndexOutcome",
    "Library",
    "ModelError",
    "NotRead",
    "OpenDocument",
    "PlanRow",
    "Reporter",
    "ResourceError",
    "SearchResult",
    "Settings",
    "SharedLLMError",
    "Silent",
    "Source",
    "StoredIndexError",
    "Task",
    "Turn",
    "UsageError",
    "__version__",
    "user_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
