"""From logits to tokens to text, one at a time, cut where the answer is over.

Knows no model: the next step is a function that it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from sharedllm_cli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from sharedllm_cli.generation.decoding import Sampler

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_REPLACEMENT = "\ufffd"
"""What decoders write for bytes that are no character, or not yet one."""

Finish = Literal["stop", "length", "repetition"]


@dataclass(frozen=True)
class GeneratedToken:
    """A sampled token. `finish` is set on the last one of an answer and says why it is the last.

    `stop`: the model ended its answer; this token is the stop token and no part of the text. `length`: the answer
    reached its longest length. `repetition`: the model went round in a loop (`LoopDetector`).
    """

    token: int
    finish: Finish | None = None

    @property
    def in_text(self) -> bool:
        return self.finish != "stop"


def decode_stream(
    step: Callable[[torch.Tensor], torch.Tensor],
    first_logits: torch.Tensor,
    sampler: Sampler,
    stop_ids: Collection[int],
    max_new_tokens: int,
    *,
    ahead: bool | None = None,
) -> Iterator[GeneratedToken]:
    """Sample an answer token by token; the last item, and only it, has a finish reason.

    `first_logits` and what `step(token)` returns are logits `[vocabulary]` of the position after the prompt and after
    that token, which is `[1]` on their device. `ahead` asks for the next step before a token is looked at: a GPU then
    computes while the token is turned into text, at the price of one step that is thrown away where the token ends the
    answer. By default that is done on CUDA alone; elsewhere `step` is called only when its logits are needed. Raises
    UsageError when no token is allowed.
    """
    if max_new_tokens < 1:
        raise UsageError(f"--max-new-tokens must be at least 1, got {max_new_tokens}")
    loop = LoopDetector()
    ahead = first_logits.is_cuda if ahead is None else ahead
    drawn = sampler.draw(first_logits)
    for left in range(max_new_tokens, 0, -1):
        coming = sampler.draw(step(drawn.token)) if ahead and left > 1 else None
        token = drawn.read()
        finish: Finish | None = None
        if token in stop_ids:
            finish = "stop"
        elif loop.closes(token):
            finish = "repetition"
        elif left == 1:
            finish = "length"
        yield GeneratedToken(token, finish)
        if finish is not None:
            return
        drawn = sampler.draw(step(drawn.token)) if coming is None else coming


class LoopDetector:
    """Notice that a small model repeats itself: the same run of tokens three times in a row.

    A run has 12 to 128 tokens, so a shorter period counts once it has filled three times 12 tokens or more (a single
    token: 36 times). Short lists, refrains and table rules stay below that.
    """

    TIMES = 3
    SHORTEST = 12
    LONGEST = 128

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._matches = [0] * (self.LONGEST + 1)

    def closes(self, token: int) -> bool:
        """Add a token; True where it completes a loop. Constant work a token."""
        tokens, matches = self._tokens, self._matches
        for period in range(self.SHORTEST, min(self.LONGEST, len(tokens)) + 1):
            matches[period] = matches[period] + 1 if tokens[-period] == token else 0
        tokens.append(token)
        return any(matches[period] >= (self.TIMES - 1) * period for period in range(self.SHORTEST, len(matches)))


class StopText:
    """Cut a streamed answer where a stop text begins (`Prompt.stop_texts`): there a model without turns goes on alone.

    Text that may be a stop text's beginning is held back until it is none. Once `found`, nothing more is shown.
    """

    def __init__(self, stop_texts: Collection[str]) -> None:
        self._stop_texts = tuple(stop_texts)
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Add text; returns what can be shown now."""
        if self.found:
            return ""
        self._held += piece
        places = [self._held.find(text) for text in self._stop_texts if text in self._held]
        self.found = bool(places)
        return self._show(min(places, default=len(self._held) - self._possible()))

    def finish(self) -> str:
        """What was held back and turned out to be no stop text; call it once, at the end."""
        return "" if self.found else self._show(len(self._held))

    def _show(self, upto: int) -> str:
        piece, self._held = self._held[:upto], self._held[upto:]
        return piece

    def _possible(self) -> int:
        """Length of the longest end of the held text that begins a stop text."""
        starts = (text[:length] for text in self._stop_texts for length in range(1, len(text)))
        return max((len(start) for start in starts if self._held.endswith(start)), default=0)


