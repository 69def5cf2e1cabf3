"""Laws of sampling and streaming: pieces join to the one-shot decoding, and every end has its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedllm_cli.errors import ModelError, UsageError
from sharedllm_cli.generation.decoding import Sampler, SuppressedSequence
from sharedllm_cli.generation.stream import (
    GeneratedToken,
    LoopDetector,
    RepeatedLine,
    StopText,
    TextStream,
    decode_stream,
)

WORDS = ["▁", "▁▁", "a", "b", "▁a", "▁the", "é", "▁🙂", "🙂", "�", ".", "▁.", "\n", "️", "漢", ""]


def _wrapped(vocabulary: dict[str, int], pre_tokenizer: Any, decoder: Any) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens(["<tool>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def metaspace() -> Any:
    """Words that begin with ▁, as of SentencePiece; its decoder strips the first word's space."""
    from tokenizers import decoders, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    return _wrapped(vocabulary, pre_tokenizers.Metaspace(), decoders.Metaspace())


def byte_fallback() -> Any:
    """The decoder of Llama 2 and Mistral: ▁ is a space, <0xE2> a byte, one space stripped at the beginning."""
    from tokenizers import decoders, pre_tokenizers

    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped({word: number for number, word in enumerate(names)}, pre_tokenizers.Metaspace(), decoder)


@pytest.fixture(scope="module", params=["byte-level", "metaspace", "byte-fallback"])
def tokenizer(request: pytest.FixtureRequest, byte_tokenizer: Any) -> Any:
    return {"byte-level": lambda: byte_tokenizer, "metaspace": metaspace, "byte-fallback": byte_fallback}[
        request.param
    ]()


def one_shot(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push(number) for number in ids), stream.finish()]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_joined_stream_is_the_one_shot_decoding_of_any_ids(tokenizer: Any, data: Any) -> None:
    """A model's vocabulary may be padded: ids beyond the tokenizer's have no text."""
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 9), max_size=40))
    assert "".join(pieces(tokenizer, ids)) == one_shot(tokenizer, ids)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="a é🙂漢️‍👩�.\n", max_size=30))
