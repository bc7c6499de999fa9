"""The hand cases of the catalogue, for each order."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from diffuse.canvases import answer, blank, by_confidence, chi_square, chosen, filled_per_step, frequencies, predict
from stretto.diffuse.canvas import Span
from stretto.diffuse.chance import Use, token_keys, uniform
from stretto.diffuse.orders.factor import Factor
from stretto.diffuse.orders.first_hitting import FirstHitting
from stretto.diffuse.orders.low_confidence import LowConfidence
from stretto.diffuse.orders.origin import Origin
from stretto.diffuse.orders.random import Random
from stretto.diffuse.orders.ranked import Ranked
from stretto.diffuse.orders.threshold import Threshold
from stretto.diffuse.quotas import steps_of, transfers
from stretto.errors import InvalidRequest
from stretto.models.masked import Masking
from stretto.models.table import ExactJoint, MaskedTable, scripted
from stretto.steer.choice import Rule, draw_all
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.steer.top_k import TopK

PAIR = torch.tensor([[0.5, 0.0], [0.0, 0.5]])


def flat(size: int) -> MaskedTable:
    return MaskedTable(size, lambda position, seen: [0.0] * size, Masking(size - 1))


# -- LLaDA ------------------------------------------------------------------------------------------------


def test_the_transfer_schedule() -> None:
    assert transfers(7, 3) == [3, 2, 2]
    assert transfers(4, 2) == [2, 2]
    assert transfers(2, 4) == [1, 1, 0, 0]
    canvas = blank(12, 3)
    assert [steps_of(steps, canvas, Span(0, 4)) for steps in (0, 12, 6, 3, 1)] == [4, 4, 2, 1, 1]


def test_steps_are_shared_among_blocks() -> None:
    found = answer(flat(4), [0], "low-confidence(steps=6)+blocks(4)", max_new_tokens=12, end_tokens=())
    assert filled_per_step(found) == [2] * 6
    whole = answer(flat(4), [0], "low-confidence(steps=3)", max_new_tokens=7, end_tokens=())
    assert filled_per_step(whole) == [3, 2, 2]


def test_nothing_beyond_the_block_changes_and_ties_go_to_the_lowest_index() -> None:
    found = answer(flat(4), [0], "low-confidence+blocks(4)", max_new_tokens=8, end_tokens=())
    assert [step.positions for step in found.steps] == [[at] for at in range(1, 9)]


def test_one_block_of_the_whole_length_is_no_block() -> None:
    model = MaskedTable.random_masked(5, 2, Masking(4))
    texts = ["low-confidence", "low-confidence+blocks(6)"]
    one, other = (answer(model, [0, 1], text, max_new_tokens=6, end_tokens=()) for text in texts)
    assert one.tokens == other.tokens


def test_the_surest_first() -> None:
    assert chosen(LowConfidence(), by_confidence([0.5, 0.9, 0.8])).commit == {1: 0}
    assert chosen(LowConfidence(steps=2), by_confidence([0.5, 0.9, 0.8, 0.95])).commit == {3: 0, 1: 0}


def test_confidence_is_of_the_sampled_token_and_untempered() -> None:
    """Token 1 is drawn at position 0, though 0 is likelier; what counts is its own probability before temperature."""
    canvas = blank(2, 3)
    probabilities = [[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]]
    tempered = Pipeline([Temperature(0.5), TopK(2)])
    prediction = predict(canvas, probabilities, tempered)
    prediction._whole._chosen = torch.tensor([1, 0])
    np.testing.assert_allclose(prediction.confidence("raw"), [0.3, 0.4])
    np.testing.assert_allclose(prediction.confidence("tempered"), [0.09 / 0.45, 0.16 / (0.16 + 0.1225)])
    np.testing.assert_allclose(prediction.confidence("top"), [0.6, 0.4])
    np.testing.assert_allclose(prediction.confidence("raw-margin"), [0.3, 0.05])
    np.testing.assert_allclose(prediction.confidence("margin"), [0.27 / 0.45, 0.0375 / 0.2825])
    raw = [sum(p * np.log(p) for p in row) for row in probabilities]
    np.testing.assert_allclose(prediction.confidence("raw-entropy"), raw)
    kept = [[0.36 / 0.45, 0.09 / 0.45], [0.16 / 0.2825, 0.1225 / 0.2825]]
    np.testing.assert_allclose(prediction.confidence("entropy"), [sum(p * np.log(p) for p in row) for row in kept])


def test_end_tokens_can_come_last() -> None:
    probabilities = by_confidence([0.9, 0.8])
    probabilities[1] = probabilities[1][::-1]
    ends = frozenset([0])
    assert chosen(LowConfidence(), probabilities, ends=ends).commit == {0: 0}
    assert chosen(LowConfidence(ends_last=True), probabilities, ends=ends).commit == {1: 1}


def foretold(model: ExactJoint, seed: int, streams: int) -> list[tuple[int, ...]]:
    """What the noise of each stream chooses: the next position by lot, then its token by the model's conditionals."""
    size = model.joint.dim()
    canvases = np.full((streams, size), model.masking.mask)
    rules = [Rule(Pipeline([Temperature(1.0)]), seed, stream) for stream in range(streams)]
    for step in range(size):
        places, keys = [], []
        for rule, canvas in zip(rules, canvases, strict=True):
            masks = 1 + np.flatnonzero(canvas == model.masking.mask)
            places.append(masks[uniform(rule, masks, step, Use.RANK).argmax()])
            keys.append(token_keys(rule, np.array(places[-1:]), step)[0])
        seen = [dict(enumerate(canvas, start=1)) for canvas in canvases.tolist()]
        logs = torch.tensor(
            [model.says(int(at), each) for at, each in zip(places, seen, strict=True)], dtype=torch.float64
        )
        canvases[np.arange(streams), np.array(places) - 1] = draw_all(logs, torch.tensor(keys)).numpy()
    return [tuple(canvas) for canvas in canvases.tolist()]


