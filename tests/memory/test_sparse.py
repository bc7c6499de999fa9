"""Stores that read sparsely, against a slow reading of one token at a time that hides what is not chosen."""

from __future__ import annotations

from functools import cache as remember
from math import inf

import pytest
import torch

from models.families import GEMMA, build
from models.test_lean import fast, leans
from models.test_network import networks
from stretto import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.memory.contract import stored
from stretto.memory.sparse import Chosen, best, scores
from stretto.memory.tidal_decode import TidalDecode
from stretto.models.contract import Want
from stretto.models.window import Window
from stretto.tree import ROOT, Tree

TOKENS = [3 + (at * at * 13 + at * 5) % 90 for at in range(30)]
STORE = TidalDecode(6, 4)


@remember
def network():
    return Engine.load("zoo/causal").model


def slowly() -> list[torch.Tensor]:
    """Logits [V] behind each token."""
    model, found = network(), []
    cache = model.new_cache()
    row, group = cache.open(), model.heads // model.new_cache().shape.heads
    for at, token in enumerate(TOKENS):
        chosen: dict[int, list[int]] = {}

        def regard(layer, at=at, chosen=chosen):
            def hidden(asked, queries, keys):
                asked = asked.clone()
                for head in range(0, asked.shape[1], group):
                    if layer in (2, 4):
                        told = asked[0, head : head + group, 0].sum(0).tolist()
                        chosen[head] = sorted(range(at + 1), key=lambda each: -told[each])[: STORE.tokens]
                    elif layer > 2:
                        shut = [each for each in range(at + 1) if each not in chosen[head]]
                        asked[0, head : head + group, 0, shut] = -inf
                return asked

            return hidden

        window = Window.chain([row], [[token]], [at], model.device)
        window.regard = regard
        found.append(model.evaluate(window, cache).logits[0, 0])
    return found


def test_what_is_read_is_what_the_slow_reading_reads():
    """In windows of any length, with trees of which a path stays, and beside another row."""
    expected, model = slowly(), stored(network(), STORE)
    cache = model.new_cache(1, 1)
    row, other = cache.open(), cache.open()
    model.evaluate(Window.chain([other], [TOKENS[5:12]], [0], model.device), cache)
    found = [*model.evaluate(Window.chain([row], [TOKENS[:15]], [0], model.device), cache).logits[0]]
    for at in range(15, 23, 2):
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
    assert all((mine - theirs).abs().max() < 2e-3 for mine, theirs in zip(found, expected, strict=True))


def test_gathered_and_hidden_are_the_same_bits_and_what_is_not_chosen_is_not_read():
    lots = torch.Generator().manual_seed(4)
    queries, keys, values = (torch.randn(2, 3, size, 8, generator=lots) for size in (2, 20, 20))
    slots = torch.rand(2, 3, 1, 20, generator=lots).argsort(dim=-1)[..., :7]
    once = Chosen(slots, torch.rand(slots.shape, generator=lots) < 0.8)
    twice = Chosen(slots.repeat(1, 1, 2, 1), once.seen.repeat(1, 1, 2, 1))
    gathered = once.attended(queries, keys, values, 0.3)
    hidden = twice.attended(queries.repeat(1, 1, 2, 1), keys, values, 0.3)
    assert torch.equal(gathered, hidden[:, :, :2]) and torch.equal(gathered, hidden[:, :, 2:])
    read = once.hidden(20)
    assert 0 < int(read.sum()) < read.numel() // 2
    changed = torch.where(read[:, :, 0, :, None], values, values + 9)
    assert torch.equal(once.attended(queries, keys, changed, 0.3), gathered)
    weights = (queries @ keys.mT * 0.3).masked_fill(~read, -inf).softmax(-1)
    assert (weights @ values - gathered).abs().max() < 1e-5
    told = scores(queries, keys, 0.3, 1)
    assert (told[:, :, 0] - (queries @ keys.mT * 0.3).sum(2)).abs().max() < 1e-5


def test_one_row_chooses_as_many_do_however_near_scores_are():
    lots = torch.Generator().manual_seed(5)
    queries, keys = torch.randn(1, 2, 3, 16, generator=lots), torch.randn(1, 2, 8, 16, generator=lots)
    keys = keys.repeat(1, 1, 40, 1) * (1 + 1e-6 * torch.randn(1, 2, 320, 16, generator=lots))
    seen = torch.rand(1, 1, 320, generator=lots) < 0.9
    for count in (1, 7, 50, 319, 320):
        alone = best(queries, keys, 0.25, seen, count)
        beside = best(queries.repeat(1, 1, 2, 1), keys, 0.25, seen.repeat(1, 2, 1), count)
        assert torch.equal(alone, beside[:, :, :1]) and torch.equal(alone, beside[:, :, 1:])
        told = scores(queries, keys, 0.25, 1).masked_fill(~seen[:, None], -inf)
        assert torch.equal(told.gather(-1, alone), told.sort(descending=True, dim=-1).values[..., :count])


@pytest.mark.parametrize("kind", [leans, networks])
def test_the_layer_that_chooses_is_told_by_either_network(kind):
    model = stored(kind("llama"), TidalDecode(2))
    cache, plain = model.new_cache(), kind("llama").new_cache()
    for length in (9, 1):
        logits = []
        for network_of, held in ((model, cache), (kind("llama"), plain)):
            row = held.rows[0] if held.rows else held.open()
            window = Window.chain([row], [TOKENS[:length]], [held.following(row)], model.device)
            logits.append(network_of.evaluate(window, held, Want()).logits)
        assert torch.equal(*logits)  # of three layers none reads what was chosen


def test_what_cannot_read_sparsely_is_refused_at_the_door():
    for model in (leans("gemma3"), networks("mistral")):
        with pytest.raises(Unsupported, match="nearest tokens"):
            stored(model, STORE)
    capped = fast(build("Gemma2", **(GEMMA | {"layer_types": ["full_attention"] * 3}), attn_logit_softcapping=2.0))
    for store in (STORE, "h2o(9,4)"):
        with pytest.raises(Unsupported, match="does not tell"):
            stored(capped, store)
    with pytest.raises(InvalidRequest, match="0 tokens"):
        stored(leans("llama"), "tidal-decode(0)")
    with pytest.raises(InvalidRequest, match="layer 2"):
        stored(leans("llama"), "tidal-decode(9,again=2)")
