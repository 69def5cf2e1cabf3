"""Linear maps and embeddings whose weights are packed in blocks of 8 or 4 bits, on a CPU.

A few states (a token of an answer, some beams) are multiplied by the packed weights. Many (a prompt, the nodes of a
tree) are multiplied by the unpacked ones, a piece of the rows at a time: unpacking costs as much as some thirty states.
The numbers are those of `weights/blocks.py`; every map that transformers calls works as it did.

A base model with packed weights (`load_packed`) is transformers' model with our maps in its places. Weights of a packed
file are used where they lie in the mapped file; floating-point ones are packed one after the other. Every weight of the
model has to come from the files, and every weight of the files has to have a place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped,unused-ignore]
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sharedllm_cli.errors import ModelError, ResourceError
from sharedllm_cli.memory import is_out_of_memory
from sharedllm_cli.model.compat import no_init_weights
from sharedllm_cli.model.cpu_attention import registered
from sharedllm_cli.model.cross_attention import LowRank
from sharedllm_cli.model.onnx_graph import Graph, product
from sharedllm_cli.model.placement import Placement
from sharedllm_cli.weights.blocks import CODES, MIDDLE, SCALES, ZEROS, bits_of, pack
from sharedllm_cli.weights.facts import ARCHITECTURES, ModelFacts
from sharedllm_cli.weights.tokenizer_files import quiet_transformers
from sharedllm_cli.weights.weight_files import MappedFile, typed_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel


FEW_STATES = 16
"""Up to so many states are multiplied by the packed weights."""
_ONCE = 2
"""So many times a map's few states are multiplied by unpacked rows: the library's own order of the weights is worth its
time and memory only where an answer is decoded with them."""
_PIECE = 1 << 22
"""Numbers that are unpacked for one product."""
_CACHED = 1 << 18
"""Numbers that are unpacked in one go: in float32 they stay in a core's cache."""


class PackedWeight(nn.Module):
    """A packed matrix [rows, width]: `codes`, `scales` and, with 4 bits, `zeros` (`weights/blocks.py`).

    `file`: where they lie, if they lie in a mapped file.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None

    def __init__(self, parts: Mapping[str, Tensor], file: MappedFile | None = None) -> None:
        super().__init__()
        self.file = file
        for name in ("codes", "scales", "zeros"):
            self.register_buffer(name, parts.get(name), persistent=False)
        self.rows, blocks, size = self.codes.shape
        self.bits = 8 if self.zeros is None else 4
        self.block = size * 8 // self.bits
        self.width = blocks * self.block
        self._lock = threading.Lock()
        self._session: Any = None
        self._asked = 0

    @staticmethod
    def of(weight: Tensor, bits: int) -> PackedWeight:
        """Pack a floating-point matrix."""
        step = max(1, _PIECE // weight.shape[1])
        found = [pack(piece.detach().float().numpy(), bits) for piece in torch.split(weight, step)]
        parts = {"codes": [one.codes for one in found], "scales": [one.scales for one in found]}
        if bits == 4:
            parts["zeros"] = [one.zeros for one in found if one.zeros is not None]
        return PackedWeight({name: torch.from_numpy(np.concatenate(part)) for name, part in parts.items()})

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """Codes, scales and zeros as arrays over the same memory."""
        found = {"codes": self.codes, "scales": self.scales, "zeros": self.zeros}
        return {name: part.numpy() for name, part in found.items() if part is not None}

    def _few(self, states: Tensor) -> Tensor:
        """The product with a few float32 states [n, width]; what it takes is made when it is first wanted."""
        with self._lock:
            if self._session is None:
                graph = Graph()
                found = product(graph, graph.input("x", ("n", self.width)), self.bits, self.parts)
                graph.output(found, ("n", self.rows))
                self._session = graph.opened()
        return torch.from_numpy(self._session.run(None, {"x": states.contiguous().numpy()})[0])

    def unpacked(self, rows: slice | Tensor, dtype: torch.dtype, addition: LowRank | None = None) -> Tensor:
        """Some of the rows as numbers, with what an adapter adds to them: [n, width]."""
        codes, scales = self.codes[rows], self.scales[rows]
        zeros = None if self.zeros is None else self.zeros[rows]
        if addition is not None:
            up, down = addition.up[rows].float(), addition.down.float()
        found = torch.empty(len(codes), self.width, dtype=dtype)
        step = max(1, _CACHED // self.width)
        for start in range(0, len(codes), step):
            piece = slice(start, start + step)
            if zeros is None:
                # Rounded after the product: bfloat16 has no code above 256, and scales of its own would err twice.
                values = codes[piece].to(torch.float32).sub_(MIDDLE)
            else:
                middles = _whole(zeros[piece])[..., : codes.shape[1]].to(torch.float32)
                values = _whole(codes[piece]).to(torch.float32).sub_(middles.unsqueeze(-1))
            numbers = values.mul_(scales[piece].unsqueeze(-1)).flatten(1)
            if addition is not None:
                numbers.addmm_(up[piece], down, alpha=addition.scale)
            found[piece] = numbers
        return found

    def _decodes(self, states: Tensor) -> bool:
        """Whether these are few states of many to come."""
        if len(states) > FEW_STATES or (torch.is_grad_enabled() and states.requires_grad):
            return False
        self._asked += 1
        return self._asked > _ONCE

    def multiply(self, states: Tensor, addition: LowRank | None = None) -> Tensor:
        """states: [..., width]; returns [..., rows] in the states' type. `addition`: of an adapter, for no gradient."""
        flat = states.reshape(-1, self.width)
        if self._decodes(flat):
            found = self._few(flat.detach().to(torch.float32))
            output = found.to(states.dtype).view(*states.shape[:-1], self.rows)
            return output if addition is None else output + addition(states)
        step = max(1, _PIECE // self.width)
        pieces = [
            nn.functional.linear(flat, self.unpacked(slice(start, start + step), states.dtype, addition))
            for start in range(0, self.rows, step)
        ]
        if self.file is not None:
            self.file.read(self.codes.nbytes + self.scales.nbytes)
        joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)
        return joined.view(*states.shape[:-1], self.rows)


