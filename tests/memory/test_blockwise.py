"""Caches whose old tokens are records of blocks, against a slow reading of one token at a time; and their codes."""

from __future__ import annotations

import pytest
import torch

from models.test_lean import leans
from stretto.errors import InvalidRequest, Unsupported
from stretto.memory.blockwise import Blockwise
from stretto.memory.codes import Steps
from stretto.memory.contract import read_store, stored
from stretto.memory.gear import Corrected, Gear
from stretto.memory.kivi import Kivi
from stretto.models.cache import Cache
from stretto.models.prefixes import prefixes_of
from stretto.models.window import Window
from stretto.parts import describe_part
from stretto.tree import ROOT, Tree

TOKENS = [(at * at * 7 + at * 3 + 1) % 97 for at in range(34)]
STORES = (Kivi(2, 3, 4), Kivi(4, 4, 6), Gear(2, 4, 1, 0.5, block=4))


class Slow(Cache):
    """Holds all in full; of each block that is old for the one token that is read it gives what a record stands for."""

    codes, span = (), 0

    def append(self, layer, keys, values, place):
        found = [each.clone() for each in super().append(layer, keys, values, place)]
        at = place.own.end - 1
        for each, code in zip(found, self.codes, strict=True):
            for start in range(0, (at // self.span - 1) * self.span, self.span):
                block = each[:, :, start : start + self.span]
                block.copy_(code.decode(code.encode(block), block.shape[-1], block.dtype))
        return found


@pytest.mark.parametrize(
    ("store", "family"),
    [*((store, "llama") for store in STORES), (STORES[0], "gemma3")],
    ids=[*map(describe_part, STORES), "sliding layers"],
)
def test_what_is_read_is_what_the_slow_reading_reads(store, family):
    """In windows of any length, with trees of which a path stays, beside another row, and in sliding layers."""
    network = leans(family)
    made = store.cache(network.new_cache().shape, 1, 1, "rotated")
    slow = Slow(made.shape)
    slow.codes, slow.span = made.codes, made.span
    lone, expected = slow.open(), []
    for at, token in enumerate(TOKENS):
        window = Window.chain([lone], [[token]], [at], network.device)
        expected.append(network.evaluate(window, slow).logits[0, 0])
    model = stored(network, store)
    cache = model.new_cache(1, 1)
    row, other = cache.open(), cache.open()
    model.evaluate(Window.chain([other], [TOKENS[5:12]], [0], model.device), cache)
    found = [*model.evaluate(Window.chain([row], [TOKENS[:15]], [0], model.device), cache).logits[0]]
    for at in range(15, 27, 2):
        tree = Tree()
        tree.add(3, ROOT)
        tree.add(TOKENS[at + 1], ROOT)
        tree.add(5, tree.add(5, 1))
        window = Window.forest([row, other], [TOKENS[at], 4], [tree, Tree()], [at, cache.length(other)], model.device)
        said = model.evaluate(window, cache).logits[0]
        found += [said[0], said[2]]
        cache.keep(row, at, [at, at + 2])
    for length in (1, 6):
        at = len(found)
        part = TOKENS[at : at + length]
        found += [*model.evaluate(Window.chain([row], [part], [at], model.device), cache).logits[0]]
    assert len(found) == len(expected)
    assert all((mine - theirs).abs().max() < 2e-4 for mine, theirs in zip(found, expected, strict=True))


def test_slots_of_what_is_in_records_are_given_back():
    model = stored(leans("llama"), Kivi(4, 4, 4))
    cache = model.new_cache(1, 1)
    row = cache.open()
    for at in range(90):
        model.evaluate(Window.chain([row], [[at]], [at], model.device), cache)
    assert isinstance(cache, Blockwise) and cache.blocks[0].shape[3] <= 16
    records = cache.recorded(row)
    assert records.keys.shape[2] == records.values.shape[2] == 90 // 4
    assert cache.keys(row, 1).shape[1] == cache.values(row, 1).shape[1] == cache.length(row) == 90
    assert prefixes_of(model, 1 << 20).limit == 0
    with pytest.raises(Unsupported, match="forgotten"):
        cache.truncate(row, 80)


def test_a_channel_far_larger_than_others_harms_none():
    """What KIVI is for: keys with such a channel, rounded token by token and channel by channel."""
    keys = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    keys[..., 5] += 60
    by_channel, _ = Kivi(2, 32, 32).cache(leans("llama").new_cache().shape, 1, 1, "rotated").codes
    off = (by_channel.decode(by_channel.encode(keys), 16, torch.float32) - keys).abs()
    by_token = (Steps(2, 16).decode(Steps(2, 16).encode(keys), 16, torch.float32) - keys).abs()
    assert 5 * off.mean() < by_token.mean()
    step = (keys.amax(-2) - keys.amin(-2)) / 3
    assert (off <= step[..., None, :] / 2 + 0.05).all()


@pytest.mark.parametrize("by_channel", [True, False])
def test_what_gear_adds_makes_up_for_what_rounding_lost(by_channel):
    block = torch.randn(2, 2, 12, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    block[..., 3, 7] = 40.0

    def lost(**settings: float) -> float:
        code = Corrected(Gear(2, 16, block=12, **settings), by_channel)
        record = code.encode(block)
        assert record.shape == (2, 2, record.shape[-1]) and record.dtype is torch.uint8
        return float((code.decode(record, 10, torch.float64) - block).square().mean())

    plain = lost(rank=0, apart=0)
    by_rank = [lost(rank=rank, apart=0) for rank in (1, 2, 5, 10)]
    assert plain > by_rank[0] > by_rank[1] > by_rank[2] > by_rank[3] and by_rank[3] < 1e-4
    assert lost(rank=99, apart=0) == by_rank[3]
    assert lost(rank=0, apart=0.2) < 0.2 * plain and lost(rank=2, apart=0.2) < lost(rank=0, apart=0.2)
    same = torch.full((1, 1, 12, 10), 3.0)
    code = Corrected(Gear(2, 16, block=12), by_channel)
    assert torch.equal(code.decode(code.encode(same), 10, torch.float32), same)


def test_of_an_outlier_not_one_bit_is_lost_that_float16_has():
    code = Corrected(Gear(2, 16, 0, 0.2, block=12), by_channel=False)
    block = torch.arange(120.0).view(1, 1, 12, 10)
    block[..., 4, 2], block[..., 4, 8] = 999.5, -777.5
    found = code.decode(code.encode(block), 10, torch.float32)
    assert found[0, 0, 4, 2] == 999.5 and found[0, 0, 4, 8] == -777.5


def test_what_is_asked_for_is_said_and_what_cannot_be_is_refused():
    assert read_store("kivi") == Kivi(4) and read_store("gear") == Gear()
    for wrong, error in {
        "kivi(3)": "3 bits",
        "kivi(group=0)": "groups of 0",
        "gear(1)": "1 bits",
        "gear(rank=-1)": "rank -1",
        "gear(apart=0.6)": "0.6 apart",
    }.items():
        with pytest.raises(InvalidRequest, match=error):
            read_store(wrong)
