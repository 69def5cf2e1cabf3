"""What is stored is whole or absent, private, and told in one line where the system refuses it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from sharedllm_cli import durable
from sharedllm_cli.errors import ResourceError, UsageError


def test_a_block_that_raises_leaves_the_old_file_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    durable.replace_bytes(path, b"old")

    def write_half() -> None:
        with durable.replacing(path) as beside:
            beside.write_bytes(b"ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    with durable.replacing(path) as beside:
        beside.write_bytes(b"new")
        assert not path.exists()
        assert beside.parent == path.parent
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("sync_name", "syncs"), [(True, 2), (False, 1)])
def test_a_file_is_synced_once_and_its_name_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_name: bool, syncs: int
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    durable.replace_bytes(tmp_path / "kept.json", b"new", sync_name=sync_name)
    assert synced == [False, True][:syncs]
    assert (tmp_path / "kept.json").read_bytes() == b"new"


def test_written_files_and_folders_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    durable.make_private_folder(folder)
    durable.write_bytes(folder / "written", b"1")
    durable.append_line(folder / "appended", b"1")
    durable.replace_bytes(folder / "replaced", b"1")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777} == {0o700}


def test_a_file_and_its_bytes_have_one_hash(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    read: list[int] = []
    expected = hashlib.sha256(data).hexdigest()
    assert durable.sha256_of(tmp_path / "file", read.append) == durable.sha256_of_bytes(data) == expected
    assert sum(read) == len(data)
    assert durable.sha256_of_text("é\ud800") == durable.sha256_of_bytes(b"\xc3\xa9\xed\xa0\x80")


BIG = "raise the limit (ulimit -f), or choose another --out"


@pytest.mark.parametrize(
    ("number", "kind", "message", "hint"),
    [
        (errno.ENOSPC, ResourceError, "the disk of {} is full", "free some space, or choose another --out"),
        (errno.EFBIG, ResourceError, "a file in {} would be larger than this shell or disk allows", BIG),
        (errno.EIO, ResourceError, "{} can't be written: permission denied", "choose another --out"),
        (errno.EMFILE, ResourceError, "{} can't be written: permission denied", "choose another --out"),
        (errno.ENOTDIR, UsageError, "{} can't be written: permission denied", "choose another --out"),
        (errno.EACCES, UsageError, "{} can't be written: permission denied", "choose another --out"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_way_out(
    number: int, kind: type[ResourceError], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught, durable.writing(tmp_path, "choose another --out"):
        raise OSError(number, "Permission denied")
    assert (caught.value.message, caught.value.hint) == (message.format(tmp_path), hint)


def test_a_folder_that_no_one_can_make_is_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UsageError, match="can't be written: no folder can be made there"), durable.writing(tmp_path):
        durable.make_private_folder(tmp_path / "indexes")


def test_other_refusals_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), durable.writing(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")
