"""The prompt X_D as token ids: system prompt, history, verbatim passages and question, with room for the answer.

The frame (role marks, separators) is the tokenizer's own chat template; without one it is a plain form. What people
wrote (documents, file names, question, history, system prompt) is put into the frame as plain text: a document that
spells `<|im_end|>` does not end a turn. Knows no model and no file; the passages are chosen elsewhere.

The chat template is rendered with sentinels in place of the messages' contents. What is left is the template; contents
are put into it afterwards, so a template can neither change nor cut them, and their text can't pass for a role mark.
Ids are those of `apply_chat_template` whenever no content spells a control token: the whole text is then encoded at
once and merges at the seams are the tokenizer's own. Otherwise each stretch between two of the template's control
tokens is encoded by itself, with the contents' control tokens spelled out. With a tokenizer that puts a space before
the text's first word (Metaspace), such a stretch then begins with that space, which the whole text would not have.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm_cli.documents.chunking import control_ids, plain_ids
from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.generation.chat_template import rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_IN_DOCUMENT = "The document does not say."
"""What the model is asked to say, word for word, when the passages don't hold the answer."""

SYSTEM = f"You answer questions about a document. If it does not hold the answer, you say: {NOT_IN_DOCUMENT}"
RULE = "Answer in a few words from the text."
"""Stands after the question: a small model keeps to it there, not in the system prompt (docs/log/)."""
RULE_OF_THE_WHOLE = "Answer in one or two sentences."
"""Stands there after a question about a document as a whole."""
_QUESTION = "Question:"


@dataclass(frozen=True)
class PassageText:
    """A stretch of a document to stand verbatim in the prompt; `score` ranks it, a larger one is kept longer.

    `part` names the part in which it stands, of a document that has parts.
    """

    document: str
    page: int | None
    page_label: str | None
    text: str
    score: float = 0.0
    part: str | None = None


@dataclass(frozen=True)
class Turn:
    """One earlier question of the conversation and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Prompt:
    """A prompt that leaves room for the answer, and what had to go for it.

    `passages` are the kept ones, by their place in the given sequence, `passage_texts` their words; `evidence_tokens`
    counts those, without marks. `text` is what `token_ids` spell, for `--verbose`. A model without a chat template has
    no token that ends its answer and goes on to ask itself: `stop_texts` are where its answer is over
    (`stream.StopText`).
    """

    token_ids: list[int]
    text: str
    passages: tuple[int, ...]
    evidence_tokens: int
    dropped_turns: int
    dropped_passages: int
    stop_texts: tuple[str, ...] = ()
    passage_texts: tuple[str, ...] = ()

    def left_out(self) -> list[str]:
        """What did not fit the window, in words for the reader."""
        told = []
        if self.dropped_turns:
            turns = "turn" if self.dropped_turns == 1 else f"{self.dropped_turns} turns"
            told.append(f"the oldest {turns} of the conversation no longer fit the window and were left out")
        if self.dropped_passages:
            told.append(f"{self.dropped_passages} passages did not fit the window and were left out")
        return told


def build(
    tokenizer: PreTrainedTokenizerBase,
    *,
    window: int,
    max_new_tokens: int,
    question: str,
    passages: Sequence[PassageText] = (),
    history: Sequence[Turn] = (),
    system: str | None = None,
    rule: str = RULE,
) -> Prompt:
    """Build the prompt such that it and `max_new_tokens` fit the window (in tokens).

    If they don't, the oldest turns go first, then the passages with the lowest score (of equal ones the first, the
    farthest from the question). The passages stand in the order given. `system` replaces the built-in system prompt and
    `rule`, which stands after the question; an empty one leaves both out.

    Raises UsageError when the question is empty or does not fit alone, ModelError when the chat template fails.
    """
    if not question.strip():
        raise UsageError("the question is empty")
    several = len({passage.document for passage in passages}) > 1
    marked = [_marked(passage, several) for passage in passages]
    by_rank = sorted(range(len(passages)), key=lambda place: (passages[place].score, place), reverse=True)

    def attempt(dropped_turns: int, dropped_passages: int) -> tuple[str, list[int], tuple[int, ...]]:
        kept = tuple(sorted(by_rank[: len(passages) - dropped_passages]))
        last = question_text(question, [marked[place] for place in kept], rule=rule if system is None else "")
        messages = _messages(SYSTEM if system is None else system, history[dropped_turns:], last)
        return *encode_conversation(tokenizer, messages), kept

    def fits(dropped_turns: int, dropped_passages: int) -> bool:
        return len(attempt(dropped_turns, dropped_passages)[1]) + max_new_tokens <= window

    turns = bisect_left(range(len(history)), True, key=lambda dropped: fits(dropped, 0))
    out = bisect_left(range(len(passages)), True, key=lambda dropped: fits(turns, dropped))
    text, token_ids, kept = attempt(turns, out)
    if len(token_ids) + max_new_tokens > window:
        raise UsageError(
            f"the question takes {len(token_ids)} tokens and the answer up to {max_new_tokens}, "
            f"more than the model's window of {window}",
            hint="shorten the question or the system prompt, or lower --max-new-tokens",
        )
    evidence = sum(len(plain_ids(tokenizer, passages[place].text.strip())) for place in kept)
    stop_texts = () if tokenizer.chat_template else (f"\n{_QUESTION}",)
    texts = tuple(passages[place].text for place in kept)
    return Prompt(token_ids, text, kept, evidence, turns, out, stop_texts, texts)


def head_ids(tokenizer: PreTrainedTokenizerBase, system: str | None) -> list[int]:
    """The tokens with which every prompt of a system prompt begins (None: the built-in one), before any content."""
    system = SYSTEM if system is None else system
    one, other = (encode_conversation(tokenizer, _messages(system, (), last))[1] for last in ("A", "B"))
    return one[: next(place for place in range(len(one)) if one[place] != other[place])]


def question_text(question: str, passages: Sequence[str] = (), *, rule: str = "") -> str:
    """The user's message: marked passages, if any, then the question and how to answer it."""
    asked = f"{_QUESTION} {question.strip()}"
    return "\n\n".join([*passages, f"{asked}\n{rule}" if rule else asked])


