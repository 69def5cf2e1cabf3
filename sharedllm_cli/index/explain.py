"""Why an index that seems to be there can't serve: which part of its key differs from what is asked now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sharedllm_cli.index import folders
from sharedllm_cli.index.folders import FOLDER_NAME
from sharedllm_cli.index.manifest import (
    ENCODING_WORDS,
    FORMAT_VERSION,
    Key,
    Manifest,
    StatesKey,
    TreesKey,
    part_name,
)

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
    "reader": "another adapter or system prompt",
}
_WHERE_UNNAMED: Mapping[str, Any] = {"first_layer": 0, "quantize": "none", "stemmer": "not recorded"}
"""What it means where a key does not name these (manifest.py)."""
_HASHES = {"text_hash", "tokenizer_hash", "weights_hash", "terms_version", "reader"}


def explain(folder: Path, keys: Sequence[Key]) -> str | None:
    """Why the parts with these keys are not in a document's folder, though others of their kind are.

    One phrase that goes on `a new index is built: …`; None where all are there or nothing comparable is.
    """
    for key in keys:
        name, there = part_name(key), folders.manifests(folder)
        if (folder / name).is_dir() or name in {manifest.part_name for manifest in there}:
            continue
        # Trees of the fine grain are no older form of the others.
        alike = (manifest for manifest in there if manifest.kind == key.kind)
        candidates = [manifest for manifest in alike if ("reader" in manifest.key) == ("reader" in key.identity())]
        if not candidates:
            continue
        nearest = min(candidates, key=lambda manifest: len(_differences(key.identity(), manifest.key)))
        if nearest.format_version < FORMAT_VERSION:
            return f"its index has an older format (version {nearest.format_version}, now {FORMAT_VERSION})"
        return _difference(key, nearest)
    return None


def _differences(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*wanted, *(name for name in present if name in _WHERE_UNNAMED)])
    return [name for name in names if _of(wanted, name) != _of(present, name)]


def _of(key: Mapping[str, Any], name: str) -> Any:
    return key.get(name, _WHERE_UNNAMED.get(name))


def _difference(key: Key, manifest: Manifest) -> str:
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


class KnownPaths:
    """Which folders hold what a path contained when it was indexed. The root is read through once, when first asked."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, list[Path]] | None = None

    def add(self, path: str | None, folder: Path) -> None:
        """Remember a folder whose document was read from a path."""
        if self._folders is not None and path is not None and folder not in self._folders.setdefault(path, []):
            self._folders[path].append(folder)

    def explain(self, path: str, content_hash: str) -> str | None:
        """Why a file that was indexed before is new: its content changed since. None where it was never indexed."""
        if self._folders is None:
            self._folders = {}
            for folder in sorted(self._root.iterdir()) if self._root.is_dir() else []:
                if FOLDER_NAME.fullmatch(folder.name) and (usage := folders.usage_or_none(folder)):
                    self.add(usage.path, folder)
        for folder in self._folders.get(path, []):
            usage = folders.usage_or_none(folder)  # it may be gone, or be called otherwise by now
            if usage and usage.path == path and usage.content_hash != content_hash:
                made = [manifest.made_at[:10] for manifest in folders.manifests(folder)]
                since = f" on {max(made)}" if made else ""
                return f"it has another content than when it was indexed{since}"
        return None