def test_random_order_one_by_one_draws_from_the_joint() -> None:
    """The engine's samples are what the noise foretells, and of that ten thousand streams are distributed so."""
    joint = torch.tensor([[[0.2, 0.05], [0.05, 0.1]], [[0.0, 0.3], [0.1, 0.2]]], dtype=torch.float64)
    model = ExactJoint(joint)
    settings = {"temperature": 1.0, "end_tokens": (), "seed": 11, "max_new_tokens": 3, "samples": 100}
    every = foretold(model, 11, 10_000)
    assert [tuple(each.tokens) for each in answer(model, [[0]], "random-order", **settings)] == every[:100]
    statistic, freedom = chi_square({row: n / len(every) for row, n in Counter(every).items()}, joint, len(every))
    assert freedom == 6 and statistic < 22.5  # p > 0.001


def test_two_at_once_draw_from_the_product_of_the_marginals() -> None:
    one_by_one = frequencies(ExactJoint(PAIR), "random-order", 300, 2)
    assert set(one_by_one) == {(0, 0), (1, 1)}
    together = frequencies(ExactJoint(PAIR), "random-order(steps=1)", 300, 2)
    assert 0.42 < together[0, 1] + together[1, 0] < 0.58


def test_temperature_is_that_of_a_softmax() -> None:
    model = MaskedTable(4, lambda position, seen: [0.0, 0.7, 1.1, 0.0], Masking(3))
    found = frequencies(model, "low-confidence", 1500, 1, temperature=0.5)
    expected = torch.tensor([0.0, 0.7, 1.1]).div(0.5).softmax(0)
    statistic, _ = chi_square(found, expected, 1500)
    assert statistic < 13.8


# -- Dream ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "steps", "trace"),
    [
        (8, 8, [0, 1, 1, 1, 1, 1, 1, 2]),
        (8, 4, [1, 2, 2, 3]),
        (64, 16, [3, *[4] * 14, 5]),
    ],
)
def test_the_grid_of_times_is_cut_to_whole_numbers(size: int, steps: int, trace: list[int]) -> None:
    found = answer(flat(4), [0], f"ranked(steps={steps})", max_new_tokens=size, end_tokens=())
    assert filled_per_step(found) == trace


def test_ranking_by_probability_margin_and_entropy() -> None:
    probabilities = [[0.5, 0.49, 0.01, 1e-9], [0.45, 0.2, 0.2, 0.15], *by_confidence([0.3, 0.3], 4)]
    first = {by: next(iter(chosen(Ranked(by, steps=2), probabilities).commit)) for by in ("probability", "margin")}
    assert first == {"probability": 0, "margin": 1}
    assert next(iter(chosen(Ranked("entropy", steps=2), probabilities).commit)) == 0


