"""English words whose forms share no stem: `came` is `come`, `feet` are `foot`. Regular forms are the stemmer's."""

from __future__ import annotations

_GROUPS = """
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
    for group in _GROUPS.replace("\n", " ").split(";"):
        forms = frozenset(group.split())
        for form in forms:
            found[form] = found.get(form, frozenset()) | forms
    return found


IRREGULAR_FORMS = _forms()
"""Every form of an irregular word to all forms of it, itself among them."""
