"""What is timed: a base model, loaded or of a shape with random weights, and the text that it reads.

Where the model has no tokenizer (a shape) every word is a token, numbered by its letters: how long reading takes
depends on how many tokens there are, not on which.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sharedllm_cli.config import Settings, TreeConfig
from sharedllm_cli.documents.chunking import Tokens, tokenize
from sharedllm_cli.documents.pages import Document, Page
from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.index.leaves import Leaves, leaves_of
from sharedllm_cli.lab.bench.counts import Base
from sharedllm_cli.model.adapter_config import tree_config, tree_layers
from sharedllm_cli.model.loading import load
from sharedllm_cli.model.placement import Placement, place
from sharedllm_cli.model.random_weights import random_model
from sharedllm_cli.planning import weights_bytes
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import ModelFacts, facts_from_config
from sharedllm_cli.weights.registry import describe

if TYPE_CHECKING:
    from transformers import PreTrainedModel


_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)x(\d+)x(\d+)x(\d+)")
_FORM = "LAYERSxHIDDENxHEADSxKVxMLPxVOCAB"


def _llama(
    layers: int, hidden: int, heads: int, key_value_heads: int, inner: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": hidden // heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        **more,
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama-3.1-8b": _llama(32, 4096, 32, 8, 14336, 128256, rope_theta=500000.0, max_position_embeddings=131072),
    "llama-2-7b": _llama(32, 4096, 32, 32, 11008, 32000, max_position_embeddings=4096),
    "smollm2-135m": _llama(30, 576, 9, 3, 1536, 49152, rope_theta=100000.0, tie_word_embeddings=True),
    "tiny": _llama(4, 64, 4, 2, 128, 512, max_position_embeddings=512),
}
"""The configurations behind the names; window and rotation as the published models have them (8B without its stretched
rotation, which costs nothing)."""


def shape_config(text: str) -> dict[str, Any]:
    """The configuration of a named shape or of `LAYERSxHIDDENxHEADSxKVxMLPxVOCAB`; UsageError for any other text."""
    if text in SHAPES:
        return dict(SHAPES[text])
    numbers = _SHAPE.fullmatch(text)
    if numbers is None:
        raise UsageError(f"there is no shape {text!r}", hint=f"choose one of {', '.join(SHAPES)}, or write {_FORM}")
    layers, hidden, heads, key_value_heads, inner, vocabulary = map(int, numbers.groups())
    if not all((layers, hidden, heads, key_value_heads, inner, vocabulary)):
        raise UsageError(f"the shape {text} holds a zero")
    if hidden % (2 * heads):
        raise UsageError(f"the hidden size of {text} must be an even multiple of its heads")
    if heads % key_value_heads:
        raise UsageError(f"the heads of {text} must be a multiple of its key/value heads")
    return _llama(layers, hidden, heads, key_value_heads, inner, vocabulary)


@dataclass(frozen=True)
class Subject:
    """What is timed.

    `layers`, the last of them M, read the tree unless others are asked for; `weights` identifies the weights,
    `tokenizer` is None for a shape.
    """

    name: str
    facts: ModelFacts
    placement: Placement
    tree: TreeConfig
    layers: range
    loaded: PreTrainedModel | None = None
    weights: str = ""
    tokenizer: Any | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The model with its weights."""
        assert self.loaded is not None, "the model was described, not opened"
        return self.loaded

    @property
    def base(self) -> Base:
        """The model as the counts see it."""
        facts, matrices = self.facts, self.facts.layer_matrices * self.facts.layer_count
        number = self.placement.dtype.itemsize
        in_layers = weights_bytes(facts, self.placement) - number * (facts.parameter_count - matrices)
        return Base(facts, in_layers / facts.layer_count, number)

    def synchronise(self) -> None:
        """Wait until everything that was asked of the device is done."""
        if self.placement.device.type == "cuda":
            torch.cuda.synchronize(self.placement.device)
        elif self.placement.device.type == "mps":
            torch.mps.synchronize()


def open_subject(shape: str | None, settings: Settings, home: Path, reporter: Reporter) -> Subject:
    """Load the model of the settings, or make a shape's; raises ModelError, UsageError or ResourceError."""
    if shape is not None:
        described = describe_subject(shape, settings, home)
        model = random_model(shape_config(shape), described.placement)
        return replace(described, loaded=model, weights=f"random-{shape}")
    base = load(
        settings.model,
        home=home,
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
        attention=settings.attention,
        offline=settings.offline,
        reporter=reporter,
    )
    described = _described(base.facts, settings)
    return replace(described, loaded=base.model, weights=base.weights_hash, tokenizer=base.tokenizer)


