"""Questions of yes or no made from sentences that say what is or may be, and from as many that deny it.

    python -m sharedllm_cli.lab.training.denials --data squad.train.jsonl.xz --data manuals.jsonl --out denials.jsonl

`Negative indices are not allowed in index matrices.` becomes `Are negative indices allowed in index matrices?` with the
answer `No. ` and the sentence. Other data have twice as many answers of yes as of no, from which a model learns to say
yes before a reason that says no. Here each verb of a question (`is`, `may`, `must` …) has as many of either, over all
files, so that nothing but the sentence tells which.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharedllm_cli.answering.kinds import Kind, kind_of
from sharedllm_cli.lab.training.reasons import Sentence, sentences
from sharedllm_cli.lab.training.records import Record, read_records
from sharedllm_cli.progress import Silent

MOST_A_DOCUMENT = 12
LEAST_WORDS = 6
MOST_WORDS = 40

_VERBS = "is|are|was|were|can|could|may|must|should|shall|will|would"
_STATED = re.compile(
    rf"(?P<subject>[A-Z][\w'’./-]*(?: [\w'’./-]+){{0,5}}?) (?P<verb>{_VERBS})(?P<denied> ?not| never|n?['’]t)? "
    r"(?P<rest>[a-z][^:;?!()\"“”]*)\.",
)
_NO_SUBJECT = re.compile(
    r"(?:it|this|that|these|those|they|he|she|i|there|here|if|when|while|as|in|on|at|for|to|but|and|or|so|however|"
    r"then|also|note|what|which|who|where|how|why|because|since|although|though|by|with|from|after|before|during|"
    r"under|such|some|both|each|every|all|any|no|none|neither|nothing|nobody|one|another|other|others|its|their|his|"
    r"her|instead|perhaps|maybe|finally|moreover|furthermore|thus|hence|therefore|sometimes|usually|often|today|now|"
    r"once|unless|until|following|according|depending|first|second|third|last|most|many|much|few|more|less|only|"
    r"even|just|not)",
    re.IGNORECASE,
)
"""Words that begin no subject, or one that another sentence names."""
_CLAUSE = re.compile(
    rf"\b(?:that|which|who|whom|whose|if|when|where|because|while|{_VERBS}|has|have|had|do|does|did)\b"
)
"""Words of a subject that is a clause, so that the verb after it may belong to something else."""
_BOUND = re.compile(
    r"\b(?:unless|except|until|only|just|necessarily|always|merely|simply|but|although|however|while|whereas|if|"
    r"not|no|never|neither|nor|none|nothing|without|rather|instead|so|yet|as|too|enough|anymore|longer|this|that|these|"
    r"those|it|they|he|she|them|him|her|his|their|its|below|above|here|following)\b"
)
"""Words after which yes or no is not the whole answer, or the sentence can't be understood alone."""


@dataclass(frozen=True)
class Made:
    """A question made from a sentence: its verb, and whether the sentence denies it."""

    verb: str
    denied: bool
    question: str
    sentence: Sentence
    document: int

    def line(self, identifier: str) -> dict[str, Any]:
        """The question as a line of a data file has it."""
        answer = f"{'No' if self.denied else 'Yes'}. {' '.join(self.sentence.text.split())}"
        evidence = [[self.sentence.start, self.sentence.end]]
        return {"id": identifier, "question": self.question, "answers": [answer], "evidence": evidence}


def made_from(sentence: Sentence, lowercase: frozenset[str], draw: random.Random, document: int = 0) -> Made | None:
    """The question that a sentence answers; None where it states nothing plainly.

    `lowercase`: the words that the document writes without a capital, as the subject of a question may be.
    """
    text = " ".join(sentence.text.split())
    found = _STATED.fullmatch(text)
    if found is None or not LEAST_WORDS <= len(text.split()) <= MOST_WORDS:
        return None
    subject, verb, rest = found["subject"], found["verb"], found["rest"].split(",")[0]
    first = subject.split()[0]
    if _NO_SUBJECT.fullmatch(first) or _CLAUSE.search(subject.lower()) or _BOUND.search(rest):
        return None
    if not 2 <= len(rest.split()) <= 16:
        return None
    if first.lower() in lowercase or first == "You":
        subject = subject[0].lower() + subject[1:]
    denied = bool(found["denied"])
    if denied and verb == "may":
        return None  # `may not` forbids, or says that something is possible
    if denied and verb == "must" and draw.random() < 0.5:
        verb = "may"
    question = f"{verb.capitalize()} {subject} {rest}?"
    return Made(verb, denied, question, sentence, document) if kind_of(question) is Kind.YES_NO else None


def all_made(records: Sequence[Record], draw: random.Random) -> Iterator[Made]:
    """Every question that can be made, document by document."""
    for number, record in enumerate(records):
        lowercase = frozenset(re.findall(r"\b[a-z]+\b", record.document))
        for sentence in sentences(record.document):
            if made := made_from(sentence, lowercase, draw, number):
                yield made


def balanced(made: Iterable[Made], draw: random.Random) -> list[Made]:
    """As many questions answered by yes as by no for every verb, in the order of the documents."""
    by: dict[tuple[str, bool], list[Made]] = defaultdict(list)
    of_document: dict[tuple[int, bool], int] = defaultdict(int)
    for one in made:
        if of_document[one.document, one.denied] < MOST_A_DOCUMENT:
            of_document[one.document, one.denied] += 1
            by[one.verb, one.denied].append(one)
    kept: list[Made] = []
    for verb in {verb for verb, _ in by}:
        fewest = min(len(by[verb, True]), len(by[verb, False]))
        kept += [one for denied in (True, False) for one in draw.sample(by[verb, denied], fewest)]
    return sorted(kept, key=lambda one: (one.document, one.sentence.start))


def lines(records: Sequence[Record], seed: int) -> Iterator[dict[str, Any]]:
    """The documents that have such questions, as lines of a data file."""
    draw = random.Random(seed)
    by_document: dict[int, list[Made]] = defaultdict(list)
    for one in balanced(all_made(records, draw), draw):
        by_document[one.document].append(one)
    for number, made in by_document.items():
        record = records[number]
        asked = [one.line(f"{record.doc_id}-yn-{place}") for place, one in enumerate(made)]
        yield {"doc_id": record.doc_id, "title": record.title, "document": record.document, "qas": asked}


def main() -> None:
    """Write a data file of questions of yes or no."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold-back", type=int, default=10, help="leave out the last N documents of each file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    records: list[Record] = []
    for path in given.data:
        read = read_records(path, skip_bad_lines=False, reporter=Silent())
        records += read[: -given.hold_back or None]
    with given.out.open("w", encoding="utf-8") as file:
        for line in lines(records, given.seed):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
