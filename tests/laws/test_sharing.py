"""Samples share their prompt in the cache: the same tokens as without, in little more than the memory of one."""

from __future__ import annotations

import pytest

from stretto import Engine
from stretto.models.cache import Cache
from stretto.models.trunk import Sharing

NONE = Sharing(least=1 << 30)
LONG = [3 + (at * at * 31 + at * 7) % 4000 for at in range(980)]
MIDDLE = [3 + (at * at * 13 + at * 5) % 90 for at in range(300)]
METHODS = (
    "plain",
    "lookup+fixed(5)",
    "recycle+fixed(8)",
    "draft(model=zoo/draft)+fixed(5)",
    "draft-tree(model=zoo/draft)+fixed(16,depth=4)",
)


class Watched:
    """An engine whose caches share as they are told, and can be looked at."""

    def __init__(self, sharing: Sharing | None = None) -> None:
        self.engine = Engine.load("zoo/causal", dtype="float32", reproducible=True)
        self.caches: list[Cache] = []
        made = self.engine.model.new_cache

        def new_cache(*arguments: int, **settings: int) -> Cache:
            cache = made(*arguments, **settings)
            cache.sharing = sharing or cache.sharing
            self.caches.append(cache)
            return cache

        self.engine.model.new_cache = new_cache  # type: ignore[method-assign]

    def answers(self, prompts, method, **settings):
        """Tokens of each answer, the most that was shared by a row, and the most bytes that were held."""
        shared, held = 0, 0
        self.caches.clear()

        def watch(ended: int) -> None:
            nonlocal shared, held
            shared = max([shared, *(cache.shared(row) for cache in self.caches for row in cache.rows)])
            held = max(held, sum(cache.bytes() for cache in self.caches))

        found = self.engine.generate(prompts, method, end_tokens=(), watch=watch, **settings)
        return [answer.tokens for answer in found], shared, held


@pytest.fixture(scope="module")
def sharing() -> Watched:
    return Watched()


@pytest.fixture(scope="module")
def apart() -> Watched:
    return Watched(NONE)


@pytest.mark.parametrize("method", METHODS)
def test_samples_that_share_have_the_tokens_of_those_that_do_not(method, sharing, apart):
    settings = {"samples": 4, "temperature": 0.9, "seed": 4, "max_new_tokens": 8}
    prompts = [MIDDLE, LONG[:20]]  # the second is too short to be shared
    tokens, shared, _ = sharing.answers(prompts, method, **settings)
    assert shared == len(MIDDLE) - 1
    expected, shared, _ = apart.answers(prompts, method, **settings)
    assert shared == 0
    assert tokens == expected
    assert len({tuple(each) for each in tokens[:4]}) > 1


def test_eight_samples_take_little_more_than_one(sharing):
    settings = {"temperature": 0.9, "seed": 4, "max_new_tokens": 32}
    _, _, one = sharing.answers([LONG], "plain", **settings)
    _, shared, eight = sharing.answers([LONG], "plain", samples=8, **settings)
    assert shared == len(LONG) - 1
    exact = (len(LONG) + 31) * sharing.caches[-1].shape.bytes_per_slot
    assert exact <= one <= 1.1 * exact
    assert eight <= 1.3 * exact


@pytest.mark.parametrize("method", ["beam(8)", "best-of(8)", "guided(8,2,segmenter=every(4))"])
def test_eight_branches_of_a_search_take_little_more_than_one(sharing, method):
    settings = {"max_new_tokens": 12} | ({} if method == "beam(8)" else {"temperature": 0.9, "seed": 4})
    _, shared, eight = sharing.answers([LONG], method, **settings)
    assert shared == len(LONG) - 1
    assert eight <= 1.3 * (len(LONG) + 11) * sharing.caches[-1].shape.bytes_per_slot
