"""Tokens to text by tokenizers of every kind: streams, whole answers and the tokenizer's own decoding are one text."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from alphabets import REAL, TINY, real, tiny
from stretto.pieces import CONTEXT, TIDIED, TORN
from stretto.text import Codec

TEXTS = [
    "a STOP b", "😀😀😀😀😀STOP", "do n't . a 's", "日本語のテキスト", "é€ab \ufffd a", "<|im_end|>ab<|im_start|>STOP",
    "𝔘𝔫𝔦 a", "naïve 👩‍👩‍👧 OP",
]  # fmt: skip


@pytest.fixture(scope="module", params=[*TINY, *REAL])
def codec(request: pytest.FixtureRequest) -> Codec:
    name = request.param
    tokenizer = tiny(name) if name in TINY else real(name, request.getfixturevalue("shared_data"))
    return Codec(name, tokenizer)


def drawn(codec: Codec, rng: random.Random) -> list[int]:
    """Tokens of texts, of single bytes, of anything."""
    tokenizer = codec.tokenizer
    assert tokenizer is not None
    number = tokenizer.backend_tokenizer.token_to_id
    bytes_of_texts = (0xF0, 0x9F, 0x98, 0x80, 0x41, 0x20, 0xE2, 0x82, 0xAC)
    narrow = [token for byte in bytes_of_texts if (token := number(f"<0x{byte:02X}>")) is not None]
    tokens: list[int] = []
    while len(tokens) < 30:
        kind = rng.randrange(4)
        if kind < 2:
            text = rng.choice(TEXTS)
            tokens += codec.encode_piece(text[rng.randrange(len(text)) :])
        elif kind == 2 and narrow:
            tokens += rng.choices(narrow, k=rng.randint(1, 9))
        else:
            tokens += rng.choices(range(len(tokenizer)), k=rng.randint(1, 3))
    return tokens


def streamed(codec: Codec, prompt: list[int], tokens: list[int], rng: random.Random, stop: list[str]) -> str:
    """The pieces of a stream, joined; they are its text."""
    text, shown, at = codec.text(prompt, stop), "", 0
    while at < len(tokens) and not text.stopped:
        size = rng.choice([1, 1, 1, 2, 5])
        text.extend(tokens[at : at + size])
        at += size
        shown += text.release()
        assert text.text.startswith(shown)
    text.extend([], last=True)
    shown += text.release(last=True)
    assert shown == text.text
    return shown


def whole(codec: Codec, prompt: list[int], tokens: list[int]) -> str:
    """What the tokenizer itself says of prompt and answer, after the prompt's: up to three tokens may be unfinished."""
    both, before = codec.decode([*prompt, *tokens]), codec.decode(prompt)
    if codec.tokenizer is not None and codec.tokenizer.clean_up_tokenization_spaces:
        shared = next((at for at, letter in enumerate(before) if not both.startswith(letter, at)), len(before))
        return both[shared:]  # what tidying takes back of the prompt is the answer's
    if not before.endswith(TORN) or both.startswith(before):
        return both[len(before) :]
    cuts = [codec.decode(prompt[: len(prompt) - cut]) for cut in range(1, 4)]
    known = next(text for text in cuts if not text.endswith(TORN))
    return both[len(known) :]


@pytest.mark.parametrize("seed", range(60))
def test_streams_answers_and_the_tokenizers_own_decoding_are_one_text(codec: Codec, seed: int) -> None:
    rng = random.Random(seed)
    tokens = drawn(codec, rng)
    cut = rng.randrange(len(tokens))
    if seed % 2:  # the prompt may end inside a character, or a run of bytes; what it leaves torn is finished
        prompt = codec.encode_piece("ab" + "😀" * rng.randrange(4) + "€")
        cut = rng.randrange(4)
        prompt, tokens = prompt[: len(prompt) - cut], [*prompt[len(prompt) - cut :], *codec.encode_piece("b"), *tokens]
    else:
        prompt, tokens = tokens[:cut], tokens[cut:]
        while prompt and codec.decode(prompt).endswith(TORN):
            prompt.pop()
    answer = codec.text(prompt)
    answer.extend(tokens, last=True)
    assert streamed(codec, prompt, tokens, rng, []) == answer.text == whole(codec, prompt, tokens)


