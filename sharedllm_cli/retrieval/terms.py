"""From text to the terms that a lexical search compares: words lower-cased, stemmed, without accents and stop words.

Numbers stay (`1,024` is `1024`, `3.5` stays), and names as programmers write them (`read.table`, `lm()`,
`--force-yes`, `/usr/share`, `dh_installdocs`, `camelCase`) stay whole and give their parts too. Scripts that put no
spaces between words (Chinese, Japanese, Thai) and Korean, whose words carry particles, give pairs of characters.

Each language has its stemmer and lists of the words that tell nothing about a passage's subject. Apostrophes separate
words, so the lists hold `don` and `t`, `qu` and `l`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import NamedTuple

import snowballstemmer  # type: ignore[import-untyped,unused-ignore]

_ENGLISH = """
a about after again against all also although am among an and another any are aren as at be because been before being
between both but by can cannot could couldn d did didn do does doesn doing don during each either else etc for from
further had hadn has hasn have haven having he her here hers herself him himself his how however i if in into is isn it
its itself just ll m may me might mine more most much must my myself neither no nor not of off on once one only onto or
other ought our ours ourselves over own per re s same shall she should shouldn since so some such t than that the their
theirs them themselves then there these they this those though through thus to too under until up upon us ve very via
was wasn we were weren what when where whether which while who whom whose why will with within without won would wouldn
yet you your yours yourself yourselves
"""
_GERMAN = """
ab aber alle allem allen aller alles als also am an andere anderem anderen anderer anderes auch auf aus bei beim bin bis
bist da dabei dadurch damit dann das dass dasselbe daß dazu dein deine deinem deinen deiner dem den denn der deren
derselbe des dessen die dies diese dieselbe diesem diesen dieser dieses dir doch dort du durch ein eine einem einen
einer eines einige einigen er es etwas euch euer eure für gegen gewesen hab habe haben hat hatte hatten hier hin hinter
ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in indem ins ist ja jede jedem jeden jeder jedes jene jener jetzt kann
kein keine keinem keinen keiner können könnte man manche mein meine meinem meinen meiner mich mir mit muss musste nach
nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner selbst sich sie sind so solche soll sollte
sondern sonst um und uns unser unsere unter viel vom von vor wann war waren warum was weil welche welchem welchen
welcher welches wenn wer werde werden wie wieder wieviel will wir wird wirst wo wollen wurde wurden während würde würden
zu zum zur zwar zwischen über
"""
_FRENCH = """
a ai ainsi après as au aucun aucune aussi autre autres aux avait avant avec avez avoir avons c car ce ceci cela celle
celles celui ces cet cette ceux chaque chez comme comment d dans de depuis des deux donc dont du elle elles en encore
entre es est et eu eux fait fut il ils j je jusqu l la le lequel les leur leurs lors lorsque lui là m ma mais me mes moi
moins mon même n ne ni nos notre nous on ont ou où par parce pas pendant peu peut plus pour pourquoi qu quand que quel
quelle quelles quels qui quoi s sa sans se selon sera ses si soi soit son sont sous sur t ta te tes toi ton tous tout
toute toutes très tu un une vers voici voilà vos votre vous y à été était étaient être
"""
_SPANISH = """
a al algo algunas algunos ante antes aquel aquella aquellos aquí así aunque bajo bien cada como con contra cual cuales
cuando cuya cuyo cuál cuáles cuándo cuánto cuántos cómo de del desde donde durante dónde e el ella ellas ellos en entre
era eran es esa esas ese eso esos esta estaba estas este esto estos está están fue fueron ha habían había han has hasta
hay la las le les lo los me mi mis mucho muy más ni no nos nosotros nuestra nuestro o os otra otras otro otros para
pero poco por porque que quien quienes quién qué se sea según ser si sido sin sino sobre son su sus sí también tan tanto
te tiene tienen toda todas todo todos tu tus tú un una unas uno unos ya y yo él
"""
_ITALIAN = """
a ad agli ai al alla alle allo anche ancora avere aveva c che chi ci come con contro così cui d da dagli dai dal dalla
dalle dallo degli dei del dell della delle dello di dopo dove due e ed era erano essere fra fu furono già gli ha hai
hanno ho i il in io l la le lei li lo loro lui ma me mentre mi mia mie miei mio molto ne negli nei nel nella nelle nello
noi non nostra nostro o ogni per perché però più poi prima qual quale quali quando quanti quanto quella quelle quelli
quello questa queste questi questo qui s sarà se sei senza si sia siamo solo sono sopra sotto stata stato su sua sue
sugli sui sul sulla sulle sullo suo suoi tra tu tua tue tuo tutta tutte tutti tutto un una uno v vi voi è
"""
_DUTCH = """
aan al alle alles als altijd andere ben bij daar dan dat de deze die dit doch doen door dus een eens en er ge geen
geweest haar had hadden heb hebben heeft hem het hier hij hoe hoeveel hun iemand iets ik in is ja je kan kon kunnen
maar me meer men met mij mijn moet na naar niet niets nog nu of om omdat onder ons ook op over reeds s t te tegen toch
toen tot u uit uw van veel voor waar waarom wanneer want waren was wat welk welke werd werden wezen wie wij wil worden
wordt zal ze zelf zich zij zijn zo zonder zou
"""
_PORTUGUESE = """
a ao aos aquela aquele aqueles as até cada com como contra da das de dela dele deles depois desde do dos e ela elas ele
eles em entre era eram essa essas esse esses esta estas este estes está estão eu foi foram havia há isso isto já la lhe
mais mas me mesmo meu meus minha muito na nas nem no nos nossa nosso não nós o os ou outra outras outro outros para pela
pelas pelo pelos per pois por porque porquê qual quais quando quanto quantos que quem quê se seja sem ser será seu seus
si sobre sua suas são só também te tem ter teu toda todas todo todos tu tua têm um uma umas uns você à às é
"""

STOP_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "english": frozenset(_ENGLISH.split()),
        "german": frozenset(_GERMAN.split()),
        "french": frozenset(_FRENCH.split()),
        "spanish": frozenset(_SPANISH.split()),
        "italian": frozenset(_ITALIAN.split()),
        "dutch": frozenset(_DUTCH.split()),
        "portuguese": frozenset(_PORTUGUESE.split()),
    }
)
"""Stop words by language, the language named as Snowball names its stemmer."""

ALTERNATIVES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "english": frozenset({"or"}),
        "german": frozenset({"oder"}),
        "french": frozenset({"ou"}),
        "spanish": frozenset({"o", "u"}),
        "italian": frozenset({"o", "oppure"}),
        "dutch": frozenset({"of"}),
        "portuguese": frozenset({"ou"}),
    }
)
"""The word between the choices that a question offers, by language."""

_GENERAL = """
about article book chapter content contents describe document documents explain file general gist give idea ideas key
main outline overall overview paper pdf point points purpose report short story subject sum summaries summarise
summarize summary talk takeaways tell text theme themes title tldr topic topics whole dokument buch artikel bericht
geht hauptaussage inhalt kurz thema titel zusammenfassen zusammenfassung fasse zusammen livre résumé résume résumer
texte sujet thème titre contenu résumez parle principal documento libro resumen resume resumir texto tema título
contenido trata riassunto riassumi riassumere testo argomento titolo contenuto parla boek samenvatting samenvatten vat
samen tekst onderwerp inhoud gaat livro resumo resuma assunto conteúdo fala worum handelt cosa
"""
GENERAL_WORDS = frozenset(_GENERAL.split())
"""Words of questions about a document as a whole: one of these and stop words alone asks about no place in it."""
GENERAL_IN_OTHER_SCRIPTS = re.compile(
    r"(?:문서|글|책|텍스트|보고서|논문|기사|이야기).*(?:무엇|무슨|뭐|어떤|내용|주제|요약|관한)"
    r"|(?:文書|文章|書類|本|記事|論文|資料|テキスト).*(?:何|なに|内容|主題|テーマ|要約|概要)"
    r"|(?:文件|文档|文檔|文章|书|書|论文|論文|报告|報告|文本).*(?:什么|什麼|内容|內容|主题|主題|关于|關於|总结|總結|概括|摘要)"
    r"|(?:总结|總結|概括|要約|요약).*(?:文件|文档|文檔|文章|文書|문서)"
)
"""The same where words carry particles or stand without spaces between them."""

_DOCUMENT_KINDS = """
abstract act agreement appendix article articles author book booklet brochure bylaws chapter charter code constitution
contract deed conclusion course description document documentation documents essay file files guide guidebook
guideline guidelines handbook email instructions introduction law lease leaflet letter license licence manual
manuscript memo minutes note notes novel offer page pages pamphlet paper paragraph paragraphs part passage passages
pdf policy preface primer prologue procedure protocol readme regulation regulations report review rulebook rules
section specification standard statement statute statutes story summary syllabus text texts thesis transcript tutorial
treaty website will writer buch dokument handbuch vertrag bericht anleitung kapitel satzung livre contrat manuel
rapport texte règlement libro contrato informe texto manuale contratto testo regolamento relazione handboek boek tekst
verslag livro relatório
"""
KIND_WORDS = frozenset(_DOCUMENT_KINDS.split())
"""What a reader calls the document itself."""
_ASKING = """
anything anywhere cover covered covers describe described describes discuss discussed discusses explain explained
explains find get give happen happened happens have information know list listed mean means mention mentioned mentions
name named please refer referred refers regarding say saying says show shown something speak speaks state stated states
talk talks tell tells told write written
"""
ASKING_WORDS = frozenset(_ASKING.split())
"""Words that ask, which say nothing of the matter asked about."""

_LEAVE = """
able allow allowed allowable fine forbidden legal mandatory necessary need needed obligatory ok okay optional
permissible permit permitted possible prohibited require required erforderlich erlaubt gestattet möglich nötig notwendig
verboten
verpflichtet autorisé interdit nécessaire obligatoire permis possible requis necesario obligatorio permitido posible
prohibido requerido necessario obbligatorio permesso possibile vietato mogelijk nodig toegestaan verboden verplicht
necessário obrigatório possível proibido
"""
LEAVE_WORDS = frozenset(_LEAVE.split())
"""Words that ask for leave or duty, which a text says in many ways: they tell little of where it does."""
DEFAULT_LANGUAGE = "english"
SAMPLE_CHARACTERS = 200_000
"""A language is guessed from this much of a text at most, half from its beginning and half from its middle."""
LEAST_SHARE = 0.1
"""Running text of every language above is a third stop words or more; lists, code and other languages are not."""

WORD = re.compile(r"[^\W\d_]{2,}")  # single letters are names of variables as often as words


def detect_language(text: str, among: Mapping[str, frozenset[str]] = STOP_WORDS) -> str:
    """The language whose stop words make up the largest share of the text's words, English where no share says so."""
    if len(text) > SAMPLE_CHARACTERS:
        half = SAMPLE_CHARACTERS // 2
        middle = len(text) // 2
        text = text[:half] + " " + text[middle : middle + half]
    words = WORD.findall(text.lower())
    counts = {language: sum(word in stop_words for word in words) for language, stop_words in among.items()}
    best = max(counts, key=lambda language: (counts[language], language == DEFAULT_LANGUAGE))
    return best if counts[best] > LEAST_SHARE * len(words) else DEFAULT_LANGUAGE


