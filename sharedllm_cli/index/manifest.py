"""What made a part of an index, and the proof that it is still what was made.

A part (text, leaves, trees, states) is a folder of plain files and a `manifest.json`, which carries its own hash. Its
key holds everything that shapes its numbers; the key's SHA-256 is the part's fingerprint, twelve characters of it are
in the folder's name (docs/index-format.md). Knows keys and manifests; opens no other file.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

from sharedllm_cli import __version__, durable
from sharedllm_cli.config import Encoding, StoredDtype, TreeConfig
from sharedllm_cli.documents.pages import Document
from sharedllm_cli.durable import sha256_of_bytes
from sharedllm_cli.errors import StoredIndexError
from sharedllm_cli.retrieval.terms import TERMS_VERSION, stemmer_version

FORMAT = "sharedllm-index"
FORMAT_VERSION = 1
ENCODINGS: Mapping[Encoding, str] = {"node": "per-node", "chunk": "per-chunk"}
"""How a key names what was encoded: each node alone (docs/method.md §3), or each chunk once."""
ENCODING_WORDS: Mapping[str, str] = {"per-node": "each node encoded alone", "per-chunk": "each chunk encoded once"}
"""What such a name means to a reader."""
MANIFEST = "manifest.json"
Kind = Literal["text", "leaves", "trees", "states"]
PART_NAME = re.compile(r"text|(?:leaves|trees|states)-[0-9a-f]{12}")
_LIBRARIES = ("numpy", "safetensors", "snowballstemmer", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class TextKey:
    """What shapes the text part: the document's bytes and the version of its reading."""

    kind: ClassVar[Kind] = "text"
    content_hash: str
    reader_version: str

    def identity(self) -> dict[str, Any]:
        """The key as its manifest records it; its hash is the fingerprint."""
        return {"content_hash": self.content_hash, "reader_version": self.reader_version}


@dataclass(frozen=True)
class LeavesKey:
    """What shapes the leaves: the normalised text, the tokenizer, and the tree's chunk size and height."""

    kind: ClassVar[Kind] = "leaves"
    text_hash: str
    tokenizer_hash: str
    tree: TreeConfig

    def identity(self) -> dict[str, Any]:
        """The key as its manifest records it; its hash is the fingerprint."""
        return {**self.splitting(), "terms_version": TERMS_VERSION, "stemmer": stemmer_version()}

    def splitting(self) -> dict[str, Any]:
        """What decides which tokens each node holds: trees and states rest on it, and on no term of a leaf."""
        return {
            "text_hash": self.text_hash,
            "tokenizer_hash": self.tokenizer_hash,
            "chunk_tokens": self.tree.chunk_tokens,
            "height": self.tree.height,
        }


@dataclass(frozen=True)
class TreesKey:
    """What shapes the trees: the leaves, the lower model's weights and number of layers (M), and how they are kept.

    Ratios and encoding are those of `leaves.tree`; they shape the trees alone.
    `weights_hash` must cover everything of the base model that shapes its numbers, its configuration too. `base_name`
    is what the user calls the model: it is recorded, but the same weights under another name are the same trees.
    `quantize` is that of the weights that computed the trees, `stored_dtype` that of the numbers on disk. Keys and
    values of layers `first_layer`..M − 1 are kept, counted from 0 at the bottom. `reader` names what else shaped those
    of the fine grain: the adapter's weights and the head of the prompt (`reading/fine.py`); empty for other trees.
    """

    kind: ClassVar[Kind] = "trees"
    leaves: LeavesKey
    base_name: str
    weights_hash: str
    lower_layers: int
    stored_dtype: StoredDtype
    quantize: str
    first_layer: int = 0
    reader: str = ""

    @property
    def layers(self) -> range:
        """The layers whose keys and values are kept."""
        return range(self.first_layer, self.lower_layers)

    def identity(self) -> dict[str, Any]:
        """The key as its manifest records it; its hash is the fingerprint."""
        shaped = {
            **self.leaves.splitting(),
            "ratios": list(self.leaves.tree.ratios),
            "weights_hash": self.weights_hash,
            "lower_layers": self.lower_layers,
            "encoding": ENCODINGS[self.leaves.tree.encoding],
            "stored_dtype": self.stored_dtype,
            "quantize": self.quantize,
        }
        # Only where they are set, so that trees from before there was a choice keep their fingerprint.
        chosen = {"first_layer": self.first_layer, "reader": self.reader}
        return {**shaped, **{name: value for name, value in chosen.items() if value}}


ATTENDED = 0
"""`layers` of states that are taken within the first layer, behind its attention (`LowerModel.attended`)."""


@dataclass(frozen=True)
class StatesKey:
    """What shapes stored late-interaction states: the leaves, the weights, and after how many layers they are taken.

    `quantize` is that of the weights, as in `TreesKey`.
    """

    kind: ClassVar[Kind] = "states"
    leaves: LeavesKey
    base_name: str
    weights_hash: str
    layers: int
    quantize: str = "none"

    def identity(self) -> dict[str, Any]:
        """The key as its manifest records it; its hash is the fingerprint."""
        shaped = {**self.leaves.splitting(), "weights_hash": self.weights_hash, "layers": self.layers}
        return shaped if self.quantize == "none" else {**shaped, "quantize": self.quantize}


