"""From a GGUF file to a model folder: config, tokenizer, weights and their provenance.

A GGUF file holds vocabulary, merges (or scores), special tokens and the NAME of a pre-tokenizer; the splitting itself
is in llama.cpp's source. A name that isn't known here is refused, since a guess would tokenise slightly wrongly without
anyone noticing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.facts import facts_from_config
from sharedllm_cli.weights.gguf_file import (
    GGUFFile,
    config_from_gguf,
    converted_bytes,
    generation_config_from_gguf,
    require_gguf,
    write_weights,
)
from sharedllm_cli.weights.registry import (
    Provenance,
    build_folder,
    builder_lock,
    installed_folder,
    now,
    provenance,
    require_space,
    versions,
    write_provenance,
)
from sharedllm_cli.weights.weight_files import file_hash, remember, remembered_hash


def convert(
    path: Path, folder: Path, *, name: str, source: str, licence: str, gguf_hash: str, reporter: Reporter
) -> None:
    """Write the model of a GGUF file into an empty folder, with its `model.json`.

    The weights' identity is the GGUF file's hash: the conversion is a function of it. Raises ModelError for a file
    that is damaged or not supported.
    """
    file = GGUFFile(path)
    config = config_from_gguf(file)
    facts = facts_from_config(config, name)
    write_tokenizer(file, folder)
    for target, values in (("config.json", config), ("generation_config.json", generation_config_from_gguf(file))):
        (folder / target).write_text(json.dumps(values, indent=1), encoding="utf-8")
    with reporter.task(f"converting {name}", converted_bytes(file), "bytes") as task:
        weights = write_weights(file, folder, task)
    write_provenance(
        folder,
        Provenance(
            name=name,
            family=facts.family,
            source=source,
            weights_hash=gguf_hash,
            licence=licence,
            files={weight.name: file_hash(weight) for weight in weights},
            versions=versions(),
            pulled=now(),
            hashes={"gguf": gguf_hash},
        ),
    )


def converted_folder(path: Path, home: Path, reporter: Reporter) -> Path:
    """The model folder of a GGUF file, converted on first use into the home folder under a name from its hash."""
    require_gguf(path)
    gguf_hash = remembered_hash(path, home)
    name = f"gguf-{gguf_hash[:16]}"
    if ready := installed_folder(name, home):
        return ready
    with builder_lock(home, name, reporter):
        if ready := installed_folder(name, home):
            return ready
        reporter.note(f"converting {path.name}, once")

        def write(folder: Path) -> None:
            opened = GGUFFile(path)
            require_space(folder, converted_bytes(opened), f"converting {path.name}")
            licence = str(opened.value("general.license", "unknown"))
            source = str(path.resolve())
            convert(path, folder, name=name, source=source, licence=licence, gguf_hash=gguf_hash, reporter=reporter)

        folder = build_folder(home, name, write)
    remember_weights(folder, home)
    return folder


def remember_weights(folder: Path, home: Path) -> None:
    """Remember the hashes in a fresh folder's `model.json`, so that no load computes them again."""
    made = provenance(folder)
    for name, sha256 in (made.files if made else {}).items():
        remember(folder / name, sha256, home)


_CONTROL, _USER_DEFINED = 3, 4
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
    "smollm": _single_digits,
    "llama-bpe": lambda: _split_by(_LLAMA3_SPLIT),
    "llama3": lambda: _split_by(_LLAMA3_SPLIT),
    "llama-v3": lambda: _split_by(_LLAMA3_SPLIT),
    "qwen2": lambda: _split_by(_QWEN2_SPLIT),
    "deepseek-r1-qwen": lambda: _split_by(_QWEN2_SPLIT),
    "tekken": lambda: _split_by(_TEKKEN_SPLIT),
}
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Vocabularies whose words are taken whole where the vocabulary has them, whatever the merges say."""
_COMPOSED = ("qwen2", "deepseek-r1-qwen")
"""Vocabularies learned on text in Unicode's composed form (NFC)."""


def tokenizer_from_gguf(file: GGUFFile) -> Tokenizer:
    """The file's tokenizer; ModelError where its kind or its pre-tokenizer isn't known or its vocabulary is damaged."""
    kind = file.value("tokenizer.ggml.model")
    tokens = file.value("tokenizer.ggml.tokens", [])
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
        raise ModelError(f"{file.path} holds a damaged vocabulary: {error}") from error
    _add_special_tokens(tokenizer, tokens, file.value("tokenizer.ggml.token_type", []))
    begin = file.value("tokenizer.ggml.bos_token_id")
    if begin is not None and file.value("tokenizer.ggml.add_bos_token", kind == "llama"):
        token = tokens[begin]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[(token, begin)]
        )
    return tokenizer


def write_tokenizer(file: GGUFFile, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` (special tokens, chat template, window) into a folder."""
    tokenizer_from_gguf(file).save(str(folder / "tokenizer.json"))
    tokens = file.value("tokenizer.ggml.tokens", [])
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": int(file.shape_value("context_length")),
        "clean_up_tokenization_spaces": False,
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        identity = file.value(f"tokenizer.ggml.{key}_token_id")
        if identity is not None:
            config[f"{name}_token"] = tokens[identity]
    if template := file.value("tokenizer.chat_template"):
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")


def _byte_level(file: GGUFFile, tokens: list[str]) -> Tokenizer:
    name = file.value("tokenizer.ggml.pre")
    if name not in _PRE_TOKENIZERS:
        raise ModelError(
            f"{file.path} splits text by {name!r}, which is not known here",
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
    unknown = file.value("tokenizer.ggml.unknown_token_id", 0)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=tokens[unknown], fuse_unk=True, byte_fallback=True)
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
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        marked = [token for token, its_kind in zip(tokens, kinds, strict=False) if its_kind == kind]
        added = [AddedToken(token, normalized=False, special=special) for token in marked]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