@pytest.mark.parametrize(
    ("by", "probabilities"),
    [
        ("probability", [[0.4, 0.39, 0.21, 1e-9], [0.38, 0.2, 0.21, 0.21]]),
        ("entropy", [[0.4, 0.39, 0.21, 1e-9], [0.38, 0.2, 0.21, 0.21]]),
        ("margin", [[0.5, 0.3, 0.2, 1e-9], [0.4, 0.21, 0.2, 0.19]]),
    ],
)
def test_ranked_by_the_distribution_that_tokens_are_drawn_from(by: str, probabilities: list[list[float]]) -> None:
    """The model itself is surer of the first position; of the two likeliest tokens alone it is surer of the second."""
    first = {}
    for steers in ([Temperature(1.0)], [Temperature(1.0), TopK(2)]):
        canvas = blank(2, 4)
        ordering = Ranked(by, steps=2).open(canvas, None)
        ordering.begin_window(canvas, Span(0, 2))
        canvas.window_step = 1  # the second of two steps, from which everything goes
        ranked = ordering.choose(canvas, predict(canvas, probabilities, Pipeline(steers)), Span(0, 2))
        first[len(steers)] = next(iter(ranked.commit))
    assert first == {1: 0, 2: 1}


def test_positions_drawn_by_confidence_follow_it() -> None:
    """Of two positions one is drawn, with odds exp(confidence / chance)."""
    probabilities = by_confidence([0.9, 0.6, 0.5, 0.5])
    wins = [0, 0]
    for seed in range(400):
        canvas = blank(4, 2, seed)
        ordering = Ranked("probability", steps=2, chance=0.3).open(canvas, None)
        ordering.begin_window(canvas, Span(0, 4))
        (at,) = ordering.choose(canvas, predict(canvas, probabilities), Span(0, 4)).commit
        wins[0] += at == 0
        wins[1] += at == 1
    assert wins[0] / wins[1] == pytest.approx(np.exp(1.0), rel=0.3)


def test_origin_approaches_the_joint_with_many_steps_and_its_marginals_with_one() -> None:
    many = frequencies(ExactJoint(PAIR), "origin(steps=30)", 150, 2)
    assert many.get((0, 1), 0) + many.get((1, 0), 0) < 0.08
    one = frequencies(ExactJoint(PAIR), "origin(steps=1)", 400, 2)
    assert 0.4 < one[0, 1] + one[1, 0] < 0.6


def test_origin_fills_each_position_by_its_own_coin() -> None:
    counts = []
    for seed in range(300):
        canvas = blank(10, 2, seed)
        ordering = Origin(steps=4).open(canvas, None)
        ordering.begin_window(canvas, Span(0, 10))
        counts.append(len(ordering.choose(canvas, predict(canvas, by_confidence([0.5] * 10)), Span(0, 10)).commit))
    assert np.mean(counts) == pytest.approx(10 * 0.999 / 4, rel=0.1)
    assert np.var(counts) == pytest.approx(10 * 0.25 * 0.75, rel=0.3)


# -- Fast-dLLM --------------------------------------------------------------------------------------------


def test_threshold_takes_all_that_are_sure_and_always_the_surest() -> None:
    assert chosen(Threshold(0.9), by_confidence([0.95, 0.3, 0.91, 0.5])).commit == {0: 0, 2: 0}
    assert chosen(Threshold(0.9), by_confidence([0.8, 0.85, 0.3])).commit == {1: 0}
    assert len(chosen(Threshold(0.5), by_confidence([0.5, 0.75])).commit) == 2  # at the threshold is sure
    assert len(chosen(Threshold(0), by_confidence([0.2, 0.9])).commit) == 2


def test_factor_counts_the_position_it_judges() -> None:
    """Two positions at once need 2/3 each; a rule off by one would take .3 as well."""
    assert chosen(Factor(), by_confidence([0.99, 0.3], 5)).commit == {0: 0}
    assert len(chosen(Factor(), by_confidence([0.99, 0.67])).commit) == 2
    assert len(chosen(Factor(), by_confidence([0.99, 0.66])).commit) == 1
    assert len(chosen(Factor(), by_confidence([0.8, 0.76, 0.76])).commit) == 3
    assert len(chosen(Factor(0), by_confidence([1 - 1e-9] * 3)).commit) == 1


def test_factor_stays_inside_the_theorem() -> None:
    """Marginals of .6 < 2/3 are not filled together: their product's best, (1, 1), is not the joint's."""
    joint = torch.tensor([[0.0, 0.4], [0.4, 0.2]])
    found = answer(ExactJoint(joint), [0], "factor", max_new_tokens=2, end_tokens=())
    assert filled_per_step(found) == [1, 1] and tuple(found.tokens) in {(0, 1), (1, 0)}
    greedy = answer(ExactJoint(joint), [0], "threshold(0)", max_new_tokens=2, end_tokens=())
    assert greedy.tokens == [1, 1]


