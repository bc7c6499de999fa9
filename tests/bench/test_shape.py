from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.subjects import subject
from stretto.bench.results import Spread
from stretto.bench.shape import WINDOWS, Growth, Shape, batch_gain, forwards, growth, prompts, table, window_costs


@pytest.fixture(scope="module")
def world():
    return subject()


class Walker:
    """Takes `pace` milliseconds a token, more in every turn."""

    def __init__(self, name: str, pace: float, time: list[float], log: list[str]) -> None:
        self.name, self.pace, self.time, self.log, self.held = name, pace, time, log, 0

    def step(self, tokens: list[int]) -> None:
        assert self.held == 0, "the last window was not taken back"
        self.held = len(tokens)
        self.log.append(self.name)
        self.time[0] += self.pace * len(tokens) / 1000

    def undo(self, size: int) -> None:
        assert size == self.held
        self.held = 0
        self.pace += 1
        self.time[0] += 5.0  # not timed


def test_costs_by_hand():
    time, log = [0.0], []
    runners = [Walker("lean", 0.0, time, log), Walker("transformers", 100.0, time, log)]
    costs = window_costs(runners, 97, 3, clock=lambda: time[0])
    found = {(cost.runner, cost.tokens): cost.milliseconds for cost in costs}
    assert set(found) == {(runner.name, size) for runner in runners for size in WINDOWS}
    # two turns of five windows warm up: the windows of one token are then measured at paces 10, 15 and 20
    assert found["lean", 1].median == pytest.approx(15)
    assert found["lean", 1].low == pytest.approx(12.5)
    assert found["transformers", 4].median == pytest.approx(4 * 117)
    assert log[20:30] == ["lean", "transformers"] * 5 and log[30:32] == ["transformers", "lean"]


def test_all_runners_evaluate_the_same(world):
    """Lean, network and the module, over the same context: the same logits, window after window."""
    tokens = [5, 6, 7, 8]
    found = []
    for forward in forwards(world):
        forward.step(tokens)
        forward.undo(len(tokens))
        seen = []
        if forward.name == "transformers":
            hook = forward._module.register_forward_hook(lambda m, a, out, seen=seen: seen.append(out.logits))
            forward.step(tokens)
            hook.remove()
        else:
            evaluate = forward._model.evaluate
            forward._model.evaluate = lambda *given, seen=seen, evaluate=evaluate: seen.append(evaluate(*given).logits)
            forward.step(tokens)
            del forward._model.evaluate
        found.append(seen[0])
    assert len(found) >= 2
    assert all(torch.allclose(logits, found[-1], atol=1e-4) for logits in found)


def test_unequal_rows_are_identical(world):
    lengths = {len(prompt) for prompt in prompts(world, 8)}
    assert len(lengths) > 4
    gain = batch_gain(world, "lookup", 1)
    assert (gain.rows, gain.identical) == (8, 8)
    assert gain.gain.median > 0


def test_memory_is_read(world):
    found = growth(world, "plain", requests=2)
    assert found.before > 50 and found.after > 50


def test_table_and_file(tmp_path: Path):
    time: list[float] = [0.0]
    costs = window_costs([Walker("transformers", 1.0, time, [])], 97, 2, clock=lambda: time[0])
    settings = {"machine": {"threads": 1, "cpu": "abacus"}, "settings": {"model": "tiny"}}
    shape = Shape(settings, costs, [], Growth(200, 10.0, 11.5))
    text = table(shape)
    assert "abacus" in text and "10.0 -> 11.5" in text
    shape.save(tmp_path / "s.json")
    assert '"runner": "transformers"' in (tmp_path / "s.json").read_text()
    assert Spread.of([1.0]) == Spread(1.0, 1.0, 1.0)
