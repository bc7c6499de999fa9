"""Laws of acceptors with a rule of their own: by enumeration with fractions, and end to end with their real coins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import Any

import pytest
import torch

from laws.branching import DRAFTS, Draft, Sampler, chain, chains, enumerated, grown, one_hot, table, vector, worst_error
from laws.test_speculation import registered
from laws.worlds import GREEDY, adversaries, decode, plainly
from stretto import catalogue, method
from stretto.context import Context
from stretto.entry import Guarantee
from stretto.errors import Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.acceptors.cascade import RULES, Cascade
from stretto.speculate.chance import SamplingAcceptor
from stretto.speculate.contract import Acceptor, Drafter
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.steer.choice import Rule
from stretto.steer.frequency import Frequency
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_p import TopP
from stretto.tree import NodeKind, Siblings, Tree

EXTREMES: dict[str, list[dict[str, Any]]] = {  # settings at which an approximate acceptor is exact
    "cascade": [{"rule": rule, "alpha": -2} for rule in RULES],
    "lossy": [{"alpha": Fraction(0)}],
    "relaxed": [{"beta": 1}],
    "typical": [{"epsilon": 1.0, "delta": math.inf}],
}
SEARCHED = {"k-seq"}  # acceptors that find a number by search


def acceptors() -> dict[str, Acceptor]:
    """Every registered acceptor at settings for which it must be exact."""
    return {
        name + (str(at) if at else ""): part(**settings)
        for name, part in catalogue.parts().items()
        if part.kind == "acceptor"
        for at, settings in enumerate(EXTREMES[name] if part.guarantee is Guarantee.APPROXIMATE else [{}])
    }


def samplers() -> dict[str, SamplingAcceptor]:
    return {name: part for name, part in acceptors().items() if isinstance(part, SamplingAcceptor)}


def fits(acceptor: Acceptor, draft: Draft) -> bool:
    return draft.proposals <= acceptor.accepts and acceptor.judges_siblings(Sampler(draft))


def pairs() -> list[Any]:
    return [
        pytest.param(acceptor, draft, id=f"{name}-{drafted}")
        for name, acceptor in samplers().items()
        for drafted, draft in DRAFTS.items()
        if fits(acceptor, draft)
    ]


@pytest.mark.parametrize(("acceptor", "draft"), pairs())
def test_the_output_has_the_models_joint(acceptor, draft):
    """Whatever is drafted: over all outcomes of the drafter's chance and the acceptor's, with p's zeros and q's."""
    size = draft.vocabulary
    for p in (table("p", size), table("gaps", size, 0, 2), one_hot("sure", size)):
        for q in (table("q", size), table("missing", size, 0, 2), one_hot("narrow", size)):
            committed, _ = enumerated(acceptor, draft, p, q)
            error = worst_error(committed, p, size, draft.depth + 1)
            assert error < 1e-9 if acceptor.name in SEARCHED else error == 0
            if p(()).max() == 1:  # temperature 0
                assert len(committed) <= draft.depth + 1


@pytest.mark.parametrize("acceptor", samplers().values(), ids=samplers())
def test_a_draft_of_the_model_itself_is_accepted_whole(acceptor):
    p = table("p", 3)
    for draft in DRAFTS.values():
        if draft.proposals == {NodeKind.SAMPLED} and draft.vocabulary == 3 and fits(acceptor, draft):
            _, accepted = enumerated(acceptor, draft, p, p)
            reached = draft.depth - isinstance(acceptor, Cascade)
            assert abs(accepted - reached) < 1e-12 or draft.depth == 3  # an adaptive tree is not always as deep


def test_every_acceptor_is_tried_with_every_kind_that_it_declares():
    for name, acceptor in samplers().items():
        fitting = [draft for draft in DRAFTS.values() if fits(acceptor, draft)]
        assert {proposal for draft in fitting for proposal in draft.proposals} == acceptor.accepts, name
        assert {draft.siblings for draft in fitting} >= acceptor.siblings, name


# -- how much is accepted -----------------------------------------------------------------------

P, Q = vector(5, 3, 2), vector(2, 5, 3)


@pytest.mark.parametrize(
    ("name", "draft", "expected"),
    [
        ("rejection", partial(chain, [NodeKind.SAMPLED]), Fraction(7, 10)),
        ("block", partial(chain, [NodeKind.SAMPLED]), Fraction(7, 10)),
        ("multi", partial(chains, 2, 1), Fraction(76, 100)),
        ("specinfer", partial(chains, 2, 1), Fraction(76, 100)),
        ("recursive", partial(grown, [2], distinct=True), Fraction(283, 350)),
        ("traversal", partial(grown, [2], distinct=True), Fraction(283, 350)),
        ("k-seq", partial(chains, 1, 1), Fraction(7, 10)),
        ("k-seq", partial(chains, 2, 1), 0.791355),
    ],
)
def test_one_position(name, draft, expected):
    accepted = enumerated(catalogue.part(name)(), Draft(draft), lambda path: P, lambda path: Q)[1]
    assert abs(accepted - expected) < (1e-6 if isinstance(expected, float) else 1e-12)


@pytest.mark.parametrize("name", [name for name, part in samplers().items() if NodeKind.POINT in part.accepts])
@pytest.mark.parametrize(("tokens", "expected"), [([0, 1], 0.8), ([1, 2], 0.5), ([2], 0.2)])
def test_points_are_accepted_with_the_mass_they_cover(name, tokens, expected):
    acceptor = samplers()[name]
    if len(tokens) > 1 and acceptor.siblings == {Siblings.NONE}:
        with pytest.raises(Unsupported, match="no chain"):
            enumerated(acceptor, Draft(lambda chance, q: points(tokens)), lambda path: P, lambda path: Q)
        return
    committed, accepted = enumerated(acceptor, Draft(lambda chance, q: points(tokens)), lambda path: P, lambda path: Q)
    assert accepted == Fraction(expected).limit_denominator(10)
    assert worst_error(committed, lambda path: P, 3, 2) == 0


def points(tokens: Sequence[int]) -> Tree:
    tree = Tree()
    for token in tokens:
        tree.add(token)
    return tree


@pytest.mark.parametrize("seed", range(6))
def test_judging_whole_paths_accepts_at_least_as_much_as_token_by_token(seed):
    p, q = table(("p", seed), 2), table(("q", seed), 2)
    long, tree = DRAFTS["long sampled chain"], DRAFTS["distinct tree"]
    one_by_one = enumerated(catalogue.part("rejection")(), long, p, q)[1]
    block = enumerated(catalogue.part("block")(), long, p, q)[1]
    assert block >= one_by_one
    assert block == enumerated(catalogue.part("traversal")(), long, p, q)[1]
    down = enumerated(catalogue.part("recursive")(), tree, p, q)[1]
    assert enumerated(catalogue.part("traversal")(), tree, p, q)[1] >= down


@pytest.mark.parametrize("seed", range(6))
def test_more_drafts_and_drafts_that_differ_accept_more(seed):
    p, q = table(("p", seed), 3), table(("q", seed), 3)

    def rate(name: str, draft: Callable[..., Tree]) -> Any:
        return enumerated(catalogue.part(name)(), Draft(draft), p, q)[1]

    one = rate("rejection", partial(chain, [NodeKind.SAMPLED]))
    assert one == 1 - sum(abs(p(()) - q(()))) / 2
    independent = rate("multi", partial(chains, 2, 1))
    assert one <= independent <= rate("recursive", partial(grown, [2], distinct=True))
    assert rate("specinfer", partial(chains, 2, 1)) == independent
    assert one <= rate("k-seq", partial(chains, 2, 1)) + 1e-12


# -- end to end ---------------------------------------------------------------------------------

V, LENGTH, SEEDS = 3, 3, 1500
PROMPT = [0, 1]
WORLD = TableModel.random(4, seed=1)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]


def remembered(model: TableModel) -> TableModel:
    return TableModel(model.vocabulary, cache(model.rule))


TARGET = remembered(TableModel.random(V, seed=5))
SMALL = remembered(TableModel.random(V, seed=6))
REAL = {  # the richest draft of each sort
    Siblings.NONE: DRAFTS["sampled chain"],
    Siblings.DISTINCT: Draft(partial(grown, [2, 1], distinct=True), Siblings.DISTINCT),
    Siblings.REPEATED: Draft(partial(grown, [2, 1], distinct=False), Siblings.REPEATED),
}
WARM = Pipeline([Temperature(0.7)])
STEERED = Pipeline([Frequency(1.0, 0.5), Temperature(0.8), TopP(0.9)])


def many(acceptor: Acceptor, drafter: Drafter, pipeline: Pipeline, seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """What a loop over many rows, one per seed, puts out after one prompt."""
    context = Context(TARGET, SimulatedClock(), lambda name: TARGET)
    loop = Speculate(drafter, acceptor, Fixed(8)).loop(context, TARGET.new_cache(rows=len(seeds), slots=16))
    rows = [Row(History(PROMPT), loop.cache.open(), Rule(pipeline, seed, 0), Limits(LENGTH)) for seed in seeds]
    for row in rows:
        loop.add(row)
    while loop.rows:
        loop.step()
    return [tuple(row.new_tokens) for row in rows]


@cache
def distribution(model: TableModel, path: tuple[int, ...], pipeline: Pipeline) -> Any:
    """What a model draws from after the prompt and a path, [V]: the slow reference."""
    history = History(PROMPT)
    history.extend(path)
    logits = torch.tensor([model.rule(tuple(history.tokens))], dtype=torch.float64)
    return pipeline(Nodes([Path(history)], logits))[0].softmax(-1).numpy()


def own_joint(pipeline: Pipeline) -> dict[tuple[int, ...], float]:
    """The distribution of the model's outputs under the pipeline, by the chain rule."""
    return {
        tokens: math.prod(distribution(TARGET, tokens[:at], pipeline)[token] for at, token in enumerate(tokens))
        for tokens in itertools.product(range(V), repeat=LENGTH)
    }


