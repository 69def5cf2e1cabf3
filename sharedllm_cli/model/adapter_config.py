"""What an adapter was made for, how it reads, and where it lies: its configuration without its weights.

Imports no torch, so that commands which only describe an adapter stay quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sharedllm_cli
from sharedllm_cli.config import InjectionConfig, Settings, TreeConfig
from sharedllm_cli.errors import ModelError, UsageError

FORMAT_VERSION = 1
CONFIG_FILE = "adapter.json"

ATTENTION_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS = (*ATTENTION_TARGETS, "gate_proj", "up_proj", "down_proj")
MOST_RANK = 1024
MOST_ALPHA = 1e6
MOST_BIAS = 1e3
MOST_CHUNK_TOKENS = 1 << 20
"""Far more than any adapter has: a larger number is damage, or meant to break what is computed with it."""
UNTRAINED = "none"
"""`--adapter none` asks for the base model with an untrained injection, which reads no tree."""


@dataclass(frozen=True)
class LowRankConfig:
    """Low-rank additions: their rank, scale α (the addition is α / rank · up(down(x))), layers and linear maps.

    `layers` are above the lower model. `shared_layers` are injected ones, which the lower model shares: there the
    additions act in the upper model alone, on its prompt, so that stored trees stay what they are.
    """

    rank: int
    alpha: float
    layers: tuple[int, ...]
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    shared_layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter was made for and how it reads.

    `shape` is the base model's (layers, hidden size, heads, key/value heads, head dimension): an adapter fits no other.
    `trained` is the provenance of its last run (objective, data, steps, versions, date, and the hashes of the weights
    that it and its parents began from), None for an untrained one. `beside_passages`:
    whether it answers better where the tree is read beside verbatim passages; one that does not reads it alone.
    `refuse_from`: the answer is "The document does not say." when that sentence's probability is at least this, chosen
    on training data; None leaves it to decoding. `evidence_tokens`: the number of tokens of verbatim passages with
    which it answers best, by the same data; None where that was not measured. `text_bias` b: where a text is continued
    after its tree of S keys and no question is asked (`eval ppl`), b − log(S / 512) is added to the gates, so that the
    tree's share of the attention does not grow with S. b was chosen on training texts; None leaves the gates as they
    are. `candidates`: number of answers to compare (`generation/decoding.py`); None for the likeliest alone. `kinds`:
    it learned the rule of each kind of question (`answering/kinds.py`), which then stands in its prompts.
    """

    base: str
    shape: tuple[int, int, int, int, int]
    injection: InjectionConfig
    tree: TreeConfig
    low_rank: LowRankConfig | None = None
    base_weights: str | None = None
    trained: Mapping[str, Any] | None = field(default=None)
    beside_passages: bool = True
    refuse_from: float | None = None
    evidence_tokens: int | None = None
    text_bias: float | None = None
    candidates: int | None = None
    kinds: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields of `adapter.json`, which `from_json` reads."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> AdapterConfig:
        """Known keys are read, unknown ones ignored, and missing optional ones take their defaults.

        Raises ModelError where the text is not that of an adapter of this format version.
        """
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelError(f"the adapter has format version {version}, this program reads {FORMAT_VERSION}")
        injection = data.get("injection")
        if isinstance(injection, Mapping) and injection.get("length_bias"):
            raise ModelError(
                "the adapter reads the tree with a length bias, which this program no longer has",
                hint="train it again without --length-bias",
            )
        try:
            return _read(data)
        except (TypeError, ValueError, UsageError) as error:
            raise ModelError(f"{CONFIG_FILE} is not an adapter's configuration: {error}") from error


def _read(data: Mapping[str, Any]) -> AdapterConfig:
    """The configuration of known keys; TypeError, ValueError or UsageError for a value that can't be."""
    layers, hidden, heads, key_value_heads, head_dim = _each(data, "shape", int)
    injection, tree, low_rank = (
        _one(data, "injection", dict),
        _one(data, "tree", dict),
        _one(data, "low_rank", dict, None),
    )
    config = AdapterConfig(
        base=_one(data, "base", str),
        shape=(layers, hidden, heads, key_value_heads, head_dim),
        injection=InjectionConfig(
            _one(injection, "form", str),
            _one(injection, "lower_layers", int),
            _one(injection, "first_layer", int, 0),
            _one(injection, "gates", str, "layer"),
        ),
        tree=TreeConfig(
            _one(tree, "chunk_tokens", int),
            _one(tree, "height", int),
            _each(tree, "ratios", int),
            _one(tree, "encoding", str, "node"),
        ),
        low_rank=None
        if low_rank is None
        else LowRankConfig(
            _one(low_rank, "rank", int),
            _one(low_rank, "alpha", float),
            _each(low_rank, "layers", int),
            _each(low_rank, "targets", str),
            _each(low_rank, "shared_layers", int, []),
        ),
        base_weights=_one(data, "base_weights", str, None),
        trained=_one(data, "trained", dict, None),
        beside_passages=_one(data, "beside_passages", bool, True),
        refuse_from=_one(data, "refuse_from", float, None),
        evidence_tokens=_one(data, "evidence_tokens", int, None),
        text_bias=_one(data, "text_bias", float, None),
        candidates=_one(data, "candidates", int, None),
        kinds=_one(data, "kinds", bool, False),
    )
    if config.low_rank is not None:
        _check_low_rank(config.low_rank, layers)
    if config.text_bias is not None and not abs(config.text_bias) <= MOST_BIAS:
        raise ValueError(f"text_bias is {config.text_bias}")
    if config.tree.chunk_tokens > MOST_CHUNK_TOKENS or max(config.tree.ratios) > MOST_CHUNK_TOKENS:
        raise ValueError(f"the tree's chunk size is {config.tree.chunk_tokens}, its ratios {config.tree.ratios}")
    Settings(  # the same bounds as for the user's own
        refuse_from=config.refuse_from, evidence_tokens=config.evidence_tokens, candidates=config.candidates
    )
    return config