def test_joined_stream_is_the_text_and_no_piece_splits_a_character(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    shown = pieces(tokenizer, ids)
    assert "".join(shown) == one_shot(tokenizer, ids)
    if "�" not in one_shot(tokenizer, ids):
        assert not any("�" in piece for piece in shown)


def test_an_emoji_of_four_byte_tokens_comes_in_one_piece(byte_tokenizer: Any) -> None:
    shown = pieces(byte_tokenizer, byte_tokenizer.encode("a🙂b", add_special_tokens=False))
    assert [piece for piece in shown if piece] == ["a", "🙂", "b"]


def test_text_is_shown_as_soon_as_it_is_whole(tokenizer: Any) -> None:
    ids = tokenizer.encode("a b a b.", add_special_tokens=False)
    stream = TextStream(tokenizer)
    for place, number in enumerate(ids):
        before = one_shot(tokenizer, ids[:place])
        assert before + stream.push(number) == one_shot(tokenizer, ids[: place + 1])


def test_spaces_between_words_survive_and_the_first_word_has_none() -> None:
    for make in (metaspace, byte_fallback):
        tokenizer = make()
        ids = tokenizer.convert_tokens_to_ids(["▁the", "<s>", "▁a", "b", "▁", "▁the", "<tool>", "▁a"])
        assert "".join(pieces(tokenizer, ids)) == one_shot(tokenizer, ids)
        assert one_shot(tokenizer, ids).startswith("the ab  the")


def test_tokens_without_text_do_not_eat_the_next_words_space() -> None:
    for make in (metaspace, byte_fallback):
        tokenizer = make()
        ids = tokenizer.convert_tokens_to_ids(["▁the", "", "▁a"])
        for without_text in (ids[1], len(tokenizer) + 3, tokenizer.eos_token_id):
            assert pieces(tokenizer, [ids[0], without_text, ids[2]]) == ["the", "", " a", ""]


@pytest.mark.parametrize("byte", [b"a", b"\x80", b"\xe2"])
def test_the_work_grows_with_the_text_not_with_its_square(byte: bytes, byte_tokenizer: Any) -> None:
    """Counted in tokens decoded, for plain text and for bytes that never become a character."""
    decoded = 0

    class Counting(TextStream):
        def _decode(self, tokens: list[int]) -> str:
            nonlocal decoded
            decoded += len(tokens)
            return super()._decode(tokens)

    character = next(name for name, code in _byte_names().items() if code == byte[0])
    number = byte_tokenizer.convert_tokens_to_ids(character)
    stream = Counting(byte_tokenizer)
    length = 500
    text = "".join(stream.push(number) for _ in range(length)) + stream.finish()
    assert text == one_shot(byte_tokenizer, [number] * length)
    assert decoded < 30 * length


def _byte_names() -> dict[str, int]:
    """ByteLevel's alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


# --- sampling


def test_temperature_zero_takes_the_likeliest_and_ignores_seed_and_top_p() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    chosen = {Sampler(0.0, top_p, seed)(logits) for seed in range(20) for top_p in (0.1, 1.0)}
    assert chosen == {int(logits.argmax())}


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others() -> None:
    logits = torch.zeros(1000)

    def drawn(seed: int) -> list[int]:
        sampler = Sampler(1.0, 0.9, seed)
        return [sampler(logits) for _ in range(8)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_sampling_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    Sampler(1.0, 0.9, 0)(torch.zeros(10))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {2}), (0.5, {2}), (0.6, {2, 0}), (0.85, {2, 0, 3}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: set[int]) -> None:
    sampler = Sampler(1.0, top_p, 0)
    logits = torch.tensor([0.25, 0.0625, 0.5625, 0.125]).log()
    assert {sampler(logits) for _ in range(400)} == kept


def test_draws_follow_the_probabilities_after_temperature() -> None:
    logits = torch.tensor([0.8, 0.2]).log() * 2  # at temperature 2: 0.8 and 0.2
    sampler = Sampler(2.0, 1.0, 0)
    share = sum(sampler(logits) == 0 for _ in range(4000)) / 4000
    assert share == pytest.approx(0.8, abs=0.03)


def test_a_tiny_temperature_is_greedy_and_does_not_overflow() -> None:
    assert Sampler(1e-37, 1.0, 0)(torch.tensor([50.0, 100.0, -100.0], dtype=torch.float16)) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [[1.0, float("nan")], [float("-inf")] * 2, [1.0, float("inf")]])
def test_logits_that_are_no_numbers_are_a_stated_fault(temperature: float, bad: list[float]) -> None:
    with pytest.raises(ModelError, match="not a number"):
        Sampler(temperature)(torch.tensor(bad))


# --- the stream of tokens


def scripted(
    script: list[int], vocabulary: int = 64
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor, list[int]]:
    """A model that wants to say the script, and the tokens it was asked to go on from."""
    asked: list[int] = []

    def logits(token: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(token), vocabulary).float()

    def step(token: torch.Tensor) -> torch.Tensor:
        assert token.shape == (1,)
        asked.append(int(token))
        return logits(script[min(len(asked), len(script) - 1)])

    return step, logits(script[0]), asked


def run(script: list[int], stop_ids: set[int], max_new_tokens: int) -> tuple[list[GeneratedToken], list[int]]:
    step, first, asked = scripted(script)
    return list(decode_stream(step, first, Sampler(), stop_ids, max_new_tokens)), asked


def test_a_stop_token_ends_the_answer_and_is_not_its_text() -> None:
    got, asked = run([5, 6, 2, 7], {2, 3}, 10)
    assert [(item.token, item.finish) for item in got] == [(5, None), (6, None), (2, "stop")]
    assert [item.in_text for item in got] == [True, True, False]
    assert asked == [5, 6]


def test_the_longest_answer_is_a_stated_end_and_no_step_is_wasted() -> None:
    got, asked = run([5, 6, 7, 8], {2}, 3)
    assert [(item.token, item.finish) for item in got] == [(5, None), (6, None), (7, "length")]
    assert asked == [5, 6]


def test_a_loop_ends_the_answer_with_its_reason() -> None:
    got, _ = run([1, 2, 3, *([4, 5, 6, 7] * 50)], {60}, 200)
    assert got[-1].finish == "repetition"
    assert len(got) == 3 + 36


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("longest", [1, 2, 7, 40])
def test_going_ahead_gives_the_same_tokens(temperature: float, longest: int) -> None:
    """A step before its token is looked at changes nothing but the number of steps."""
    table = torch.randn(64, 64, generator=torch.Generator().manual_seed(2)) * 2
    ends = set()
    for seed in range(20):
        asked: dict[bool, list[int]] = {True: [], False: []}

        def stream(ahead: bool, seed: int = seed, asked: dict[bool, list[int]] = asked) -> list[GeneratedToken]:
            def step(token: torch.Tensor) -> torch.Tensor:
                asked[ahead].append(int(token))
                return table[int(token)]

            sampler = Sampler(temperature, 0.95, seed)
            return list(decode_stream(step, table[seed], sampler, {5, 9, 11}, longest, ahead=ahead))

        plain = stream(False)
        assert stream(True) == plain
        wasted = len(plain) < longest
        assert asked[True] == asked[False] + ([plain[-1].token] if wasted else [])
        ends.add(plain[-1].finish)
    assert longest < 40 or "stop" in ends


def test_the_next_step_is_asked_for_before_the_token_is_shown() -> None:
    for ahead, expected in ((True, [5]), (False, [])):
        step, first, asked = scripted([5, 6, 7, 8])
        tokens = decode_stream(step, first, Sampler(), {2}, 4, ahead=ahead)
        assert next(tokens).token == 5
        assert asked == expected


def test_no_room_for_an_answer_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError):
        run([1], {2}, 0)


def closed_after(tokens: list[int]) -> int | None:
    loop = LoopDetector()
    return next((place for place, token in enumerate(tokens) if loop.closes(token)), None)


def is_loop(tokens: list[int]) -> bool:
    return any(
        tokens[-length:] == tokens[-2 * length : -length] == tokens[-3 * length : -2 * length]
        for length in range(12, 129)
        if len(tokens) >= 3 * length
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=20),
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(0, 40),
)
def test_a_loop_is_the_same_twelve_tokens_or_more_three_times_in_a_row(
    lead: list[int], period: list[int], times: int
) -> None:
    tokens = (lead + period * times)[:200]
    expected = next((place for place in range(len(tokens)) if is_loop(tokens[: place + 1])), None)
    assert closed_after(tokens) == expected


def test_two_repeats_or_short_lists_are_no_loop() -> None:
    refrain = list(range(40))
    assert closed_after(refrain * 2 + [99] + refrain) is None
    assert closed_after([7] * 35) is None


@given(st.lists(st.text(alphabet="ab\n", max_size=4), max_size=8), st.sampled_from([("\nab",), ("a\n", "bb"), ()]))
def test_a_stop_text_cuts_the_answer_however_the_pieces_fall(parts: list[str], stops: tuple[str, ...]) -> None:
    stop = StopText(stops)
    shown = [stop.push(part) for part in parts]
    whole = "".join(parts)
    places = [whole.find(text) for text in stops if text in whole]
    assert stop.found == bool(places)
    assert "".join(shown) + stop.finish() == (whole[: min(places)] if places else whole)


def test_text_that_can_be_no_stop_text_is_shown_at_once() -> None:
    stop = StopText(("\nQuestion:",))
    assert [stop.push(part) for part in ("It", " is.\n", "Quest", "s.\n\n", "Question", ": x")] == [
        "It",
        " is.",
        "",
        "\nQuests.\n",
        "",
        "",
    ]
    assert stop.found


LONG_LINES = ["The answer to this question is:", "The answer to this question is no.", "}", ""]


def cut_at_repetition(text: str) -> str:
    """The text up to the end of a long line that follows itself twice, blank lines aside; else all of it."""
    lines = text.splitlines(keepends=True)
    full = [place for place, line in enumerate(lines) if line.strip() and line.endswith("\n")]
    for one, two, three in zip(full, full[1:], full[2:], strict=False):
        if len(lines[one].strip()) >= RepeatedLine.SHORTEST and lines[one] == lines[two] == lines[three]:
            return "".join(lines[: one + 1])
    return text


@given(st.lists(st.sampled_from(LONG_LINES), max_size=8), st.booleans(), st.data())
def test_a_line_written_over_and_over_is_shown_once_however_the_pieces_fall(
    lines: list[str], ended: bool, data: st.DataObject
) -> None:
    text = "\n".join(lines) + "\n" * ended
    repeated = RepeatedLine()
    shown, rest = "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        shown += repeated.push(rest[:size])
        rest = rest[size:]
    expected = cut_at_repetition(text)
    assert repeated.found == (expected != text)
    shown += repeated.finish()
    assert shown.rstrip() == expected.rstrip()
    assert repeated.found or shown == text


def test_a_line_that_repeats_nothing_is_shown_as_it_comes() -> None:
    repeated = RepeatedLine()
    pieces = ["The lamp was lit", " at dusk.\n", "The lamp was", " out", " by dawn."]
    assert [repeated.push(piece) for piece in pieces] == [*pieces[:2], "", "The lamp was out", " by dawn."]


def _table(seed: int) -> torch.Tensor:
    """Probabilities of the next token after every text of up to three of four tokens: a model small enough to list."""
    return torch.rand(4, 5, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(0)


def _share(table: torch.Tensor, said: tuple[int, ...], token: int) -> float:
    place = (*said, 4, 4, 4)[:3]  # 4: nothing there
    return float(table[(token, *place)])


@given(st.integers(0, 2**16), st.tuples(*[st.integers(0, 3)] * 3))
@settings(max_examples=30, deadline=None)
def test_what_is_unsaid_is_left_out_as_bayes_would(seed: int, suppressed: tuple[int, ...]) -> None:
    """Every text of three tokens but one, each as likely as it was before that one was ruled out."""
    table = _table(seed)

    def whole(text: tuple[int, ...]) -> float:
        probability = 1.0
        for place, token in enumerate(text):
            probability *= _share(table, text[:place], token)
        return probability

    costs = [-math.log(_share(table, suppressed[:place], token)) for place, token in enumerate(suppressed)]
    for text in product(range(4), repeat=3):
        found = 1.0
        rule = SuppressedSequence(suppressed, costs)
        for place, token in enumerate(text):
            logits = torch.tensor([_share(table, text[:place], other) for other in range(4)]).log()
            found *= float(rule.apply(logits).softmax(0)[token])
            rule.push(torch.tensor([token]))
        expected = 0.0 if text == suppressed else whole(text) / (1 - whole(suppressed))
        assert found == pytest.approx(expected, abs=1e-5)


def test_what_is_unsaid_rules_only_its_own_places() -> None:
    rule = SuppressedSequence([1, 2], [0.1, 0.1])
    logits = torch.zeros(4)
    assert rule.apply(logits)[1] == pytest.approx(math.log(1 - math.exp(-0.1)), abs=1e-6)
    rule.push(torch.tensor([1]))
    assert rule.apply(logits)[2] == -math.inf
    rule.push(torch.tensor([2]))
    assert torch.equal(rule.apply(logits), logits)
    assert torch.equal(logits, torch.zeros(4)), "the model's own logits stay"
    with pytest.raises(ValueError, match="costs"):
        SuppressedSequence([1, 2], [0.1])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_goes_round_what_is_unsaid(temperature: float) -> None:
    """A model sure of 1, 2, 3, then the end: with that ruled out it says something else, ahead of time or not."""
    sure = {(): 1, (1,): 2, (1, 2): 3, (1, 2, 3): 0}
    for ahead in (False, True):
        said: list[int] = []

        def step(token: torch.Tensor, said: list[int] = said) -> torch.Tensor:
            said.append(int(token))
            logits = torch.tensor([0.0, -1.0, -2.0, -3.0, -4.0])
            if (likely := sure.get(tuple(said))) is not None:
                logits[likely] = 20.0
            return logits

        first = torch.tensor([0.0, 20.0, -2.0, -3.0, -4.0])
        sampler = Sampler(temperature, suppressed=SuppressedSequence([1, 2, 3, 0], [1e-3] * 4))
        tokens = [one.token for one in decode_stream(step, first, sampler, {0}, 4, ahead=ahead)]
        assert tokens[0] == 1, "the beginning alone is not ruled out"
        assert tokens != [1, 2, 3, 0]
