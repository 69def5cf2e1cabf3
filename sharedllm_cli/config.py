"""Every knob, once: its default, its help and its check. Nothing here reads a file or loads a model.

`TreeConfig` and `InjectionConfig` are the method's configuration (docs/method.md §1 to §4); `Settings` is
what a user can set by flag, environment variable or file. The command line and the documentation read the defaults
and help texts from here and nowhere else.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from math import isfinite
from typing import Any, Literal, cast, get_args

from sharedllm_cli.errors import UsageError

Injection = Literal["merged", "additive"]
Policy = Literal["hybrid", "hybrid-words", "meaning", "bm25", "late", "paper-cosine", "right"]
StoredDtype = Literal["int8", "float16", "bfloat16", "float32"]
Gates = Literal["layer", "head"]
Encoding = Literal["node", "chunk"]
Grains = Literal["text", "fine"]

POLICIES: tuple[str, ...] = get_args(Policy)
INJECTIONS: tuple[str, ...] = get_args(Injection)
STORED_DTYPES: tuple[str, ...] = get_args(StoredDtype)
ENCODINGS: tuple[str, ...] = get_args(Encoding)
GRAINS: tuple[str, ...] = get_args(Grains)

LayerSpan = tuple[int, int]
"""Layers [first, end) that read a tree, counted from 0 at the bottom, so that M = end."""

DEFAULT_MODEL = "smollm2-135m-instruct"
EVIDENCE_TOKENS = 1024
"""Tokens of verbatim passages, where neither user nor adapter says."""
MAX_SOURCES = 8
"""At most this many sources are shown with an answer."""
RERANK_LEAVES = 100
"""The hybrid policy computes late interaction for this many leaves, the best by BM25."""


READ_SECONDS = 120.0
READ_MEMORY = 4
"""Gibibytes."""
MOST_SEED = 2**63 - 1
"""The largest seed that the random generators of all devices take."""


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} must be at least 1, got {value}")


def parse_layer_span(text: str) -> LayerSpan:
    """`10-25` as layers 10 to 24, counted from 0; UsageError for anything else."""
    first, dash, end = text.strip().partition("-")
    if not (dash and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise UsageError(f"layers look like 0-15 (the bottom fifteen) or 10-25, got {text.strip()!r}")
    return int(first), int(end)


@dataclass(frozen=True)
class TreeConfig:
    """The shape of the context tree over one chunk, and how its nodes are encoded.

    `ratios[w - 1]` is α of level w: one key/value is kept of every α tokens of a node at level w. With height 3 and
    ratios 16, 8, 4 the overall ratio β is 8. `encoding` says what a node's tokens see in the lower model: `node`, the
    node's own before them (docs/method.md §3); `chunk`, the chunk's before them, which is encoded once for all levels.
    """

    chunk_tokens: int = 512
    height: int = 3
    ratios: tuple[int, ...] = (16, 8, 4)
    encoding: Encoding = "node"

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UsageError(f"unknown encoding {self.encoding!r}", hint=f"choose one of {', '.join(ENCODINGS)}")
        _positive("chunk size", self.chunk_tokens)
        _positive("tree height", self.height)
        if len(self.ratios) != self.height:
            raise UsageError(f"a tree of height {self.height} needs {self.height} ratios, got {len(self.ratios)}")
        if any(ratio < 1 for ratio in self.ratios):
            raise UsageError(f"compression ratios must be at least 1, got {self.ratios}")
        if self.chunk_tokens < 2**self.height:
            raise UsageError(
                f"a chunk of {self.chunk_tokens} tokens can't be split into {2**self.height} leaves",
                hint="choose a larger chunk size or a lower tree",
            )

    @property
    def leaf_ratio(self) -> int:
        """α of the last level, the finest compressed grain."""
        return self.ratios[-1]

    @property
    def overall_ratio(self) -> float:
        """β: the tokens of a chunk over the keys kept of it, 8 with the ratios above (docs/method.md §1)."""
        last: float = 1 / (2**self.height * self.leaf_ratio)
        kept: float = last + sum(1 / (2**level * self.ratio(level)) for level in range(1, self.height + 1))
        return 1 / kept

    @property
    def passes(self) -> int:
        """How often a token runs through the lower model while the trees are built: once a level, or once."""
        return self.height if self.encoding == "node" else 1

    def ratio(self, level: int) -> int:
        """α of a level, 1..height; level 0 (a whole short chunk) is kept as finely as a leaf."""
        return self.leaf_ratio if level == 0 else self.ratios[level - 1]


FINE_TREE = TreeConfig(512, 1, (1,), "chunk")
"""The fine grain: chunks encoded in one piece, each kept whole in two nodes (docs/method.md §10)."""


@dataclass(frozen=True)
class InjectionConfig:
    """Where and how the upper model reads the tree.

    Layers `first_layer` to `lower_layers - 1` (counted from 0 at the bottom) read it; the lower model is the bottom
    `lower_layers` layers (M). `form` is the published additive cross-attention or the merged one (docs/method.md §4).
    """

    form: Injection = "merged"
    lower_layers: int = 1
    first_layer: int = 0
    gates: Gates = "layer"

    def __post_init__(self) -> None:
        _positive("lower layers", self.lower_layers)
        if self.form not in INJECTIONS:
            raise UsageError(f"unknown injection {self.form!r}", hint=f"choose one of {', '.join(INJECTIONS)}")
        if self.gates not in get_args(Gates):
            raise UsageError(f"unknown gates {self.gates!r}", hint="choose layer or head")
        if not 0 <= self.first_layer < self.lower_layers:
            raise UsageError(f"first injected layer {self.first_layer} is not below M = {self.lower_layers}")

    @property
    def layers(self) -> range:
        """The injected layers, bottom first."""
        return range(self.first_layer, self.lower_layers)


@dataclass(frozen=True)
class Preset:
    """A published pair of settings: the share of the layers that form the lower model, and the chunk size."""

    name: str
    layer_fraction: float
    chunk_tokens: int

    def lower_layers(self, total_layers: int) -> int:
        """M for a base model of N layers, at least one."""
        return max(1, int(total_layers * self.layer_fraction))


PRESETS: Mapping[str, Preset] = {
    "paper-sft": Preset("paper-sft", 1 / 2, 512),
    "paper-lm": Preset("paper-lm", 1 / 8, 1024),
}
DEFAULT_PRESET = "paper-sft"
_PRESETS = tuple(PRESETS)


def _knob(
    default: Any, help: str, check: Callable[[Any], str | None] | None = None, choices: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"help": help, "check": check, "choices": choices})


def _at_least(minimum: float) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        fits = value is None or (isfinite(value) and value >= minimum)
        return None if fits else f"must be at least {minimum:g}"

    return check


def _from_to(minimum: float, maximum: float) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if value is None or minimum <= value <= maximum else f"must be from {minimum} to {maximum}"

    return check


def _device(value: str) -> str | None:
    kind, _, ordinal = value.partition(":")
    if kind in ("auto", "cpu", "mps") and not ordinal:
        return None
    if kind == "cuda" and (not ordinal or ordinal.isdigit()):
        return None
    return "must be auto, cpu, cuda, cuda:0 (a number), or mps"


def _fraction(value: float | None) -> str | None:
    return None if value is None or 0 < value <= 1 else "must be above 0 and at most 1"


@dataclass(frozen=True)
class Settings:
    """What a user can set; flag over environment (`SHAREDLLM_…`) over configuration file over these defaults."""

    model: str = _knob(DEFAULT_MODEL, "Base model: a registered name, a folder, a GGUF file or a hub id.")
    adapter: str | None = _knob(None, "Adapter folder; by default the one shipped for the base model.")
    device: str = _knob("auto", "Where to run: auto, cpu, cuda, cuda:N or mps.", _device)
    quantize: str = _knob(
        "auto",
        "Load the weights in 4 or 8 bits; auto: 8bit on a CPU, 4bit on CUDA for models of 1B parameters and more.",
        choices=("auto", "none", "8bit", "4bit"),
    )
    dtype: str = _knob(
        "auto",
        "Floating-point type; auto: bfloat16 on a GPU or a CPU that computes in it, else float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    attention: str = _knob(
        "auto",
        "Attention kernel; auto: flash-attn on CUDA if it is installed, else torch's sdpa.",
        choices=("auto", "sdpa", "flash", "eager"),
    )
    offline: bool = _knob(False, "Never use the network.")
    preset: str | None = _knob(
        None, "Published tree settings; by default the adapter's, or paper-sft.", choices=_PRESETS
    )
    lower_layers: int | None = _knob(
        None, "Layers of the lower model (M); by default the adapter's, or the preset's.", _at_least(1)
    )
    chunk_tokens: int | None = _knob(None, "Tokens per chunk; by default the adapter's, or the preset's.", _at_least(8))
    tree_height: int | None = _knob(
        None, "Levels of the tree below its root (h); by default the adapter's, or 3.", _at_least(1)
    )
    ratios: str | None = _knob(
        None, "Compression ratio of each level, coarse to fine (α); by default the adapter's, or 16,8,4."
    )
    encoding: str | None = _knob(
        None,
        "Encode each node alone, or each chunk once (a third of the work); by default the adapter's, or node.",
        choices=ENCODINGS,
    )
    injection: str = _knob("merged", "Form of the cross-attention when no adapter is trained.", choices=INJECTIONS)
    stored_dtype: str = _knob("int8", "Type of the stored keys and values.", choices=STORED_DTYPES)
    index_dir: str | None = _knob(None, "Folder of the indexes; by default in the user's data folder.")
    policy: str = _knob("hybrid", "How passages and nodes are scored for a question.", choices=POLICIES)
    evidence_tokens: int | None = _knob(
        None,
        "Tokens of verbatim passages in the prompt; 0: the tree alone. By default the adapter's number, or 1,024.",
        _at_least(0),
    )
    tree: bool | None = _knob(
        None, "Read the context tree beside the passages; by default if the adapter answers better with it."
    )
    grains: str = _knob(
        "text",
        "How passages are read: text, or fine: their keys and values from the index, where `index --grains fine`"
        " stored them.",
        choices=GRAINS,
    )
    refuse_from: float | None = _knob(
        None,
        "Say 'The document does not say.' when its probability is at least X, and never below; 1: as "
        "decoded. By default the adapter's.",
        _fraction,
    )
    candidates: int | None = _knob(
        None,
        "Number of candidate answers to compare (beam search); 1 streams the likeliest. By default the "
        "adapter's, or 1.",
        _from_to(1, 16),
    )
    max_new_tokens: int = _knob(256, "Longest answer, in tokens.", _at_least(1))
    temperature: float = _knob(0.0, "Sampling temperature; 0: always the likeliest token.", _at_least(0))
    top_p: float = _knob(1.0, "Sample from the smallest set of tokens whose probabilities add up to X.", _fraction)
    seed: int = _knob(0, "Random seed of sampling; without effect at temperature 0.", _from_to(0, MOST_SEED))
    cuda_graphs: bool = _knob(
        False,
        "Record a decode step and replay it (experimental; one CUDA GPU, --attention sdpa).",
    )
    system: str | None = _knob(None, "System prompt instead of the built-in one.")
    password: str | None = _knob(None, "Password of an encrypted PDF.")
    read_seconds: float = _knob(
        READ_SECONDS, "Give up a document whose reading makes no progress for X seconds.", _from_to(1, 86_400)
    )
    read_memory: float = _knob(
        READ_MEMORY, "Give up a document whose reading takes more than X GiB of memory.", _from_to(0.5, 1024)
    )
    ocr: bool = _knob(
        False, "Recognise the text of pages that are pictures, and of image files; needs the extra `ocr`."
    )
    serve: bool = _knob(True, "Ask a running `sharedllm serve` of this user with the same model, if there is one.")
    save: bool = _knob(True, "Keep the conversation and the input history on disk, readable by this user alone.")

    def __post_init__(self) -> None:
        if self.password:  # typed or pasted, an umlaut may come as two characters, which no PDF's password has
            object.__setattr__(self, "password", unicodedata.normalize("NFC", self.password))
        for knob in fields(self):
            value = getattr(self, knob.name)
            choices, check = knob.metadata["choices"], knob.metadata["check"]
            if choices and value is not None and value not in choices:
                raise UsageError(f"{flag(knob)} can't be {value!r}", hint=f"choose one of {', '.join(choices)}")
            if check and (problem := check(value)):
                raise UsageError(f"{flag(knob)} {problem}, got {value!r}")
        self.tree_config()

    def passage_budget(self, trained: int | None = None) -> int:
        """Tokens of verbatim passages: those that the user asks for, else those that the adapter answers best from."""
        if self.evidence_tokens is not None:
            return self.evidence_tokens
        return EVIDENCE_TOKENS if trained is None else trained

    def tree_config(self, trained: TreeConfig | None = None) -> TreeConfig:
        """The tree to build: the one the adapter was trained on, else the preset's; explicit settings over both."""
        tree = trained if trained is not None and self.preset is None else TreeConfig(self._preset.chunk_tokens)
        ratios = tree.ratios
        if self.ratios is not None:
            try:
                ratios = tuple(int(ratio) for ratio in self.ratios.split(","))
            except ValueError:
                raise UsageError(f"--ratios must be whole numbers joined by commas, got {self.ratios!r}") from None
        return TreeConfig(
            tree.chunk_tokens if self.chunk_tokens is None else self.chunk_tokens,
            tree.height if self.tree_height is None else self.tree_height,
            ratios,
            tree.encoding if self.encoding is None else cast(Encoding, self.encoding),
        )

    @property
    def _preset(self) -> Preset:
        return PRESETS[self.preset or DEFAULT_PRESET]

    def injection_config(self, total_layers: int) -> InjectionConfig:
        """The untrained injection these settings ask for, for a base model of N layers; UsageError if M > N."""
        lower_layers = self._preset.lower_layers(total_layers) if self.lower_layers is None else self.lower_layers
        if lower_layers > total_layers:
            raise UsageError(f"--lower-layers {lower_layers} is more than the model's {total_layers} layers")
        form: Injection = "additive" if self.injection == "additive" else "merged"
        return InjectionConfig(form=form, lower_layers=lower_layers)


