"""What every steer must obey, tried on every steer there is and on every setting that it gives as an example."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from laws.worlds import seen
from stretto import catalogue
from stretto.laws import steering
from stretto.laws.inside import looks_inside
from stretto.laws.steering import VOCABULARY, history, logits_along, random_logits
from stretto.steer.allow import Allow
from stretto.steer.budget import Budget
from stretto.steer.choice import Rule, choose
from stretto.steer.contract import Steer
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline

STEERS = {
    name: part
    for name, part in catalogue.parts().items()
    if part.kind == "steer" and not any(map(looks_inside, part.examples()))  # those: test_inside.py
}
EXAMPLES: list[Steer] = [example for steer in STEERS.values() for example in steer.examples()]
CASES = [pytest.param(step, id=repr(step)) for step in EXAMPLES]
ACTIVE = [pytest.param(step, id=repr(step)) for step in EXAMPLES if not step.idle]
SAMPLES = 20_000

TOKEN = st.integers(0, VOCABULARY - 1)
TAIL = st.lists(TOKEN, max_size=4).map(tuple)


def test_every_steer_has_neutral_and_reshaping_examples() -> None:
    assert len(STEERS) >= 17
    for name, steer in STEERS.items():
        assert steer.name == name
        steering.it_has_neutral_and_reshaping_examples(steer)


@pytest.mark.parametrize("step", CASES)
def test_neutral_is_bit_identical_and_the_rest_reshapes(step: Steer) -> None:
    steering.neutral_is_bit_identical_and_the_rest_reshapes(step)


@pytest.mark.parametrize("step", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_steer_is_pure(step: Steer, dtype: torch.dtype) -> None:
    steering.a_steer_is_pure(step, dtype)


@pytest.mark.parametrize("step", ACTIVE)
def test_pointwise_steers_do_not_look_at_the_path(step: Steer) -> None:
    steering.pointwise_steers_do_not_look_at_the_path(step)


@pytest.mark.parametrize("step", CASES)
@settings(max_examples=25)
@given(
    prompt=st.lists(TOKEN, min_size=1, max_size=6),
    output=st.lists(TOKEN, max_size=6),
    tails=st.lists(TAIL, min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_tree_equals_path(
    step: Steer, prompt: list[int], output: list[int], tails: list[tuple[int, ...]], seed: int
) -> None:
    steering.a_tree_equals_its_paths(step, prompt, output, tails, seed)


@pytest.mark.parametrize("step", CASES)
@settings(max_examples=25)
@given(
    rounds=st.lists(st.tuples(st.lists(TAIL, max_size=4), st.lists(TOKEN, min_size=1, max_size=3)), max_size=4),
    forked=st.booleans(),
)
def test_rejected_drafts_leave_no_trace(
    step: Steer, rounds: list[tuple[list[tuple[int, ...]], list[int]]], forked: bool
) -> None:
    steering.rejected_drafts_leave_no_trace(step, rounds, forked)


@settings(max_examples=150)
@given(
    steps=st.lists(st.sampled_from(EXAMPLES), max_size=6),
    tails=st.lists(TAIL, min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_any_pipeline_keeps_a_token_and_only_allowed_ones(
    steps: list[Steer], tails: list[tuple[int, ...]], seed: int
) -> None:
    row = history([1, 2, 1], [2, 3])
    pipeline = Pipeline(steps)
    paths = [Path(row, tail) for tail in tails]
    logits = logits_along(paths, seed)
    steered = pipeline(seen(paths, logits, pipeline))
    alive = steered > -torch.inf
    assert alive.any(-1).all()
    assert not steered.isnan().any()
    masks = [step.named_tokens for step in steps if isinstance(step, Allow) and not step.idle]
    forced = [frozenset({step.closing}) for step in steps if isinstance(step, Budget) and not step.idle]
    if masks and frozenset.intersection(*masks, *forced):  # masks that contradict each other leave some other token
        allowed = frozenset.intersection(*masks)
        assert set(alive.nonzero()[:, 1].tolist()) <= allowed
    for node, path in enumerate(paths):
        alone = pipeline(seen([path], logits[node : node + 1], pipeline))
        assert torch.equal(alone[0], steered[node])


def chi_square(counts: Tensor, expected: Tensor) -> tuple[float, float]:
    """The statistic, cells with fewer than five expected pooled, and the value exceeded once in 30,000."""
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    if expected[-1] < 5:  # too rare to judge
        counts, expected = counts[:-1], expected[:-1]
    freedom = max(len(expected) - 1, 1)
    spread = 2 / (9 * freedom)
    limit = freedom * (1 - spread + 4 * math.sqrt(spread)) ** 3  # Wilson and Hilferty
    return float(((counts - expected) ** 2 / expected).sum()), limit


def drawn(pipeline: Pipeline, logits: Tensor, path: Path, first_seed: int) -> Tensor:
    """How often each token is chosen over many seeds."""
    rules = [Rule(pipeline, seed) for seed in range(first_seed, first_seed + SAMPLES)]
    tokens = choose(seen([path] * SAMPLES, logits.expand(SAMPLES, -1), pipeline), rules).tokens
    return torch.bincount(torch.tensor(tokens), minlength=VOCABULARY).double()


@pytest.mark.parametrize("step", ACTIVE)
def test_choices_are_distributed_as_the_steered_softmax(step: Steer) -> None:
    path = Path(history([1, 2, 1], [2, 3, 2]), (4, 2))
    logits = random_logits(1, 5)
    pipeline = Pipeline([step])
    if pipeline.greedy:
        assert choose(Nodes([path], logits), [Rule(pipeline)]).tokens == [int(logits.argmax())]
        return
    counts = drawn(pipeline, logits, path, 0)
    nodes = seen([path] * SAMPLES, logits.double().expand(SAMPLES, -1), step)
    nodes.rules = [Rule(pipeline, seed) for seed in range(SAMPLES)]  # as a steer's own coins fall
    declared = step(nodes.raw, nodes).softmax(-1).mean(0)
    assert counts[declared == 0].sum() == 0, "a removed token was chosen"
    statistic, limit = chi_square(counts, declared * SAMPLES)
    assert statistic < limit


def test_a_bias_of_two_percent_on_one_token_would_be_seen() -> None:
    """The power of the test above: the same draws against declared distributions that are a little off."""
    path = Path(History([1]))
    logits = random_logits(1, 6)
    declared = logits[0].double().softmax(-1)
    counts = drawn(Pipeline(), logits, path, 0)
    honest, limit = chi_square(counts, declared * SAMPLES)
    assert honest < limit
    for token in range(VOCABULARY):  # each in turn 0.02 more probable than it is, the others less in proportion
        planted = declared * (1 - declared[token] - 0.02) / (1 - declared[token])
        planted[token] = declared[token] + 0.02
        statistic, limit = chi_square(counts, planted * SAMPLES)
        assert statistic > limit


def test_repeated_contexts_draw_afresh() -> None:
    """No watermark: at successive positions with one and the same context, choices are independent."""
    row = History([])
    tail = (1, 2, 1)
    logits = torch.zeros(1, VOCABULARY)
    paths = [Path(row, (0,) * position + tail) for position in range(3000)]
    rules = [Rule(Pipeline(), 11)] * len(paths)
    tokens = torch.tensor(choose(Nodes(paths, logits.expand(len(paths), -1)), rules).tokens)
    pairs = torch.bincount(tokens[:-1] * VOCABULARY + tokens[1:], minlength=VOCABULARY**2).double()
    statistic, limit = chi_square(pairs, torch.full_like(pairs, (len(tokens) - 1) / VOCABULARY**2))
    assert statistic < limit
