"""Laws of drafting and verifying, on table models: whatever is drafted, planned and judged, no token changes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from ..context import Context
from ..models.cache import Cache
from ..models.clock import SimulatedClock
from ..models.table import TableModel
from ..row import Limits, Row
from ..speculate.acceptors.exact import Exact
from ..speculate.contract import Acceptor, Drafter, Outcome, Planner, Room
from ..speculate.loop import Loop, Speculate
from ..speculate.planners.fixed import Fixed
from ..steer.ban import Ban
from ..steer.choice import Rule
from ..steer.frequency import Frequency
from ..steer.no_repeat import NoRepeat
from ..steer.path import History
from ..steer.pipeline import Pipeline
from ..steer.repetition import Repetition
from ..steer.temperature import Temperature
from ..steer.top_p import TopP
from .worlds import GREEDY, Guesser, LastTwo, choice_functions, conditional, decode, plainly, random_tree

V = 4
TARGET = LastTwo(V, seed=1)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
PIPELINES = {
    "greedy": GREEDY,
    "sampled": Pipeline([Temperature(1.0)]),
    "truncated": Pipeline([Temperature(0.8), TopP(0.7)]),
    "penalised": Pipeline([Repetition(1.3), Frequency(0.4, 0.2), Temperature(1.0)]),
    "no repeats": Pipeline([NoRepeat(3), Ban([1]), Temperature(0.0)]),
}


@cache
def known(prompt: tuple[int, ...], pipeline: Pipeline, seed: int, new_tokens: int) -> tuple[int, ...]:
    """What plain decoding gives: once for all drafters."""
    return tuple(plainly(TARGET, prompt, pipeline, seed, new_tokens))


def plain(prompt: Sequence[int], pipeline: Pipeline, seed: int, new_tokens: int) -> list[int]:
    """The tokens of the slow reference."""
    return list(known(tuple(prompt), pipeline, seed, new_tokens))


def drafting_never_changes_the_tokens(drafter: Drafter, pipeline: Pipeline) -> None:
    """Greedy and with a seed, alone and in a batch, a drafter gives the tokens of the slow reference."""
    expected = [plain(prompt, pipeline, 7, 12) for prompt in PROMPTS]
    together = decode(TARGET, PROMPTS, drafter=drafter, pipeline=pipeline, seed=7)
    assert [row.new_tokens for row in together] == expected
    alone = decode(TARGET, PROMPTS[:1], drafter=drafter, pipeline=pipeline, seed=7)
    assert alone[0].new_tokens == expected[0]


def planning_never_changes_the_tokens(drafter: Drafter, planner: Planner, seeds: Sequence[int] = range(3)) -> None:
    """Whatever a planner lets a drafter propose; each prompt under each seed, side by side."""
    pipeline, many = PIPELINES["sampled"], [(prompt, seed) for seed in seeds for prompt in PROMPTS]
    prompts, own = zip(*many, strict=True)
    rows = decode(TARGET, prompts, drafter=drafter, planner=planner, pipeline=pipeline, seed=own, new_tokens=24)
    assert [row.new_tokens for row in rows] == [plain(prompt, pipeline, seed, 24) for prompt, seed in many]


def the_joint_distribution_is_exact(acceptor: Acceptor, shape: int) -> None:
    """By enumeration with fractions: over all outcomes of chance, weighted, the output has the model's joint.

    With the noise fixed, a model is a choice function: one token after every path. All of them are run; `shape` 0 to 5
    chooses vocabulary, depth and the drafted trees.
    """
    vocabulary, depth = (2, 3) if shape < 4 else (3, 2)
    drafter = Guesser(lambda tokens, room: random_tree(tokens, room, vocabulary, seed=shape))
    joint: dict[tuple[int, ...], Fraction] = {}
    for choices in choice_functions(vocabulary, depth):
        weight = Fraction(1)
        for path, token in choices.items():
            weight *= conditional(shape, path, vocabulary)[token]

        def rule(path: tuple[int, ...], chosen: dict[tuple[int, ...], int] = choices) -> list[float]:
            return _one_hot(chosen.get(path[1:], 0), vocabulary)

        row = decode(TableModel(vocabulary, rule), [[0]], drafter=drafter, acceptor=acceptor, new_tokens=depth)[0]
        output = tuple(row.new_tokens)
        joint[output] = joint.get(output, Fraction(0)) + weight
    for output in itertools.product(range(vocabulary), repeat=depth):
        exact = Fraction(1)
        for at, token in enumerate(output):
            exact *= conditional(shape, output[:at], vocabulary)[token]
        assert joint.get(output, Fraction(0)) == exact


def _one_hot(token: int, vocabulary: int) -> list[float]:
    return [1.0 if other == token else 0.0 for other in range(vocabulary)]


def the_cache_equals_a_fresh_prefill_after_every_round(drafter: Drafter) -> None:
    """Whatever was drafted and rejected, the cache holds the committed tokens at their positions, and nothing else."""
    rounds = 0

    def compare(loop: Loop) -> None:
        nonlocal rounds
        rounds += 1
        assert isinstance(loop.cache, Cache)
        for row in loop.rows:
            held = [int(key) for key in loop.cache.keys(row.cache_row, 0)[0, :, 0]]
            assert held == row.history.tokens[:-1]
            assert loop.cache.row_positions(row.cache_row).tolist() == list(range(len(held)))

    decode(TARGET, PROMPTS, drafter=drafter, new_tokens=[5, 12, 9], each_round=compare)
    assert rounds > 1


def proposals_keep_to_their_room_and_have_distinct_siblings(drafter: Drafter) -> None:
    """Also after rejections, when asked twice, and in a fork."""
    drafting = drafter.begin(Context(TARGET, SimulatedClock(), lambda name: TARGET))
    rows = [Row(History(prompt), -1, Rule(GREEDY, 0, 0), Limits(99)) for prompt in PROMPTS]
    sessions = [drafting.open(row) for row in rows]
    for size in (0, 1, 3, 6):
        for room in (Room(size, 2), Room(size, 6)):
            for _ in range(2):
                trees = drafting.propose(sessions, [room] * len(rows))
            for row, session, tree in zip(rows, sessions, trees, strict=True):
                assert len(tree) <= room.nodes
                assert max(tree.depths, default=0) <= room.depth
                tree.check()
                before = len(row.history.tokens)
                committed = [*tree.path_tokens(len(tree) // 2 - 1), len(row.history) % V]
                row.history.extend(committed)
                session.advance(Outcome(tree, tree.path(len(tree) // 2 - 1), committed))
                assert row.history.tokens[before:] == committed
    twins = [Row(row.history.fork(), -1, row.rule, row.limits) for row in rows]
    copies = [session.fork(twin) for session, twin in zip(sessions, twins, strict=True)]
    again = drafting.propose(copies, [Room(6, 6)] * len(rows))
    for twin, tree in zip(again, drafting.propose(sessions, [Room(6, 6)] * len(rows)), strict=True):
        assert (twin.tokens, twin.parents, twin.scores) == (tree.tokens, tree.parents, tree.scores)
        assert {n: q.tolist() for n, q in twin.drawn_from.items()} == {
            n: q.tolist() for n, q in tree.drawn_from.items()
        }


def rows_end_at_the_first_end_token_and_at_their_limit(drafter: Drafter) -> None:
    """Where plain decoding ends, with the same reason."""
    for ends in (frozenset({3}), frozenset({0, 1})):
        slow = decode(TARGET, PROMPTS, new_tokens=[1, 20, 7], ends=ends)
        fast = decode(TARGET, PROMPTS, drafter=drafter, new_tokens=[1, 20, 7], ends=ends)
        assert [(row.new_tokens, row.finish) for row in fast] == [(row.new_tokens, row.finish) for row in slow]
        for row in fast:
            assert all(token not in ends for token in row.new_tokens[:-1])
            assert (row.finish == "end") == (row.new_tokens[-1] in ends)
            for step in row.steps:
                assert len(step.sources) == len(step.committed) >= len(step.accepted)


def a_fork_goes_on_like_its_source(drafter: Drafter) -> None:
    """A row forked in the middle leaves its source as it was, and goes on under its own stream of noise."""
    pipeline = PIPELINES["sampled"]
    context = Context(TARGET, SimulatedClock(), lambda name: TARGET)
    loop = Speculate(drafter, Exact(), Fixed(4)).loop(context, TARGET.new_cache(slots=2))
    first = Row(History([1, 2]), loop.cache.open(), Rule(pipeline, 5, 0), Limits(9))
    loop.add(first)
    loop.step()
    second = Row(first.history.fork(), -1, Rule(pipeline, 5, 1), Limits(9))
    loop.fork(first, second)
    begun = len(second.new_tokens)
    while loop.rows:
        loop.step()
    assert first.new_tokens == plain([1, 2], pipeline, 5, 9)
    assert len(second.new_tokens) == 9 and second.new_tokens[:begun] == first.new_tokens[:begun]