def surprise(counts: dict[tuple[int, ...], int], expected: dict[tuple[int, ...], float]) -> float:
    """By how many standard deviations chi-square exceeds its mean (Wilson and Hilferty); rare outcomes are pooled."""
    if any(expected[tokens] == 0 for tokens in counts):
        return math.inf
    size = sum(counts.values())
    common = [tokens for tokens, weight in expected.items() if weight * size >= 5]
    cells = [(counts.get(tokens, 0), expected[tokens] * size) for tokens in common]
    rare = 1 - sum(expected[tokens] for tokens in common)
    if rare * size > 1:
        cells.append((size - sum(seen for seen, _ in cells), rare * size))
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    freedom = len(cells) - 1
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


def counted(acceptor: Acceptor, siblings: Siblings, pipeline: Pipeline, seeds: int) -> dict[tuple[int, ...], int]:
    counts: dict[tuple[int, ...], int] = {}
    for start in range(0, seeds, 100):
        for tokens in many(acceptor, Sampler(REAL[siblings], SMALL), pipeline, range(start, start + 100)):
            counts[tokens] = counts.get(tokens, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("acceptor", "siblings"),
    [
        pytest.param(part, kind, id=f"{name}-{kind.name}")
        for name, part in samplers().items()
        for kind in sorted(part.siblings, key=lambda kind: kind.name)
        if part.guarantee is Guarantee.DISTRIBUTION and (kind is not Siblings.NONE or part.siblings == {kind})
    ],
)
def test_real_coins_draw_from_the_models_joint(acceptor, siblings):
    """Through the loop: no coin depends on another, on the draft or on the round before."""
    assert surprise(counted(acceptor, siblings, WARM, SEEDS), own_joint(WARM)) < 3