OF_A_QUESTION = (
    *("policy", "evidence_tokens", "tree", "grains", "refuse_from", "candidates", "max_new_tokens", "temperature"),
    *("top_p", "seed", "cuda_graphs", "system", "password", "read_seconds", "read_memory", "ocr"),
)
"""Settings that a loaded model takes anew for each question (those of reading: whenever documents are opened)."""


def flag(knob: Field[Any]) -> str:
    """The command-line flag of a knob: `max_new_tokens` is `--max-new-tokens`."""
    return "--" + knob.name.replace("_", "-")


def environment_name(knob: Field[Any]) -> str:
    """The environment variable of a knob: `model` is `SHAREDLLM_MODEL`."""
    return "SHAREDLLM_" + knob.name.upper()


def known_setting(name: str) -> Field[Any]:
    """The setting of a name as the file or a flag spells it; UsageError with the nearest one for an unknown name."""
    known = {knob.name: knob for knob in fields(Settings)}
    plain = name.strip().removeprefix("--").replace("-", "_").lower()
    if plain not in known:
        raise UsageError(f"unknown setting {name!r:.80}", hint=_near(plain))
    return known[plain]


def setting_from_text(name: str, text: str) -> Any:
    """A setting's value from text, as the environment gives it; UsageError where it can't be read as its type."""
    return _parsed(known_setting(name), text, name)


