"""Elastic-Cache: what it computes, what it watches, and what is computed once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, context
from models.masked_checkpoints import MASK, save
from stretto.diffuse.canvas import Span
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.refresh.contract import Observation, Plan
from stretto.diffuse.refresh.elastic import Elastic, ElasticState, Watch
from stretto.diffuse.views import CanvasView
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

TEXTS = [[5, 7, 9, 11, 3], [4, 8]]
SETTINGS: dict[str, Any] = {"max_new_tokens": 14, "end_tokens": (), "temperature": 0.7}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))).model for name in ("llada", "dream")}


@pytest.mark.parametrize("name", ["llada", "dream"])
@pytest.mark.parametrize("rest", ["+sliding(4)", "+blocks(7)", "+sliding(4)+cfg(0.5)"])
def test_where_drift_is_always_found_it_is_no_cache(networks, name: str, rest: str) -> None:
    plain = answer(networks[name], TEXTS, f"threshold(0.3){rest}", **SETTINGS)
    fresh = answer(networks[name], TEXTS, f"threshold(0.3){rest}+elastic(1.1)", **SETTINGS)
    for one, other in zip(plain, fresh, strict=True):
        assert one.tokens == other.tokens
        assert [step.confidence for step in one.steps] == [step.confidence for step in other.steps]
        assert one.counters.layer_token_forwards == other.counters.layer_token_forwards


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_a_row_is_what_it_is_alone(networks, name: str) -> None:
    """Also where rows drift at different steps and in different layers; guidance has rows of its own."""
    for method in ("threshold(0.3)+sliding(4)+elastic(0.999)", "threshold(0.3)+sliding(4)+elastic(0.999)+cfg(0.5)"):
        both = answer(networks[name], TEXTS, method, **SETTINGS)
        for found, text in zip(both, TEXTS, strict=True):
            alone = answer(networks[name], text, method, **SETTINGS)
            assert alone.tokens == found.tokens
            assert alone.counters.layer_token_forwards == found.counters.layer_token_forwards


def test_the_higher_the_bar_the_more_is_computed(networks) -> None:
    """What the family of settings costs; at −1 nothing is computed twice."""
    costs = []
    for least in (-1, 0.9, 0.999, 0.999999, 1.0):
        found = answer(networks["llada"], TEXTS[0], f"threshold(1.1)+sliding(3)+elastic({least})", **SETTINGS)
        costs.append(found.counters.layer_token_forwards)
    assert costs == sorted(costs) and costs[0] < costs[-1]
    assert costs[0] == 2 * (19 + 13 * 4 - 2 - 1)  # everything once, then three masks and what was filled before


def test_what_was_kept_gives_the_same_keys_and_values_again(networks) -> None:
    """Nothing has changed since: computing the upper layer once more changes nothing."""
    model = networks["dream"]
    evaluator = CanvasEvaluator(model, model.masking, model.new_cache(1, 32))
    memory = evaluator.open()
    ids = np.array([5, 7, MASK, 9, MASK, MASK])
    heads = ((0, 1), (1, 2))
    first = CanvasView(memory, ids, Plan(np.arange(6), keep=True), Span(2, 6), np.array([2, 4]))
    evaluator.evaluate([first])
    view = CanvasView(memory, ids, Plan(np.array([4, 5]), attention=heads, keep=True), Span(2, 6), np.array([2, 4]))
    logits, (output,) = evaluator.evaluate([view])
    keys, values = (part(memory.row, 1).clone() for part in (evaluator.cache.keys, evaluator.cache.values))
    again, redone = evaluator.redo(view, output, 1)
    assert torch.allclose(again, logits, atol=1e-5)
    assert torch.allclose(evaluator.cache.keys(memory.row, 1), keys, atol=1e-5)
    assert torch.allclose(evaluator.cache.values(memory.row, 1), values, atol=1e-5)
    assert torch.allclose(redone.seen.attention[1, 2], output.seen.attention[1, 2], atol=1e-5)
    assert redone.seen.attention[0, 1] is output.seen.attention[0, 1]
    assert (redone.redone, redone.layers) == (6, 1)
    ids[2] = 8  # another token: what was kept above the first layer is stale, what is computed anew is not
    changed = CanvasView(memory, ids, Plan(np.array([2]), keep=True), Span(2, 6), np.array([4, 5]))
    _, (output,) = evaluator.evaluate([changed])
    redone, _ = evaluator.redo(changed, output, 1)
    assert not torch.allclose(redone[0], again[1], atol=1e-4)


def observed(rows: list[int], attention: list[list[float]]) -> Observation:
    """One layer, one head, over slots 0 … S − 1."""
    seen = torch.tensor(attention)
    return Observation(np.array(rows), np.arange(seen.shape[1]), {(0, 0): seen, (1, 0): seen})


def test_drift_is_that_of_the_token_watched_before() -> None:
    """Two tokens swap ranks: the cosine is of the same token then and now, not of the new favourite."""
    session = ElasticState(Elastic(0.9), 2, 1)
    canvas = blank(5, 9)
    canvas.ids[:2], canvas.filled[:2] = 0, 0
    masks = np.array([2, 3, 4])
    session.plan(canvas, Span(2, 5), masks)
    session.read(canvas, observed([2, 3, 4], [[0.6, 0.1, 0, 0, 0], [0.5, 0.2, 0, 0, 0], [0.1, 0.2, 0, 0, 0]]))
    assert session.watches[0].position == 0
    session.plan(canvas, Span(2, 5), masks)
    swapped = observed([2, 3, 4], [[0.1, 0.6, 0, 0, 0], [0.2, 0.5, 0, 0, 0], [0.6, 0.1, 0, 0, 0]])
    then, now = np.array([0.6, 0.5, 0.1]), np.array([0.1, 0.2, 0.6])
    cosine = then @ now / np.linalg.norm(then) / np.linalg.norm(now)
    assert session._drift(0, session.watches[0], swapped) == pytest.approx(cosine)
    assert session.redo(canvas, swapped) == 1
    session.read(canvas, swapped)
    assert session.watches[0].position == 1


def test_only_rows_of_both_steps_are_compared_and_masks_are_not_watched() -> None:
    session = ElasticState(Elastic(0.9), 2, 1)
    canvas = blank(5, 9)
    canvas.ids[:2], canvas.filled[:2] = 0, 0
    session.plan(canvas, Span(2, 5), np.array([2, 3]))
    session.read(canvas, observed([2, 3], [[0.3, 0.1, 0.9, 0, 0], [0.4, 0.1, 0.9, 0, 0]]))
    assert session.watches[0].position == 0
    session.plan(canvas, Span(2, 5), np.array([3, 4]))
    assert session.redo(canvas, observed([4, 3], [[0.0, 0.1, 0, 0, 0], [0.9, 0.1, 0, 0, 0]])) is None
    session.plan(canvas, Span(2, 5), np.array([4]))
    assert session.redo(canvas, observed([4], [[0.4, 0.1, 0, 0, 0]])) == 1  # nothing to compare with
    session.watches = [None, Watch(0, np.array([4]), torch.tensor([0.4]))]
    assert session.redo(canvas, observed([3], [[0.4, 0.1, 0, 0, 0]])) is None  # nothing is above the last layer


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="shows no attention") as caught:
        answer(MaskedTable.random_masked(5, 2, Masking(4)), [0], "threshold+elastic", max_new_tokens=3)
    assert caught.value.hint
    with pytest.raises(Unsupported, match="never change"):
        answer(load(save("sdar", tmp_path)).model, [4], "threshold+elastic", max_new_tokens=3)
    with pytest.raises(InvalidRequest):
        Elastic(-1.5)
    assert Elastic(0.5).open(blank(3, 4), context(MaskedTable.random_masked(5, 2, Masking(4)))) is not None


def test_watched_tokens_may_be_computed_along(networks) -> None:
    plain, more = (
        answer(networks["llada"], TEXTS[0], f"threshold(1.1)+sliding(3)+elastic(-1,tracked={each})", **SETTINGS)
        for each in ("false", "true")
    )
    assert plain.counters.token_forwards < more.counters.token_forwards < 2 * plain.counters.token_forwards
