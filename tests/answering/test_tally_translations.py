"""Questions to count in four other languages are those in English."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.routing import may_ask_for_a_tally
from sharedllm_cli.answering.tally_translations import in_english
from sharedllm_cli.answering.tally_wording import tally_asked


@pytest.mark.parametrize(
    ("asked", "english"),
    [
        ("Welche Dokumente erwähnen die Winde?", "which documents mention Winde"),
        ("Welche Dateien erwähnen den Nebel nicht?", "which documents do not mention Nebel"),
        ("In wie vielen Berichten kommt die Winde vor?", "how many documents mention Winde"),
        ("Wie oft wird die Winde in brief.txt erwähnt?", "how often is Winde mentioned in brief.txt"),
        ("Wie viele Seiten hat das Handbuch?", "how many pages does Handbuch have"),
        ("Quels documents mentionnent le treuil ?", "which documents mention treuil"),
        ("Combien de documents ne mentionnent pas l'ancre ?", "how many documents do not mention ancre"),
        ("Combien de documents y a-t-il ?", "how many documents are there"),
        ("Combien de fois est mentionnée la cloche ?", "how often is cloche mentioned"),
        ("Welke documenten noemen de lier?", "which documents mention lier"),
        ("Hoe vaak wordt de lier genoemd in brief.txt?", "how often is lier mentioned in brief.txt"),
        ("Hoeveel pagina's heeft rapport.pdf?", "how many pages does rapport.pdf have"),
        ("¿Cuántos documentos mencionan el cabrestante?", "how many documents mention cabrestante"),
        ("¿Cuántas páginas tiene informe.pdf?", "how many pages does informe.pdf have"),
        ("¿Qué documento es el más largo?", "which document is the longest"),
    ],
)
def test_a_form_of_the_table(asked: str, english: str) -> None:
    bare = asked.strip("¿? ")
    assert in_english(bare) == english
    assert may_ask_for_a_tally(asked)
    assert tally_asked(asked) == tally_asked(english) is not None


@pytest.mark.parametrize(
    "asked",
    [
        "Wie viele Tage Urlaub haben die Mitarbeiter?",
        "Combien de jours de congé ont les employés ?",
        "Hoeveel kost de lier?",
        "¿Cuántos años tiene el capitán?",
        "Which documents mention the winch?",
    ],
)
def test_other_questions_are_left_as_they_are(asked: str) -> None:
    assert in_english(asked.strip("¿? ")) is None
