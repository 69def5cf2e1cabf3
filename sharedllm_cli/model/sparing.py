"""Import transformers without what it looks for at import and nothing here asks for: half of a cold start's imports.

transformers marks some functions for torch's compiler and imports it for that (sympy, inductor, a thousand modules),
and the tensors of models that are split over processes. Here the marks do nothing while transformers is imported, and
it finds no distributed torch. The compiler itself is whole afterwards: whoever compiles imports it then.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
_DISTRIBUTED = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
"""Set in every process of a run over several."""


@contextmanager
def sparing() -> Iterator[None]:
    """Within, transformers' modules are imported without torch's compiler and without distributed tensors.

    Does nothing where either has been imported, or where this process is one of several that share a run.
    """
    if _COMPILER in sys.modules or "transformers.modeling_utils" in sys.modules or set(_DISTRIBUTED) & set(os.environ):
        yield
        return
    _find_nothing_distributed()
    marks = _Marks()
    sys.modules[_COMPILER] = marks
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == _COMPILER or name.startswith(f"{_COMPILER}.")]:
            del sys.modules[name]
        if vars(torch).get("_dynamo") is marks:
            del torch._dynamo


def _find_nothing_distributed() -> None:
    """Let transformers ask now, and remember, whether torch is distributed."""
    from transformers.utils.import_utils import is_torch_distributed_available

    available = torch.distributed.is_available
    torch.distributed.is_available = lambda: False
    try:
        is_torch_distributed_available()
    finally:
        torch.distributed.is_available = available


class _Marks(ModuleType):
    """In the compiler's place: its submodules can be imported, and its decorators return what they are given."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        found = importlib.util.find_spec(_COMPILER)
        self.__path__ = list(found.submodule_search_locations or []) if found is not None else []

    @staticmethod
    def disable(function: Any = None, *_: Any, **__: Any) -> Any:
        """As a decorator, with and without arguments."""
        return _unchanged if function is None else function

    @staticmethod
    def allow_in_graph(function: Any) -> Any:
        """As a decorator."""
        return function

    assume_constant_result = allow_in_graph


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
