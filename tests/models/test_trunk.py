"""What rows share: read as if each held it itself, counted, and given back."""

from __future__ import annotations

import pytest
import torch

from stretto.models.blocks import CacheShape
from stretto.models.cache import Cache
from stretto.models.trunk import Standing, Trunk, attend_apart
from stretto.models.window import Window

CPU = torch.device("cpu")


def trunk_of(keys: torch.Tensor, values: torch.Tensor, start: int) -> Trunk:
    """Of keys and values [1, H, P, size]."""
    positions = torch.arange(start, start + keys.shape[2]).view(1, 1, 1, -1, 1)
    return Trunk((positions, keys[None], values[None]), start)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chains", [[[0], [0], [0]], [[0, 1], [], [0]], [[1], [0], [1]]])
def test_trunks_read_apart_are_read_as_one(chains, masked):
    """Against attention over everything at once, where a trunk may also be beyond the reach of some queries."""
    torch.manual_seed(len(chains[0]))
    heads, count, size, own, scale = 2, 3, 8, 5, 0.4
    trunks = [trunk_of(torch.randn(1, heads, at, size), torch.randn(1, heads, at, size), 0) for at in (40, 7)]
    queries = torch.randn(3, heads, count, size)
    keys, values = torch.randn(2, 3, heads, own, size).unbind(0)
    mask = torch.zeros(3, 1, count, own).masked_fill(torch.rand(3, 1, count, own) < 0.5, -torch.inf)
    mask[..., 0] = 0
    standings = []
    for standing in Standing.of([[trunks[each] for each in chain] for chain in chains], CPU):
        rows = 3 if standing.rows is None else len(standing.rows)
        shut = torch.zeros(rows, 1, count, standing.trunk.slots)
        shut[:, :, 0] = -torch.inf  # all of it
        shut[:, :, 1, ::2] = -torch.inf
        standings.append((standing, shut if masked else None))
    found = attend_apart(queries, keys, values, mask, standings, layer=0, scale=scale)
    for row, chain in enumerate(chains):
        parts = [(keys[row], values[row], mask[row])]
        for each in chain:
            standing, shut = next(pair for pair in standings if pair[0].trunk is trunks[each])
            at = row if standing.rows is None else standing.rows.tolist().index(row)
            seen = torch.zeros(1, count, standing.trunk.slots) if shut is None else shut[at]
            parts.append((standing.trunk.keys[0][0], standing.trunk.values[0][0], seen))
        every = [torch.cat(each, at) for each, at in zip(zip(*parts, strict=True), (1, 1, 2), strict=True)]
        weights = (queries[row] @ every[0].mT * scale + every[2]).softmax(-1)
        assert torch.allclose(found[row], weights @ every[1], atol=1e-6)


def filled(cache: Cache, row: int, count: int, layers: tuple[int, int] | None = None) -> None:
    window = Window.chain([row], [[1] * count], [cache.following(row)], CPU)
    window.layers = layers
    place = cache.place(window)
    for layer in range(*(layers or (0, cache.shape.layers))):
        cache.append(layer, torch.randn(1, 2, count, 4), torch.randn(1, 2, count, 4), place)
    cache.settle(place)


def test_eight_forks_of_a_long_row_take_little_more_than_it():
    cache = Cache(CacheShape(2, 2, 4, 4, torch.float32, CPU), 1, 1000)
    row = cache.open()
    filled(cache, row, 999)
    one = 1000 * (cache.shape.bytes_per_slot + 8)
    assert cache.bytes() == one
    rows = [row, *(cache.fork(row)[0] for _ in range(7))]
    assert cache.bytes() < 1.2 * one
    for _ in range(32):
        for each in rows:
            filled(cache, each, 1)
    assert cache.bytes() <= 1.3 * (999 + 32) * (cache.shape.bytes_per_slot + 8)
    for each in rows[1:]:
        cache.free(each)
    filled(cache, row, 1)  # alone it holds all itself again
    assert cache.bytes() <= 1.3 * (999 + 33) * (cache.shape.bytes_per_slot + 8)
    cache.free(row)
    assert cache.bytes() <= 16 * (cache.shape.bytes_per_slot + 8)


def test_rows_that_leave_give_back_what_they_took():
    cache = Cache(CacheShape(2, 2, 4, 4, torch.float32, CPU), 1, 64)
    row = cache.open()
    filled(cache, row, 60)
    before = cache.bytes()
    others = [cache.open() for _ in range(7)]
    for other in others:
        filled(cache, other, 500)
    assert cache.bytes() > 50 * before
    for other in others:
        cache.free(other)
    assert cache.bytes() <= 4 * before
    assert cache.length(row) == 60


def test_blocks_do_not_shrink_and_grow_in_turn():
    cache = Cache(CacheShape(2, 2, 4, 4, torch.float32, CPU), 1, 16)
    filled(cache, cache.open(), 100)
    sizes = set()
    for _ in range(4):
        row = cache.open()
        filled(cache, row, 120)
        sizes.add(cache.bytes())
        cache.free(row)
        sizes.add(cache.bytes())
    assert len(sizes) == 1


def test_a_trunk_is_taken_back_by_whoever_changes_it():
    cache = Cache(CacheShape(3, 2, 4, 4, torch.float32, CPU), 1, 1000)
    row = cache.open()
    filled(cache, row, 600)
    filled(cache, row, 20, layers=(0, 1))  # shallow layers run ahead
    keys = [cache.keys(row, layer).clone() for layer in range(3)]
    cut, thinned, shorter = cache.fork(row, 3)
    cache.truncate(cut, 100)
    cache.keep(thinned, 5, [7, 300, 605])
    cache.truncate(shorter, 0, 1)
    for layer in range(3):
        assert torch.equal(cache.keys(row, layer), keys[layer])
        assert torch.equal(cache.keys(cut, layer), keys[layer][:, :100])
        slots = [*range(5), 7, 300, *([605] if layer == 0 else [])]
        assert torch.equal(cache.keys(thinned, layer), keys[layer][:, slots])
        assert torch.equal(cache.keys(shorter, layer), keys[layer][:, : 620 if layer == 0 else 0])
    filled(cache, cut, 3)
    assert cache.length(cut) == 103
    for layer in range(3):
        assert torch.equal(cache.keys(cut, layer)[:, :100], keys[layer][:, :100])
        assert torch.equal(cache.keys(row, layer), keys[layer])
    assert cache.row_positions(thinned).tolist() == [*range(5), 7, 300, 605]
    assert cache.position(thinned, 6) == 300
    assert cache.following(thinned) == 606