def asks_about_the_whole(question: str, content_words: Collection[str], matched: Collection[str]) -> bool:
    """Whether a question asks about no place in a document (`what is this about?`), in whatever language it is put.

    `content_words` are the question's, as typed, less the stop words of the documents' languages (those of its own
    language tell as little); `matched` are those of them that the documents hold.
    """
    own = STOP_WORDS[detect_language(question)]
    if all(word.lower() in GENERAL_WORDS or word.lower() in own for word in content_words):
        return True
    return not matched and GENERAL_IN_OTHER_SCRIPTS.search(question) is not None


_IRREGULAR = """
arise arose arisen; awake awoke awoken; be am is are was were been; bear bore borne born; beat beaten; become became;
begin began begun; bend bent; bet; bid bade bidden; bind bound; bite bit bitten; bleed bled; blow blew blown;
break broke broken; breed bred; bring brought; build built; burn burnt; buy bought; catch caught; choose chose chosen;
cling clung; come came; creep crept; deal dealt; dig dug; do did done; draw drew drawn; dream dreamt; drink drank drunk;
drive drove driven; dwell dwelt; eat ate eaten; fall fell fallen; feed fed; feel felt; fight fought; find found;
flee fled; fling flung; fly flew flown; forbid forbade forbidden; forget forgot forgotten; forgive forgave forgiven;
freeze froze frozen; get got gotten; give gave given; go went gone; grind ground; grow grew grown; hang hung;
have has had; hear heard; hide hid hidden; hold held; keep kept; kneel knelt; know knew known; lay laid; lead led;
lean leant; leap leapt; learn learnt; leave left; lend lent; lie lay lain; light lit; lose lost; make made; mean meant;
meet met; mistake mistook mistaken; mow mown; overcome overcame; pay paid; prove proven; ride rode ridden;
ring rang rung; rise rose risen; run ran; saw sawn; say said; see saw seen; seek sought; sell sold; send sent;
sew sewn; shake shook shaken; shine shone; shoot shot; show shown; shrink shrank shrunk; sing sang sung;
sink sank sunk; sit sat; sleep slept; slide slid; sow sown; speak spoke spoken; speed sped; spell spelt; spend spent;
spill spilt; spin spun; spit spat; spoil spoilt; spring sprang sprung; stand stood; steal stole stolen; stick stuck;
sting stung; stink stank stunk; stride strode; strike struck stricken; string strung; strive strove striven;
swear swore sworn; sweep swept; swell swollen; swim swam swum; swing swung; take took taken; teach taught;
tear tore torn; tell told; think thought; throw threw thrown; undergo underwent undergone; understand understood;
undertake undertook undertaken; wake woke woken; wear wore worn; weave wove woven; weep wept; win won; wind wound;
withdraw withdrew withdrawn; wring wrung; write wrote written; analysis analyses; axis axes; basis bases; calf calves;
child children; crisis crises; criterion criteria; die dice; foot feet; goose geese; half halves; index indices;
knife knives; leaf leaves; life lives; loaf loaves; louse lice; man men; mouse mice; ox oxen; person people;
phenomenon phenomena; self selves; shelf shelves; thief thieves; tooth teeth; wife wives; wolf wolves; woman women;
good better best; bad worse worst; far farther further; old elder eldest; little less least; many more most
"""


