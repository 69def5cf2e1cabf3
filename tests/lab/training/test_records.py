"""Data files: every way they are stored reads alike, and a bad line is named."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from sharedllm_cli.errors import DocumentError, UsageError
from sharedllm_cli.lab.training.corpus import Split
from sharedllm_cli.lab.training.records import DataFile, read_records
from sharedllm_cli.progress import Silent

GOOD = {"doc_id": "a", "title": "A", "document": "Some text.", "other": 1}
GOOD["qas"] = [{"id": "1", "question": " What? ", "answers": ["  some\n text ", " "]}]


def test_plain_and_compressed_files_read_alike(tmp_path: Path) -> None:
    line = json.dumps(GOOD).encode() + b"\n\n"
    (tmp_path / "a.jsonl").write_bytes(line)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line))
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(line))
    read = [read_records(path, skip_bad_lines=False, reporter=Silent()) for path in sorted(tmp_path.iterdir())]
    assert read[0] == read[1] == read[2]
    (question,) = read[0][0].questions
    assert (question.question, question.answers) == ("What?", ("some text",))


BAD: list[tuple[bytes, str]] = [
    (b"{", "not JSON"),
    (b"[1]", "not a JSON object"),
    (b"\xff\xfe{}", "not UTF-8"),
    (json.dumps({**GOOD, "document": 3}).encode(), "no text 'document'"),
    (json.dumps({**GOOD, "document": " "}).encode(), "document is empty"),
    (json.dumps({**GOOD, "qas": {}}).encode(), "qas is not a list"),
    (json.dumps({**GOOD, "qas": [{"question": "q"}]}).encode(), "question 1 has no list of answers"),
    (json.dumps({**GOOD, "qas": [{"answers": ["x"]}]}).encode(), "question 1 has no text 'question'"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_line_is_named_and_skipped_or_fatal(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with pytest.raises(DocumentError) as caught:
        read_records(path, skip_bad_lines=False, reporter=Silent())
    assert f"{path}, line 2" in caught.value.message
    assert reason in caught.value.message
    reporter = Silent()
    assert len(read_records(path, skip_bad_lines=True, reporter=reporter)) == 1
    assert f"{path}, line 2" in reporter.warnings[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.write_bytes(b"\n"),
        lambda path: path.write_bytes(b"not xz"),
        lambda path: path.write_bytes(lzma.compress(json.dumps(GOOD).encode())[:-9]),
    ],
    ids=["missing", "empty", "no xz", "cut off"],
)
def test_a_file_that_can_t_be_read_is_a_document_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "data.jsonl.xz"
    make(path)
    with pytest.raises(DocumentError):
        read_records(path, skip_bad_lines=True, reporter=Silent())


def test_a_weight_is_what_stands_behind_the_last_equals_sign() -> None:
    assert DataFile.parse("a.jsonl") == DataFile(Path("a.jsonl"), 1.0)
    assert DataFile.parse("a=b.jsonl.xz=0.5") == DataFile(Path("a=b.jsonl.xz"), 0.5)
    assert DataFile.parse("a=b.jsonl") == DataFile(Path("a=b.jsonl"), 1.0)
    for weight in ("0", "-1", "nan", "inf"):
        with pytest.raises(UsageError):
            DataFile.parse(f"a.jsonl={weight}")


def test_training_validation_and_held_back_documents_are_disjoint(data_file: Path) -> None:
    records = read_records(data_file, skip_bad_lines=False, reporter=Silent())
    split = Split.of(records, hold_back=3, validation=2, path="x")
    assert split.training == records[:7]
    assert split.validation == records[7:9]
    with pytest.raises(DocumentError):
        Split.of(records, hold_back=9, validation=3, path="x")