def _check_low_rank(low_rank: LowRankConfig, layers: int) -> None:
    """ValueError for low-rank weights that no layer has room for, before memory is taken for them."""
    if not 1 <= low_rank.rank <= MOST_RANK:
        raise ValueError(f"rank is {low_rank.rank}, from 1 to {MOST_RANK} can be read")
    if not abs(low_rank.alpha) <= MOST_ALPHA:
        raise ValueError(f"alpha is {low_rank.alpha}")
    places = (*low_rank.layers, *low_rank.shared_layers)
    if len(set(places)) < len(places) or not all(0 <= place < layers for place in places):
        raise ValueError(f"layers are {list(places)[:8]}, of {layers}, each at most once")


def _one(data: Mapping[str, Any], key: str, kind: type, *default: Any) -> Any:
    """The value of a key, which must be there unless a default is given, and null only where that is None."""
    if key not in data:
        if not default:
            raise ValueError(f"{key} is missing")
        return default[0]
    value = data[key]
    if value is None and default == (None,):
        return None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{key} is {value!r}, which is no {kind.__name__}")
    return value


def _each(data: Mapping[str, Any], key: str, kind: type, *default: Any) -> tuple[Any, ...]:
    """The values of a key's list, all of one type."""
    values = data[key] if isinstance(data.get(key), tuple) else _one(data, key, list, *default)
    return tuple(_one({key: value}, key, kind) for value in values)


def read_config(folder: Path) -> AdapterConfig:
    """The configuration of an adapter's folder, without its weights."""
    try:
        data = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not an adapter: it has no {CONFIG_FILE}", hint="give --adapter the folder that training wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{CONFIG_FILE} in {folder} can't be read: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{CONFIG_FILE} in {folder} is not an adapter's configuration")
    return AdapterConfig.from_json(data)


def adapter_folder(settings: Settings, base_name: str) -> Path | None:
    """The adapter's folder: the user's, else the one shipped in the package, else None for an untrained one."""
    if settings.adapter == UNTRAINED:
        return None
    if settings.adapter is not None:
        return Path(settings.adapter).expanduser()
    shipped = Path(sharedllm_cli.__file__).parent / "adapters" / base_name
    return shipped if (shipped / CONFIG_FILE).is_file() else None


def adapter_config(settings: Settings, base_name: str) -> AdapterConfig | None:
    """The configuration of the adapter that would be loaded, without loading anything."""
    folder = adapter_folder(settings, base_name)
    return None if folder is None else read_config(folder)


def tree_config(settings: Settings, base_name: str) -> TreeConfig:
    """The tree that documents are cut into under these settings: the adapter's own unless the user asks for another."""
    config = adapter_config(settings, base_name)
    return settings.tree_config(None if config is None else config.tree)


def passage_budget(settings: Settings, base_name: str) -> int:
    """Tokens of verbatim passages under these settings: the adapter's own unless the user asks for others."""
    config = adapter_config(settings, base_name)
    return settings.passage_budget(None if config is None else config.evidence_tokens)


def wants_tree(settings: Settings, config: AdapterConfig) -> bool:
    """Whether the user, or else the adapter, wants the tree read: whether some gate is open its weights know."""
    if settings.tree is False:
        return False
    return bool(settings.tree) or settings.evidence_tokens == 0 or config.beside_passages


def candidate_count(settings: Settings, config: AdapterConfig | None) -> int:
    """Number of candidate answers to compare: the user's, else the adapter's.

    1 where answers are drawn by chance, or where the user's own system prompt may ask for other answers than the
    adapter gives.
    """
    if settings.temperature:
        return 1
    own = None if config is None or settings.system else config.candidates
    return settings.candidates or own or 1


def left_to_adapter(settings: Settings, base_name: str) -> dict[str, Any]:
    """What those settings come to that nobody gave and the adapter decides, by the setting's name; empty without one.

    Raises ModelError for a folder that is no adapter, UsageError for settings of a tree that can't be.
    """
    config = adapter_config(settings, base_name)
    if config is None:
        return {}
    decided: dict[str, Any] = {
        "evidence_tokens": config.evidence_tokens,
        "tree": config.beside_passages or settings.evidence_tokens == 0,
        "refuse_from": None if settings.system else config.refuse_from,
        "candidates": None if settings.system or settings.temperature else config.candidates,
    }
    if settings.preset is None:
        tree = settings.tree_config(config.tree)
        decided |= {
            "lower_layers": config.injection.lower_layers,
            "chunk_tokens": tree.chunk_tokens,
            "tree_height": tree.height,
            "ratios": ",".join(map(str, tree.ratios)),
            "encoding": tree.encoding,
        }
    return {name: value for name, value in decided.items() if value is not None and getattr(settings, name) is None}


def tree_layers(settings: Settings, base_name: str, total_layers: int) -> range:
    """The layers whose keys and values trees hold, bottom first; their end is M: those that the adapter injects into.

    Where the user names a preset or M (a larger one serves a smaller one), or there is no adapter, they begin at 0:
    such trees serve any adapter of that M.
    """
    config = adapter_config(settings, base_name)
    asked = settings.injection_config(total_layers).lower_layers
    if config is None:
        return range(asked)
    explicit = settings.lower_layers is not None or settings.preset is not None
    return range(max(asked, config.injection.lower_layers)) if explicit else config.injection.layers