def test_real_coins_draw_from_the_steered_joint():
    counts = counted(catalogue.part("recursive")(), Siblings.DISTINCT, STEERED, 600)
    assert surprise(counts, own_joint(STEERED)) < 3
    assert surprise(counts, own_joint(WARM)) > 6


def test_a_cascade_draws_from_its_mixture():
    """By count, under a temperature, which its confidences leave aside; every position but the last is drafted."""
    cascade = Cascade("v3", 0.5)
    counts: dict[tuple[int, ...], int] = {}
    for tokens, count in counted(cascade, Siblings.NONE, WARM, SEEDS).items():
        counts[tokens[:2]] = counts.get(tokens[:2], 0) + count

    def mixture(path: tuple[int, ...]) -> Any:
        ps, qs = ([distribution(model, path, at) for at in (WARM, Pipeline())] for model in (TARGET, SMALL))
        return cascade.mixture(ps[0], qs[0], ps[1], qs[1])

    expected = {(a, b): mixture(())[a] * mixture((a,))[b] for a in range(V) for b in range(V)}
    assert surprise(counts, expected) < 3
    own = {(a, b): distribution(TARGET, (), WARM)[a] * distribution(TARGET, (a,), WARM)[b] for a, b in expected}
    assert surprise(counts, own) > 6


# -- the same tokens ----------------------------------------------------------------------------


