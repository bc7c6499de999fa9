"""Noise: known answers, the scalar reference, and the statistics that exactness stands on."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from stretto.noise import BITS, WIDEST_GAP, gumbel, gumbel_one, key, split, split_all, uniform, uniform_of, uniform_one

DRAWS = 1 << 17

# Each coordinate on its own, the other three held: the draws that one coordinate alone makes.
COORDINATES: dict[str, Callable[[int], Tensor]] = {
    "token": lambda n: uniform(torch.tensor(key(7, 0, 40)), torch.arange(n)),
    "position": lambda n: uniform(torch.tensor([key(7, 0, i) for i in range(n)]), torch.tensor(11)),
    "stream": lambda n: uniform(torch.tensor([key(7, i, 40) for i in range(n)]), torch.tensor(11)),
    "seed": lambda n: uniform(torch.tensor([key(i, 0, 40) for i in range(n)]), torch.tensor(11)),
}


@cache
def draws_along(name: str) -> Tensor:
    return COORDINATES[name](DRAWS)


def chi_square_limit(freedom: int, z: float = 4.0) -> float:
    """The value that chi-square exceeds with the chance of a normal beyond z (3e-5 for 4): Wilson and Hilferty."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + z * math.sqrt(spread)) ** 3


def chi_square(cells: Tensor, size: int) -> float:
    """Of the counts of cells [n], each of `size` equally likely values."""
    counts = torch.bincount(cells, minlength=size).double()
    expected = len(cells) / size
    return float(((counts - expected) ** 2 / expected).sum())


def test_the_hash_is_splitmix64() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [split(1234567, index) for index in range(4)] == known


def test_tensors_equal_the_scalar_reference() -> None:
    chance = random.Random(0)
    keys = [key(chance.getrandbits(64), chance.randrange(9), chance.randrange(99999)) for _ in range(5000)]
    tokens = [chance.randrange(200_000) for _ in keys]
    assert uniform(torch.tensor(keys), torch.tensor(tokens)).tolist() == list(map(uniform_one, keys, tokens))
    slow = torch.tensor(list(map(gumbel_one, keys, tokens)), dtype=torch.float64).float()
    assert torch.equal(gumbel(torch.tensor(keys), torch.tensor(tokens)), slow)


def test_arrays_equal_the_scalar_reference() -> None:
    chance = random.Random(1)
    states = [chance.getrandbits(64) for _ in range(2000)] + [0, 2**64 - 1]
    indices = [chance.getrandbits(64) for _ in range(2000)] + [2**64 - 1, 0]
    words = split_all(np.array(states, np.uint64), np.array(indices, np.uint64))
    assert words.tolist() == list(map(split, states, indices))
    assert uniform_of(words).tolist() == list(map(uniform_one, states, indices))


def test_a_table_of_keys_and_tokens_is_its_entries() -> None:
    keys, tokens = torch.tensor([key(1, 0, i) for i in range(7)]), torch.arange(1000)
    table = gumbel(keys[:, None], tokens)
    for row, one in zip(table, keys, strict=True):
        assert torch.equal(row, gumbel(one, tokens))
        assert torch.equal(row[700:703], gumbel(one, tokens[700:703]))


def test_inputs_are_left_alone() -> None:
    keys, tokens = torch.tensor([key(1, 0, 5)] * 8), torch.arange(8)
    gumbel(keys, tokens)
    assert keys.tolist() == [key(1, 0, 5)] * 8
    assert tokens.tolist() == list(range(8))


def test_the_widest_gap_bounds_every_two_draws() -> None:
    smallest, largest = 0.5 * 2.0**-BITS, 1 - 0.5 * 2.0**-BITS
    assert smallest > 0
    assert largest < 1
    gap = -math.log(-math.log(largest)) + math.log(-math.log(smallest))
    assert gap + 0.9 < WIDEST_GAP < gap + 1.1


def test_no_two_places_share_a_key() -> None:
    places = list(itertools.product(range(12), repeat=3))
    assert len({key(*place) for place in places}) == len(places)


@pytest.mark.parametrize("name", COORDINATES)
def test_draws_are_uniform(name: str) -> None:
    draws = draws_along(name)
    assert chi_square((draws * 256).long(), 256) < chi_square_limit(255)
    low = (draws * 2**BITS).long() % 256  # the last bits as well
    assert chi_square(low, 256) < chi_square_limit(255)
    ordered = draws.sort().values  # Kolmogorov and Smirnov; 2.3 is exceeded with a chance of 5e-5
    steps = torch.arange(DRAWS + 1, dtype=torch.float64) / DRAWS
    distance = torch.maximum((ordered - steps[:-1]).abs().max(), (ordered - steps[1:]).abs().max())
    assert float(distance) * math.sqrt(DRAWS) < 2.3


@pytest.mark.parametrize("name", COORDINATES)
@pytest.mark.parametrize("lag", [1, 2, 3, 64])
def test_neighbours_are_independent(name: str, lag: int) -> None:
    cells = (draws_along(name) * 16).long()
    assert chi_square(cells[:-lag] * 16 + cells[lag:], 256) < chi_square_limit(255)


def test_neighbours_across_coordinates_are_independent() -> None:
    names = list(COORDINATES)
    cells = {name: (draws_along(name) * 16).long() for name in names}
    for i, one in enumerate(names):
        for other in names[i + 1 :]:  # entry i of both: (i, fixed) against (fixed, i)
            assert chi_square(cells[one] * 16 + cells[other], 256) < chi_square_limit(255), (one, other)


@pytest.mark.parametrize("coordinate", range(4))
def test_one_flipped_bit_flips_half_of_the_draw(coordinate: int) -> None:
    chance = random.Random(coordinate)
    trials, width = 400, 16 if coordinate == 3 else 32
    flips = torch.zeros(width, BITS)
    for _ in range(trials):
        at = [chance.getrandbits(32), chance.getrandbits(32), chance.getrandbits(32), chance.getrandbits(16)]
        base = int(uniform_one(key(*at[:3]), at[3]) * 2**BITS)
        for bit in range(width):
            turned = at.copy()
            turned[coordinate] ^= 1 << bit
            differ = base ^ int(uniform_one(key(*turned[:3]), turned[3]) * 2**BITS)
            flips[bit] += torch.tensor([differ >> place & 1 for place in range(BITS)])
    assert float((flips / trials - 0.5).abs().max()) < 5 * 0.5 / math.sqrt(trials)
    assert float((flips.mean(1) / trials - 0.5).abs().max()) < 5 * 0.5 / math.sqrt(trials * BITS)


def test_gumbel_noise_has_the_gumbel_distribution() -> None:
    draws = gumbel(torch.tensor(key(5, 2, 9)), torch.arange(DRAWS)).double().sort().values
    expected = torch.exp(-torch.exp(-draws))
    steps = torch.arange(DRAWS, dtype=torch.float64) / DRAWS
    assert float((expected - steps).abs().max()) * math.sqrt(DRAWS) < 2.3