@pytest.mark.parametrize("seed", range(30))
def test_what_the_factor_rule_fills_together_is_the_joint_mode(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand(3, 3, 3, generator=generator, dtype=torch.float64)
    peak = tuple(torch.randint(3, (3,), generator=generator).tolist())
    joint = joint / joint.sum() * 0.2
    joint[peak] += 0.8
    found = answer(ExactJoint(joint), [0], "factor", max_new_tokens=3, end_tokens=())
    assert tuple(found.tokens) == peak
    assert found.counters.rounds < 3


def test_what_is_filled_together_would_be_filled_one_by_one() -> None:
    """At the rule's very edge, where tokens that are each likelier than not need not be the likeliest together."""
    together, least = 0, 1.0
    for seed in range(150):
        joint = torch.rand(2, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2
        found = answer(ExactJoint(joint), [0], "factor", max_new_tokens=3, end_tokens=())
        known: dict[int, int] = {}
        for step in found.steps:
            part = joint[tuple(known.get(at, slice(None)) for at in range(3))]  # of what is open, given what is known
            places = [at for at in range(3) if at not in known]
            rest = tuple(axis for axis, at in enumerate(places) if at + 1 not in step.positions)
            part = part.sum(rest) if rest else part
            if len(step.positions) > 1:
                assert np.unravel_index(int(part.argmax()), part.shape) == tuple(step.committed)
                for token in step.committed:  # greedily one after the other
                    assert int(part.flatten(1).sum(1).argmax() if part.dim() > 1 else part.argmax()) == token
                    part = part[token]
                together, least = together + 1, min([least, *step.confidence])
            known |= {at - 1: token for at, token in zip(step.positions, step.committed, strict=True)}
    assert together > 40 and least < 0.68


def test_what_the_factor_rule_settles_at_once_is_bounded() -> None:
    """At most −n ln(1 − f/(n + 1)) nats by n positions, and never more than f; but the surest may stand alone."""
    budget = {n: -n * math.log(1 - 1 / (n + 1)) for n in range(1, 50)}
    assert [round(budget[n], 3) for n in (1, 2, 5)] == [0.693, 0.811, 0.912] and max(budget.values()) < 1
    chance, sizes = np.random.default_rng(4), set()
    for _ in range(200):
        sure = (chance.uniform(0.4, 1) + chance.normal(0, 0.01, 9)).clip(0.3, 0.999)  # all about as sure
        filled = sure[list(chosen(Factor(), by_confidence(sure.tolist(), 5)).commit)]
        if len(filled) > 1 or filled[0] > 0.5:
            assert -np.log(filled).sum() <= budget[len(filled)]
            sizes.add(len(filled))
    assert len(sizes) > 4


# -- BD3-LM -----------------------------------------------------------------------------------------------


def test_first_hitting_draws_from_the_joint() -> None:
    generator = torch.Generator().manual_seed(3)
    joint = torch.rand(2, 2, 2, 2, generator=generator, dtype=torch.float64)
    joint /= joint.sum()
    found = frequencies(ExactJoint(joint), "first-hitting", 1200, 4)
    statistic, freedom = chi_square(found, joint, 1200)
    assert freedom == 15 and statistic < 37.7


def test_first_hitting_has_no_favourite() -> None:
    picks = [next(iter(chosen(FirstHitting(), by_confidence([0.9, 0.1, 0.5]), seed=s).commit)) for s in range(300)]
    assert all(70 < picks.count(at) < 130 for at in range(3))
    assert [next(iter(chosen(Random(), by_confidence([0.9, 0.1, 0.5]), seed=s).commit)) for s in range(9)] == picks[:9]


# -- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LowConfidence(steps=-1),
        lambda: Random(steps=-1),
        lambda: Origin(steps=-2),
        lambda: Ranked(steps=-1),
        lambda: Ranked(by="margn"),
        lambda: Ranked(chance=float("nan")),
        lambda: Threshold(-0.1),
        lambda: Threshold(by="entropy"),
        lambda: Factor(-1.0),
    ],
)
def test_settings_out_of_range(wrong) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wrong()
    assert caught.value.hint


def test_a_scripted_model_says_what_is_written() -> None:
    script = {(2, 2): [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], (0, 2): [[1.0, 0.0, 0.0], [0.7, 0.3, 0.0]]}
    found = answer(scripted(script, Masking(2)), [0], "llada", max_new_tokens=2, end_tokens=())
    assert found.tokens == [0, 0]
    assert [step.confidence for step in found.steps] == [[pytest.approx(0.9)], [pytest.approx(0.7)]]