def drawn() -> dict[str, Drafter]:
    """Drafts with chance of every sort."""
    small = TableModel.random(WORLD.vocabulary, seed=2)
    return {name: Sampler(draft, small) for name, draft in DRAFTS.items() if draft.vocabulary == 3}


OTHERS = {name: acceptor for name, acceptor in acceptors().items() if acceptor.guarantee is not Guarantee.EXACT}


@pytest.mark.parametrize("acceptor", OTHERS.values(), ids=OTHERS)
def test_at_temperature_0_the_tokens_are_those_of_plain_decoding(acceptor):
    expected = [plainly(WORLD, prompt, GREEDY, 0, 8) for prompt in PROMPTS[:2]]
    for name, drafter in (registered() | drawn()).items():
        try:
            method.check(Speculate(drafter, acceptor, Fixed(6)), WORLD, GREEDY)
        except Unsupported:
            continue
        rows = decode(WORLD, PROMPTS[:2], drafter=drafter, acceptor=acceptor, planner=Fixed(6), new_tokens=8)
        assert [row.new_tokens for row in rows] == expected, name


CHAINS = {"random chain", "one token", "nothing", "one node"}


POINTED = {name: acceptor for name, acceptor in acceptors().items() if NodeKind.POINT in acceptor.accepts}


@pytest.mark.parametrize("acceptor", POINTED.values(), ids=POINTED)
def test_adversaries_impress_no_acceptor(acceptor):
    """And trees that nobody declared are refused where they would bias the output."""
    for ends in (frozenset[int](), frozenset({3})):
        plain = [row.new_tokens for row in decode(WORLD, PROMPTS, ends=ends)]
        for name, drafter in adversaries(WORLD.vocabulary).items():
            if acceptor.siblings == {Siblings.NONE} and name not in CHAINS:
                with pytest.raises(Unsupported, match="no chain"):
                    decode(WORLD, PROMPTS, drafter=drafter, acceptor=acceptor, planner=Fixed(9))
                continue
            rows = decode(WORLD, PROMPTS, drafter=drafter, acceptor=acceptor, ends=ends)
            assert [row.new_tokens for row in rows] == plain, name


@pytest.mark.parametrize("name", [name for name in acceptors() if name not in samplers()])
def test_choices_are_those_of_plain_decoding_with_a_seed_too(name):
    pipeline = Pipeline([Repetition(1.3), Temperature(0.9)])
    expected = [plainly(WORLD, prompt, pipeline, 3, 8) for prompt in PROMPTS]
    for drafter in (drawn() | adversaries(WORLD.vocabulary)).values():
        acceptor = acceptors()[name]
        rows = decode(WORLD, PROMPTS, drafter=drafter, acceptor=acceptor, pipeline=pipeline, seed=3, new_tokens=8)
        assert [row.new_tokens for row in rows] == expected


@pytest.mark.parametrize("acceptor", samplers().values(), ids=samplers())
def test_coins_are_a_rows_own(acceptor):
    """The same alone as in a batch, the same again, other with another seed."""
    drafter = Sampler(REAL[max(acceptor.siblings, key=lambda kind: kind.name == "NONE")], TableModel.random(4, seed=2))
    warm = Pipeline([Temperature(1.0)])

    def sampled(prompts: list[list[int]], seed: int) -> list[list[int]]:
        rows = decode(WORLD, prompts, drafter=drafter, acceptor=acceptor, pipeline=warm, seed=seed)
        return [row.new_tokens for row in rows]

    together = sampled(PROMPTS, 4)
    assert [sampled([prompt], 4)[0] for prompt in PROMPTS] == together != sampled(PROMPTS, 5)


# -- what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize("acceptor", acceptors().values(), ids=acceptors())
def test_what_does_not_fit_is_refused_with_a_way_out(acceptor):
    refused = 0
    for draft in DRAFTS.values():
        proposed = Speculate(Sampler(draft, SMALL), acceptor, Fixed())
        if fits(acceptor, draft):
            method.check(proposed, TARGET)
            continue
        with pytest.raises(Unsupported, match="cannot judge") as caught:
            method.check(proposed, TARGET)
        named = caught.value.hint.removeprefix("use ").replace("'", "").split(", ")
        assert named[0] == "exact" and acceptor.name not in named
        assert all(fits(catalogue.part(name)(), draft) for name in named)
        refused += 1
    assert refused > 0 or acceptor.siblings == set(Siblings)