def _whole(codes: Tensor) -> Tensor:
    """Two 4-bit codes of each byte side by side: [..., 2 · n]."""
    return torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)


class PackedLinear(nn.Module):
    """A linear map with packed weights."""

    def __init__(self, packed: PackedWeight, bias: Tensor | None) -> None:
        super().__init__()
        self.packed = packed
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.in_features, self.out_features = packed.width, packed.rows

    @property
    def weight(self) -> Tensor:
        """The weights unpacked, [outputs, inputs], made anew each time."""
        return self.packed.unpacked(slice(None), torch.float32)

    def forward(self, states: Tensor, addition: LowRank | None = None) -> Tensor:
        """states: [..., inputs]; returns [..., outputs]. `addition`: what an adapter adds, where nothing is learned."""
        output = self.packed.multiply(states, addition)
        return output if self.bias is None else output + self.bias


class PackedEmbedding(nn.Module):
    """Embeddings with packed weights. `scale`: what a family multiplies them by."""

    def __init__(self, packed: PackedWeight, dtype: torch.dtype, scale: Tensor | None = None) -> None:
        super().__init__()
        self.packed, self.dtype = packed, dtype
        self.register_buffer("scale", scale, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.packed.codes.device

    def forward(self, token_ids: Tensor) -> Tensor:
        """token_ids: integers [...]; returns [..., width]."""
        found = self.packed.unpacked(token_ids.reshape(-1), self.dtype).view(*token_ids.shape, -1)
        scale: Any = self.scale
        return found if scale is None else found * scale.to(found.dtype)


def packed_module(module: Any, weight: PackedWeight, dtype: torch.dtype) -> nn.Module:
    """What computes with a packed weight in a linear map's or an embedding's place."""
    if isinstance(module, nn.Embedding):
        scale = getattr(module, "embed_scale", None)
        return PackedEmbedding(weight, dtype, scale if isinstance(scale, Tensor) else None)
    return PackedLinear(weight, module.bias)


def pack_weights(model: nn.Module, quantize: str, dtype: torch.dtype) -> None:
    """Pack the weights of a model in memory, tied ones once; one that has been packed is let go."""
    made: dict[int, PackedWeight] = {}
    for owner_name, owner in list(model.named_modules()):
        for name, module in list(owner.named_children()):
            bits = bits_of(f"{owner_name}.{name}.weight", quantize)
            if bits and type(module) in (nn.Linear, nn.Embedding):
                key = module.weight.data_ptr()
                if key not in made:
                    made[key] = PackedWeight.of(module.weight, bits)
                setattr(owner, name, packed_module(module, made[key], dtype))


def unloadable(error: Exception, name: str, placement: Placement) -> ModelError | ResourceError:
    """The error to raise for a foreign one while a model's weights are loaded."""
    if is_out_of_memory(error):
        return ResourceError(
            f"{name} does not fit the memory of {placement.device}", hint="use --quantize 4bit, or a smaller model"
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(f"the weights of {name} can't be loaded: {reason}")


def load_packed(folder: Path, files: Sequence[Path], facts: ModelFacts, placement: Placement) -> PreTrainedModel:
    """The model of a folder with its weights packed as the placement says, frozen, in evaluation mode.

    Raises ModelError for files that don't fit the model or are damaged, ResourceError where memory does not suffice.
    """
    import transformers

    architecture = getattr(transformers, ARCHITECTURES[facts.family])
    try:
        with quiet_transformers():
            config = architecture.config_class.from_pretrained(folder)
            with init_empty_weights(), no_init_weights():  # a first embedding imports torch's compiler
                model = architecture(config)
            model.set_attn_implementation(registered(placement.attention))
            if (folder / "generation_config.json").is_file():
                model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
        _fill(model, _weights(files, placement), config, facts.name, placement.dtype)
    except (ModelError, ResourceError):
        raise
    except Exception as error:  # transformers and safetensors raise many kinds for files that don't fit together
        raise unloadable(error, facts.name, placement) from error
    frozen: PreTrainedModel = model.eval().requires_grad_(False)
    return frozen


def _weights(files: Sequence[Path], placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """Every weight of the files by its name in the model, packed where it is to be."""
    for path in files:
        file = MappedFile(path) if path.name == typed_name(placement.quantize) else None
        yield from _unpacked(path, placement) if file is None else _packed(file, placement)


def _packed(file: MappedFile, placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """The weights of a file of packed ones, used where they lie."""
    names = set(file.names)
    for name in file.names:
        whole, _, part = name.rpartition(".")
        if part == CODES:
            parts = [one for one in (CODES, SCALES, ZEROS) if f"{whole}.{one}" in names]
            yield whole, PackedWeight({one: torch.from_numpy(file.array(f"{whole}.{one}")) for one in parts}, file)
        elif part not in (SCALES, ZEROS):
            yield name, torch.from_numpy(file.array(name)).to(placement.dtype, copy=True)


def _unpacked(path: Path, placement: Placement) -> Iterator[tuple[str, Tensor | PackedWeight]]:
    """The weights of a file of floating-point ones, packed where they are to be."""
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                bits = bits_of(name, placement.quantize)
                yield name, PackedWeight.of(tensor, bits) if bits else tensor.to(placement.dtype)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} can't be read: {error}") from error


def _fill(
    model: Any, weights: Iterator[tuple[str, Tensor | PackedWeight]], config: Any, name: str, dtype: torch.dtype
) -> None:
    """Put the weights into a model that has none."""
    for place, weight in weights:
        owner_name, _, attribute = place.rpartition(".")
        try:
            owner = model.get_submodule(owner_name)
            expected = getattr(owner, attribute).shape
        except AttributeError:
            raise ModelError(f"the weights of {name} hold unknown {place}") from None
        shape = (weight.rows, weight.width) if isinstance(weight, PackedWeight) else tuple(weight.shape)
        if tuple(expected) != shape:
            raise ModelError(f"the weights of {name} have another shape for {place}")
        if isinstance(weight, PackedWeight):
            _replace(model, owner_name, packed_module(owner, weight, dtype))
        else:
            owner.register_parameter(attribute, nn.Parameter(weight, requires_grad=False))
    if getattr(config, "tie_word_embeddings", False):
        _replace(model, "lm_head", PackedLinear(model.get_submodule("model.embed_tokens").packed, None))
    missing = sorted(place for place, weight in model.named_parameters() if weight.is_meta)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"the weights of {name} lack {missing[0]}{more}")


def _replace(model: nn.Module, place: str, module: nn.Module) -> None:
    owner, _, name = place.rpartition(".")
    setattr(model.get_submodule(owner), name, module)
