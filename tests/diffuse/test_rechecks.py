"""Rows that predict a position as if it alone were masked: the same as a canvas in which it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from diffuse.canvases import engine
from models.masked_checkpoints import save
from stretto import method
from stretto.diffuse.canvas import Span
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.refresh.contract import Plan
from stretto.diffuse.views import CanvasView
from stretto.errors import Unsupported
from stretto.models.contract import Ability
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable

MASK = 5
MASKINGS = {
    "bidirectional": Masking(MASK),
    "shifted": Masking(MASK, shift=True),
    "block-causal": Masking(MASK, block=4),
    "shifted block-causal": Masking(MASK, shift=True, block=4),
}
CANVASES = [np.array([0, 1, 2, MASK, 4, 3, MASK, 1]), np.array([3, 3, MASK, 1, 0])]
RECHECKED = [np.array([1, 4, 5]), np.array([0, 3])]


class Once(MaskedTable):
    """Sees no position twice: neither a token beside the mask that stands for it, nor a row and its copy."""

    def _say(self, position: int, positions: Sequence[int], tokens: Sequence[int]) -> Sequence[float]:
        assert len(set(positions)) == len(positions)
        return super()._say(position, positions, tokens)


def logits(evaluator: CanvasEvaluator, views: list[CanvasView]) -> list[torch.Tensor]:
    found, outputs = evaluator.evaluate(views)
    return [found[output.start : output.start + len(view.wanted)] for view, output in zip(views, outputs, strict=True)]


@pytest.mark.parametrize("name", MASKINGS)
def test_a_recheck_is_the_canvas_with_that_position_masked(name: str) -> None:
    masking = MASKINGS[name]
    model = Once.random_masked(6, 3, masking)
    evaluator = CanvasEvaluator(model, masking, model.new_cache(1, 16))
    memories = [evaluator.open() for _ in CANVASES]
    views = [
        CanvasView(memory, ids, Plan(np.arange(len(ids))), Span(2, len(ids)), np.arange(len(ids)), rechecked)
        for memory, ids, rechecked in zip(memories, CANVASES, RECHECKED, strict=True)
    ]
    found = logits(evaluator, views)
    for ids, rechecked, said in zip(CANVASES, RECHECKED, found, strict=True):
        for position in range(len(ids)):
            alone = ids.copy()
            if position in rechecked:
                alone[position] = MASK
            memory = evaluator.open()
            view = CanvasView(memory, alone, Plan(np.arange(len(ids))), Span(0, len(ids)), np.array([position]))
            assert torch.equal(logits(evaluator, [view])[0][0], said[position]), (name, position)
    for memory, ids in zip(memories, CANVASES, strict=True):  # and nothing of it stays
        assert sorted(memory.held.tolist()) == list(range(len(ids))) and evaluator.cache.length(memory.row) == len(ids)


@pytest.mark.parametrize("name", ["bidirectional", "shifted"])
def test_what_is_rechecked_is_computed_with_it(name: str) -> None:
    """Though the plan leaves it in the cache: a row that predicts it must not see it there."""
    masking = MASKINGS[name]
    model = Once.random_masked(6, 3, masking)
    evaluator, ids = CanvasEvaluator(model, masking, model.new_cache(1, 16)), CANVASES[0]
    memory, span, wanted = evaluator.open(), Span(2, len(ids)), np.arange(2, len(ids))
    everything = CanvasView(memory, ids, Plan(np.arange(len(ids))), span, wanted, RECHECKED[0][1:])
    part = CanvasView(memory, ids, Plan(np.array([3])), span, RECHECKED[0][1:], RECHECKED[0][1:])
    (whole,) = logits(evaluator, [everything])
    (again,) = logits(evaluator, [part])
    assert torch.equal(again, whole[RECHECKED[0][1:] - 2])


@pytest.mark.parametrize("name", ["llada", "dream", "sdar"])
def test_the_canvas_does_not_notice_what_is_rechecked(tmp_path, name: str) -> None:
    """In a network too: keys, values and logits of everything else are what they are without."""
    model: Any = load(save(name, tmp_path / name)).model
    ids = np.array([5, 7, 9, 11, 3, 4, 8, 12])
    found = []
    for rechecked in (np.array([4, 6]), np.zeros(0, np.int64)):
        evaluator = CanvasEvaluator(model, model.masking, model.new_cache(1, 16))
        memory = evaluator.open()
        view = CanvasView(memory, ids, Plan(np.arange(8)), Span(4, 8), np.arange(8), rechecked)
        (said,) = logits(evaluator, [view])
        found.append((said, evaluator.cache.keys(memory.row, 1), evaluator.cache.values(memory.row, 1)))
    kept = [0, 1, 2, 3, 5, 7]
    (with_rechecks, *cached), (without, *plain) = found
    torch.testing.assert_close(with_rechecks[kept], without[kept], atol=1e-5, rtol=0)
    for one, other in zip(cached, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert not torch.allclose(with_rechecks[[4, 6]], without[[4, 6]], atol=1e-3)


@pytest.mark.parametrize("rest", ["", "+dual-cache", "+prefix-cache(every=2)", "+cfg(0.5)"])
def test_a_batch_of_rechecks_is_its_rows(rest: str) -> None:
    model = MaskedTable.random_masked(6, 3, Masking(MASK), sharpness=2.5)
    text = f"wide-narrow(0.2,0.8,fewest=1)+blocks(4){rest}"
    settings: dict[str, Any] = {"max_new_tokens": 8, "temperature": 0.7, "end_tokens": ()}
    prompts = [[0, 2, 3], [4], [1, 1]]
    both = engine(model).generate(prompts, method.parse(text), **settings)
    for prompt, row in zip(prompts, both, strict=True):
        assert engine(model).generate(prompt, text, **settings).tokens == row.tokens


@pytest.mark.parametrize("refresh", ["elastic", "branch-cache"])
def test_what_keeps_parts_of_the_network_by_position_refuses(refresh: str) -> None:
    model = MaskedTable.random_masked(6, 3, Masking(MASK))
    model.abilities = Ability.ALL | Ability.BRANCHES
    method.check(method.parse(f"threshold+{refresh}"), model)
    with pytest.raises(Unsupported, match="beside the canvas") as caught:
        method.check(method.parse(f"wide-narrow+{refresh}"), model)
    assert caught.value.hint
