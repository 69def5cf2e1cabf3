"""What docs and code say of each other is there: files, names, sections, headings. Lines of docs fit a window."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POINTERS = re.compile(r"`([\w./]+\.py)(?:: ([^`]+))?`")
DOCUMENTS = (
    "architecture.md",
    "method.md",
    "index-format.md",
    "training.md",
    "evaluation.md",
    "results.md",
    "serving.md",
)

CARDS = sorted((ROOT / "sharedllm_cli" / "adapters").rglob("CARD.md"))
PAGES = [
    *(ROOT / "README.md", ROOT / "CHANGELOG.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "findings").glob("*.md")),
    *CARDS,
]
SOURCES = [path for folder in ("sharedllm_cli", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]

LINE = 120
FREE_LINES = {
    "docs/cli.md": "generated from the help texts",
    "docs/examples/handbook.md": "an example document, a paragraph a line, from which a PDF is made",
}

METHOD_PAGE = ROOT / "docs" / "method.md"
CITATION = re.compile(r"method\.md §(\d+(?:\.\d+)?)(?: to §(\d+(?:\.\d+)?))?")
FORMER_NAME = re.compile(r"\bMETH" + r"OD\b")
"""What code cited before the method was a page of docs/: no file of the repository."""
DOCS_PATH = re.compile(r"(?<![\w/])docs/[\w./-]*[\w/]")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_points_at_is_there(document: str) -> None:
    found = POINTERS.findall((ROOT / "docs" / document).read_text("utf-8"))
    assert found
    for path, names in found:
        places = [place for place in (ROOT / "sharedllm_cli" / path, ROOT / path) if place.is_file()]
        places += list((ROOT / "sharedllm_cli").rglob(path)) if "/" not in path else []
        assert places, f"there is no {path}"
        text = "\n".join(place.read_text("utf-8") for place in places)
        for word in re.findall(r"\w+", re.sub(r"\[[^]]*\]|\([^)]*\)", "", names)):
            assert re.search(rf"\b{word}\b", text), f"{path} has no {word}"


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) not in FREE_LINES], ids=name)
def test_lines_fit_a_window(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert [f"line {number}: {len(line)}" for number, line in enumerate(lines, 1) if len(line) > LINE] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_sections_of_the_method_are_numbered() -> None:
    numbers = re.findall(r"^## §(\d+) ", METHOD_PAGE.read_text("utf-8"), re.M)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(re.findall(r"^## ", METHOD_PAGE.read_text("utf-8"), re.M)) == len(numbers)


def test_cited_sections_of_the_method_are_there() -> None:
    sections = set(re.findall(r"^#+ §([\d.]+) ", METHOD_PAGE.read_text("utf-8"), re.M))
    cited = 0
    for path in [*SOURCES, *PAGES]:
        for numbers in CITATION.findall(path.read_text("utf-8")):
            cited += 1
            for number in filter(None, numbers):
                assert number in sections, f"{name(path)} cites §{number}"
    assert cited >= 38


def test_the_method_cites_its_own_sections() -> None:
    text = METHOD_PAGE.read_text("utf-8")
    assert set(re.findall(r"§([\d.]*\d)", text)) <= set(re.findall(r"^#+ §([\d.]+) ", text, re.M))


def test_nothing_cites_the_method_by_its_former_name() -> None:
    assert [name(path) for path in [*SOURCES, *PAGES] if FORMER_NAME.search(path.read_text("utf-8"))] == []


def test_the_pages_of_docs_that_are_named_are_there() -> None:
    for path in [*SOURCES, *(page for page in PAGES if name(page) not in FREE_LINES)]:
        archive = (ROOT / "docs" / "log") in path.parents
        for named in () if archive else DOCS_PATH.findall(path.read_text("utf-8")):
            assert (ROOT / named).exists(), f"{name(path)} names {named}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_headings_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if anchor and not re.match(r"[a-z]+:", target):
            there = page.parent / path if path else page
            assert anchor in anchors(there), f"{name(page)}: {target}"


@pytest.mark.parametrize("card", CARDS, ids=name)
def test_links_of_a_card_lead_somewhere(card: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", card.read_text("utf-8")):
        assert re.match(r"[a-z]+:|#", target) or (card.parent / target.partition("#")[0]).exists(), target


RIDDLES = re.compile(
    r"\b(?:stands?|stood|running text|so many|(?:is|are|was|were|be) told|tells?|of which|knows? nothing of|unsaid"
    r"|silenced?|hopeless|beforehand|processors?|weighed|held against|speaks?|met with|lies|carries)\b",
    re.IGNORECASE,
)
"""Words that a reader must translate: a thing is, says, has, contains or returns; CPU; disabled; ranked; compared."""
SAID = frozenset({"argument", "hint", "line", "note", "option", "say", "warn", "_knob", "Typer"})
"""Functions whose words a user reads, as are those of every error."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name not in ("log", "examples")], ids=name)
def test_pages_are_in_plain_words(page: Path) -> None:
    """Also the help of every command: docs/cli.md is made of it. Quoted output and code may have any words."""
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`|\"[^\"\n]*\"", "", page.read_text("utf-8"), flags=re.M | re.S)
    assert RIDDLES.findall(text) == []


def said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of what code says to its user: errors, hints, notes, warnings and help."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func).split(".")[-1]
            if function in SAID or function.endswith("Error"):
                for given in [*node.args, *(keyword.value for keyword in node.keywords)]:
                    for part in ast.walk(given):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.lineno, part.value


def test_errors_notes_and_help_are_in_plain_words() -> None:
    found = [
        f"{name(path)}:{line}: {words}"
        for path in sorted((ROOT / "sharedllm_cli").rglob("*.py"))
        for line, words in said(ast.parse(path.read_text("utf-8")))
        if RIDDLES.search(words)
    ]
    assert found == []