def _forms() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for group in _IRREGULAR.replace("\n", " ").split(";"):
        forms = frozenset(group.split())
        for form in forms:
            found[form] = found.get(form, frozenset()) | forms
    return found


IRREGULAR_FORMS = _forms()
"""Every form of an English word whose forms share no stem to all forms of it, itself among them: `came` is `come`."""


TERMS_VERSION = "3"
"""Raised when the same text would give other terms (here, or by the stop words of languages.py)."""
PREFERRED_STEMMERS = {"dutch": "dutch_porter"}
"""The algorithm that stems a language, where the library has it: its `dutch` parts regular plurals (veld, velden)."""
_DUTCH_PLURAL = re.compile(r"(.*[aeiouyàáâäèéêëìíîïòóôöùúûü].*(?:e[lmnr]|aar|aard|ier|eur|oor|ie|[^e]je))s")
"""Plurals in -s of words of two syllables and more: the stemmer takes one ending alone (`molens`, `molen`, `mol`)."""
_DUTCH_ENDS = re.compile(r"([bdfgklmnprst])\1\Z|[vz]\Z|(?<=[bdfgklmnprt])s\Z")
"""What a stem ends with in the plural alone: bruggen, brieven, huizen, mensen (of `mens` the stemmer takes the s)."""
_DUTCH_VOICELESS = {"v": "f", "z": "s"}

