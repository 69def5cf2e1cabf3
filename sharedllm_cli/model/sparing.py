"""Import transformers without what it looks for at import and nothing here asks for: half of a cold start's imports.

transformers marks some functions for torch's compiler and imports it for that (sympy, inductor, a thousand modules),
and the tensors of models that are split over processes; and it looks through all its models twice. Here the marks do
nothing while transformers is imported, it finds no distributed torch, and its models are found by their names. All of
it is whole for whoever asks for it later.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_COMPILER, _MODELS = "torch._dynamo", "transformers.models"
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
    if _MODELS not in sys.modules:
        sys.modules[_MODELS] = _Package(_MODELS)
    marks = sys.modules[_COMPILER] = _Marks(_COMPILER)
    try:
        yield
    finally:
        if sys.modules[_COMPILER] is marks:
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


class _Package(ModuleType):
    """In a package's place: its submodules can be imported, and its own file runs when a name of its own is wanted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.util.find_spec(name)
        self.__path__ = list(self.__spec__.submodule_search_locations or []) if self.__spec__ is not None else []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Marks(_Package):
    """In the compiler's place: its decorators return what they are given."""

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
