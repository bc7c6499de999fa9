"""Reusing what attentions and MLPs added: the schedule, its calibration, and what is reused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffuse.canvases import answer, engine
from models.masked_checkpoints import save
from stretto import method
from stretto.diffuse.branch_schedule import Schedule, best_updates, bubble, uniform
from stretto.diffuse.refresh.branches import BranchCache
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.contract import Want
from stretto.models.load import load
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.models.window import Window
from stretto.train.branches import calibrate

TEXTS = [[5, 7, 9, 11, 3], [4, 8]]
SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "end_tokens": (), "temperature": 0.7}
ORDER = "low-confidence(steps=6)+blocks(6)"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: load(save(name, tmp_path_factory.mktemp(name))).model for name in ("llada", "dream")}


def symmetric(steps: int, pairs: dict[tuple[int, int], float]) -> np.ndarray:
    table = np.eye(steps)
    for (a, b), value in pairs.items():
        table[a, b] = table[b, a] = value
    return table


def gained(similarity: np.ndarray, updates: tuple[int, ...]) -> float:
    ends = [*updates[1:], len(similarity)]
    return sum(similarity[u, k] for u, end in zip(updates, ends, strict=True) for k in range(u + 1, end))


def test_the_published_case() -> None:
    table = symmetric(4, {(0, 1): 0.9, (0, 2): 0.5, (0, 3): 0.1, (1, 2): 0.95, (1, 3): 0.6, (2, 3): 0.9})
    for count, updates, score in ((1, [0], 1.5), (2, [0, 2], 1.8), (3, [0, 1, 3], 0.95), (4, [0, 1, 2, 3], 0)):
        found, worth = best_updates(table, count)
        assert worth == pytest.approx(score) == gained(table, tuple(found))
        assert found == updates
    assert best_updates(table, 9)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_no_schedule_is_better(steps: int) -> None:
    """All of them tried; even spacing is never better."""
    table = np.random.default_rng(steps).uniform(-1, 1, (steps, steps))
    table = (table + table.T) / 2
    for count in range(1, steps + 1):
        found, worth = best_updates(table, count)
        every = [(0, *rest) for rest in itertools.combinations(range(1, steps), count - 1)]
        assert worth == pytest.approx(max(gained(table, each) for each in every)) == gained(table, tuple(found))
        assert len(found) == count and found[0] == 0
        even = uniform([(0, "mlp")], steps, count).updates[0, "mlp"]
        assert gained(table, tuple(sorted(even))) <= worth + 1e-12 and len(even) == count


def test_updates_pass_on_to_the_ones_before() -> None:
    updates = {0: {0, 2}, 1: {0, 3}, 2: {0, 1}, 3: {0, 4}}
    found = bubble(updates, {0: 5.0, 1: 0.1, 2: 4.0, 3: 3.0}, 3)
    assert found == {0: {0, 1, 2, 4}, 1: {0, 3}, 2: {0, 1, 4}, 3: {0, 4}}
    assert bubble(updates, {0: 5.0, 1: 0.1, 2: 4.0, 3: 3.0}, 0) == updates


def test_what_a_branch_added_is_added_again(networks) -> None:
    """Given its own additions a network says the same; given others' it does not. Without attention no keys count."""
    model = networks["llada"]
    branches = tuple((layer, part) for layer in range(2) for part in ("attention", "mlp"))

    def evaluate(tokens: list[int], given: dict | None = None) -> Any:
        cache = model.new_cache()
        window = Window.chain([cache.open()], [tokens], [0], model.device)
        window.everyone, window.given = True, given or {}
        return model.evaluate(window, cache, Want(branches=tuple(b for b in branches if b not in window.given)))

    plain, other = evaluate([5, 6, 7]), evaluate([5, 9, 7])
    assert set(plain.branches) == set(branches)
    for branch in branches:
        same = evaluate([5, 6, 7], {branch: plain.branches[branch]})
        assert (same.logits - plain.logits).nan_to_num().abs().max() < 1e-4
        assert set(same.branches) == set(branches) - {branch}
        changed = evaluate([5, 6, 7], {branch: other.branches[branch]})
        assert (changed.logits - plain.logits).nan_to_num().abs().max() > 1e-3


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_as_many_updates_as_steps_are_no_cache(networks, name: str) -> None:
    plain = answer(networks[name], TEXTS, ORDER, **SETTINGS)
    for rest in ("+branch-cache(updates=6,steps=6)", "+branch-cache(updates=99)"):
        full = answer(networks[name], TEXTS, ORDER + rest, **SETTINGS)
        for one, other in zip(plain, full, strict=True):
            assert one.tokens == other.tokens
            assert [s.confidence for s in one.steps] == [s.confidence for s in other.steps]
    few = answer(networks[name], TEXTS, f"{ORDER}+branch-cache(updates=2,steps=6)", **SETTINGS)
    assert [s.confidence for s in few[0].steps] != [s.confidence for s in plain[0].steps]
    for found, text in zip(few, TEXTS, strict=True):
        assert (
            answer(networks[name], text, f"{ORDER}+branch-cache(updates=2,steps=6)", **SETTINGS).tokens == found.tokens
        )