def _marked(passage: PassageText, several: bool) -> str:
    mark = ", ".join(part for part in (passage.document if several else "", _page_mark(passage)) if part)
    text = passage.text.strip()
    return f"[{mark}] {text}" if mark else text


def _page_mark(passage: PassageText) -> str:
    """`page xii (12)`: as printed, then as counted where that differs; of a book in parts `page 47, part 3, Works`."""
    if passage.part:
        label = (passage.page_label or "").strip()
        return f"page {label}, {passage.part}" if label else passage.part
    number = "" if passage.page is None else str(passage.page)
    label = (passage.page_label or "").strip() or number
    if not label:
        return ""
    return f"page {label}" if label == number or not number else f"page {label} ({number})"


def _messages(system: str, history: Sequence[Turn], last: str) -> list[Message]:
    messages = [("system", system.strip())] if system.strip() else []
    for turn in history:
        messages += [("user", question_text(turn.question)), ("assistant", turn.answer.strip())]
    return [*messages, ("user", last)]


Message = tuple[str, str]
"""Role (`system`, `user` or `assistant`) and content."""

_SENTINEL = re.compile(r"zqcontent(\d{6})zq")


def encode_conversation(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[str, list[int]]:
    """The text of a conversation up to where the next answer begins, and its token ids.

    Without a chat template: system prompt, then each text of the user followed by `Answer:` and the answer. Raises
    ModelError when the template can't be rendered or leaves out a message.
    """
    contents = [content for _, content in messages]
    template = _template(tokenizer, [role for role, _ in messages])
    text = _filled(template, contents)
    control = control_ids(tokenizer)

    def control_tokens(of: str) -> tuple[list[int], list[int]]:
        ids: list[int] = tokenizer.encode(of, add_special_tokens=False)
        return ids, [number for number in ids if number in control]

    ids, found = control_tokens(text)
    if found == control_tokens(template)[1]:
        return text, ids
    return text, _encode_stretches(tokenizer, template, contents, control)


def _encode_stretches(
    tokenizer: PreTrainedTokenizerBase, template: str, contents: Sequence[str], control: frozenset[int]
) -> list[int]:
    encoded = tokenizer(template, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = []
    done = 0
    for number, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if number in control:
            ids += plain_ids(tokenizer, _filled(template[done:start], contents), control)
            ids.append(number)
            done = end
    return ids + plain_ids(tokenizer, _filled(template[done:], contents), control)


def _filled(template: str, contents: Sequence[str]) -> str:
    return _SENTINEL.sub(lambda found: contents[int(found[1])], template)


def _template(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> str:
    """The rendering with a sentinel in place of each message's content."""
    slots = [(role, f"zqcontent{place:06d}zq") for place, role in enumerate(roles)]
    if not tokenizer.chat_template:
        return _plain_form(tokenizer, slots)
    try:
        template = _render(tokenizer, slots)
    except ModelError:
        if roles[0] != "system":
            raise
        merged = f"{slots[0][1]}\n\n{slots[1][1]}"
        template = _render(tokenizer, [("user", merged), *slots[2:]])
    return template


def _render(tokenizer: PreTrainedTokenizerBase, slots: Sequence[Message]) -> str:
    # Templates that know no thinking ignore the last variable; those that do are asked for the answer at once.
    template = rendered(
        str(tokenizer.chat_template),
        {
            **tokenizer.special_tokens_map,
            "messages": [{"role": role, "content": content} for role, content in slots],
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            "enable_thinking": False,
        },
    )
    if any(found not in template for _, content in slots for found in content.split()):
        raise ModelError("the model's chat template leaves out a part of the conversation")
    return template


def _plain_form(tokenizer: PreTrainedTokenizerBase, slots: Sequence[Message]) -> str:
    start = tokenizer.bos_token_id
    begins = start is not None and tokenizer.encode("")[:1] == [start]
    ends = {"system": "\n\n", "user": "\nAnswer:", "assistant": "\n\n"}
    parts = [f" {content}\n\n" if role == "assistant" else content + ends[role] for role, content in slots]
    return (str(tokenizer.bos_token) if begins else "") + "".join(parts)
