"""The languages whose words are stemmed, and the words of each that tell nothing about a passage's subject.

Data and one small guess. Apostrophes separate words (`terms.py`), so the lists hold `don` and `t`, `qu` and `l`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

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
