"""A CUDA device without one: tensors that have shapes, types and devices but no numbers.

torch's fake tensors refuse what a GPU would refuse or wait for: operands on two devices, and a number that is wanted on
the processor (`item`, `tolist`, `bool`, a mask as an index). So a test can walk through a whole path as if on CUDA and
learn that it stays there. `Copies` counts what goes over from the processor, for which a GPU is waited for as well,
unless it is pinned. Kernels themselves are not run.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sharedllm_cli.model import attention

CUDA = torch.device("cuda:0")

_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
"""c10::impl::device_guard_impl_registry, an array of pointers by device type."""
_CUDA_TYPE, _META_TYPE = 1, 14


def _let_cuda_be_guarded() -> None:
    """Give a build of torch without CUDA the guard that does nothing, as torch itself does where only a GPU is missing.

    Operators switch to their tensors' device through a guard; without one they refuse to so much as index a tensor.
    """
    if torch.backends.cuda.is_built():
        return
    libraries = [path for path in (Path(torch.__file__).parent / "lib").glob("*c10.*") if path.suffix != ".lib"]
    try:
        registry = (ctypes.c_void_p * (_META_TYPE + 1)).in_dll(ctypes.CDLL(str(libraries[0])), _REGISTRY)
    except (IndexError, OSError, ValueError):
        pytest.skip("this build of torch can't pretend to have CUDA")
    if not registry[_CUDA_TYPE]:
        registry[_CUDA_TYPE] = registry[_META_TYPE]


class Peak(TorchDispatchMode):
    """The most bytes that new tensors on the pretended device took at once, beside those that were there before."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.most = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def know(self, tensors: Any) -> None:
        """Don't count these."""
        for tensor in tensors:
            self._seen.add(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type == "cuda":
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.bytes += size
        self.most = max(self.most, self.bytes)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.bytes -= size


class Copies(TorchDispatchMode):
    """The tensors that were copied from the processor to the pretended device, by their shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        moved = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        source = args[-1] if moved and func is torch.ops.aten.copy_.default else args[0] if moved else None
        if isinstance(source, Tensor) and source.device.type == "cpu" and made.device.type == "cuda":
            self.shapes.append(tuple(source.shape))
        return made


@contextmanager
def pretended_cuda(*, flash: bool = True) -> Iterator[FakeTensorMode]:
    """Everything made within is a fake tensor; `on_cuda` puts modules there. Skips a test where it can't be done.

    `flash`: the pretended GPU is new enough for flash kernels.
    """
    _let_cuda_be_guarded()
    no_constants = patch.object(FakeTensorMode, "may_turn_const", lambda mode, tensor: False)  # they would be computed
    with no_constants, FakeTensorMode() as mode, patch.object(attention, "_has_flash", lambda device: flash):
        yield mode


def on_cuda(module: nn.Module, device: torch.device = CUDA, *, learned: bool = False) -> Any:
    """A module (on `meta` or anywhere) with fake parameters and buffers on the device, in place.

    `learned`: those that had gradients have them again.
    """
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
                part._parameters[name] = nn.Parameter(fake, requires_grad=learned and parameter.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return module
