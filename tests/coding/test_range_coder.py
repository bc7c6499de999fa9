"""The coder and its frequencies: round trips, lengths, and what damaged bits do."""

from __future__ import annotations

import doctest
import math
import random

import pytest
import torch

from stretto.coding import frequencies, range_coder
from stretto.coding.frequencies import bounds, intervals, summed
from stretto.coding.range_coder import MOST, Reader, Writer
from stretto.errors import InvalidRequest

Put = tuple[int, int, int]


def drawn(chance: random.Random, count: int) -> list[Put]:
    """Symbols of all kinds: likely and unlikely ones, the first and the last, of small and large totals."""
    found = []
    for _ in range(count):
        total = chance.choice([1, 2, 3, 256, 65536, 10**9 + 7, MOST])
        size = chance.choice([1, max(1, total // 2), max(1, total - 1), chance.randint(1, total)])
        found.append((chance.choice([0, total - size, chance.randint(0, total - size)]), size, total))
    return found


def written(puts: list[Put]) -> bytes:
    writer = Writer()
    for put in puts:
        writer.put(*put)
    return writer.end()


@pytest.mark.parametrize("seed", range(200))
def test_what_was_written_is_read_and_is_no_longer_than_it_must_be(seed: int) -> None:
    puts = drawn(random.Random(seed), seed)
    coded = written(puts)
    reader = Reader(coded)
    for start, size, total in puts:
        assert start <= reader.peek(total) < start + size
        reader.take(start, size)
    bits = sum(math.log2(total / size) for _, size, total in puts)
    assert 8 * len(coded) <= bits + 16 + len(puts) * 2**-13


def test_three_symbols_take_their_five_bits() -> None:
    assert len(written([(0, 2, 4), (2, 1, 4), (3, 1, 4)])) == 1
    assert written([]) == b""


def test_a_carry_goes_through_whatever_was_written() -> None:
    """Many symbols of the upper end: their sum runs over bytes of 255."""
    puts = [(2, 1, 3)] * 100 + [(1, 1, 3), (2**32 - 1, 1, 2**32)] * 50
    reader = Reader(written(puts))
    for start, size, total in puts:
        assert reader.peek(total) == start
        reader.take(start, size)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bits_are_other_symbols_or_a_typed_error(seed: int) -> None:
    chance = random.Random(seed)
    coded = bytearray(written(drawn(chance, 60)))
    coded[chance.randrange(len(coded))] ^= 1 << chance.randrange(8)
    reader = Reader(bytes(coded))
    for _, _, total in drawn(chance, 100):
        try:
            at = reader.peek(total)
        except InvalidRequest:
            return
        assert 0 <= at < total
        reader.take(at, 1)


def test_bytes_that_no_writer_wrote_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="damaged"):
        Reader(b"\xff" * 40).peek(3)


def test_what_the_coder_shows_runs() -> None:
    assert doctest.testmod(range_coder) == (0, doctest.testmod(range_coder).attempted)


def test_the_table_is_the_exponential_rounded_down() -> None:
    found = frequencies.table().tolist()
    assert found[0] == frequencies.TOP and found[-1] == 1
    for at, value in enumerate(found):
        assert 0 <= frequencies.TOP * math.exp(-at / frequencies.STEPS) - value < 1 + 1e-5


def test_frequencies_are_probabilities() -> None:
    """To what the file promises: 10^-6 bits a token, in the mean over what the model expects."""
    torch.manual_seed(0)
    logits = torch.randn(300, 50).double()
    sums = summed(logits, torch.ones(50, dtype=torch.bool))
    sizes = sums.diff(prepend=torch.zeros(300, 1, dtype=sums.dtype))
    exact, coded = logits.log_softmax(-1), (sizes / sums[:, -1:]).log()
    lost = (exact.exp() * (exact - coded)).sum(-1).mean().item() / math.log(2)
    assert 0 <= lost < 1e-6


def test_a_number_leads_back_to_its_token_and_never_to_one_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequencies, "PORTION", 12)  # two rows at a time
    logits = torch.tensor([[0.0, 3.0, -50.0, 1.0, 2.0, -torch.inf]] * 3)
    text = torch.tensor([False, True, True, False, True, True])
    for token, (start, size, total) in zip([1, 2, 5], intervals(logits, [1, 2, 5], text), strict=True):
        sums = summed(logits[:1], text)
        for number in (start, start + size - 1):
            assert torch.searchsorted(sums, torch.tensor([[number]]), right=True).item() == token
        assert [each.item() for each in bounds(sums, torch.tensor([[token]]))] == [start, size]
        assert total == sums[0, -1]
    assert summed(torch.full((1, 3), torch.nan), torch.ones(3, dtype=torch.bool)).diff().tolist() == [[1 << 32] * 2]
