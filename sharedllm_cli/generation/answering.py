"""An answer's tokens, and their text, cut where it is over. Knows no model: steps and tokens are what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sharedllm_cli.generation.beams import LONGEST, beam_search
from sharedllm_cli.generation.grounding import says_not_in_document
from sharedllm_cli.generation.rerank import Nearness, pick
from sharedllm_cli.generation.stream import Finish, GeneratedToken, RepeatedLine, StopText, TextStream

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.generation.sampling import SuppressedSequence

_SENTENCE_END = re.compile(r"(\w\w+|(?<=[.,])\d)([.!?…]+[\"'”’)\]]*)\s")
"""Where a sentence is over: not after the single letter of an abbreviation, or a lone digit."""
_ABBREVIATED = "mr mrs ms dr st prof sr jr vs al no nos fig figs cf ed eds vol pp etc ca bzw hr fr sra"
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_PARAGRAPH_END = re.compile(r"(?<![:\s])\s*\n\n")
"""What ends in a colon goes on in the next one."""
_WORD = re.compile(r"\w+")
_SAME = 0.25
"""A sentence of which a smaller share of the words is new says the same again."""


def reranked_tokens(
    step: Callable[[Tensor, Tensor], Tensor],
    first_logits: Tensor,
    width: int,
    tokenizer: PreTrainedTokenizerBase,
    *,
    question: str,
    passages: Sequence[str],
    stop_ids: Collection[int],
    stop_texts: Collection[str],
    max_new_tokens: int,
    suppressed: SuppressedSequence | None = None,
) -> list[GeneratedToken] | None:
    """The tokens of the likely short answer that stands nearest to the question's words in the passages.

    `step`, `first_logits`, `width` and `suppressed` are those of `beams.beam_search`. None where there is nothing to
    weigh answers by (`rerank.Nearness.tells`), where the likeliest is a long one, and where stop texts instead of
    tokens end an answer: it is then written as it comes. A refusal that is the likeliest of all is given; where one was
    weighed as a whole and is not to be given (`suppressed`), neither is one in other words, if there is an answer.
    """
    near = Nearness(question, passages)
    if width < 2 or stop_texts or not near.tells:
        return None
    found = beam_search(step, first_logits, width, stop_ids, min(LONGEST, max_new_tokens), suppressed)
    if not found:
        return None
    spelled = [[*map(GeneratedToken, one.token_ids[:-1]), GeneratedToken(one.token_ids[-1], "stop")] for one in found]
    texts = ["".join(piece for piece, _ in answer_pieces(tokens, tokenizer, stop_texts)) for tokens in spelled]
    told = [place for place, text in enumerate(texts) if text.strip()]
    if not told:
        return None
    answers = [place for place in told if not says_not_in_document(texts[place])]
    if not answers or (suppressed is None and told[0] not in answers):
        return spelled[told[0]]
    chosen = told if suppressed is None else answers
    return spelled[chosen[pick([texts[at] for at in chosen], [found[at].cost for at in chosen], near)]]


def answer_pieces(
    tokens: Iterable[GeneratedToken], tokenizer: PreTrainedTokenizerBase, stop_texts: Collection[str]
) -> Iterator[tuple[str, Finish | None]]:
    """One pair a sampled token: the text that is final with it, and at the last one why it is the last.

    `stop_texts` are the prompt's: where one begins, the answer is over.
    """
    stream, stop, repeated = TextStream(tokenizer), StopText(stop_texts), RepeatedLine()
    for generated in tokens:
        piece = stop.push(stream.push(generated.token)) if generated.in_text else ""
        finish: Finish | None = "stop" if stop.found else generated.finish
        if finish is not None and not stop.found:
            piece += stop.push(stream.finish()) + stop.finish()
        piece = repeated.push(piece)
        if repeated.found:
            finish = "repetition"
        elif finish is not None:
            piece += repeated.finish()
        yield piece, finish
        if finish is not None:
            return


def with_sentence_replaced(
    pieces: Iterable[tuple[str, Finish | None]], sentence: str, instead: str
) -> Iterator[tuple[str, Finish | None]]:
    """An answer's pieces, one for one; where the whole answer is the sentence, its text is `instead`, at the end.

    A piece that may be the sentence's beginning is held back until another one shows that it is not.
    """
    held = ""
    holding = True
    for piece, finish in pieces:
        if not holding:
            yield piece, finish
            continue
        held += piece
        if finish is None and sentence.startswith(held.strip()):
            yield "", None
        else:
            yield instead if held.strip().rstrip(".") == sentence.rstrip(".") else held, finish
            holding = False


def first_sentences(pieces: Iterable[tuple[str, Finish | None]], most: int) -> Iterator[tuple[str, Finish | None]]:
    """An answer's pieces up to the end of so many sentences, or of the first paragraph.

    The first sentence comes as it is written; a further one when it is whole, and only where it says something new.
    """
    text, told = "", 0
    for piece, finish in pieces:
        text += piece
        end_of_paragraph = _PARAGRAPH_END.search(text, len(text) - len(text.lstrip()))
        paragraph = end_of_paragraph.start() if end_of_paragraph else -1
        whole = text if paragraph < 0 else text[:paragraph]
        ends = [end.end(2) for end in _SENTENCE_END.finditer(whole) if end[1].lower() not in _ABBREVIATIONS]
        if paragraph >= 0 or finish is not None:
            ends.append(len(whole))
        over = len(ends) >= most or paragraph >= 0 or finish is not None
        upto = len(whole) if not ends else ends[0]
        for start, end in pairwise(ends[:most]):
            if not _says_more(whole[start:end], whole[:start]):
                over = True
                break
            upto = end
        cut = "stop" if paragraph >= 0 or upto < len(whole) else finish or "stop"
        yield text[told:upto], cut if over else None
        if over:
            return
        told = max(told, upto)


def _says_more(sentence: str, before: str) -> bool:
    """Whether a sentence has enough words of its own: one that has not says the same again."""
    said, new = set(_WORD.findall(before.lower())), set(_WORD.findall(sentence.lower()))
    return len(new - said) > _SAME * len(new)


def stop_ids(generation_config: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end an answer: those of the model's generation configuration and the tokenizer's own."""
    configured = getattr(generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)