Key = TextKey | LeavesKey | TreesKey | StatesKey


def text_hash(document: Document) -> str:
    """SHA-256 of the document's normalised text: what leaves and trees are made from."""
    return durable.sha256_of_text(document.text)


def fingerprint(key: Key) -> str:
    """SHA-256, in hex, of a part's kind, the format's version and everything that shapes the part."""
    return _fingerprint(key.kind, key.identity())


def _fingerprint(kind: str, identity: Mapping[str, Any], version: int = FORMAT_VERSION) -> str:
    shaped = {"format_version": version, "part": kind, "key": dict(identity)}
    return durable.sha256_of_bytes(canonical_json(shaped))


def part_name(key: Key) -> str:
    """The name of a part's folder: `text`, or its kind and the first twelve characters of its fingerprint."""
    return key.kind if key.kind == "text" else _part_name(key.kind, fingerprint(key))


def _part_name(kind: str, fingerprint: str) -> str:
    return "text" if kind == "text" else f"{kind}-{fingerprint[:12]}"


@dataclass(frozen=True)
class FileFact:
    """Size in bytes and SHA-256 of a file as it was written."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A part's manifest: what it is of, what made it, and every file of it.

    `facts` are small things worth knowing without opening the part: number of tokens, name of the base model, …
    """

    kind: Kind
    content_hash: str
    key: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: Mapping[str, FileFact]
    made: Mapping[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def made_at(self) -> str:
        """Date and time of making, ISO 8601 in UTC."""
        return str(self.made.get("at", ""))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of kind, format version and key, in hex."""
        return _fingerprint(self.kind, self.key, self.format_version)

    @property
    def part_name(self) -> str:
        """The name that the part's folder must have."""
        return _part_name(self.kind, self.fingerprint)

    def to_bytes(self) -> bytes:
        """The sealed file `manifest.json`."""
        return sealed(
            {
                "format": FORMAT,
                "format_version": self.format_version,
                "part": self.kind,
                "content_hash": self.content_hash,
                "fingerprint": self.fingerprint,
                "key": dict(self.key),
                "facts": dict(self.facts),
                "files": {name: {"bytes": fact.size, "sha256": fact.sha256} for name, fact in self.files.items()},
                "made": dict(self.made),
            }
        )


def new_manifest(key: Key, content_hash: str, facts: Mapping[str, Any], files: Mapping[str, FileFact]) -> Manifest:
    """A manifest of today, by this release and these libraries."""
    return Manifest(key.kind, content_hash, key.identity(), facts, dict(sorted(files.items())), _made_by())


def _made_by() -> dict[str, str]:
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "sharedllm": __version__, **_versions()}


@cache
def _versions() -> dict[str, str]:
    """The versions of Python and the libraries: looking them up takes longer than a small document's reading."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


class DamagedFileError(Exception):
    """A file that is not what its manifest says; carries its path and what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class UnreadableManifestError(StoredIndexError):
    """A manifest that is missing, damaged or not of this tool; `stored.py` adds which index."""


class ForeignManifestError(UnreadableManifestError):
    """A manifest that some other program wrote."""


def read_manifest(part: Path) -> Manifest:
    """The manifest of a part's folder, proved by its own seal.

    Raises UnreadableManifestError where it is missing, is not of this tool, or one byte of it differs.
    A manifest of another format version is returned as far as it can be understood: its caller decides.
    """
    path = part / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise UnreadableManifestError(f"{path} can't be read: {problem.strerror}") from problem
    value = unsealed(data)
    if value is None and carries_seal(data):
        raise UnreadableManifestError(f"{path} is damaged")
    if value is None or value.get("format") != FORMAT:
        raise ForeignManifestError(f"{path} was not written by sharedllm")
    try:
        manifest = Manifest(
            value["part"],
            value["content_hash"],
            value["key"],
            value.get("facts", {}),
            {name: FileFact(fact["bytes"], fact["sha256"]) for name, fact in value["files"].items()},
            value.get("made", {}),
            value["format_version"],
        )
        fits = manifest.format_version != FORMAT_VERSION or manifest.fingerprint == value["fingerprint"]
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise UnreadableManifestError(f"{path} lacks {problem}") from problem
    if not fits:
        raise UnreadableManifestError(f"{path} has a fingerprint that is not its key's")
    return manifest


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value that hashes are taken of: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def sealed(value: dict[str, Any]) -> bytes:
    """A JSON object as a readable file that carries its own SHA-256 under `seal`."""
    seal = sha256_of_bytes(canonical_json(value))
    return _spelled({**value, "seal": seal})


def unsealed(data: bytes) -> dict[str, Any] | None:
    """The object of a sealed file, or None where a single byte differs from what `sealed` wrote."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or _spelled(value) != data:
        return None
    seal = value.pop("seal", None)
    return value if seal == sha256_of_bytes(canonical_json(value)) else None


def carries_seal(data: bytes) -> bool:
    """Whether a file looks as if `sealed` had written it, whole or not; an empty one does, and one that was cut off."""
    if not data or b'"seal"' in data or not data.startswith(b"{"):
        return True
    try:
        json.loads(data)
    except ValueError:
        return True
    return False


def _spelled(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
