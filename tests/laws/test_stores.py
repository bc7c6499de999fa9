"""Every store: drafting, batches, forks and prompts read before leave the bits of plain decoding with that store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from stretto import Engine, catalogue
from stretto.memory.contract import Storing, stored
from stretto.models.cache import Cache
from stretto.models.contract import Evaluation
from stretto.models.window import Window
from stretto.parts import describe_part
from stretto.tree import ROOT, Tree

STORES = [example for part in catalogue.parts().values() if part.kind == Storing.kind for example in part.examples()]
EACH = pytest.mark.parametrize("store", STORES, ids=describe_part)
TEXT = [3 + (at * at * 13 + at * 5) % 90 for at in range(130)]
PROMPTS = [[*TEXT[:66], 7], [*TEXT[:9], *TEXT[:9]]]
DRAFTED = ("lookup+fixed(4)", "recycle+fixed(6)", "draft-tree(model=zoo/draft)+fixed(8,depth=3)")


@pytest.fixture(scope="module")
def exact() -> Engine:
    return Engine.load("zoo/causal", exact="bits")


def engine(exact: Engine, store: Storing, prefixes: int = 0) -> Engine:
    return Engine(stored(exact.model, store), exact.codec.tokenizer, prefixes=prefixes)


def read(model, cache: Cache, row: int, tokens: list[int]) -> Evaluation:
    return model.evaluate(Window.chain([row], [tokens], [cache.following(row)], model.device), cache)


@EACH
def test_going_back_leaves_the_bits_of_never_having_drafted(store, exact):
    """Trees of rejected tokens, one after another, over where any group of 16, 32 or 64 tokens ends."""
    model = stored(exact.model, store)
    cache, other = model.new_cache(), model.new_cache()
    row, plain = cache.open(), other.open()
    for each, at in ((cache, row), (other, plain)):
        read(model, each, at, TEXT[:60])
    for at in range(60, 72, 3):
        tree = Tree()
        ends = [tree.add(token, ROOT) for token in (5, TEXT[at + 1], 8)]
        path = [ends[1], tree.add(TEXT[at + 2], ends[1])]
        tree.add(9, path[-1])
        drafted = model.evaluate(Window.forest([row], [TEXT[at]], [tree], [at], model.device), cache)
        cache.keep(row, at, [at, *(at + 1 + node for node in path)])
        for node, token in zip((0, path[0] + 1, path[1] + 1), TEXT[at : at + 3], strict=True):
            assert torch.equal(drafted.logits[0, node], read(model, other, plain, [token]).logits[0, 0])
    read(model, cache, row, [1, 2, 3, 4])
    cache.truncate(row, 72)
    fork, unread = *cache.fork(row), model.new_cache()
    fresh = unread.open()
    last = read(model, unread, fresh, TEXT[:73]).logits[0, -1]
    for each in (row, fork):
        assert torch.equal(read(model, cache, each, [TEXT[72]]).logits[0, -1], last)


@EACH
def test_whoever_drafts_and_in_any_batch_tokens_are_those_of_plain_decoding(store, exact):
    given = {"max_new_tokens": 6, "end_tokens": (), "log_probabilities": 1, "temperature": 0.9, "seed": 3}
    alone, mine = engine(exact, store), engine(exact, store, 1 << 24)
    expected = [alone.generate(prompt, "plain", **given) for prompt in PROMPTS]
    for method in DRAFTED:
        found = mine.generate(PROMPTS, method, samples=1 + (method in DRAFTED[:1]), **given)
        found = found[::2] if method in DRAFTED[:1] else found
        assert [each.tokens for each in found] == [each.tokens for each in expected]
        assert [each.log_probabilities for each in found] == [each.log_probabilities for each in expected]
    assert bool(mine._prefixes.bytes) != store.ages  # and so it is with prompts that were read before


@EACH
def test_bytes_are_those_of_its_tensors_and_less_than_floats_take(store, exact):
    models = [stored(exact.model, store), exact.model]
    caches = [model.new_cache(2, 256) for model in models]
    sizes = []
    for model, cache in zip(models, caches, strict=True):
        for _ in range(2):
            read(model, cache, cache.open(), TEXT[:128])
        held = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors(cache)}
        assert cache.bytes() == sum(held.values())
        sizes.append(cache.bytes())
    assert sizes[0] <= sizes[1] * (1 if store.sparse else 0.35)  # which are float64
    rows = list(caches[0].rows)
    for row in rows:
        caches[0].free(row)
    assert caches[0].bytes() < 0.5 * sizes[0]


def tensors(held: object) -> Iterator[torch.Tensor]:
    """Those that an object keeps, however deep."""
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict | list | tuple):
        for each in held.values() if isinstance(held, dict) else held:
            yield from tensors(each)
    elif type(held).__module__.startswith(("stretto.memory", "stretto.models")):
        names = [*getattr(held, "__dict__", ()), *getattr(type(held), "__slots__", ())]
        for name in names:
            yield from tensors(getattr(held, name, None))


@EACH
def test_with_its_extreme_setting_it_is_exact(store, exact):
    if not store.ages and not store.sparse:
        pytest.skip("it rounds at once")
    setting = "slots" if store.forgets else "tokens" if store.sparse else "block"
    all_of_it = replace(store, **{setting: 40})
    said = []
    for model in (exact.model, stored(exact.model, all_of_it)):
        cache = model.new_cache()
        said.append(read(model, cache, cache.open(), TEXT[:40]).logits)
    assert torch.equal(*said)