_PAIRED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
PAIRED_SCRIPT = re.compile(f"[{_PAIRED}]")
"""One character of a script that is compared by pairs of characters."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GROUPED_BY_COMMAS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_GROUPED_BY_POINTS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_APOSTROPHES = re.compile("['’ʼ`]")
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])")
_SEPARATORS = re.compile(r"[-.@&+/:~#()_\s]+")
_LETTERS_WITHOUT_PARTS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ß": "ss", "ı": "i"}
)
_COMBINING_ACCENTS = re.compile("[\u0300-\u036f]+")


SHARED_BEGINNING = 4
"""Two stems with this many first letters in common (and most of the longer) count as forms of one word."""


class Word(NamedTuple):
    """One word of a text as typed, where it begins, and its terms (none for a stop word)."""

    surface: str
    start: int
    terms: tuple[str, ...]


def words(text: str, language: str) -> Iterator[Word]:
    """The words of a text in order. `language` is a key of `STOP_WORDS`.

    A compound such as `read.table()` or `mother-to-child` is one word of several terms.
    """
    known: dict[str, tuple[str, ...]] = {}
    for match in _compound().finditer(text):
        surface = match.group()
        terms = known.get(surface)
        if terms is None:
            terms = known[surface] = tuple(_terms(surface, language))
        yield Word(surface, match.start(), terms)


@cache
def _compound() -> re.Pattern[str]:
    """Words joined by what joins the parts of one name, with the marks that make it an option, a path or a call.

    Python's `\\w` leaves out combining marks, without which words of many scripts fall apart: they are added here.
    """
    marks = "".join(
        f"\\u{code:04x}" for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )
    letter = f"[\\w{marks}]"
    after_space = r"(?<![\w.)\]/~-])"
    number = r"\d+(?:[.,]\d+)+(?!\w)"
    path = rf"{after_space}(?:~|\.\.?)?/\.?{letter}+(?:[-.+~/]+{letter}+)*"
    name = rf"(?:{after_space}(?:--?|\.)(?=[^\W\d_]))?{letter}+(?:(?:[-.'’ʼ@&+]|::){letter}+)*(?:\(|\+\+|\#)?"
    return re.compile(f"{number}|{path}|{name}")


def _terms(surface: str, language: str) -> Iterator[str]:
    """The terms of one word as typed, the whole first where it has parts."""
    text = unicodedata.normalize("NFKC", surface)
    if _NUMBER.fullmatch(text):
        yield from _number_terms(text, language)
        return
    plain = _APOSTROPHES.sub(" ", text)
    parts = [part for part in _SEPARATORS.split(_CAMEL.sub(" ", plain)) if part]
    if plain == text and parts != [text] and not PAIRED_SCRIPT.search(text):
        whole = fold(text.lower())
        yield whole + ")" if whole.endswith("(") else whole
    for part in parts:
        yield from _part_terms(part.lower(), language)


def _number_terms(text: str, language: str) -> Iterator[str]:
    """`1,024` is `1024`, in most languages `1.024` too; `3.5` stays, as does `3,5` where it means that; else a list."""
    if _GROUPED_BY_COMMAS.fullmatch(text):
        yield text.replace(",", "")
    elif language == "english":
        yield from text.split(",")
    elif _GROUPED_BY_POINTS.fullmatch(text):
        yield text.replace(".", "").replace(",", ".")
    elif text.count(",") == 1:
        yield text.replace(",", ".")
    else:
        yield from text.split(",")


def _part_terms(part: str, language: str) -> Iterator[str]:
    if PAIRED_SCRIPT.search(part):
        for run in re.findall(f"[{_PAIRED}]+|[^{_PAIRED}]+", part):
            if PAIRED_SCRIPT.match(run):
                yield from (run[place : place + 2] for place in range(max(1, len(run) - 1)))
            else:
                yield from _part_terms(run, language)
    elif part not in STOP_WORDS[language]:
        # English writes accents or not as it likes; elsewhere the stemmer's rules need them
        yield fold(_stem(fold(part) if language == "english" else part, language))


def same_word(term: str, other: str) -> bool:
    """Whether two terms look like forms of one word that their stems don't show as one (`fulli` of fully, `full`)."""
    shared = next((place for place, (a, b) in enumerate(zip(term, other, strict=False)) if a != b), None)
    length = min(len(term), len(other)) if shared is None else shared
    return length >= SHARED_BEGINNING and length * 5 >= max(len(term), len(other)) * 3