def test_rows_at_different_steps_are_evaluated_apart(networks) -> None:
    """One row has far fewer positions, so its even steps come elsewhere."""
    prompts = [[5, 7, 39, 39, 39, 3], [39] * 9]
    text = "low-confidence+branch-cache(updates=2)"
    both = answer(networks["llada"], prompts, text, end_tokens=())
    for found, prompt in zip(both, prompts, strict=True):
        assert answer(networks["llada"], prompt, text, end_tokens=()).tokens == found.tokens


def test_calibration(networks, tmp_path: Path) -> None:
    model = networks["llada"]
    settings = {"max_new_tokens": 12, "end_tokens": ()}
    schedule = calibrate(engine(model), TEXTS, method.parse(ORDER), 3, volatile=2, **settings)
    assert schedule.steps == 6 and len(schedule.updates) == 4
    assert all(0 in steps and len(steps) >= 3 for steps in schedule.updates.values())
    attention = [steps for (_, part), steps in schedule.updates.items() if part == "attention"]
    assert all(len(steps) == 3 for steps in attention)
    upper, lower = schedule.updates[1, "mlp"], schedule.updates[0, "mlp"]
    assert lower >= upper  # the upper one's updates pass on to the lower one
    file = tmp_path / "schedule.json"
    schedule.write(file)
    assert Schedule.read(file) == schedule
    found = answer(model, TEXTS[0], f"{ORDER}+branch-cache({file})", **settings)
    assert len(found.tokens) == 12
    everything = calibrate(engine(model), TEXTS, method.parse(ORDER), 6, **settings)
    everything.write(file)
    plain = answer(model, TEXTS[0], ORDER, **settings)
    assert answer(model, TEXTS[0], f"{ORDER}+branch-cache({file})", **settings).tokens == plain.tokens


def test_refusals(networks, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="left out") as caught:
        answer(MaskedTable.random_masked(5, 2, Masking(4)), [0], "threshold+branch-cache", max_new_tokens=3)
    assert caught.value.hint
    file = tmp_path / "wrong.json"
    for content in ("{", '{"steps": 3, "updates": {"0.mlp": [1]}}', '{"steps": 3, "updates": {"0.colour": [0]}}', "[]"):
        file.write_text(content)
        with pytest.raises(InvalidRequest, match="no schedule"):
            answer(networks["llada"], [4], f"threshold+branch-cache({file})", max_new_tokens=3)
    Schedule(3, {(0, "mlp"): frozenset([0])}).write(file)
    with pytest.raises(InvalidRequest, match="another model"):
        answer(networks["llada"], [4], f"threshold+branch-cache({file})", max_new_tokens=3)
    with pytest.raises(InvalidRequest, match="decodes of"):
        calibrate(engine(networks["llada"]), [[4], [4, 39, 5]], method.parse("low-confidence"), 2, max_new_tokens=6)
    for wrong in ({"updates": 0}, {"steps": -1}):
        with pytest.raises(InvalidRequest):
            BranchCache(**wrong)
