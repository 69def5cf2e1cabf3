"""Questions about papers themselves: author, title, date and subject, which no question-answering data ask.

    python -m sharedllm_cli.lab.evaluation.paper_questions covidqa.train.jsonl.xz --last 40 --out papers.jsonl

A paper begins with its title on a line, and has lines `Authors: …` and `Date: …` in its head. The answers are taken
from these lines; a paper without one is not asked for it. What a paper is about is answered by its title.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sharedllm_cli.durable import replace_bytes
from sharedllm_cli.errors import exit_with
from sharedllm_cli.lab.training.records import Record, read_records
from sharedllm_cli.progress import Silent

_HEAD = 2_000
"""Characters of a paper in which its head is looked for."""
_AUTHORS = re.compile(r"^Authors: (?!nan$)(.+)$", re.MULTILINE)
_DATE = re.compile(r"^Date: ((\d{4})-\d\d-\d\d)$", re.MULTILINE)


def questions(record: Record) -> Iterator[tuple[str, list[str]]]:
    """Questions about a paper with their accepted answers, the preferred one first."""
    head = record.document[:_HEAD]
    title = head.lstrip().split("\n", 1)[0].strip()
    if title:
        yield "What is the title of this paper?", [title]
        yield "What is this paper about?", [title]
    if authors := _AUTHORS.search(head):
        names = [name.strip() for name in authors[1].split(";")]
        yield "Who are the authors of this paper?", [authors[1].strip(), *names]
    if date := _DATE.search(head):
        yield "When was this paper published?", [date[1], date[2]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the questions as data for `eval qa`; DocumentError where the papers can't be read."""
    parser = argparse.ArgumentParser(prog="python -m sharedllm_cli.lab.evaluation.paper_questions")
    parser.add_argument("data", type=Path)
    parser.add_argument("--last", type=int, help="only the last papers of the file")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    records = read_records(given.data, skip_bad_lines=False, reporter=Silent(), unanswerable=True)
    lines = []
    for record in records[-given.last :] if given.last else records:
        asked = [
            {"id": str(number), "question": question, "answers": answers}
            for number, (question, answers) in enumerate(questions(record))
        ]
        data = {"doc_id": record.doc_id, "title": record.title, "document": record.document, "qas": asked}
        lines.append(json.dumps(data, ensure_ascii=False) + "\n")
    replace_bytes(given.out, "".join(lines).encode())
    return 0


if __name__ == "__main__":
    exit_with(main)
