"""`search` and `read`: passages and pages without an answer, from the index of `ask`, without torch."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import pytest
from office_making import rows, xlsx
from pdf_making import make_pdf

from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console

PAGES = [
    ["The kiln", "The kiln is lit at dawn and burns for three days.", "Nobody opens the door before it is cold."],
    ["The glaze", "A glaze of wood ash is brushed on when the pots are dry.", "It melts and turns green."],
    ["Visitors", "Visitors pay four francs at the gate.", "The gate opens at nine and closes at six."],
]
NOTES = "# Bees\n\nThe bees fly to the clover at dawn.\n\n## Honey\n\nThe honey is spun in June.\n"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(model_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Ran]:
    (tmp_path / "pottery.pdf").write_bytes(make_pdf(PAGES))
    (tmp_path / "bees.md").write_text(NOTES)

    def called(command: str, *arguments: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        options = ["--model", str(model_folder())] if command == "search" else []
        given = [str(tmp_path / one) if one.endswith((".pdf", ".md", ".txt")) else one for one in arguments]
        code = run([command, *given, *options], Console(out, err))
        return Ran(code, out.getvalue(), err.getvalue())

    return called


def test_the_best_passage_comes_first_with_its_page_and_words(call: Callable[..., Ran]) -> None:
    ran = call("search", "pottery.pdf", "wood ash glaze")
    assert ran.code == 0
    first = ran.out.splitlines()[:2]
    assert "page 2" in first[0]
    assert "A glaze of wood ash is brushed on when the pots are dry." in first[1]
    assert ran.err == ""


def test_json_has_the_passages_and_which_words_were_found(call: Callable[..., Ran]) -> None:
    found = json.loads(call("search", "pottery.pdf", "bees.md", "dawn submarine", "--json").out)
    assert (found["policy"], found["matched"], found["missing"]) == ("bm25", ["dawn"], ["submarine"])
    assert {source["document"] for source in found["passages"]} == {"pottery.pdf", "bees.md"}
    assert "dawn" in found["passages"][0]["quote"]
    assert all(source["verified"] for source in found["passages"])
    assert all(source["score"] > 0 for source in found["passages"])
    scores = [source["score"] for source in found["passages"]]
    assert scores == sorted(scores, reverse=True)


def test_limit_and_min_score_bound_what_is_shown(call: Callable[..., Ran]) -> None:
    every = json.loads(call("search", "pottery.pdf", "bees.md", "dawn gate glaze", "--json").out)["passages"]
    assert len(every) > 2
    some = json.loads(call("search", "pottery.pdf", "bees.md", "dawn gate glaze", "--json", "--limit", "2").out)
    assert [source["quote"] for source in some["passages"]] == [source["quote"] for source in every[:2]]
    least = str(every[1]["score"])
    best = json.loads(call("search", "pottery.pdf", "bees.md", "dawn gate glaze", "--json", "--min-score", least).out)
    assert [source["score"] for source in best["passages"]] == [s["score"] for s in every if s["score"] >= float(least)]


def test_files_prints_paths_alone(call: Callable[..., Ran], tmp_path: Path) -> None:
    assert call("search", "pottery.pdf", "bees.md", "honey", "--files").out == f"{tmp_path / 'bees.md'}\n"


def test_pages_bound_the_search(call: Callable[..., Ran]) -> None:
    found = json.loads(call("search", "pottery.pdf", "gate dawn", "--pages", "1", "--json").out)
    assert {source["page"] for source in found["passages"]} == {1}


def test_words_that_stand_nowhere_are_named_and_nothing_is_shown(call: Callable[..., Ran]) -> None:
    ran = call("search", "pottery.pdf", "submarine")
    assert (ran.code, ran.out) == (0, "")
    assert "contain none of these words: submarine" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pottery.pdf",), "no query given"),
        (("kiln",), "no document given"),
        (("pottery.pdf", "kiln", "--limit", "0"), "--limit must be at least 1"),
        (("pottery.pdf", "kiln", "--policy", "paper-cosine"), "--policy must be one of"),
        (("pottery.pdf", "kiln", "--files", "--json"), "exclude each other"),
    ],
)
def test_wrong_usage_is_one_line(call: Callable[..., Ran], arguments: tuple[str, ...], message: str) -> None:
    ran = call("search", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_the_model_scores_for_the_other_policies(call: Callable[..., Ran]) -> None:
    found = json.loads(call("search", "pottery.pdf", "wood ash glaze", "--policy", "hybrid", "--json").out)
    assert found["policy"] == "hybrid"
    assert found["passages"][0]["page"] == 2


def test_neither_command_loads_torch(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bees.md").write_text(NOTES)
    program = f"""
