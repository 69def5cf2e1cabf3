"""Whether a device computes what the processor does: each path in miniature, against the processor in float64.

Used by `bench.gpu` and by tests/gpu. Every check runs the same code twice, on the device and, as reference, on the
processor with the weights of the same model in float64; errors are largest differences over the reference's largest
number. On a processor as the device they hold the checks themselves to account.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sharedllm_cli.config import INJECTIONS, Injection, InjectionConfig, TreeConfig
from sharedllm_cli.context.tree import kept_positions
from sharedllm_cli.lab.bench.subject import shape_config
from sharedllm_cli.model import attention
from sharedllm_cli.model.adapter import Adapter
from sharedllm_cli.model.lower import CompressedNodes, LowerModel
from sharedllm_cli.model.placement import Placement, linear_weight
from sharedllm_cli.model.random_weights import random_model
from sharedllm_cli.model.recorded import FixedStep, recorded_step
from sharedllm_cli.model.streaming import StreamingReader
from sharedllm_cli.model.upper import UpperModel

BOUNDS = {torch.float32: 2e-4, torch.float16: 3e-2, torch.bfloat16: 2e-1}
"""What rounding may add up to over a miniature model's layers, by the type that is computed in; a processor's own
half-precision kernels reach half of it."""
KERNEL_BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""The same for one attention alone."""
_LOUDER = 12.0
_TOKENS, _RUNNING, _CHUNKS, _DEPTH = 64, 24, 3, 2


@dataclass(frozen=True)
class Finding:
    """One comparison: its error, what that may be, and what was compared."""

    name: str
    error: float
    bound: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within its bound (a number that is not one never is)."""
        return self.error <= self.bound


def types(device: torch.device) -> tuple[torch.dtype, ...]:
    """The types that are checked on a device: those that `--dtype` would choose or take there."""
    supported = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return (torch.float32, torch.float16, *((torch.bfloat16,) if supported else ()))


def relative_error(found: Tensor, reference: Tensor) -> float:
    """The largest difference over the reference's largest number."""
    exact = reference.double().cpu()
    return float((found.double().cpu() - exact).abs().max() / exact.abs().max())


def all_checks(device: torch.device) -> Iterator[Callable[[], Finding]]:
    """Every check of a device, not yet run."""
    for dtype in types(device):
        for family in ("llama", "qwen3"):
            yield partial(lower_model, device, dtype, family)
        for causal in (False, True):
            yield partial(tree_attention, device, dtype, causal=causal)
        for form in INJECTIONS:
            yield partial(upper_model, device, dtype, form)
        yield partial(decoding, device, dtype)
        yield partial(recorded_decoding, device, dtype)
        yield partial(streaming, device, dtype)
    for quantize in ("4bit", "8bit"):
        yield partial(quantized, device, quantize)


def _type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _pair(device: torch.device, dtype: torch.dtype, family: str = "llama") -> tuple[Any, Any]:
    """A miniature on the processor in float64, and the same on the device in a type."""
    config = {**shape_config("tiny"), "model_type": family}
    processor = Placement(torch.device("cpu"), torch.float64, "none", "sdpa", torch.float64)
    reference: Any = random_model(config, processor)
    for parameter in reference.model.layers.parameters():
        if parameter.dim() > 1:
            parameter.mul_(_LOUDER)  # small weights would make attention flat, and hide what it reads
    moved = copy.deepcopy(reference).to(device, dtype)
    moved.model.rotary_emb = copy.deepcopy(reference.model.rotary_emb).to(device)  # its frequencies stay in float32
    return reference, moved


def _ids(*shape: int) -> Tensor:
    return torch.randint(0, 512, shape, generator=torch.Generator().manual_seed(1))


def lower_model(device: torch.device, dtype: torch.dtype, family: str) -> Finding:
    """Keys and values of nodes, without rotation."""
    kept = torch.from_numpy(kept_positions(_TOKENS, 4))
    ids = _ids(_CHUNKS, _TOKENS)
    exact, found = (LowerModel(model, _DEPTH).encode(ids, kept) for model in _pair(device, dtype, family))
    error = max(relative_error(found.keys, exact.keys), relative_error(found.values, exact.values))
    return Finding(f"lower model, {family}, {_type_name(dtype)}", error, BOUNDS[dtype])


def tree_attention(device: torch.device, dtype: torch.dtype, *, causal: bool) -> Finding:
    """Grouped-query attention with the log-sum-exp of its logits, by whichever kernel is chosen."""
    random = torch.Generator().manual_seed(2)
    keys_count = 128 if causal else 1000
    query = torch.randn(1, 8, 128, 64, generator=random, dtype=torch.float64)
    keys, values = (torch.randn(1, 2, keys_count, 64, generator=random, dtype=torch.float64) for _ in range(2))
    mask = attention.causal_mask(128, keys_count, None, torch.device("cpu")) if causal else None
    exact = attention.explicit(query, keys, values, 0.125, mask)
    moved = [tensor.to(device, dtype) for tensor in (query, keys, values)]
    found = attention.attend(moved[0], moved[1], moved[2], 0.125, causal=causal)
    kernel = attention.choose_kernel(moved[0], moved[1], moved[2], masked=False, causal=causal, implementation="sdpa")
    error = max(relative_error(one, other) for one, other in zip(found, exact, strict=True))
    name = f"{'causal ' if causal else ''}attention with log-sum-exps, {_type_name(dtype)}"
    return Finding(name, error, KERNEL_BOUNDS[dtype], f"kernel {kernel}")


