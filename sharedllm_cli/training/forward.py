"""The upper model as it is trained: gradients only where something can learn, logits only where something is said.

All of the base model is frozen, so autograd keeps nothing of the layers below the lowest one with trained weights
(METHOD section 5) and computes no gradient of a frozen weight. Of the vocabulary's logits, a fifth of a small model's
work, only those at targets are computed.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sharedllm_cli.errors import UsageError
from sharedllm_cli.model.cross_attention import TreeContext
from sharedllm_cli.model.lower import sliding_window
from sharedllm_cli.model.upper import UpperModel
from sharedllm_cli.training.batch import Batch


class TrainedUpper(nn.Module):
    """A base model with its adapter in place; only the adapter's low-rank weights (and read gates) need gradients."""

    def __init__(self, upper: UpperModel) -> None:
        super().__init__()
        self.base: Any = upper.model.requires_grad_(False)
        self.adapter = upper.adapter
        for name, parameter in self.adapter.named_parameters():
            parameter.requires_grad_(name.startswith("low_rank."))
        if not len(self.adapter.low_rank):
            raise UsageError("the adapter has no weights that could be trained without a tree")

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """What the optimiser moves, by name in the adapter."""
        return {name: parameter for name, parameter in self.adapter.named_parameters() if parameter.requires_grad}

    def forward(self, batch: Batch, tree: TreeContext | None = None) -> Tensor:
        """Logits [T, vocabulary] at the batch's targets."""
        decoder = self.base.model
        hidden = decoder.embed_tokens(batch.token_ids)
        rotation = decoder.rotary_emb(hidden, batch.positions)
        arguments: dict[str, Any] = {"position_ids": batch.positions, "position_embeddings": rotation}
        if tree is not None:
            arguments["tree_context"] = tree
        masks: dict[int | None, Tensor | None] = {}
        for layer in decoder.layers:
            window = sliding_window(getattr(layer, "wrapped", layer).self_attn)
            if window not in masks:
                masks[window] = batch.mask(window)
            hidden = layer(hidden, attention_mask=masks[window], **arguments)
        logits: Tensor = self.base.lm_head(decoder.norm(hidden[batch.rows, batch.columns]))
        return logits
