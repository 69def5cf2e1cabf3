"""Which questions ask for yes or no."""

from __future__ import annotations

import pytest

from sharedllm_cli.answering.wording import asks_yes_no


@pytest.mark.parametrize(
    "question",
    [
        "Is landing allowed in darkness?",
        "is smoking allowed",
        "Does the boat lie at the landing for longer than an hour?",
        'In "Rent": may the tenant sublet?',
        "According to the manual, is it open in winter?",
        'In "Lodging": do good tenants get their deposit back',
        "In “La Rambla”: is la rambla the same as las ramblas",
        "And is it open in winter?",
        "When it rains, is landing allowed?",
        "Can I give notice by email?",
        "Do I have to pay a fee to find a new tenant?",
        "Is the tenant who leaves early liable?",
        "Does the contract say how notice is given?",
        "Is smoking, including vaping, allowed?",
        "According to the manual, is smoking, including vaping, allowed?",
        "Isn't smoking allowed?",
        "Is there a penalty when the rent is late?",
        "Do I have to pay a deposit?",
        "Tell me whether pets are allowed.",
        "Could you tell me if pets are allowed?",
        "Was the lamp lit in 1801?",
        "Darf der Mieter untervermieten?",
        "Ist das Rauchen im Haus erlaubt?",
        "Le locataire doit-il payer les charges ?",
        "Est-ce que le bail peut être résilié ?",
        "Y a-t-il une pénalité ?",
        "¿Puede el inquilino subarrendar?",
        "Può il locatario subaffittare?",
        "Mag de huurder onderverhuren?",
        "Pode o inquilino sublocar o imóvel?",
    ],
)
def test_questions_of_yes_or_no(question: str) -> None:
    assert asks_yes_no(question)


@pytest.mark.parametrize(
    "question",
    [
        "When was the lamp lit?",
        'In "Lodging": when is the rent due',
        'In "Lodging": list the duties',
        "do good tenants get their deposit back",
        "Who is the keeper?",
        "What is it?",
        "Is it red or blue?",
        "Ist es rot oder blau?",
        "Can you tell me when the lamp was lit?",
        "Could you explain the rule?",
        "Can you summarise the document?",
        "Was ist die Miete?",
        "Was kostet es im Jahr?",
        "Wann ist die Miete fällig?",
        "Quelle est la durée du bail ?",
        "Que doit-il payer et pourquoi ?",
        "¿Qué es el depósito?",
        "Name the keeper.",
        "May 2020 revenue?",
        "Quand doit-il payer ?",
        "Que doit-il payer ?",
        "Où peut-on payer ?",
        "Jusqu'à quand peut-on résilier ?",
        "Qu'est-ce que la franchise ?",
        "Lequel doit-il payer ?",
        "When does the lease end, and is it renewable?",
        "Where is the deposit kept, and is it refundable?",
        "Give me the rent, is it due monthly?",
        "Can you provide the interest rate?",
        "May I know the rent?",
        "Können Sie mir die Miete nennen?",
        "Pouvez-vous résumer le contrat ?",
        "Donnez-nous le loyer",
        "will of the testator",
        "War years?",
        "Do a summary",
        "Have a look at section 3.",
        "List the rules, do not explain them.",
        "In 2019, who was the president, and is he alive?",
        "The keeper's name",
        "?",
        "",
    ],
)
def test_other_questions(question: str) -> None:
    assert not asks_yes_no(question)