def _open_upper(model: Any, form: str) -> UpperModel:
    chosen: Injection = "merged" if form == "merged" else "additive"
    injection = InjectionConfig(form=chosen, lower_layers=_DEPTH)
    adapter = Adapter.untrained(model, "tiny", injection, TreeConfig(_TOKENS))
    adapter.open_gates(0.0 if form == "merged" else 1.0)
    return UpperModel(model, adapter)


def _tree(model: Any) -> CompressedNodes:
    """The same nodes of the miniature, computed where the model is."""
    kept = torch.from_numpy(kept_positions(_TOKENS, 4))
    encoded = LowerModel(model, _DEPTH).encode(_ids(_CHUNKS, _TOKENS), kept)
    # [B, M, KV, k, D] to [M, KV, B·k, D]
    keys, values = (part.permute(1, 2, 0, 3, 4).flatten(2, 3) for part in (encoded.keys, encoded.values))
    chunks = torch.arange(_CHUNKS).repeat_interleave(len(kept)).to(keys.device)
    return CompressedNodes(keys, values, chunks)


def _logits(model: Any, form: str, steps: int = 0) -> Tensor:
    """Logits of the prompt with the tree, read at once or in `steps` after its first half."""
    upper = _open_upper(model, form)
    tree = upper.context(_tree(model), _CHUNKS)
    ids = _ids(1, _RUNNING).to(model.device)
    with torch.inference_mode():
        if not steps:
            return upper.forward(ids, tree)
        cache = upper.cache()
        first = _RUNNING - steps
        parts = [upper.forward(ids[:, :first], tree, cache)]
        parts += [upper.forward(ids[:, place : place + 1], tree, cache) for place in range(first, _RUNNING)]
        return torch.cat(parts, dim=1)


def upper_model(device: torch.device, dtype: torch.dtype, form: str) -> Finding:
    """Logits of a prompt that reads a tree through open gates, the tree computed on the device too."""
    reference, model = _pair(device, dtype)
    error = relative_error(_logits(model, form), _logits(reference, form))
    return Finding(f"upper model, {form}, {_type_name(dtype)}", error, BOUNDS[dtype])


def decoding(device: torch.device, dtype: torch.dtype) -> Finding:
    """The same token by token through the cache."""
    reference, model = _pair(device, dtype)
    error = relative_error(_logits(model, "merged", steps=8), _logits(reference, "merged"))
    return Finding(f"decoding with a tree, {_type_name(dtype)}", error, BOUNDS[dtype])


def recorded_decoding(device: torch.device, dtype: torch.dtype) -> Finding:
    """The same by a step at fixed addresses, recorded and replayed where the device can."""
    reference, model = _pair(device, dtype)
    upper = _open_upper(model, "merged")
    tree = upper.context(_tree(model), _CHUNKS)
    ids = _ids(1, _RUNNING)[0].to(model.device)
    steps = 8
    with torch.inference_mode():
        logits, cache = upper.prefill(ids[:-steps], tree)
        taken: Callable[[Tensor], Tensor] = FixedStep(upper, tree, cache, steps)
        note = "not recorded: no CUDA"
        found = [logits.clone()]
        if device.type == "cuda":
            recorded, why_not = recorded_step(upper, tree, cache, ids[-steps:][:1], steps)
            if recorded is None:
                return Finding(f"recorded decoding, {_type_name(dtype)}", float("inf"), BOUNDS[dtype], why_not)
            taken, note = recorded, "recorded"
        found += [taken(ids[place : place + 1]).clone() for place in range(_RUNNING - steps, _RUNNING)]
    exact = _logits(reference, "merged")[0, -steps - 1 :]
    error = relative_error(torch.stack(found), exact)
    return Finding(f"recorded decoding, {_type_name(dtype)}", error, BOUNDS[dtype], note)


def streaming(device: torch.device, dtype: torch.dtype) -> Finding:
    """Logits after a text twice as long as the window, read in blocks."""
    ids = _ids(4 * _TOKENS)

    def read(model: Any) -> Tensor:
        upper = UpperModel(model, Adapter.untrained(model, "tiny", InjectionConfig(), TreeConfig(_TOKENS)))
        return StreamingReader(upper, window=2 * _TOKENS, block=_TOKENS // 2).read(ids, keep=8)

    reference, model = _pair(device, dtype)
    return Finding(f"streaming, {_type_name(dtype)}", relative_error(read(model), read(reference)), BOUNDS[dtype])


def quantized(device: torch.device, quantize: str) -> Finding:
    """Logits of a quantised model against one of the weights that its numbers stand for, in the same type."""
    dtype = torch.float32 if device.type == "cpu" else types(device)[-1]
    placement = Placement(device, dtype, quantize, "sdpa", dtype)
    model: Any = random_model(shape_config("tiny"), placement)
    plain = copy.deepcopy(model)
    for module in list(plain.model.layers.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ in ("Linear4bit", "Linear8bitLt"):
                setattr(module, name, _dequantized(child, dtype))
    ids = _ids(1, _RUNNING).to(device)
    with torch.inference_mode():
        error = relative_error(model(input_ids=ids).logits, plain(input_ids=ids).logits)
    # 8 bits round the states, too; 4 bits the weights alone, which both sides hold.
    bound = 5e-2 if quantize == "8bit" else 1e-3 if dtype == torch.float32 else BOUNDS[dtype]
    return Finding(f"{quantize} weights, {_type_name(dtype)}", error, bound)


def _dequantized(linear: Any, dtype: torch.dtype) -> nn.Linear:
    weight = linear_weight(linear).to(dtype)
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made