import sys
from sharedllm_cli.cli.app import run
from sharedllm_cli.cli.terminal.console import Console
book = {str(tmp_path / "bees.md")!r}
assert run(["search", book, "honey", "--model", {str(model_folder())!r}], Console()) == 0
assert run(["read", book], Console()) == 0
print(*(name for name in ("torch", "sharedllm_cli.engine") if name in sys.modules), file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "The honey is spun in June." in ran.stdout
    assert ran.stderr.strip() == ""


def test_read_prints_pages_under_their_marks(call: Callable[..., Ran]) -> None:
    ran = call("read", "pottery.pdf", "--pages", "2-3")
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if line.startswith("[")] == ["[page 2]", "[page 3]"]
    assert "A glaze of wood ash is brushed on when the pots are dry." in ran.out
    assert "kiln" not in ran.out


def test_read_prints_a_format_without_pages_as_it_is(call: Callable[..., Ran]) -> None:
    ran = call("read", "bees.md")
    assert not ran.out.startswith("[")
    assert "The bees fly to the clover at dawn.\n\nHoney\n\nThe honey is spun in June." in ran.out


def test_read_prints_the_headings(call: Callable[..., Ran]) -> None:
    assert call("read", "bees.md", "--outline").out == "Bees\n  Honey\n"


def test_read_prints_a_section_alone(call: Callable[..., Ran]) -> None:
    ran = call("read", "bees.md", "--section", "honey")
    assert ran.out == "Honey\n\nThe honey is spun in June.\n\n"
    wrong = call("read", "bees.md", "--section", "hony")
    assert (wrong.code, wrong.out) == (2, "")
    assert "nearest are: Honey" in wrong.err


def test_read_gives_json(call: Callable[..., Ran]) -> None:
    found = json.loads(call("read", "pottery.pdf", "--pages", "3", "--json").out)
    assert (found["document"], found["kind"], found["page_count"]) == ("pottery.pdf", "pdf", 3)
    assert [page["page"] for page in found["pages"]] == [3]
    assert "four francs" in found["pages"][0]["text"]
    outline = json.loads(call("read", "bees.md", "--outline", "--json").out)
    assert [entry["title"] for entry in outline["outline"]] == ["Bees", "Honey"]
    assert "pages" not in outline


def test_what_can_not_be_read_is_an_error(call: Callable[..., Ran]) -> None:
    ran = call("read", "missing.pdf")
    assert (ran.code, ran.out) == (3, "")
    assert "does not exist" in ran.err


def test_a_page_without_any_of_the_words_is_not_found(call: Callable[..., Ran], tmp_path: Path) -> None:
    lines = [
        f"The {name} stands at the {place} of the yard" for name, place in zip("abcdefgh", "ijklmnop", strict=True)
    ]
    pages = [[*lines, "and at its far end the old brewer keeps his"], ["barley in a loft above the stable,", *lines]]
    (tmp_path / "split.pdf").write_bytes(make_pdf(pages))
    found = json.loads(call("search", "split.pdf", "barley", "--json").out)["passages"]
    assert {source["page"] for source in found} == {2}
    assert all("barley" in source["quote"] for source in found)


def test_a_section_that_is_not_on_the_pages_is_an_error(call: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(make_pdf([["Chapter 1: Mills", "They turn."], ["Chapter 2: Weirs", "Eels."]]))
    ran = call("read", "book.pdf", "--pages", "1", "--section", "chapter 2")
    assert (ran.code, ran.out) == (2, "")
    assert "nothing of it is on these pages" in ran.err
    assert "needs a heading" in call("read", "book.pdf", "--section", " ").err


def test_read_gives_json_that_names_carried_documents(call: Callable[..., Ran], tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "anna@harbour.example", "bo@harbour.example", "Rules"
    mail.set_content("See the rules.")
    mail.add_attachment(b"# Rules\n\nDues are twelve.\n", maintype="text", subtype="markdown", filename="rules.md")
    (tmp_path / "letter.eml").write_bytes(mail.as_bytes())
    found = json.loads(call("read", str(tmp_path / "letter.eml"), "--json").out)
    assert found["warnings"] == ["letter.eml carries documents of its own, which are not printed: rules.md"]


def test_read_names_the_parts_of_headings(call: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "sheet.xlsx").write_bytes(xlsx({"Dues": rows(["Anna", 12]), "Boats": rows(["Bella", 7])}))
    assert call("read", str(tmp_path / "sheet.xlsx"), "--outline").out == "Dues part 1\nBoats part 2\n"
