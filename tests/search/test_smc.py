"""Weighted particles: against exact enumeration on tables, and what the weights and the resampling are by hand."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import pytest
import torch

from laws.test_constraints import Pairs
from stretto.engine import Engine
from stretto.errors import InvalidRequest, NothingAllowed, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.scorer import Scorer, Scoring
from stretto.search.scorers.by_function import ByFunction
from stretto.search.segmenters import Every
from stretto.search.smc import Particles, Weighing, effective, log_sum, resampled

TWO = {(): (0.6, 0.4), (0,): (0.5, 0.5), (1,): (0.9, 0.1)}  # tokens a = 0, b = 1
CHANCE = {"temperature": 1.0, "end_tokens": ()}


def engine(model: TableModel) -> Engine:
    return Engine(model, clock=SimulatedClock())


def two() -> Engine:
    return engine(TableModel(2, lambda path: [math.log(each) for each in TWO[path[1:]]]))


@dataclass(frozen=True)
class Weights(Particles):
    """Particles that note, of every run, the particles and their weights at the end."""

    noted: list[dict[tuple[int, ...], float]] = field(default_factory=list, compare=False)

    def begin(self, context: Any, branches: Any) -> Any:
        class Noting(Weighing):
            def rank(self, group: Any) -> None:
                super().rank(group)
                sums: Counter[tuple[int, ...]] = Counter()
                for branch, weight in self.weigh(group).items():
                    sums[tuple(branch.tokens)] += math.exp(weight) / self.search.particles
                self.search.noted.append(dict(sums))

        return Noting(self, context, branches)


def estimated(served: Engine, search: Weights, runs: int, **settings: Any) -> dict[tuple[int, ...], float]:
    """The mean, over runs, of each answer's share of a run's weights: what answers are drawn with."""
    for seed in range(runs):
        served.generate([0], search, seed=seed, **settings)
    shares: Counter[tuple[int, ...]] = Counter()
    for run in search.noted[-runs:]:
        total = sum(run.values())
        shares.update({tokens: weight / total / runs for tokens, weight in run.items()})
    return dict(shares)


def apart(found: dict[Any, float], exact: dict[Any, float]) -> float:
    """Total variation."""
    return sum(abs(found.get(each, 0.0) - exact.get(each, 0.0)) for each in {*found, *exact}) / 2


POWER = {(0, 0): 0.2455, (0, 1): 0.2455, (1, 0): 0.5090, (1, 1): 0.0001}


def test_a_power_of_whole_answers_is_reached_as_particles_grow() -> None:
    """Drawing token by token at temperature 1 / 4 gives `ba` with .1649 only, and that is what one particle does."""
    settings = {"max_new_tokens": 2, "end_tokens": (), "temperature": 0.25}
    errors = [
        apart(estimated(two(), Weights(n, alpha=4.0, segmenter=Every(1)), runs, **settings), POWER)
        for n, runs in ((1, 200), (4, 80), (64, 30))
    ]
    assert errors[0] > 0.3 and errors[1] < 0.75 * errors[0] and errors[2] < 0.05


def test_the_mean_weight_estimates_the_sum_of_the_target_without_bias() -> None:
    """Of p ** 4: (.6 .5)⁴ + (.6 .5)⁴ + (.4 .9)⁴ + (.4 .1)⁴; resampled after each token or never, with a ramp or not."""
    total = 2 * 0.3**4 + 0.36**4 + 0.04**4
    for least, ramp in ((1.0, 0), (0.0, 0), (1.0, 2)):
        search = Weights(4, alpha=4.0, segmenter=Every(1), least=least, ramp=ramp)
        estimated(two(), search, 100, max_new_tokens=2, end_tokens=(), temperature=0.7)
        means = [sum(run.values()) for run in search.noted]
        assert abs(fmean(means) - total) < 4 * stdev(means) / math.sqrt(len(means)) < 0.5 * total


def test_where_the_target_is_what_is_drawn_all_weights_are_equal() -> None:
    search = Weights(6, segmenter=Every(1))
    found = two().generate([[0]], search, samples=6, max_new_tokens=2, seed=1, **CHANCE)
    assert sum(search.noted[-1].values()) == pytest.approx(1.0, abs=1e-6)
    plain = two().generate([[0]], "plain", samples=6, max_new_tokens=2, seed=1, **CHANCE)
    assert sorted(each.tokens for each in found) == sorted(each.tokens for each in plain)


@dataclass(frozen=True)
class EndsWithB(Scorer):
    """ln 3 where the second token is b."""

    name = "ends-with-b"

    def begin(self, context: Any) -> Scoring:
        return ByFunction(lambda text: math.log(3.0) * (text[2:] == "1")).begin(context)


def test_a_reward_weighs_answers() -> None:
    exact = {(0, 0): 0.1786, (0, 1): 0.5357, (1, 0): 0.2143, (1, 1): 0.0714}
    search = Weights(32, beta=1.0, scorer=EndsWithB(), segmenter=Every(1))
    found = estimated(two(), search, 40, max_new_tokens=2, **CHANCE)
    assert apart(found, exact) < 0.05
    means = [sum(run.values()) for run in search.noted]
    assert abs(fmean(means) - 1.68) < 4 * stdev(means) / math.sqrt(40) < 0.3
    answer = two().generate([0], search, max_new_tokens=2, seed=4, **CHANCE)
    assert answer.counters.branches >= 32 and 2 <= answer.counters.scorer_calls <= 2 + 4


MODEL = TableModel.random(4, seed=5, order=2, sharpness=1.0)


def among_valid(model: TableModel, most: int, ends: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """The model's own distribution over pairs of equal tokens, at most `most` of them, then an end."""
    found: dict[tuple[int, ...], float] = {}
    for pairs in range(most // 2 + 1):
        for halves in itertools.product((0, 1), repeat=pairs):
            text = tuple(token for token in halves for _ in range(2))
            for whole in [(*text, end) for end in ends]:
                weight = 1.0
                for at, token in enumerate(whole):
                    weight *= float(torch.tensor(model.rule((0, *whole[:at]))).softmax(-1)[token])
                found[whole] = weight
    total = sum(found.values())
    return {text: weight / total for text, weight in found.items()}


def test_valid_answers_are_as_likely_as_the_model_finds_them_among_all_valid_ones() -> None:
    exact = among_valid(MODEL, 4, (3,))
    settings = {"max_new_tokens": 8, "end_tokens": (3,), "temperature": 1.0, "constraint": Pairs(4)}
    masked, few, many = (
        apart(estimated(engine(MODEL), Weights(n, segmenter=Every(1)), runs, **settings), exact)
        for n, runs in ((1, 150), (4, 80), (32, 30))
    )
    assert masked > 0.4 and few < 0.6 * masked and many < 0.06


def test_the_answer_is_drawn_by_weight() -> None:
    served, drawn = two(), Counter[tuple[int, ...]]()
    for seed in range(150):
        method = Particles(16, alpha=4.0, segmenter=Every(1))
        answer = served.generate([0], method, max_new_tokens=2, end_tokens=(), temperature=0.25, seed=seed)
        drawn[tuple(answer.tokens)] += 1
    assert apart({text: count / 150 for text, count in drawn.items()}, POWER) < 0.15


def test_an_answer_cut_by_its_length_gives_way_to_one_that_has_ended() -> None:
    stubborn = TableModel(4, lambda path: [3.0, 3.0, 0.0, 0.0])  # which would rather not end
    settings = {"max_new_tokens": 3, "end_tokens": (3,), "temperature": 1.0, "constraint": Pairs()}
    ended = [engine(stubborn).generate([0], Particles(32), seed=seed, **settings).finish for seed in range(16)]
    alone = [engine(stubborn).generate([0], Particles(1), seed=seed, **settings).finish for seed in range(16)]
    assert ended.count("end") > 8 > 3 > alone.count("end") and "length" in ended


def test_resampling_by_hand() -> None:
    logs = [math.log(each) for each in (0.7, 0.1, 0.1, 0.1)]
    assert effective(logs) == pytest.approx(1 / 0.52) and log_sum(logs) == pytest.approx(0.0)
    assert resampled(logs, 0.5) == [0, 0, 0, 2]
    assert resampled([each - 900.0 for each in logs], 0.5) == [0, 0, 0, 2]
    assert resampled([-math.inf, 0.0, -math.inf], 0.999) == [1, 1, 1]
    counts = Counter(at for start in range(1, 1000) for at in resampled(logs, start / 1000))
    assert [counts[at] / 999 for at in range(4)] == pytest.approx([2.8, 0.4, 0.4, 0.4], abs=0.01)


def test_what_it_cannot_serve_is_refused() -> None:
    with pytest.raises(Unsupported, match="brings back what top_p removes"):
        two().generate([0], "smc", temperature=1.0, top_p=0.9)
    for wrong in ({"particles": 0}, {"alpha": 0.0}, {"beta": -1.0}, {"least": 2.0}, {"ramp": -1}):
        with pytest.raises(InvalidRequest):
            Particles(**wrong)
    never = Particles(3, beta=1.0, scorer=ByFunction(lambda text: -math.inf))
    with pytest.raises(NothingAllowed, match="leaves none of 3"):
        two().generate([0], never, max_new_tokens=2, **CHANCE)
