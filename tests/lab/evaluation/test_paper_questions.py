"""Questions about papers themselves, made from their heads."""

from __future__ import annotations

import json
from pathlib import Path

from sharedllm_cli.lab.evaluation.paper_questions import main
from sharedllm_cli.lab.training.records import read_records
from sharedllm_cli.progress import Silent

PAPER = "On Lamps\n\nhttps://example.org/1\n\nAuthors: Roe, Jane; Poe, Tom\nDate: 2016-06-28\n\nLamps burn oil."
NAMELESS = "On Bees\n\nAuthors: nan\n\nBees fly."


def test_what_a_paper_s_head_says_is_asked(tmp_path: Path) -> None:
    lines = [{"doc_id": str(place), "document": text, "qas": []} for place, text in enumerate(("Old", PAPER, NAMELESS))]
    (tmp_path / "papers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "asked.jsonl"
    assert main([str(tmp_path / "papers.jsonl"), "--last", "2", "--out", str(out)]) == 0
    first, second = read_records(out, skip_bad_lines=False, reporter=Silent())
    assert {one.question: one.answers for one in first.questions} == {
        "What is the title of this paper?": ("On Lamps",),
        "What is this paper about?": ("On Lamps",),
        "Who are the authors of this paper?": ("Roe, Jane; Poe, Tom", "Roe, Jane", "Poe, Tom"),
        "When was this paper published?": ("2016-06-28", "2016"),
    }
    assert [one.answers for one in second.questions] == [("On Bees",), ("On Bees",)]
