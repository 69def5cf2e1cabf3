"""A conversation as token ids, in which only the model's own template can hold control tokens.

The chat template is rendered with sentinels in place of the messages' contents. What is left is the template; contents
are put into it afterwards, so a template can neither change nor cut them, and their text can't pass for a role mark.

Ids are those of `apply_chat_template` whenever no content spells a control token: the whole text is then encoded at
once and merges at the seams are the tokenizer's own. Otherwise each stretch between two of the template's control
tokens is encoded by itself, with the contents' control tokens spelled out. With a tokenizer that puts a space before
the text's first word (Metaspace), such a stretch then begins with that space, which the whole text would not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from sharedllm_cli.documents.chunking import control_ids, plain_ids
from sharedllm_cli.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    messages = [{"role": role, "content": content} for role, content in slots]
    try:
        # Templates that know no thinking ignore the last argument; those that do are asked for the answer at once.
        template = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise ModelError(f"the model's chat template can't be used: {error}") from error
    assert isinstance(template, str)
    if any(found not in template for _, content in slots for found in content.split()):
        raise ModelError("the model's chat template leaves out a part of the conversation")
    return template


def _plain_form(tokenizer: PreTrainedTokenizerBase, slots: Sequence[Message]) -> str:
    start = tokenizer.bos_token_id
    begins = start is not None and tokenizer.encode("")[:1] == [start]
    ends = {"system": "\n\n", "user": "\nAnswer:", "assistant": "\n\n"}
    parts = [f" {content}\n\n" if role == "assistant" else content + ends[role] for role, content in slots]
    return (str(tokenizer.bos_token) if begins else "") + "".join(parts)
