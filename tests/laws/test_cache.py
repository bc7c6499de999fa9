"""Every store: after any operations a row holds what a fresh reading of its tokens gives; what rows share is theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laws.worlds import GREEDY
from models.recurrence import Recurrence
from stretto.context import Context
from stretto.errors import Unsupported
from stretto.memory.contract import Storing
from stretto.memory.rounded import Rounded
from stretto.method import parse
from stretto.models.blocks import CacheShape
from stretto.models.cache import Cache
from stretto.models.clock import SimulatedClock
from stretto.models.place import visibility
from stretto.models.recurrent import APART
from stretto.models.store import Store
from stretto.models.trunk import Sharing
from stretto.models.window import Window
from stretto.row import Limits, Row
from stretto.speculate.loop import Speculate
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import ROOT, Tree

CPU = torch.device("cpu")


class Stamps:
    """Three layers whose keys and values are whole numbers made of a token, its position and all that it sees."""

    def __init__(self, sharing: Sharing, store: Storing | None = None) -> None:
        self.sharing, self.store = sharing, store

    def new_cache(self) -> Cache:
        if self.store is not None:
            return self.store.cache(CacheShape(3, 2, 2, 1, torch.float64, CPU), 1, 1, "rotated")
        return Cache(CacheShape(3, 2, 2, 1, torch.float64, CPU), 1, 1, sharing=self.sharing)

    def evaluate(self, window: Window, cache: Cache) -> None:
        place = cache.place(window)
        rows, heads = window.tokens.double(), torch.tensor([[[0.0]], [[1.0]]])
        for layer in range(3):
            keys = (7 * rows + (layer + 3) * window.positions)[:, None, :, None] % 101 + heads  # [B, H, T, 1]
            read, values = cache.append(layer, keys.expand(-1, -1, -1, 2), (5 * keys + layer) % 97, place)
            mask = visibility(place, cache)
            each = (3 * read[:, 0, :, 0] + values[:, 1, :, 0] + cache.positions(place)) % 103  # [B, S]
            seen = each[:, None, :] if mask is None else each[:, None, :] * mask[:, 0]
            rows = (rows + seen.sum(-1)) % 1009
        cache.settle(place)


@dataclass(frozen=True)
class Kind:
    """A store, a model that writes to it, and what a row of it holds."""

    model: Any
    held: Callable[[Any, int], list[Tensor]]

    def read(self, store: Any, row: int, tokens: list[int], position: int) -> None:
        self.model.evaluate(Window.chain([row], [tokens], [position], CPU), store)


def keys_and_values(cache: Cache, row: int) -> list[Tensor]:
    return [each(row, layer) for layer in range(3) for each in (cache.keys, cache.values)]


KINDS = {
    "plain": Kind(Stamps(Sharing()), keys_and_values),
    "plain, all shared": Kind(Stamps(Sharing(least=1, worth=1)), keys_and_values),
    "plain, some shared": Kind(Stamps(Sharing(least=3, worth=9, trunks=2)), keys_and_values),
    "rounded": Kind(Stamps(Sharing(), Rounded(8)), keys_and_values),  # two equal numbers are rounded to themselves
    "recurrent": Kind(Recurrence(9), lambda store, row: [Recurrence(9).after(store, row)]),
    "recurrent, few states": Kind(Recurrence(9, sparse=True), lambda store, row: [Recurrence(9).after(store, row)]),
}


EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def check(kind: Kind, store: Any, texts: dict[int, list[int]]) -> None:
    """Each row against a fresh reading of its text."""
    assert sorted(store.rows) == sorted(texts)
    for row, tokens in texts.items():
        assert store.rows[store.place_of(row)] == row
        assert [store.position(row, slot) for slot in range(store.length(row))] == list(range(len(tokens)))
        assert store.following(row) == len(tokens)
        fresh = kind.model.new_cache()
        other = fresh.open()
        if tokens:
            kind.read(fresh, other, tokens, 0)
        for mine, expected in zip(kind.held(store, row), kind.held(fresh, other), strict=True):
            assert torch.equal(mine, expected)


@EACH
@settings(max_examples=40)
@given(data=st.data())
def test_a_row_holds_what_a_fresh_reading_of_its_tokens_gives(data, kind):
    """Rows are interleaved; a tree of each row of a window is evaluated, of which a path stays."""
    store, texts = kind.model.new_cache(), {}
    assert isinstance(store, Store)
    for _ in range(data.draw(st.integers(1, 14))):
        action = data.draw(st.sampled_from(["open", "grow", "grow", "grow", "truncate", "fork", "free"]))
        if action == "open" or not texts:
            texts[store.open()] = []
        elif action == "grow":
            some = data.draw(st.lists(st.sampled_from(sorted(texts)), min_size=1, max_size=4, unique=True))
            trees = []
            for _ in some:
                tree = Tree()
                for token in data.draw(st.lists(st.integers(0, 8), max_size=5)):
                    tree.add(token, data.draw(st.integers(ROOT, len(tree) - 1)))
                trees.append(tree)
            roots = [data.draw(st.integers(0, 8)) for _ in some]
            kind.model.evaluate(Window.forest(some, roots, trees, [len(texts[row]) for row in some], CPU), store)
            for row, root, tree in zip(some, roots, trees, strict=True):
                assert store.undoes(row) >= 1 + len(tree)
                start, end = len(texts[row]), data.draw(st.integers(ROOT, len(tree) - 1))
                store.keep(row, start, [start, *(start + 1 + node for node in tree.path(end))])
                texts[row] = [*texts[row], root, *tree.path_tokens(end)]
        else:
            row = data.draw(st.sampled_from(sorted(texts)))
            if action == "truncate":
                length = len(texts[row]) - data.draw(st.integers(0, store.undoes(row)))
                store.truncate(row, length)
                texts[row] = texts[row][:length]
            elif action == "fork":
                for copy in store.fork(row, data.draw(st.integers(1, 2))):
                    texts[copy] = list(texts[row])
            else:
                store.free(row)
                del texts[row]
        check(kind, store, texts)


@EACH
def test_forks_take_no_memory_before_they_differ_and_what_is_freed_is_given_back(kind):
    store = kind.model.new_cache()
    empty = store.bytes()
    row = store.open()
    kind.read(store, row, [1, 2, 3] * 200, 0)
    before = store.bytes()
    copies = store.fork(row, 3)
    assert store.bytes() <= 1.15 * before
    kind.read(store, copies[0], [4], 600)
    texts = {each: [1, 2, 3] * 200 for each in (row, *copies)}
    texts[copies[0]].append(4)
    check(kind, store, texts)
    for each in (row, *copies):
        store.free(each)
    assert store.bytes() <= 16 * empty


def test_going_back_is_reading_a_little_once_more():
    """From the newest state before: nothing is read again of one token at a time, and little after many."""
    model = Recurrence(9)
    store = model.new_cache()
    assert not store.edits and Cache.edits
    row = store.open()
    tokens = [at % 9 for at in range(200)]
    for at, token in enumerate(tokens):
        model.evaluate(Window.chain([row], [[token]], [at], CPU), store)
    for back in (0, 1, 5, APART):
        length = store.length(row) - back
        store.truncate(row, length)
        assert store.undoes(row) == store.length(row) == length
        assert len(store.state(row)[1]) <= (APART if back else 0)
        model.evaluate(Window.chain([row], [tokens[length : length + 3]], [length], CPU), store)
        tokens[length:] = tokens[length : length + 3]
    with pytest.raises(Unsupported, match="all layers"):
        store.truncate(row, 5, 1)
    check(KINDS["recurrent"], store, {row: tokens})
    store.rewind(row, 2)
    check(KINDS["recurrent"], store, {row: tokens[:2]})


@pytest.mark.parametrize("pipeline", [GREEDY, Pipeline([Temperature(1.0)])], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ["lookup+fixed(4)", "draft(d)+fixed(3)", "draft-tree(model=d)+fixed(6)"])
def test_a_network_with_a_state_is_drafted_for_like_any_other(name, pipeline):
    model: Any = Recurrence(4)
    plain, drafted = ([], [])
    for found, method in ((plain, parse("plain")), (drafted, parse(name))):
        assert isinstance(method, Speculate)
        loop = method.loop(Context(model, SimulatedClock(), lambda name: Recurrence(4)), model.new_cache())
        for sample, prompt in enumerate(([1, 2, 3, 1, 2, 3, 1], [0, 1], [2, 2, 2])):
            row = Row(History(prompt), loop.cache.open(), Rule(pipeline, 3, sample), Limits(20))
            loop.add(row)
            found.append(row)
        while loop.rows:
            loop.step()
    assert [row.new_tokens for row in drafted] == [row.new_tokens for row in plain]
    assert sum(row.counters.accepted for row in drafted) > 0
