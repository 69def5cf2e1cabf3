"""A GGUF file's tokenizer: vocabulary, merges or scores, splitting, special tokens, chat template.

A GGUF file holds the NAME of a pre-tokenizer; the splitting itself is in llama.cpp's source. A name that isn't known
here is refused, since a guess would tokenise slightly wrongly without anyone noticing; so is whatever else a file
states of its tokenizer and this page doesn't do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sharedllm_cli.errors import ModelError
from sharedllm_cli.weights.gguf_config import CONTROL
from sharedllm_cli.weights.gguf_file import GGUFFile

_USER_DEFINED = 4
_KNOWN_KEYS = frozenset(
    {
        *("model", "pre", "tokens", "token_type", "scores", "merges"),
        *("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id", "padding_token_id"),
        *("add_bos_token", "add_eos_token", "add_space_prefix", "token_type_count"),
        # What fills in the middle of code, and separates texts for a classifier: tokens, not a way to split.
        *("mask_token_id", "cls_token_id", "seperator_token_id", "separator_token_id"),
        *("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id"),
        *("fim_sep_token_id", "prefix_token_id", "suffix_token_id", "middle_token_id"),
    }
)
_PREFIX = "tokenizer.ggml."
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN_SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _split_by(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


_PRE_TOKENIZERS: Mapping[str, Callable[[], Any]] = {
    "gpt-2": _gpt2,
    "refact": _single_digits,
    "starcoder": _single_digits,
    "smollm": _single_digits,
    "llama-bpe": lambda: _split_by(_LLAMA3_SPLIT),
    "llama3": lambda: _split_by(_LLAMA3_SPLIT),
    "llama-v3": lambda: _split_by(_LLAMA3_SPLIT),
    "qwen2": lambda: _split_by(_QWEN2_SPLIT),
    "deepseek-r1-qwen": lambda: _split_by(_QWEN2_SPLIT),
    "tekken": lambda: _split_by(_TEKKEN_SPLIT),
}
"""Splittings by llama.cpp's name of them."""
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Vocabularies whose words are taken whole where the vocabulary has them, whatever the merges say."""
_COMPOSED = ("qwen2", "deepseek-r1-qwen")
"""Vocabularies learned on text in Unicode's composed form (NFC)."""


def tokenizer_from_gguf(file: GGUFFile) -> Tokenizer:
    """The file's tokenizer.

    ModelError where its kind, its pre-tokenizer or something else that the file states of it isn't known, and where
    its vocabulary is damaged.
    """
    for key, value in file.metadata.items():
        if key.startswith(_PREFIX) and value and key.removeprefix(_PREFIX) not in _KNOWN_KEYS:
            raise ModelError(
                f"{file.path} states {key} = {str(value)[:60]}, which is not supported",
                hint="give the model as a folder with a tokenizer.json instead",
            )
    kind = file.value("tokenizer.ggml.model")
    tokens = file.value("tokenizer.ggml.tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise _damaged(file, "its tokens are not texts")
    if len(set(tokens)) != len(tokens):
        raise _damaged(file, "it has a token twice")
    try:
        if kind == "gpt2":
            tokenizer = _byte_level(file, tokens)
        elif kind == "llama":
            tokenizer = _sentencepiece(file, tokens)
        else:
            raise ModelError(f"{file.path} holds a tokenizer of the kind {kind!r}, which is not supported")
    except ModelError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception for merges that don't fit the vocabulary
        raise _damaged(file, str(error)) from error
    _add_special_tokens(tokenizer, tokens, file.value("tokenizer.ggml.token_type", []))
    _surround(tokenizer, file, tokens, kind == "llama")
    return tokenizer


def _damaged(file: GGUFFile, reason: str) -> ModelError:
    return ModelError(f"{file.path} holds a damaged vocabulary: {reason}")


def _token(file: GGUFFile, tokens: list[str], key: str) -> str | None:
    """The token that the file names by its number, None where it names none; ModelError where it has no such token."""
    identity = file.value(f"{_PREFIX}{key}_token_id")
    if identity is None:
        return None
    if not isinstance(identity, int) or not 0 <= identity < len(tokens):
        raise _damaged(file, f"it has no token {identity!r}, its {key}")
    return tokens[identity]


def _surround(tokenizer: Tokenizer, file: GGUFFile, tokens: list[str], begins: bool) -> None:
    """Put the tokens that begin and end a text around it, as far as the file says so."""
    ends = {}
    for key, by_default in (("bos", begins), ("eos", False)):
        token = _token(file, tokens, key)
        if token is not None and file.value(f"{_PREFIX}add_{key}_token", by_default):
            ends[key] = token
    if not ends:
        return
    before, after = ([ends[key]] if key in ends else [] for key in ("bos", "eos"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, *before, "$B", *after],
        special_tokens=[(token, tokens.index(token)) for token in dict.fromkeys(ends.values())],
    )


def write_tokenizer(file: GGUFFile, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` (special tokens, chat template, window) into a folder."""
    tokenizer_from_gguf(file).save(str(folder / "tokenizer.json"))
    tokens = file.value("tokenizer.ggml.tokens", [])
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.whole_number("context_length"),
        "clean_up_tokenization_spaces": False,
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        token = _token(file, tokens, key)
        if token is not None:
            config[f"{name}_token"] = token
    if template := file.value("tokenizer.chat_template"):
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")


def _byte_level(file: GGUFFile, tokens: list[str]) -> Tokenizer:
    name = file.value("tokenizer.ggml.pre")
    if name not in _PRE_TOKENIZERS:
        raise ModelError(
            f"{file.path} splits text by {name!r}, which is not supported",
            hint="give the model as a folder with a tokenizer.json instead",
        )
    merges = [(left, right) for left, right in (merge.split(" ") for merge in file.value("tokenizer.ggml.merges", []))]
    vocabulary = {token: identity for identity, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=name in _WHOLE_WORDS_FIRST))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[name]()
    if name in _COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(file: GGUFFile, tokens: list[str]) -> Tokenizer:
    """Llama 2's and Mistral's kind: merges follow from the scores, characters outside the vocabulary become bytes."""
    vocabulary = {token: identity for identity, token in enumerate(tokens)}
    merges = _merges_by_score(vocabulary, file.value("tokenizer.ggml.scores", []))
    unknown = _token(file, tokens, "unknown") or tokens[0]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    prefixed = bool(file.value("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefixed else spaces
    parts: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)] if prefixed else parts)
    return tokenizer


def _merges_by_score(vocabulary: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to join two tokens to a third, the best-scored third first; ties by the halves' own identities."""
    found = [
        (-scores[identity], vocabulary[token[:cut]], vocabulary[token[cut:]], token[:cut], token[cut:])
        for token, identity in vocabulary.items()
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def _add_special_tokens(tokenizer: Tokenizer, tokens: list[str], kinds: list[int]) -> None:
    """Mark the control tokens as special and keep the user-defined ones whole; their identities don't change."""
    for kind, special in ((CONTROL, True), (_USER_DEFINED, False)):
        marked = [token for token, its_kind in zip(tokens, kinds, strict=False) if its_kind == kind]
        added = [AddedToken(token, normalized=False, special=special) for token in marked]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