class RepeatedLine:
    """Cut a streamed answer where a small model writes one line over and over: three times with only blank between.

    Such a line is shown once: text that may be its repetition is held back until it is none. A line of fewer than
    `SHORTEST` characters (a bracket, a table's rule) may be repeated. Longer loops are `LoopDetector`'s.
    """

    TIMES = 3
    SHORTEST = 20

    def __init__(self) -> None:
        self._line = ""
        self._last = ""
        self._times = 1
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Add text; returns what can be shown now. Once `found`, nothing more is shown."""
        shown = ""
        for part in piece.splitlines(keepends=True):
            if not self.found:
                shown += self._add(part)
        return shown

    def finish(self) -> str:
        """What was held back and turned out to be no loop; call it once, at the end."""
        return "" if self.found else self._show()

    def _add(self, part: str) -> str:
        self._line += part
        self._held += part
        line = self._line.strip()
        repeats = len(self._last) >= self.SHORTEST and self._last.startswith(line)
        if not part.endswith(("\n", "\r")):
            return "" if repeats else self._show()
        self._line = ""
        if not line:
            return "" if repeats else self._show()
        self._times = self._times + 1 if repeats and line == self._last else 1
        self._last = line
        self.found = self._times == self.TIMES
        return "" if self._times > 1 else self._show()

    def _show(self) -> str:
        text, self._held = self._held, ""
        return text


class TextStream:
    """Tokens to text pieces that never split a character; joined, they are the one-shot decoding of all tokens.

    Special tokens are left out and spaces are not cleaned up, as in
    `decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)`. Each step decodes only the tokens since
    the last piece and that piece's own (which tell whether the next word begins with a space), so the work is linear
    in the length of the text. Text is held back while it may still change: an unfinished UTF-8 sequence, and a run of
    byte-fallback tokens (`<0xE2>`), which such tokenizers decode as a whole.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
        self._tokens: list[int] = []  # the last piece's tokens, then those not shown yet
        self._shown_tokens = 0
        self._shown_text = ""

    def push(self, token: int) -> str:
        """Add a token; returns the text that is final now, often one word, sometimes nothing."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        if token in self._special or not isinstance(name, str):  # models pad their vocabulary with ids of no text
            return ""
        self._tokens.append(token)
        if _BYTE.fullmatch(name):
            return ""
        text = self._decode(self._tokens)
        if not text.endswith(_REPLACEMENT):
            return self._show(len(self._tokens), text)
        # An unfinished character has at most three bytes: what stands before the last three tokens is final, unless
        # the place between them lies inside a character.
        final = len(self._tokens) - 3
        before = self._decode(self._tokens[:final]) if final > self._shown_tokens else ""
        if before and before + self._decode(self._tokens[final:]) == text:
            return self._show(final, before)
        return ""

    def finish(self) -> str:
        """What is still held back; call it once, after the last token."""
        return self._show(len(self._tokens), self._decode(self._tokens))

    def _show(self, upto: int, text: str) -> str:
        piece = text[len(self._shown_text) :]
        if piece:
            # The next window begins with tokens that have a text: a decoder that strips the first space strips theirs.
            del self._tokens[: self._shown_tokens]
            self._shown_tokens = upto - self._shown_tokens
            self._shown_text = self._decode(self._tokens[: self._shown_tokens])
        return piece

    def _decode(self, tokens: list[int]) -> str:
        text = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


_SENTENCE_END = re.compile(r"(\w\w+|(?<=[.,])\d)([.!?…]+[\"'”’)\]]*)\s")
"""Where a sentence is over: not after the single letter of an abbreviation, or a lone digit."""
_ABBREVIATED = "mr mrs ms dr st prof sr jr vs al no nos fig figs cf ed eds vol pp etc ca bzw hr fr sra"
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_PARAGRAPH_END = re.compile(r"(?<![:\s])\s*\n\n")
"""What ends in a colon goes on in the next one."""
_WORD = re.compile(r"\w+")
_SAME = 0.25
"""A sentence of which a smaller share of the words is new says the same again."""


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
