"""Stores that evict, against a slow reading that holds everything and hides what they have forgotten."""

from __future__ import annotations

from math import exp, inf

import pytest
import torch

from models.families import VOCABULARY
from models.test_lean import leans
from models.test_network import networks
from stretto.cli import main
from stretto.errors import InvalidRequest, Unsupported
from stretto.memory.contract import stored
from stretto.memory.evicting import Evictor
from stretto.memory.h2o import H2O
from stretto.memory.lazy_eviction import LazyEviction, likely
from stretto.memory.pieces import in_pieces
from stretto.memory.sink_window import SinkWindow
from stretto.memory.snapkv import SnapKV
from stretto.memory.tova import Tova
from stretto.models.contract import Want
from stretto.models.prefixes import prefixes_of
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.parts import describe_part
from stretto.tree import ROOT, Tree

TOKENS = [(at * at * 7 + at * 3 + 1) % VOCABULARY for at in range(36)]
STORES = (SinkWindow(9, 4, sinks=2), H2O(9, 4), Tova(9, 4), Tova(5, 1), SnapKV(10, 4), LazyEviction(9, 4, least=0.1))


class Slow:
    """Reads one token after another; which positions a key head of a layer still reads are sets."""

    def __init__(self, store: Evictor) -> None:
        self.store, self.model = store, leans("llama")
        self.cache = self.model.new_cache()
        self.row = self.cache.open()
        self.stay: dict[tuple[int, int], list[int]] = {}  # by layer and key head, when the last block but one aged
        self.next: dict[tuple[int, int], list[int]] = {}  # when the last one did
        self.reads: dict[tuple[int, int], list[dict[int, float]]] = {}  # by layer and head, of this block's queries
        self.beside: dict[tuple[int, int, int], tuple[float, float]] = {}

    def read(self, at: int) -> torch.Tensor:
        """The logits [V] behind a token."""
        block = self.store.block
        young = range(max(0, (at // block - 1) * block), at + 1)

        def regard(layer):
            def hidden(scores, queries, keys):
                scores = scores.clone()
                for head in range(4):
                    seen = {*self.stay.get((layer, head // 2), ()), *young}
                    scores[0, head, 0, [place for place in range(at + 1) if place not in seen]] = -inf
                    shares = dict(enumerate(scores[0, head, 0].softmax(-1).tolist()))
                    self.reads.setdefault((layer, head), []).append(shares)
                return scores

            return hidden

        window = Window.chain([self.row], [[TOKENS[at]]], [at], self.model.device)
        window.regard = regard
        logits = self.model.evaluate(window, self.cache).logits
        if (at + 1) % block == 0:
            for layer in range(3):
                for head in range(2):
                    self.age(layer, head, at + 1)
            self.reads = {}
        return logits[0, 0]

    def age(self, layer: int, head: int, end: int) -> None:
        store, place = self.store, (layer, head)
        old, block = self.next.get(place, []), list(range(end - store.block, end))
        self.stay[place] = old
        heads = [self.reads[layer, 2 * head], self.reads[layer, 2 * head + 1]]
        told = {at: self.worth(layer, head, at, [*old, *block], end, heads) for at in [*old, *block]}
        count = store.slots - store.block
        best = sorted(sorted(old, key=lambda at: (told[at], at))[len(old) - count :]) if len(old) > count else old
        self.next[place] = [*best, *block]

    def worth(self, layer, head, at, held, end, heads) -> float:
        if isinstance(self.store, SinkWindow):
            return inf if at < self.store.sinks else at
        if isinstance(self.store, Tova):
            return sum(self.reads[layer, each][-1].get(at, 0.0) for each in range(4))
        if isinstance(self.store, SnapKV):
            older = [each for each in held if each < end - self.store.block]
            near = [each for each in older if at in older and abs(older.index(each) - older.index(at)) <= 2]
            return sum(read.get(each, 0.0) for each in near for one in heads for read in one)
        if isinstance(self.store, H2O):
            total = self.beside.get((layer, head, at), (0.0, 0.0))[0]
            self.beside[layer, head, at] = total + sum(read.get(at, 0.0) for one in heads for read in one), 0.0
            return self.beside[layer, head, at][0]
        last, pause = self.beside.get((layer, head, at), (at, 0))
        for step in range(end - self.store.block + 1, end + 1):
            if max(one[step - end + self.store.block - 1].get(at, 0.0) for one in heads) >= self.store.least:
                last, pause = step, max(pause, step - last)
        self.beside[layer, head, at] = last, pause
        first = 2 / (1 + exp(min(700, 1 + (end - last) / (pause + 1e-5))))
        return first + (2 / (1 + exp(pause - 1)) if pause else 0)


@pytest.mark.parametrize(
    ("store", "kind"),
    [*((store, leans) for store in STORES), (STORES[1], networks)],
    ids=[*map(describe_part, STORES), "driven"],
)
def test_what_is_read_is_what_the_slow_reading_reads(store, kind):
    """In windows of any length, with trees of which a path stays, and beside another row."""
    slow = Slow(store)
    expected = [slow.read(at) for at in range(len(TOKENS))]
    model = stored(kind("llama"), store)
    cache = model.new_cache(1, 1)
    row, other = cache.open(), cache.open()
    model.evaluate(Window.chain([other], [TOKENS[5:12]], [0], model.device), cache)
    found = [*model.evaluate(Window.chain([row], [TOKENS[:15]], [0], model.device), cache).logits[0]]
    for at in range(15, 29, 2):
        tree = Tree()
        tree.add(3, ROOT)
        tree.add(TOKENS[at + 1], ROOT)
        deep = min(store.block, 3)
        for _ in range(deep - 1):
            tree.add(5, len(tree) - 1)
        window = Window.forest([row, other], [TOKENS[at], 4], [tree, Tree()], [at, cache.length(other)], model.device)
        said = model.evaluate(window, cache).logits[0]
        found += [said[0], said[2]]
        cache.keep(row, at, [at, at + 2])
    for length in (1, 6):
        at = len(found)
        part = TOKENS[at : at + length]
        found += [*model.evaluate(Window.chain([row], [part], [at], model.device), cache).logits[0]]
    assert len(found) == len(expected)
    for mine, other_said in zip(found, expected, strict=True):
        assert (mine - other_said).abs().max() < 2e-4


@pytest.mark.parametrize("store", STORES[:2], ids=describe_part)
def test_a_row_takes_no_more_however_long_it_is(store):
    model = stored(leans("llama"), store)
    cache = model.new_cache(1, 1)
    row = cache.open()
    sizes = []
    for at in range(50):
        model.evaluate(Window.chain([row], [[at]], [at], model.device), cache)
        sizes.append(cache.bytes())
    assert max(sizes[25:]) <= max(sizes[:25]) and cache.length(row) == 50
    assert cache.keys(row, 0).shape[1] < store.slots + 2 * store.block + 1


def test_what_is_old_does_not_come_back_and_windows_follow_what_was_read():
    model = stored(leans("llama"), H2O(9, 4))
    cache = model.new_cache()
    row = cache.open()
    model.evaluate(Window.chain([row], [TOKENS[:20]], [0], model.device), cache)
    fork = cache.fork(row)[0]
    assert 1 <= cache.undoes(row) <= 8 and cache.following(row) == 20 == cache.position(row, 20)
    with pytest.raises(Unsupported, match="forgotten"):
        cache.truncate(row, 20 - cache.undoes(row) - 1)
    with pytest.raises(Unsupported, match="forgotten"):
        cache.keep(row, 2, [3, 5])
    for tokens, start in (([1], 21), ([1], 19)):
        with pytest.raises(Unsupported, match="windows follow"):
            model.evaluate(Window.chain([row], [tokens], [start], model.device), cache)
    deep = Tree.chain([2] * 5)
    deep.add(3, ROOT)
    with pytest.raises(Unsupported, match="windows follow"):
        model.evaluate(Window.forest([row], [1], [deep], [20], model.device), cache)
    with pytest.raises(Unsupported, match="not saved"):
        cache.save(row, 0, 4)
    cache.truncate(row, 0)
    again = [
        model.evaluate(Window.chain([each], [TOKENS[:9]], [0], model.device), cache) for each in (row, cache.open())
    ]
    assert torch.equal(again[0].logits, again[1].logits) and cache.length(fork) == 20
    with pytest.raises(Unsupported, match="turned"):
        H2O(9, 4).cache(model.new_cache().shape, 1, 1, "raw")


def test_a_long_window_in_pieces_gives_what_it_gives_at_once():
    model = leans("llama")
    pieces = in_pieces(model.evaluate, 4)
    window = Window.chain([0, 1], [TOKENS[:11], TOKENS[3:11]], [0, 0], model.device)
    for logits in (True, False, torch.tensor([[2, 10], [0, 5]])):
        found = []
        for evaluate in (model.evaluate, pieces):
            cache = model.new_cache()
            window.rows = [cache.open(), cache.open()]
            found.append(evaluate(window, cache, Want(logits, hidden=(0, 3), readout=(2,))))
            assert [cache.length(row) for row in window.rows] == [11, 8]
        for layer, rows in [*found[0].hidden.items(), *found[0].readout.items()]:
            other = (found[1].hidden | found[1].readout)[layer]
            assert (rows[0] - other[0]).abs().max() < 1e-4 and (rows[1, :8] - other[1, :8]).abs().max() < 1e-4
        assert (found[0].logits is None) == (logits is False) == (found[1].logits is None)
        if logits is not False:
            ends = (None, 8) if logits is True else (None, None)
            for row, end in enumerate(ends):
                assert (found[0].logits[row, :end] - found[1].logits[row, :end]).abs().max() < 1e-4


def test_how_likely_tokens_are_to_be_read_again():
    """The numbers of the catalogue: one with a long known pause outlives one that was never read again."""
    found = likely(10, torch.tensor([10.0, 6, 2, 2]), torch.tensor([1.0, 4, 8, 0]))
    assert found.tolist() == pytest.approx([1.53788, 0.33326, 0.24023, 0], abs=1e-5)


def test_what_cannot_forget_is_refused_at_the_door(capsys):
    with pytest.raises(Unsupported, match="nearest tokens"):
        stored(leans("gemma3"), "h2o(9,4)")
    with pytest.raises(Unsupported, match="nearest tokens"):
        stored(networks("mistral"), "sink-window(9,4)")
    with pytest.raises(Unsupported, match="does not tell"):
        stored(TableModel.random(5, seed=1), "tova")
    model = stored(TableModel.random(5, seed=1), "sink-window")
    assert prefixes_of(model, 1 << 20).limit == 0
    with pytest.raises(Unsupported, match="already"):
        stored(model, "sink-window")
    for wrong, error in {
        "h2o(8,block=9)": "keeps 8 tokens",
        "tova(8,0)": "blocks of 0",
        "sink-window(8,4,sinks=5)": "5 first tokens",
        "snapkv(kernel=4)": "no middle",
        "lazy-eviction(least=1.5)": "share of 1.5",
    }.items():
        with pytest.raises(InvalidRequest, match=error):
            stored(model, wrong)
    assert main(["generate", "--max-new-tokens", "2", "--method", "early-exit", "--store", "h2o", "Once"]) == 2
    assert capsys.readouterr().err.count("\n") <= 2
