"""What an order takes back or rewrites is computed anew before it is read again, whatever the refresh keeps."""

from __future__ import annotations

from typing import Any

import pytest

from diffuse.canvases import answer
from laws.test_diffusion import NEW, PROMPTS, WORLDS, fits, named
from models.masked_checkpoints import save
from stretto import method
from stretto.diffuse.evaluator import CanvasEvaluator
from stretto.diffuse.loop import Loop
from stretto.models.load import load

REVISING = (  # settings that revise often
    "easy-first(steps=5,floor=0.9,drop=0.1,most=2)",
    "revise(most=3)",
    "remask-loop(loops=3,begin=0.5)",
    "wide-narrow(wide=0.2,narrow=0.9,fewest=1)",
    "weld(0.5,below=1.0)+blocks(2)",
    "weld(0.5,below=1.0)+adaptive-blocks(0,size=2)",  # takes back outside of the window, and the window stays
)


class Watched:
    """The rows of one decode's cache whose tokens have changed since they were computed; none of them is ever read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stale: set[int] = set()
        self.renewed = 0
        change, evaluate = Loop._change, CanvasEvaluator.evaluate

        def changing(loop: Loop, state: Any, *rest: Any) -> Any:
            delta, done = change(loop, state, *rest)
            self.stale |= {*delta.remask, *delta.revise}
            return delta, done

        def evaluating(evaluator: CanvasEvaluator, views: Any) -> Any:
            (view,) = views
            computed = set(view.rows(evaluator.masking).tolist())
            read = {*view.memory.held.tolist()} - {*view.plan.forget.tolist()} - computed
            assert not read & self.stale, f"positions {read & self.stale} have changed, and are read as they were"
            self.renewed += len(computed & self.stale)
            self.stale &= read
            return evaluate(evaluator, views)

        monkeypatch.setattr(Loop, "_change", changing)
        monkeypatch.setattr(CanvasEvaluator, "evaluate", evaluating)


def test_every_revising_order_is_tried() -> None:
    revising = {text for text in named("order") if method.parse(text).order.revises}
    assert {method.parse(text).order.name for text in revising} == {method.parse(each).order.name for each in REVISING}


@pytest.mark.parametrize("refresh", named("refresh"))
def test_what_changed_is_computed_anew(monkeypatch: pytest.MonkeyPatch, refresh: str) -> None:
    """On tables, which let nothing of a network be left out; those that need one are tried on one below."""
    tried = seen = 0
    for text in (f"{order}+{refresh}" for order in REVISING):
        for model in WORLDS.values():
            if fits(text, model):
                for seed in range(2):
                    watched = Watched(monkeypatch)
                    settings: dict[str, Any] = {"temperature": 0.8, "seed": seed, "max_new_tokens": NEW}
                    answer(model, PROMPTS[0], text, end_tokens=(), **settings)
                    monkeypatch.undo()
                    tried, seen = tried + 1, seen + watched.renewed
    assert seen or not tried


@pytest.mark.parametrize("refresh", ["elastic", "branch-cache(updates=2)"])
def test_what_changed_is_computed_anew_by_a_network(monkeypatch: pytest.MonkeyPatch, refresh: str, tmp_path) -> None:
    model, seen = load(save("llada", tmp_path)).model, 0
    orders = [each for each in REVISING if not each.startswith("wide-narrow")]
    for order in (*orders, "weld(0.5,below=1.0)+structured-blocks(2,3)"):  # which looks at more than its window
        watched = Watched(monkeypatch)
        settings = {"temperature": 1.5, "seed": 3, "max_new_tokens": 12}
        answer(model, [5, 7, 9], f"{order}+{refresh}", end_tokens=(), **settings)
        monkeypatch.undo()
        seen += watched.renewed
    assert seen
