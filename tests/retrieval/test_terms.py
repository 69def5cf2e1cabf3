"""Which terms a text gives: the same for a question and the passage that answers it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm_cli.retrieval import terms as words_module
from sharedllm_cli.retrieval.bm25 import LexicalIndex, scores
from sharedllm_cli.retrieval.terms import STOP_WORDS, detect_language, fold, stemmer_version, words


def terms(text: str, language: str = "english") -> list[str]:
    return [term for word in words(text, language) for term in word.terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Running of the DOGS.", ["run", "dog"]),
        ("don't won't it's", []),
        ("the king's horses", ["king", "hors"]),
        ("naïve Café ﬁles", ["naiv", "cafe", "file"]),
        ("1,024 files, 3.5 % in 1973.", ["1024", "file", "3.5", "1973"]),
        ("items 1,2,3", ["item", "1", "2", "3"]),
        ("version 1.2.3", ["version", "1.2.3"]),
        ("read.table", ["read.table", "read", "tabl"]),
        ("lm(formula)", ["lm()", "lm", "formula"]),
        ("--force-yes", ["--force-yes", "forc", "yes"]),
        ("/usr/share", ["/usr/share", "usr", "share"]),
        ("dh_installdocs", ["dh_installdocs", "dh", "installdoc"]),
        ("camelCase", ["camelcase", "camel", "case"]),
        ("HTTPServer", ["httpserver", "http", "server"]),
        ("mother-to-child", ["mother-to-child", "mother", "child"]),
        ("C++ and/or C#", ["c++", "c", "c#", "c"]),
        ("an end.Then", ["end.then", "end"]),
        ("日本語 한국어 ภาษา", ["日本", "本語", "한국", "국어", "ภา", "าษ", "ษา"]),
        ("hello世", ["hello", "世"]),
        ("हिन्दी", ["हिन्दी"]),
        ("  \n--- ... ***", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("german", "die Häuser der Straße", ["haus", "strass"]),
        ("german", "1.024 und 1.024,50 und 3,5", ["1024", "1024.50", "3.5"]),
        ("french", "L'étude qu'il a faite à l’école", ["etud", "fait", "ecol"]),
    ],
)
def test_terms_in_other_languages(language: str, text: str, expected: list[str]) -> None:
    assert terms(text, language) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,024", "1024"),
        ("running", "runs"),
        ("lm()", "lm(formula, data)"),
        ("read.table", "READ.TABLE"),
        ("société", "SOCIETE"),
    ],
)
def test_two_spellings_meet(one: str, other: str) -> None:
    assert terms(one)[0] in terms(other)


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("veld", "velden"),
        ("held", "helden"),
        ("woord", "woorden"),
        ("vuurtoren", "vuurtorens"),
        ("mens", "mensen"),
        ("vereniging", "verenigingen"),
        ("vergadering", "vergaderingen"),
        ("bodem", "bodems"),
        ("brug", "bruggen"),
        ("brief", "brieven"),
        ("huis", "huizen"),
        ("school", "scholen"),
        ("boerderij", "boerderijen"),
    ],
)
def test_a_dutch_plural_is_found_by_its_singular(one: str, several: str) -> None:
    assert terms(one, "dutch") == terms(several, "dutch")
    leaves = ["De molen draait niet.", f"Wij zien de {several} van hier."]
    found = scores(f"Waar is {one}?", [LexicalIndex.build(leaves, "dutch")]).values[0]
    assert found[1] > found[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("vereniging", "ver"), ("vereniging", "veer"), ("rekening", "rek"), ("regering", "reeg")],
)
def test_a_dutch_word_is_no_other_short_one(one: str, other: str) -> None:
    assert terms(one, "dutch") != terms(other, "dutch")


def test_a_language_without_its_preferred_stemmer_has_the_one_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """snowballstemmer 2.2 has no `dutch_porter`: its `dutch` is that algorithm."""
    had = {"dutch": "an algorithm", "english": "another"}
    monkeypatch.setattr(words_module.snowballstemmer, "stemmer", had.__getitem__)
    words_module._stemmer.cache_clear()
    found = [words_module._stemmer(language) for language in ("dutch", "english")]
    words_module._stemmer.cache_clear()
    assert found == ["an algorithm", "another"]


def test_the_stemmers_version_names_the_library_that_stems(monkeypatch: pytest.MonkeyPatch) -> None:
    pystemmer = type("Stemmer", (), {"__module__": "Stemmer"})
    monkeypatch.setattr(words_module.metadata, "version", {"snowballstemmer": "3.1.1", "PyStemmer": "3.1.0"}.get)
    stemmer_version.cache_clear()
    assert stemmer_version() == "snowballstemmer 3.1.1"
    monkeypatch.setattr(words_module, "_stemmer", lambda _language: pystemmer())
    stemmer_version.cache_clear()
    assert stemmer_version() == "PyStemmer 3.1.0"
    stemmer_version.cache_clear()


@given(text=st.text(max_size=60), language=st.sampled_from(sorted(STOP_WORDS)))
def test_any_text_gives_terms_without_spaces_and_words_that_stand_where_they_say(text: str, language: str) -> None:
    for word in words(text, language):
        assert text.startswith(word.surface, word.start)
        assert all(term and not any(c.isspace() for c in term) for term in word.terms)


@given(text=st.text(alphabet=st.characters(codec="ascii"), max_size=40))
def test_folding_leaves_ascii_alone(text: str) -> None:
    assert fold(text) == text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "It was the best of times and it was the worst of times for all of them."),
        ("german", "Es ist nicht immer so, wie man es sich mit der Zeit und den Leuten denkt."),
        ("french", "Il est dans la maison avec les enfants et ne sait pas ce que nous faisons."),
        ("spanish", "No es lo mismo que la casa de los niños, pero también está en el pueblo."),
        ("italian", "Non è la stessa cosa che ha detto della casa, ma anche questo è nel libro."),
        ("dutch", "Het is niet het huis van de man, maar ook dat zou hij niet hebben gezegd."),
        ("portuguese", "Não é a mesma coisa que ele disse da casa, mas também está no livro dos pais."),
        ("english", "これは日本語の文章です。"),
        ("english", "x = 1; y = 2; z = x + y"),
        ("english", ""),
    ],
)
def test_a_language_is_told_by_its_stop_words(language: str, text: str) -> None:
    assert detect_language(text) == language


def test_every_stop_word_is_one_that_a_text_can_give() -> None:
    for language, stop_words in STOP_WORDS.items():
        assert not [word for word in stop_words if terms(word, language)], language
