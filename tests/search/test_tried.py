"""Tokens that are tried one by one: those of the mask, with weights without bias, and no mask is asked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch

from laws.test_constraints import Pairs, PairsState
from search.test_smc import MODEL, Weights, among_valid, apart, engine, estimated
from stretto.constrain.contract import State
from stretto.constrain.tokens import Tokens
from stretto.search.segmenters import Every
from stretto.search.tried import lacking, tried

SHARES = (0.4, 0.3, 0.15, 0.1, 0.05)
SETTINGS = {"max_new_tokens": 8, "end_tokens": (3,), "temperature": 1.0}


def without_replacement(left: dict[int, float], valid: Sequence[int]) -> Iterator[tuple[list[int], int, float]]:
    """Every way to draw until one is valid: those that failed, the one that passed, how likely."""
    total = sum(left.values())
    for token, share in left.items():
        if token in valid:
            yield [], token, share / total
        else:
            rest = {other: each for other, each in left.items() if other != token}
            for failed, passed, likely in without_replacement(rest, valid):
                yield [token, *failed], passed, share / total * likely


@dataclass
class Scripted:
    """Chance that draws what is written."""

    tokens: list[int]

    def draw(self, weights: Any) -> int:
        token = self.tokens.pop(0)
        assert weights[token] > 0
        return token


@pytest.mark.parametrize("valid", [v for size in (1, 2, 5) for v in itertools.combinations(range(5), size)])
def test_the_estimate_has_no_bias_whatever_was_drawn_and_is_never_nothing(valid: tuple[int, ...]) -> None:
    scores = torch.tensor(SHARES, dtype=torch.float64).log() + 3.0
    mass = sum(SHARES[token] for token in valid)
    by_token = dict.fromkeys(valid, 0.0)
    for failed, passed, likely in without_replacement(dict(enumerate(SHARES)), valid):
        left = {token: share for token, share in enumerate(SHARES) if token not in failed}
        for more, second, then in without_replacement(left, valid):
            found = lacking(scores, failed, Scripted([*more, second]), lambda token: token in valid)  # type: ignore[arg-type]
            estimate = math.exp(found) * sum(left.values())
            assert 0 < estimate <= 1 + 1e-12
            by_token[passed] += likely * then * estimate
    assert by_token == pytest.approx({token: SHARES[token] for token in valid})  # p(x) = (p(x) / Z) · Z
    assert mass == pytest.approx(sum(by_token.values()))


def test_what_passes_first_is_what_the_mask_would_have_left_as_the_best() -> None:
    rng = np.random.default_rng(3)
    for key in range(200):
        scores = torch.tensor(rng.normal(0, 4, 50), dtype=torch.float32)
        valid = rng.random(50) < 0.1
        valid[0] = True
        failed = tried(scores, key, lambda token, valid=valid: bool(valid[token]))
        assert not valid[failed].any() and len(set(failed)) == len(failed)
        left, masked = scores.clone(), scores.clone()
        left[failed], masked[torch.from_numpy(~valid)] = -torch.inf, -torch.inf
        assert tried(left, key, lambda token: True) == []
        best = [_best(each, key) for each in (left, masked)]
        assert best[0] == best[1]
    none = tried(torch.tensor([1.0, -torch.inf, 0.0]), 1, lambda token: False)
    assert sorted(none) == [0, 2] and lacking(torch.zeros(3), [0, 1, 2], Scripted([]), lambda token: False) == 0.0  # type: ignore[arg-type]


def _best(scores: torch.Tensor, key: int) -> int:
    from stretto.noise import gumbel

    return int((scores + gumbel(torch.tensor(key), torch.arange(len(scores)))).argmax())


def test_particles_so_drawn_come_to_the_models_own_distribution() -> None:
    exact = among_valid(MODEL, 4, (3,))
    few, many = (
        apart(
            estimated(
                engine(MODEL), Weights(n, segmenter=Every(1), whole=False), runs, constraint=Pairs(4), **SETTINGS
            ),
            exact,
        )
        for n, runs in ((1, 40), (24, 12))
    )
    assert few > 0.4 and many < 0.12


def test_the_mean_weight_estimates_the_sum_of_the_target_without_bias() -> None:
    """The probability that the model gives to all valid answers; hotter draws, resampled or not."""
    total = sum(
        math.exp(
            sum(float(torch.tensor(MODEL.rule((0, *text[:at]))).log_softmax(-1)[text[at]]) for at in range(len(text)))
        )
        for text in among_valid(MODEL, 4, (3,))
    )
    for least in (0.0, 1.0):  # never resampled, and always
        search = Weights(4, segmenter=Every(2), least=least, whole=False)
        estimated(engine(MODEL), search, 40, constraint=Pairs(4), **SETTINGS | {"temperature": 1.3})
        means = [sum(run.values()) for run in search.noted]
        assert abs(fmean(means) - total) < 4 * stdev(means) / math.sqrt(len(means)) < 0.7 * total


@dataclass(frozen=True)
class Dear(Pairs):
    """Counts how often it is asked for a mask."""

    asked: list[int] = field(default_factory=lambda: [0], compare=False)

    def open(self, tokens: Tokens) -> State:
        return DearState(len(tokens), self.most, (), self.asked)


class DearState(PairsState):
    def __init__(self, vocabulary: int, most: int, taken: Sequence[int], asked: list[int]) -> None:
        super().__init__(vocabulary, most, taken)
        self.asked = asked

    def allowed(self) -> Any:
        self.asked[0] += 1
        return super().allowed()

    def advance(self, token: int) -> bool:
        fits = bool(PairsState.allowed(self)[token])
        self.taken += [token] * fits
        return fits

    def fork(self) -> DearState:
        return DearState(self.vocabulary, self.most, self.taken, self.asked)


def test_no_mask_is_asked_for() -> None:
    dear, cheap = Dear(), Dear()
    found = engine(MODEL).generate([[0]], "smc(8,whole=false)", samples=8, constraint=dear, seed=2, **SETTINGS)
    masked = engine(MODEL).generate([[0]], "smc(8)", samples=8, constraint=cheap, seed=2, **SETTINGS)
    assert dear.asked == [0] and cheap.asked[0] > 10
    assert sorted(each.tokens for each in found) == sorted(each.tokens for each in masked)
