"""The shape of the encoder in the encoder-decoder arm. Knows no tensor.

The arm stands for CEPE (arXiv 2402.16617), against which the paper times itself: a small bidirectional encoder reads
the document in chunks of 256 tokens, and a cross-attention in EVERY decoder layer, between self-attention and MLP,
reads all of its output, uncompressed. `cepe` is that encoder's size (24 layers of 1,024, the shape of RoBERTa-large);
`base` is an encoder as large as the decoder, which the textbook's encoder-decoder has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sharedllm_cli.errors import UsageError
from sharedllm_cli.weights.facts import ModelFacts

CHUNK_TOKENS = 256
_FORM = "LAYERSxHIDDENxHEADSxMLP"


@dataclass(frozen=True)
class EncoderShape:
    """A bidirectional encoder; `gated` is an MLP of three matrices (Llama's), else of two."""

    layers: int
    hidden: int
    heads: int
    inner: int
    gated: bool = False
    chunk_tokens: int = CHUNK_TOKENS

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices."""
        return 4 * self.hidden**2 + (3 if self.gated else 2) * self.hidden * self.inner

    def __str__(self) -> str:
        return f"{self.layers}x{self.hidden}x{self.heads}x{self.inner}"


CEPE = EncoderShape(24, 1024, 16, 4096)


def encoder_shape(text: str, base: ModelFacts) -> EncoderShape:
    """The encoder named `cepe` or `base`, or of `LAYERSxHIDDENxHEADSxMLP`; UsageError for any other text."""
    if text == "cepe":
        return CEPE
    if text == "base":
        return EncoderShape(
            base.layer_count, base.hidden_size, base.attention_heads, base.intermediate_size, gated=True
        )
    numbers = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)", text)
    if numbers is None:
        raise UsageError(f"there is no encoder {text!r}", hint=f"choose cepe or base, or write {_FORM}")
    layers, hidden, heads, inner = map(int, numbers.groups())
    if not all((layers, hidden, heads, inner)) or hidden % heads:
        raise UsageError(f"the encoder {text} can't be: its hidden size must be a multiple of its heads")
    return EncoderShape(layers, hidden, heads, inner)