def _near(name: str) -> str:
    known = sorted(knob.name for knob in fields(Settings))
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean: {near[0]}" if near else f"known: {', '.join(known)}"


@dataclass(frozen=True)
class Resolved:
    """Settings and where each came from: `flag`, `environment`, `file` or `default`."""

    settings: Settings
    origins: Mapping[str, str]


def resolve(flags: Mapping[str, Any], environment: Mapping[str, str], file: Mapping[str, Any]) -> Resolved:
    """Merge the four origins of each setting: flag (not None) over environment over file over default.

    Raises UsageError for an unknown key of the file and for a value of the wrong type, naming where it stands.
    """
    known = {knob.name: knob for knob in fields(Settings)}
    for key in file:
        if key.replace("-", "_") not in known:
            raise UsageError(f"unknown setting {key!r} in the configuration file", hint=_near(key.replace("-", "_")))
    from_file = {key.replace("-", "_"): value for key, value in file.items()}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, knob in known.items():
        if flags.get(name) is not None:
            values[name], origins[name] = flags[name], "flag"
        elif environment.get(environment_name(knob), "") != "":
            values[name] = _parsed(
                knob, environment[environment_name(knob)], f"environment variable {environment_name(knob)}"
            )
            origins[name] = "environment"
        elif name in from_file:
            values[name] = _parsed(knob, from_file[name], f"setting {name!r} in the configuration file")
            origins[name] = "file"
        else:
            origins[name] = "default"
    return Resolved(replace(Settings(), **values), origins)


def _parsed(knob: Field[Any], value: Any, where: str) -> Any:
    """A value of the environment (always text) or the file (typed) as the knob's own type."""
    kind = str(knob.type).split(" | ")[0]
    if kind == "bool":
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise UsageError(f"{where} must be true or false, got {value!r}")
    try:
        converter: Callable[[Any], Any] = {"int": int, "float": float, "str": str}[kind]
        if kind == "int" and isinstance(value, float):
            raise ValueError
        return converter(value)
    except (TypeError, ValueError):
        raise UsageError(f"{where} must be a {'whole number' if kind == 'int' else 'number'}, got {value!r}") from None
