"""The recipe of Learn2PD's filter, on tables: seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffuse.canvases import answer, engine
from stretto import method
from stretto.errors import InvalidRequest, UnknownName, Unsupported
from stretto.models.masked import Masking
from stretto.models.table import MaskedTable
from stretto.train.filter import Oracle, Sample, Settings, fit, train_filter

PROMPTS = [[0, at, other] for at in range(4) for other in range(4)]
CHANGING = MaskedTable.random_masked(6, 7, Masking(5), sharpness=0.5)


def says(position: int, seen: dict[int, int]) -> list[float]:
    """Every other position is clear from the start, up to what the rest of the canvas says; the others are not."""
    clear = 4.0 if position % 2 else 0.6
    return [a + clear * (token == position % 5) for token, a in enumerate(CHANGING.says(position, seen))]


MODEL = MaskedTable(6, says, Masking(5))
PLAIN = "low-confidence+blocks(4)"
SETTINGS = {"max_new_tokens": 12, "end_tokens": ()}


@pytest.fixture(scope="module")
def trained():
    return train_filter(engine(MODEL), PROMPTS, PLAIN, width=4, new_tokens=12, settings=Settings(epochs=600))


def rounds(text: str) -> int:
    return sum(found.counters.rounds for found in answer(MODEL, PROMPTS, text, **SETTINGS))


def test_the_oracle_keeps_the_outcome_in_fewer_rounds(trained) -> None:
    _, report = trained  # the recipe itself insists on the outcome
    assert report.baseline_rounds == rounds(PLAIN) == 12 * len(PROMPTS)
    assert report.oracle_rounds < 0.6 * report.baseline_rounds
    assert report.samples == report.oracle_rounds


def test_a_filter_lies_between_oracle_and_baseline(trained, tmp_path: Path) -> None:
    judge, report = trained
    judge.save(tmp_path / "filter.npz")
    found = rounds(f"learned({tmp_path / 'filter.npz'},0.8)+blocks(4)")
    assert report.oracle_rounds <= found < report.baseline_rounds


def test_it_works_under_the_refresh_it_was_trained_with(trained) -> None:
    _, report = train_filter(
        engine(MODEL), PROMPTS[:4], f"{PLAIN}+dual-cache", width=4, new_tokens=12, settings=Settings(epochs=1)
    )
    assert report.oracle_rounds < report.baseline_rounds == 48


def synthetic(count: int, threshold: float = 0.6, seed: int = 0) -> list[Sample]:
    """Final is what is surer than a threshold, in half of the positions, which are the open ones."""
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        read, is_open = generator.random(6), generator.random(6) < 0.5
        samples.append(Sample(np.where(is_open, read, 1.0), is_open & (read > threshold), is_open))
    return samples


def test_it_learns_a_rule_and_says_how_well() -> None:
    judge, report = fit(synthetic(400), Settings(epochs=800, rate=1e-2))
    assert report.precision > 0.95 and 0.3 < report.recall <= 1.0 and report.loss < 0.3
    others = synthetic(100, seed=1)
    right = [((judge(s.features) > 0.5) == s.final)[s.open].mean() for s in others if s.open.any()]
    assert np.mean(right) > 0.8  # three of five are not final: 0.6 without having learnt anything


def test_the_same_seed_fits_the_same_filter() -> None:
    one, other, third = (fit(synthetic(40), Settings(epochs=20, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.inner, other.inner)
    assert not np.array_equal(one.inner, third.inner)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="9 steps"):
        fit(synthetic(9))
    with pytest.raises(InvalidRequest, match="fills no masks"):
        train_filter(engine(MODEL), PROMPTS, "lookup")
    with pytest.raises((InvalidRequest, Unsupported), match="filter of 3"):
        train_filter(engine(MODEL), PROMPTS, PLAIN, width=3, new_tokens=12)
    with pytest.raises(InvalidRequest, match="99"):
        train_filter(engine(MODEL), [[99]], PLAIN, width=4, new_tokens=12)
    with pytest.raises(InvalidRequest, match="epochs"):
        Settings(epochs=0)


def test_the_oracle_is_no_part_that_users_can_name() -> None:
    with pytest.raises(UnknownName, match="oracle"):
        method.parse(Oracle.name)
