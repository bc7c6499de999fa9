"""Texts through a model and back: by enumeration on a table, by figures on the zoo, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from alphabets import tiny
from stretto import score, zoo
from stretto.coding import compress, expand
from stretto.coding.streams import Streams
from stretto.coding.symbols import cut, symbols
from stretto.coding.text import MAGIC
from stretto.constrain.tokens import Tokens
from stretto.engine import Engine
from stretto.errors import InvalidRequest, StrettoError, Unsupported
from stretto.models.masked import Masking
from stretto.models.numbers import Numbers
from stretto.models.table import MaskedTable, TableModel
from stretto.score import first_token, score_pairs

PIECES = [None, b"a", b"ab", b"\xc3", None, "é".encode()]
TOKENS = Tokens(PIECES)
PAGE = b"Scoring given texts: `generate` writes a text; `score` says how likely the model finds one.\n"


class Table(TableModel):
    """A table computes the same bits whatever stands beside: it goes number by number."""

    numbers = Numbers("float64", bits=True)


def streams(window: int, context: int, seed: int = 1) -> Streams:
    return Streams(Table.random(len(PIECES), seed, order=3), TOKENS, 0, window, context)


def windows(start: int, tokens: list[int], size: int, context: int) -> Iterator[tuple[list[int], list[int]]]:
    """The windows as the docs say it: what each begins with, and what is predicted in it."""
    done = 0
    while done < len(tokens):
        before = [start, *tokens[max(0, done - context) : done]]
        after = tokens[done : done + size + 1 - len(before)]
        yield before, after
        done += len(after)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """A table whose tokens are bytes, and some pairs of them."""
    tokenizer = tiny("byte level")
    return Engine(Table.random(len(tokenizer), 1, order=1), tokenizer)


@pytest.fixture(scope="module")
def coded(engine: Engine) -> bytes:
    return compress(engine, PAGE)


@pytest.mark.parametrize(("window", "context"), [(64, 0), (3, 0), (3, 1), (4, 3)])
def test_every_short_text_comes_back(window: int, context: int) -> None:
    """Of bytes that are tokens, parts of tokens, and no token at all; side by side, in windows that end early."""
    texts = [bytes(each) for size in range(4) for each in itertools.product(b"ab\xc3\xa9", repeat=size)]
    side = streams(window, context)
    written = [side.write(symbols(text, TOKENS)) for text in texts]
    assert side.read(written, [len(text) for text in texts]) == texts


def test_bits_are_the_cross_entropy_of_the_same_windows() -> None:
    """Only of what spells something: a table gives the others a share that is not needed."""
    chance, side = random.Random(3), streams(8, 3)
    tokens = chance.choices([1, 2, 3, 5], k=300)
    text = torch.tensor([bool(piece) for piece in PIECES])
    exact = 0.0
    for before, after in windows(0, tokens, 8, 3):
        for at, token in enumerate(after):
            logits = torch.tensor(side.model.rule((*before, *after[:at])))
            exact -= float(logits[token] - logits[text].logsumexp(0))
    assert 8 * len(side.write(tokens)) == pytest.approx(exact / math.log(2), rel=0.005, abs=16)


def test_symbols_lose_no_byte(engine: Engine) -> None:
    chance = random.Random(0)
    tokens = Tokens(PIECES, encode=lambda text: [1] * len(text))  # a tokenizer that changes what it is given
    odd = [b"", b"\xff", "naïve 🙂🙃".encode(), b"ab\xff\xfeab" + b"\x80" * 700, b"<|end|>a<|bos|>", b"\xed\xb2\x80"]
    for text in [*odd, chance.randbytes(3000), b"c" * 600 + b"abc"]:
        for each in (TOKENS, tokens):
            found = symbols(text, each, ["<|end|>", "<|bos|>"])
            assert b"".join(part if isinstance(part, bytes) else each.text_of(part) for part in found) == text
            assert all(len(part) <= 256 for part in found if isinstance(part, bytes))
    assert symbols(b"ab", tokens) == [2]


def test_a_text_is_cut_behind_white_space_where_there_is_some() -> None:
    assert cut(b"", 8) == []
    assert cut(b"aaaaaa bbbbbbbbbbbbbb c", 8) == [b"aaaaaa ", b"bbbbbbbb", b"bbbbbb c"]
    assert b"".join(cut(PAGE, 10)) == PAGE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"</s>",
        "🙂 naïve \ue000\x00<|im_end|>".encode(),
        b"text \xff\xfe in \x80 parts",
        random.Random(1).randbytes(600),
    ],
    ids=["nothing", "a byte", "a control token", "odd text", "bad bytes", "chance"],
)
def test_any_bytes_come_back(engine: Engine, data: bytes) -> None:
    written = compress(engine, data)
    assert expand(engine, written) == data
    assert len(written) < len(data) + 400


def test_a_text_takes_what_the_model_says() -> None:
    if "causal" not in zoo.names():
        pytest.skip("the zoo's models are not in this checkout")
    engine = Engine.load("zoo/causal", exact="bits", reproducible=True)
    text = Path(score.__file__).read_bytes()[:800]
    coded = compress(engine, text, window=200, context=99)
    bits = 8 * (len(coded) - struct.unpack(">I", coded[8:12])[0] - 16 - 10 - 6 - 32)  # without head, sizes and sums
    start, tokens = first_token(engine.codec, engine.end_tokens), engine.codec.encode_piece(text.decode())
    exact = -sum(each.total for each in score_pairs(engine.model, list(windows(start, tokens, 200, 99)), 16))
    assert bits == pytest.approx(exact / math.log(2), rel=0.005)


@pytest.mark.parametrize("seed", range(25))
def test_a_flipped_bit_is_found(engine: Engine, coded: bytes, seed: int) -> None:
    damaged = bytearray(coded)
    damaged[seed * len(coded) // 25] ^= 1 << seed % 8
    with pytest.raises(StrettoError):
        expand(engine, bytes(damaged))


@pytest.mark.parametrize("size", [0, 4, 9, 40, 330, -33, -1])
def test_a_file_that_ends_early_is_refused(engine: Engine, coded: bytes, size: int) -> None:
    with pytest.raises(InvalidRequest):
        expand(engine, coded[:size])


def test_a_file_that_goes_on_is_refused(engine: Engine, coded: bytes) -> None:
    with pytest.raises(InvalidRequest, match="another"):
        expand(engine, coded + b"x")


def test_damage_behind_all_sums_ends_too() -> None:
    """Whatever the bits are, a text of the length that was promised comes, or a typed error."""
    side, chance = streams(6, 2), random.Random(5)
    for _ in range(15):
        try:
            (found,) = side.read([chance.randbytes(20)], [30])
        except InvalidRequest:
            continue
        assert len(found) == 30


def facts_of(coded: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(coded[12 : 12 + struct.unpack(">I", coded[8:12])[0]])
    return found


def forged(coded: bytes, head: bytes) -> bytes:
    """The same file with another beginning."""
    size = struct.unpack(">I", coded[8:12])[0]
    return MAGIC + struct.pack(">I", len(head)) + head + struct.pack(">I", zlib.crc32(head)) + coded[16 + size :]


@pytest.mark.parametrize(
    ("facts", "error", "said"),
    [
        ({"tokenizer": "x"}, Unsupported, "tokenizer"),
        ({"bits": "x"}, Unsupported, "other bits"),
        ({"bits": "x", "logits": [9.0] * 8}, Unsupported, "another model"),
        ({"bits": "x", "logits": [1]}, InvalidRequest, "damaged"),
        ({"window": 4097}, InvalidRequest, "window"),
        ({"window": "x"}, InvalidRequest, "damaged"),
        ({"context": None}, InvalidRequest, "damaged"),
    ],
    ids=str,
)
def test_what_was_written_otherwise_is_refused(
    engine: Engine, coded: bytes, facts: dict[str, object], error: type[StrettoError], said: str
) -> None:
    with pytest.raises(error, match=said):
        expand(engine, forged(coded, json.dumps(facts_of(coded) | facts).encode()))


@pytest.mark.parametrize("head", [b"[]", b"3", b'"x"', b"{}", b"{", b"\xff", b"[" * 60_000], ids=range(7))
def test_a_beginning_that_tells_no_facts_is_refused(engine: Engine, coded: bytes, head: bytes) -> None:
    with pytest.raises(InvalidRequest, match="beginning"):
        expand(engine, forged(coded, head))


def test_a_text_that_grew_is_refused(engine: Engine, coded: bytes) -> None:
    """No writer writes so: it keeps such texts as they are."""
    size = 16 + struct.unpack(">I", coded[8:12])[0]
    block = struct.pack(">HHH", 1, 3, 4) + b"abcd"
    with pytest.raises(InvalidRequest, match="damaged"):
        expand(engine, coded[:size] + block + struct.pack(">I", zlib.crc32(block)) + coded[size:])


def test_a_file_may_be_put_together_anew(engine: Engine, coded: bytes) -> None:
    """So it is what is forged above that is refused."""
    assert expand(engine, forged(coded, json.dumps(facts_of(coded)).encode())) == PAGE


def test_another_version_and_another_file_are_refused(engine: Engine, coded: bytes) -> None:
    with pytest.raises(Unsupported, match="version"):
        expand(engine, coded[:7] + b"\x63" + coded[8:])
    with pytest.raises(InvalidRequest, match="not written by compress"):
        expand(engine, b"PK\x03\x04 and more")


def test_models_that_cannot_are_refused() -> None:
    with pytest.raises(Unsupported, match="exact='bits'"):
        compress(Engine(TableModel.random(5, 1)), b"a")
    with pytest.raises(Unsupported, match="fills masks"):
        compress(Engine(MaskedTable.random_masked(5, 1, Masking(4))), b"a")
    with pytest.raises(Unsupported, match="tokenizer"):
        compress(Engine(Table.random(5, 1)), b"a", window=8, context=2)


def test_windows_that_cannot_be_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="window is 1"):
        compress(engine, b"a", window=1, context=0)
    with pytest.raises(InvalidRequest, match="context is 8"):
        compress(engine, b"a", window=8, context=8)


def test_a_model_of_short_windows_reads_what_was_written_in_such() -> None:
    tokenizer = tiny("byte level")
    table = Table(len(tokenizer), Table.random(len(tokenizer), 1, order=1).rule, max_positions=32)
    engine = Engine(table, tokenizer)
    assert expand(engine, compress(engine, PAGE, window=32, context=8)) == PAGE