@pytest.mark.parametrize("seed", range(40))
def test_the_first_stop_string_to_be_complete_ends_the_text(codec: Codec, seed: int) -> None:
    """Judged after each token on the text as it is then: whatever the borders of tokens, runs and rounds."""
    rng = random.Random(seed)
    tokens = [*codec.encode_piece(rng.choice(TEXTS)), *drawn(codec, rng)]
    said = codec.decode(tokens)
    begin = rng.randrange(len(said))
    stop = [said[begin : begin + rng.randint(1, 6)], *rng.sample(["STOP", "😀", "OP", "テ", "."], 2)]
    stop = [each for each in stop if TORN not in each]
    expected, count = said, len(tokens)
    for end in range(1, len(tokens) + 2):  # and once more, when nothing else can come
        now = codec.decode(tokens[:end])
        if codec.tokenizer is not None and codec.tokenizer.clean_up_tokenization_spaces and end <= len(tokens):
            now = TIDIED.sub("", now)
        found = [(now.find(each) + len(each), now.find(each)) for each in stop if each in now]
        if found:
            expected, count = now[: min(found)[1]], min(end, len(tokens))
            break
    text = codec.text([], stop)
    taken = next((at for at, token in enumerate(tokens, start=1) if text.push(token)), len(tokens))
    text.extend([], last=True)
    assert (text.text, taken) == (expected, count)
    assert text.stopped == bool(found)
    bulk = codec.text([], stop)
    bulk.extend(tokens[:count], last=True)
    assert bulk.text == expected
    assert said.startswith(streamed(codec, [], tokens, rng, stop)) or TORN in said


@pytest.mark.parametrize("name", TINY)
def test_a_token_costs_the_decoding_of_a_few(name: str) -> None:
    """However long a run of bytes, of torn characters, of anything."""
    codec = Codec(name, tiny(name))
    decoded = [0]
    decode = codec.decode

    def counted(tokens: Sequence[int]) -> str:
        decoded[0] += len(tokens)
        return decode(tokens)

    codec.decode = counted  # type: ignore[method-assign]
    rng = random.Random(0)
    half = codec.encode_piece("€")[:1] or [5]
    for tokens in ([*codec.encode_piece("😀" * 500)][:2000], half * 2000, [rng.randrange(300) for _ in range(2000)]):
        for stop in ([], ["STOP", "never"]):
            decoded[0] = 0
            text = codec.text([5] * 3000, stop)
            for token in tokens:
                text.push(token)
            text.extend([], last=True)
            assert decoded[0] <= (2 * CONTEXT + 4) * (len(tokens) + 4)


MARKED = ["byte fallback after a space", "byte fallback", "byte level", "metaspace"]


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize(
    ("stop", "left"),
    [
        (["<|im_end|>"], "a do"),
        (["do<|im_end|>"], "a "),
        (["do<|im_end|>S"], "a "),
        (["do<|im_end|>STOP"], "a "),
        (["<|im_start|>", "OP"], "a doST"),
        (["do<|im_start|>"], None),
        (["doS"], "a "),  # special tokens give no text, so this is found as well
    ],
)
def test_stop_strings_may_spell_special_tokens(name: str, stop: list[str], left: str | None) -> None:
    codec = Codec(name, tiny(name))
    head, end, tail = (codec.encode_piece(text) for text in ("a do", "<|im_end|>", "STOP a"))
    tail = tail if codec.decode([*head, *tail]) == "a doSTOP a" else tail[1:]  # without the space put in front
    expected = codec.decode([*head, *tail]) if left is None else left
    for ends in ((), end):
        text, shown = codec.text([], stop, ends), ""
        for token in [*head, *end, *tail]:
            text.push(token)
            shown += text.release()
            if token in ends:
                break
        text.extend([], last=True)
        shown += text.release(last=True)
        if not ends:
            assert shown == text.text == expected and text.stopped == (left is not None)
        else:
            assert shown == text.text == ("a " if stop[0] == "do<|im_end|>" else "a do")
            assert text.stopped == (stop[0] in ("<|im_end|>", "do<|im_end|>"))
