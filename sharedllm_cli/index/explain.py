"""Why an index that seems to be there can't serve: which part of its key differs from what is asked now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sharedllm_cli.index import parts
from sharedllm_cli.index.manifest import (
    ENCODING_WORDS,
    FORMAT_VERSION,
    Key,
    Manifest,
    StatesKey,
    TreesKey,
    UnreadableManifestError,
    part_name,
    read_manifest,
)
from sharedllm_cli.index.stamps import DamagedFileError
from sharedllm_cli.index.usage import read_usage

_WORDS = {
    "text_hash": "another text",
    "tokenizer_hash": "another tokenizer",
    "chunk_tokens": "another chunk size",
    "height": "another tree height",
    "ratios": "other compression ratios",
    "terms_version": "an earlier way of finding words",
    "stemmer": "another stemmer",
    "weights_hash": "another model",
    "lower_layers": "another number of lower layers",
    "first_layer": "another first layer",
    "encoding": "another encoding",
    "stored_dtype": "another stored type",
    "quantize": "another quantization",
    "layers": "another number of layers",
}
_WHERE_UNNAMED: Mapping[str, Any] = {"first_layer": 0, "quantize": "none", "stemmer": "not recorded"}
"""What it means where a key does not name these (manifest.py)."""
_HASHES = {"text_hash", "tokenizer_hash", "weights_hash", "terms_version"}


def explain(folder: Path, keys: Sequence[Key]) -> str | None:
    """Why the parts with these keys are not in a document's folder, though others of their kind are.

    One phrase that goes on `a new index is built: …`; None where all are there or nothing comparable is.
    """
    for key in keys:
        if (folder / part_name(key)).is_dir():
            continue
        candidates = [manifest for manifest in _manifests(folder) if manifest.kind == key.kind]
        if not candidates:
            continue
        nearest = min(candidates, key=lambda manifest: len(_differences(key.identity(), manifest.key)))
        if nearest.format_version < FORMAT_VERSION:
            return f"its index has an older format (version {nearest.format_version}, now {FORMAT_VERSION})"
        return _told(key, nearest)
    return None


def _manifests(folder: Path) -> list[Manifest]:
    found = []
    for part in parts.finished_parts(folder):
        with suppress(UnreadableManifestError):
            found.append(read_manifest(part))
    return found


def _differences(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*wanted, *(name for name in present if name in _WHERE_UNNAMED)])
    return [name for name in names if _of(wanted, name) != _of(present, name)]


def _of(key: Mapping[str, Any], name: str) -> Any:
    return key.get(name, _WHERE_UNNAMED.get(name))


def _told(key: Key, manifest: Manifest) -> str:
    phrases = []
    wanted = key.identity()
    for name in _differences(wanted, manifest.key):
        phrase = _WORDS.get(name, f"another {name}")
        if name == "weights_hash" and isinstance(key, TreesKey | StatesKey):
            phrase += _models(manifest.facts.get("base_name"), key.base_name)
        elif name not in _HASHES:
            phrase += f" ({_value(_of(manifest.key, name))}, now {_value(_of(wanted, name))})"
        phrases.append(phrase)
    return f"it was indexed on {manifest.made_at[:10]} with {' and '.join(phrases)}"


def _models(indexed: str | None, asked: str) -> str:
    if indexed == asked:
        return f" (the weights of {asked} have changed)"
    return f" ({indexed}, now {asked})"


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else ENCODING_WORDS.get(str(value), str(value))


def explain_content(root: Path, path: str, content_hash: str) -> str | None:
    """Why a file that was indexed before is new: its content changed since. None where the path was never indexed."""
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not parts.is_document_folder(folder):
            continue
        with suppress(DamagedFileError, UnreadableManifestError):
            usage = read_usage(folder)
            if usage and usage.path == path and usage.content_hash != content_hash:
                made = [manifest.made_at[:10] for manifest in _manifests(folder)]
                since = f" on {max(made)}" if made else ""
                return f"it has another content than when it was indexed{since}"
    return None
