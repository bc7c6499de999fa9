"""What was read before is found again: the longest beginning, bit for bit, within bounds, and really given back."""

from __future__ import annotations

import gc
import random
import weakref

import pytest
import torch

from stretto.models.blocks import CacheShape
from stretto.models.cache import Cache
from stretto.models.prefixes import Prefixes
from stretto.models.reading import skip
from stretto.models.table import TableModel
from stretto.models.trunk import Sharing

MODEL = TableModel.random(9, seed=1)
BLOCK = 4 * (8 + 8 + 8)  # bytes of four tokens: key, value and position


def text(seed: int, length: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(9) for _ in range(length)]


def said(cache: Cache, row: int) -> list[int]:
    """The tokens that a row holds, which stand at their positions."""
    assert cache.row_positions(row).tolist() == list(range(cache.length(row)))
    assert torch.equal(cache.keys(row, 0), cache.values(row, 0))
    return [int(token) for token in cache.keys(row, 0)[0, :, 0]]


def read(prefixes: Prefixes, cache: Cache, tokens: list[int]) -> tuple[int, int]:
    """As an engine does it: a row that holds the tokens, and how many it held at once."""
    row = prefixes.open(cache, tokens)
    found = cache.length(row)
    skip(MODEL, cache, row, tokens[found:])
    prefixes.remember(cache, row, tokens)
    assert said(cache, row) == tokens
    return row, found


@pytest.mark.parametrize("sharing", [Sharing(), Sharing(least=2, worth=2)])
def test_the_longest_beginning_in_whole_blocks_is_found(sharing):
    prefixes = Prefixes(1 << 20, 4)
    first, second = MODEL.new_cache(), MODEL.new_cache()
    first.sharing = second.sharing = sharing
    a, b = text(1, 15), text(2, 15)
    assert read(prefixes, first, a)[1] == 0
    assert read(prefixes, first, b)[1] == 0
    for cache in (first, second):  # where the rows live, and where they do not
        assert read(prefixes, cache, a)[1] == 12
        assert read(prefixes, cache, a[:12])[1] == 12
        assert read(prefixes, cache, a[:11])[1] == 8
        assert read(prefixes, cache, [*a[:6], 8 - a[6], *b])[1] == (4 if cache is first else 20)
        assert read(prefixes, cache, [8 - a[0], *a[1:]])[1] == (0 if cache is first else 12)
    assert prefixes.bytes == len(prefixes._blocks) * BLOCK


def test_what_a_live_row_holds_is_shared_and_what_none_holds_is_copied():
    prefixes = Prefixes(1 << 20, 4)
    cache, tokens = MODEL.new_cache(), text(3, 400)
    cache.sharing = Sharing(least=2, worth=600)
    row, _ = read(prefixes, cache, tokens)
    assert cache.shared(row) == 0
    other, found = read(prefixes, cache, [*tokens[:301], 0, 0])
    assert found == 300 and cache.shared(row) == cache.shared(other) == 300
    short, found = read(prefixes, cache, [*tokens[:41], 0, 0])
    assert found == 40 and cache.shared(short) == 0
    cache.truncate(other, 5)  # no longer what is known of it
    skip(MODEL, cache, other, [8 - token for token in tokens[5:]])
    third, found = read(prefixes, cache, [*tokens[:301], 7])
    assert found == 300 and cache.shared(third) == 0


def test_it_holds_no_more_than_its_bound_and_the_last_asked_for_stay():
    prefixes = Prefixes(5 * BLOCK, 4)
    cache = MODEL.new_cache()
    a, b, c = (text(seed, 12) for seed in (1, 2, 3))
    read(prefixes, cache, a[:8])
    read(prefixes, cache, b)
    assert prefixes.bytes == 5 * BLOCK
    assert read(prefixes, cache, a[:8])[1] == 8  # asked for: b is older now
    gone = [weakref.ref(block.slots[1]) for block in prefixes._blocks.values()][:2]
    read(prefixes, cache, c[:8])
    assert prefixes.bytes == 5 * BLOCK
    gc.collect()
    assert [each() for each in gone] == [None, None]  # the end of b, before its beginning
    assert [read(prefixes, cache, each)[1] for each in (b[:4], a[:8], c[:8])] == [4, 8, 8]
    read(prefixes, cache, text(4, 400))  # more than there is room for
    assert prefixes.bytes == 5 * BLOCK
    assert read(prefixes, cache, text(4, 400))[1] == 20


def test_nothing_is_kept_where_nothing_may_be_or_positions_have_gaps():
    off = Prefixes(0, 4)
    cache, tokens = MODEL.new_cache(), text(1, 12)
    read(off, cache, tokens)
    assert (off.bytes, read(off, cache, tokens)[1]) == (0, 0)
    prefixes = Prefixes(1 << 20, 4)
    row = cache.open()
    skip(MODEL, cache, row, tokens)
    cache.keep(row, 2, range(3, 12))
    prefixes.remember(cache, row, tokens)
    assert prefixes.bytes == 0


def test_caches_of_another_kind_share_nothing():
    prefixes = Prefixes(1 << 20, 4)
    tokens = text(1, 12)
    read(prefixes, MODEL.new_cache(), tokens)
    assert prefixes.open(raw := MODEL.new_cache(key_form="raw"), tokens) == 0 and raw.length(0) == 0
    wide = Cache(CacheShape(1, 1, 2, 2, torch.float64, MODEL.device))
    assert wide.length(prefixes.open(wide, tokens)) == 0


def test_a_cache_is_not_held_by_what_is_known_of_its_rows():
    prefixes = Prefixes(1 << 20, 4)
    cache = MODEL.new_cache()
    read(prefixes, cache, text(1, 12))
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None and prefixes.bytes == 3 * BLOCK
