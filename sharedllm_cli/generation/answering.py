"""From sampled tokens to the text of an answer, cut where it is over. Knows no model: tokens are what it is given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sharedllm_cli.generation.stream import Finish, GeneratedToken, RepeatedLine, StopText, TextStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def answer_pieces(
    tokens: Iterable[GeneratedToken], tokenizer: PreTrainedTokenizerBase, stop_texts: Collection[str]
) -> Iterator[tuple[str, Finish | None]]:
    """One pair a sampled token: the text that is final with it, and at the last one why it is the last.

    `stop_texts` are the prompt's: where one begins, the answer is over.
    """
    stream, stop, repeated = TextStream(tokenizer), StopText(stop_texts), RepeatedLine()
    for generated in tokens:
        piece = stop.push(stream.push(generated.token)) if generated.in_text else ""
        finish: Finish | None = "stop" if stop.found else generated.finish
        if finish is not None and not stop.found:
            piece += stop.push(stream.finish()) + stop.finish()
        piece = repeated.push(piece)
        if repeated.found:
            finish = "repetition"
        elif finish is not None:
            piece += repeated.finish()
        yield piece, finish
        if finish is not None:
            return


def stop_ids(generation_config: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end an answer: those of the model's generation configuration and the tokenizer's own."""
    configured = getattr(generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)