def describe_subject(shape: str | None, settings: Settings, home: Path) -> Subject:
    """The same without its weights: enough to count with. Raises ModelError or UsageError."""
    if shape is None:
        return _described(describe(settings.model, home, offline=settings.offline), settings)
    return _described(facts_from_config(shape_config(shape), shape), settings)


def _described(facts: ModelFacts, settings: Settings) -> Subject:
    placement = place(
        facts, device=settings.device, dtype=settings.dtype, quantize=settings.quantize, attention=settings.attention
    )
    layers = tree_layers(settings, facts.name, facts.layer_count)
    return Subject(facts.name, facts, placement, tree_config(settings, facts.name), layers)


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DISTINCT_WORDS = 20_000
_QUESTION_WORDS = 8


@dataclass(frozen=True)
class Reading:
    """A document of T tokens, a question of it, and R tokens of prompt.

    `seconds`: what tokenizing took (every arm needs it), and splitting and counting words (what BM25 asks of a text).
    """

    document: Document
    leaves: Leaves
    question: str
    question_ids: list[int]
    running: np.ndarray
    seconds: dict[str, float]

    @property
    def tokens(self) -> int:
        """T."""
        return self.leaves.token_count


def text_source(path: Path | None) -> str:
    """Where the text comes from, in words."""
    return "made-up words" if path is None else str(path)


def make_reading(subject: Subject, tokens: int, running: int, path: Path | None, *, seed: int = 0) -> Reading:
    """A text of exactly `tokens` tokens and `running` more behind them; a file that is too short is repeated.

    Raises DocumentError where the file can't be read or holds no words.
    """
    tokenizer, whole = subject.tokenizer, tokens + running
    encode = (
        _words_as_tokens(subject.facts.vocabulary_size) if tokenizer is None else partial(tokenize, tokenizer=tokenizer)
    )
    text = _made_up(whole, seed) if path is None else _of_file(path)
    started = perf_counter()
    found = encode(text)
    seconds = (perf_counter() - started) / len(found)
    while len(found) < whole:
        text += "\n" + text
        found = encode(text)
    document = _document(text[: int(found.ends[tokens - 1])])
    kept = Tokens(found.ids[:tokens], found.starts[:tokens], found.ends[:tokens])
    started = perf_counter()
    leaves = leaves_of(document.text, kept, subject.tree)
    parts = {"tokenize": seconds * whole, "count_words": perf_counter() - started}
    middle = document.text[len(document.text) // 2 :]
    question = " ".join(middle.split()[1 : 1 + _QUESTION_WORDS])
    return Reading(document, leaves, question, encode(question).ids.tolist(), found.ids[tokens:whole].copy(), parts)


def _document(text: str) -> Document:
    content = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Document("bench", None, "text", content, text, (Page(1, None, 0, len(text), text),), paged=False)


def _of_file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} can't be read as text: {error}") from error
    if not text.split():
        raise DocumentError(f"{path} holds no words")
    return text


def _made_up(words: int, seed: int) -> str:
    """So many words as rare and as frequent as those of a language: the n-th most frequent occurs 1/n as often."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 10, _DISTINCT_WORDS)
    letters = random.choice(list(_LETTERS), int(lengths.sum()))
    distinct = np.array(["".join(part) for part in np.split(letters, np.cumsum(lengths)[:-1])])
    chances = 1 / np.arange(1, _DISTINCT_WORDS + 1)
    return " ".join(distinct[random.choice(_DISTINCT_WORDS, words, p=chances / chances.sum())])


def _words_as_tokens(vocabulary_size: int) -> Callable[[str], Tokens]:
    def encode(text: str) -> Tokens:
        matches = list(re.finditer(r"\S+", text))
        ids = [zlib.crc32(match.group().encode("utf-8", "surrogatepass")) % vocabulary_size for match in matches]
        spans = np.array([match.span() for match in matches], dtype=np.int32).reshape(-1, 2)
        return Tokens(np.array(ids, dtype=np.int32), spans[:, 0].copy(), spans[:, 1].copy())

    return encode
