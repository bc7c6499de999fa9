"""The cache against a plain list of what every row should hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.errors import OutOfMemory
from stretto.models.blocks import CacheShape
from stretto.models.cache import Cache
from stretto.models.place import visibility
from stretto.models.trunk import Sharing
from stretto.models.window import Window

CPU = torch.device("cpu")


def new_cache(layers: int = 2, rows: int = 1, slots: int = 2, sharing: Sharing = Sharing()) -> Cache:
    return Cache(CacheShape(layers, 2, 3, 1, torch.float32, CPU), rows, slots, sharing=sharing)


def write(cache: Cache, rows: list[int], chunks: list[list[int]], layers: tuple[int, int] | None = None) -> None:
    """Append tokens as keys (times the layer plus one) and values, as a model would."""
    first = layers[0] if layers else 0
    window = Window.chain(rows, chunks, [cache.length(row, first) for row in rows], CPU)
    window.layers = layers
    place = cache.place(window)
    for layer in range(*(layers or (0, cache.shape.layers))):
        keys = window.tokens[:, None, :, None] * (layer + 1.0) * torch.ones(1, 2, 1, 3)
        read, _ = cache.append(layer, keys, keys[..., :1], place)
        assert read.shape[:3] == (len(rows), 2, place.read.end)
    cache.settle(place)


def held(cache: Cache, row: int, layer: int = 0) -> list[int]:
    keys = cache.keys(row, layer)
    assert torch.equal(keys[..., :1], cache.values(row, layer))
    assert (keys == keys[:1, :, :1]).all()
    return [int(key) // (layer + 1) for key in keys[0, :, 0]]


@pytest.mark.parametrize("sharing", [Sharing(), Sharing(1, 1), Sharing(2, 6, 2)])
@settings(max_examples=40)
@given(data=st.data())
def test_any_sequence_of_operations_keeps_what_the_list_says(data, sharing):
    cache, expected = new_cache(sharing=sharing), {}
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["open", "write", "write", "keep", "truncate", "fork", "free"]))
        rows = sorted(expected)
        if action == "open" or not rows:
            expected[cache.open()] = []
        elif action == "write":
            some = data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=4, unique=True))
            chunks = [data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)) for _ in some]
            write(cache, some, chunks)
            for row, chunk in zip(some, chunks, strict=True):
                expected[row] = expected[row] + chunk
        else:
            row = data.draw(st.sampled_from(rows))
            length = len(expected[row])
            if action == "keep":
                start = data.draw(st.integers(0, length))
                slots = sorted(data.draw(st.sets(st.integers(start, length - 1)))) if start < length else []
                cache.keep(row, start, slots)
                expected[row] = expected[row][:start] + [expected[row][slot] for slot in slots]
            elif action == "truncate":
                cut = data.draw(st.integers(0, length))
                cache.truncate(row, cut)
                expected[row] = expected[row][:cut]
            elif action == "fork":
                for copy in cache.fork(row, data.draw(st.integers(1, 2))):
                    expected[copy] = list(expected[row])
            else:
                cache.free(row)
                del expected[row]
        for row, tokens in expected.items():
            assert [held(cache, row, layer) for layer in (0, 1)] == [tokens, tokens]


def test_shallow_layers_may_run_ahead():
    cache = new_cache(layers=3)
    row = cache.open()
    write(cache, [row], [[1, 2]])
    write(cache, [row], [[3, 4, 5]], layers=(0, 1))
    assert [cache.length(row, layer) for layer in range(3)] == [5, 2, 2]
    write(cache, [row], [[3]], layers=(1, 3))
    cache.keep(row, 2, [2, 4])  # slot 4 is in the first layer only
    assert [held(cache, row, layer) for layer in range(3)] == [[1, 2, 3, 5], [1, 2, 3], [1, 2, 3]]
    cache.truncate(row, 3)
    assert {cache.length(row, layer) for layer in range(3)} == {3}
    with pytest.raises(AssertionError, match="layers 0 to 3"):
        write(cache, [row], [[7]], layers=(0, 1))
        write(cache, [row], [[8]])


def test_rows_of_a_batch_are_read_without_copying():
    cache = new_cache(rows=3, slots=8)
    rows = [cache.open() for _ in range(3)]
    cache.free(rows[0])  # the last row moves to the front
    window = Window.chain(cache.in_order(rows[1:]), [[1], [2]], [0, 0], CPU)
    place = cache.place(window)
    assert place.rows == slice(0, 2)
    keys, _ = cache.append(0, torch.ones(2, 2, 1, 3), torch.ones(2, 2, 1, 1), place)
    first = cache.in_order(rows[1:])[0]
    cache.settle(place)
    assert keys.data_ptr() == cache.keys(first, 0).data_ptr()


def dense(window: Window, lengths: list[int], reach: int | None = None) -> list[list[list[int]]]:
    """Which slots each query may read, by the definition."""
    table = []
    for r, start in enumerate(lengths):
        rows = []
        for t in range(window.tokens.shape[1]):
            own = [
                s
                for s in range(window.tokens.shape[1])
                if (s <= t if window.visible is None else bool(window.visible[r, t, s]))
            ]
            slots = list(range(start)) + [start + s for s in own]
            at = [*range(start), *(int(p) for p in window.positions[r])]
            position = int(window.positions[r, t])
            rows.append([s for s in slots if reach is None or position - at[s] < reach])
        table.append(rows)
    return table


@pytest.mark.parametrize("reach", [None, 3])
@pytest.mark.parametrize("lengths", [[4, 4], [1, 6], [0, 0]])
@pytest.mark.parametrize("tree", [False, True])
def test_who_sees_whom(tree, lengths, reach):
    cache = new_cache(rows=2, slots=4)
    rows = [cache.open() for _ in lengths]
    for row, length in zip(rows, lengths, strict=True):
        if length:
            write(cache, [row], [[1] * length])
    window = Window.chain(rows, [[1, 2, 3], [4, 5, 6]], lengths, CPU)
    if tree:
        window.visible = torch.tensor([[[1, 0, 0], [1, 1, 0], [1, 0, 1]], [[1, 0, 0], [0, 1, 0], [1, 1, 1]]]).bool()
    place = cache.place(window)
    mask = visibility(place, cache, reach)
    size = (2, 1, 3, place.read.end)
    mask = torch.ones(size, dtype=torch.bool) if mask is None else mask.expand(size)
    seen = [[mask[r, 0, t].nonzero()[:, 0].tolist() for t in range(3)] for r in range(2)]
    assert seen == dense(window, lengths, reach)


@pytest.mark.parametrize("held_before", [(2, 2), (1, 3)])
@pytest.mark.parametrize("real", [(3, 3), (3, 2), (1, 3)])
def test_everyone_sees_every_real_slot(held_before, real):
    """The same as a mask that says so; where rows are level and full there is none."""
    cache = new_cache(rows=2, slots=4)
    rows = [cache.open() for _ in real]
    for row, length in zip(rows, held_before, strict=True):
        write(cache, [row], [[1] * length])
    window = Window.chain(rows, [[1, 2, 3], [4, 5, 6]], held_before, CPU)
    window.lengths, window.everyone = list(real), True
    place = cache.place(window)
    mask = visibility(place, cache)
    assert (mask is None) == (held_before == (2, 2) and real == (3, 3))
    mask = torch.ones(2, 1, 3, place.read.end, dtype=torch.bool) if mask is None else mask
    for r in range(2):
        expected = torch.arange(place.read.end) < held_before[r] + real[r]
        assert (mask[r, 0] == expected).all()


def test_layers_above_one_are_cut_alone():
    cache = new_cache(layers=3)
    row = cache.open()
    write(cache, [row], [[5, 6, 7]])
    cache.truncate(row, 1, 1)
    assert [held(cache, row, layer) for layer in range(3)] == [[5, 6, 7], [5], [5]]


def test_a_cache_that_cannot_grow_says_so():
    with pytest.raises(OutOfMemory, match="rows of"):
        new_cache(rows=1 << 30, slots=1 << 20)