def fold(text: str) -> str:
    """Lower-case text without accents: `é` is `e`, `ß` is `ss`; marks that are vowels in other scripts stay."""
    if text.isascii():
        return text
    bare = _COMBINING_ACCENTS.sub("", unicodedata.normalize("NFKD", text.translate(_LETTERS_WITHOUT_PARTS)))
    return unicodedata.normalize("NFC", bare)


def _stem(word: str, language: str) -> str:
    if language == "dutch" and (plural := _DUTCH_PLURAL.fullmatch(word)):
        word = plural[1]
    stemmed: str = _stemmer(language).stemWord(word)
    if language == "dutch" and len(stemmed) > 2:
        stemmed = _DUTCH_ENDS.sub(lambda end: _DUTCH_VOICELESS.get(end[0], end[1] or ""), stemmed)
    return stemmed


@cache
def _stemmer(language: str) -> snowballstemmer.stemmer:
    # asked for by name: `algorithms()` of releases before 3.1 fails where PyStemmer is installed too
    with suppress(KeyError):
        return snowballstemmer.stemmer(PREFERRED_STEMMERS.get(language, language))
    return snowballstemmer.stemmer(language)


@cache
def stemmer_version() -> str:
    """The library that stems, and its version: the same word has other stems under another one.

    Where PyStemmer is installed, snowballstemmer hands every word to it.
    """
    library = "PyStemmer" if type(_stemmer("english")).__module__ == "Stemmer" else "snowballstemmer"
    return f"{library} {metadata.version(library)}"
