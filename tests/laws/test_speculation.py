"""Laws of drafting and verifying, over every registered drafter, acceptor and planner, on table models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import pytest
import torch

from laws.stores import random_store
from laws.worlds import (
    GREEDY,
    Guesser,
    LastTwo,
    adversaries,
    choice_functions,
    conditional,
    decode,
    plainly,
    random_tree,
)
from stretto import catalogue
from stretto.context import Context
from stretto.entry import Guarantee
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.row import Limits, Row
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.contract import Drafter, Outcome, Room
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.recycle import Recycle
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.specinfer import Independent
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.loop import Loop, Speculate
from stretto.speculate.planners.fixed import Fixed
from stretto.speculate.script import HOLE, Template
from stretto.steer.ban import Ban
from stretto.steer.choice import Rule
from stretto.steer.frequency import Frequency
from stretto.steer.no_repeat import NoRepeat
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_p import TopP
from stretto.tree import Tree

V = 4
TARGET = LastTwo(V, seed=1)
DRAFT = LastTwo(V, seed=2)
OTHER = LastTwo(V, seed=3)
PROMPTS = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1]]
PIPELINES = {
    "greedy": GREEDY,
    "sampled": Pipeline([Temperature(1.0)]),
    "truncated": Pipeline([Temperature(0.8), TopP(0.7)]),
    "penalised": Pipeline([Repetition(1.3), Frequency(0.4, 0.2), Temperature(1.0)]),
    "no repeats": Pipeline([NoRepeat(3), Ban([1]), Temperature(0.0)]),
}


def registered() -> dict[str, Drafter]:
    """Every registered drafter with settings for this world."""
    settings = {
        "draft": {"": {"model": DRAFT}, " (itself)": {"model": TARGET}},
        "draft-tree": {"": {"width": 2, "model": DRAFT}, " (coupled)": {"coupled": True, "model": TARGET}},
        "sampled": {"": {"model": DRAFT}},
        "iid": {"": {"branches": (2, 2, 1), "model": DRAFT}},
        "rsd-c": {"": {"branches": (2, 1, 2), "model": DRAFT}},
        "rsd-s": {"": {"width": 3, "model": DRAFT}},
        "dyspec": {"": {"model": DRAFT}, " (heap)": {"layered": False, "model": DRAFT}},
        "merged": {"": {"drafters": (Sampled(DRAFT), Independent((2, 2), OTHER))}},
        "hierarchy": {
            "": {"drafter": Lookup(matches=2), "model": DRAFT, "nodes": 4},
            " (trees)": {"drafter": DraftTree(2, model=OTHER), "model": TARGET, "least": 3},
            " (observing)": {"drafter": Recycle(), "model": DRAFT, "least": 9},
        },
        "jacobi": {"": {"block": 4}, " (recycled)": {"block": 3, "blocks": 2, "ready": 0.5, "pool": 3, "quorum": 1}},
        "lookahead": {"": {"level": 3, "window": 3, "guesses": 2}, " (prompt)": {"level": 2, "prompt": True}},
        "lookup": {"": {}, " (tree)": {"matches": 3}, " (first)": {"newest": False, "whole": True}},
        "suffix": {"": {}, " (tree)": {"matches": 3, "newest": False}, " (shared)": {"shared": True, "bias": 0}},
        "store": {"": {"path": random_store(V), "shortest": 1}},
        "rasd": {"": {"drafter": DraftModel(DRAFT), "retriever": Lookup(matches=3), "rank": 2}},
        "codeswift": {
            "": {"path": random_store(V), "repository": random_store(V, 1), "cached": 6, "threshold": 0.6, "retry": 2},
            " (cache)": {"path": random_store(V), "cached": 2, "depth": 3, "capacity": 9},
        },
        "copy": {"": {}, " (of a source)": {"source": (0, 1, 2, 3, 1, 1, 0), "eager": False}},
        "consensus": {"": {"least": 0.0}, " (counted)": {"weighted": False, "longest": 2}},
        "forced": {"": {"script": Template((1, 2, HOLE, 0, 3))}},
        "template": {"": {"pattern": (3, HOLE, 1, 2)}},
        "recycle": {"": {}, " (own)": {"shared": False, "rejected": False, "ranks": 2}},
        "pearl": {"": {"model": DRAFT, "ahead": 3}, " (measured)": {"model": LastTwo(V, seed=1)}},
        "sjd": {"": {"window": 4}, " (repeat)": {"start": "repeat"}},
        "graft": {"": {"drafter": DraftTree(2, model=DRAFT), "filler": Recycle()}},
        "auto": {"": {"parts": (Lookup(), Recycle(prompt=False))}},
        "fuse": {
            "": {"parts": (Lookup(matches=2), Recycle())},
            " (with a model)": {"parts": (DraftModel(LastTwo(V, seed=2)), Lookup())},
        },
    }
    return {
        f"{name}{variant}": part(**chosen)
        for name, part in catalogue.parts().items()
        if part.kind == "drafter"
        for variant, chosen in settings.get(name, {"": {}}).items()
    }


@cache
def known(prompt: tuple[int, ...], pipeline: Pipeline, seed: int, new_tokens: int) -> tuple[int, ...]:
    return tuple(plainly(TARGET, prompt, pipeline, seed, new_tokens))


def plain(prompt: Sequence[int], pipeline: Pipeline, seed: int, new_tokens: int) -> list[int]:
    """What plain decoding gives: once for all drafters."""
    return list(known(tuple(prompt), pipeline, seed, new_tokens))


def drafters() -> dict[str, Drafter]:
    return registered() | adversaries(V)


def planners() -> dict[str, object]:
    return {name: part() for name, part in catalogue.parts().items() if part.kind == "planner"}


def exact_acceptors() -> dict[str, object]:
    """Those that give plain decoding's tokens; what is exact in distribution has its laws in test_acceptors.py."""
    acceptors = (part for part in catalogue.parts().values() if part.kind == "acceptor")
    return {part.name: part() for part in acceptors if part.guarantee is Guarantee.EXACT}


@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_drafting_never_changes_the_tokens(drafter, pipeline):
    """Greedy and with a seed, alone and in a batch, every drafter gives the tokens of the slow reference."""
    expected = [plain(prompt, pipeline, 7, 12) for prompt in PROMPTS]
    together = decode(TARGET, PROMPTS, drafter=drafter, pipeline=pipeline, seed=7)
    assert [row.new_tokens for row in together] == expected
    alone = decode(TARGET, PROMPTS[:1], drafter=drafter, pipeline=pipeline, seed=7)
    assert alone[0].new_tokens == expected[0]


@pytest.mark.parametrize("planner", planners().values(), ids=planners())
@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_planning_never_changes_the_tokens(drafter, planner):
    pipeline, many = PIPELINES["sampled"], [(prompt, seed) for seed in range(3) for prompt in PROMPTS]
    prompts, seeds = zip(*many, strict=True)
    rows = decode(TARGET, prompts, drafter=drafter, planner=planner, pipeline=pipeline, seed=seeds, new_tokens=24)
    assert [row.new_tokens for row in rows] == [plain(prompt, pipeline, seed, 24) for prompt, seed in many]


@pytest.mark.parametrize("acceptor", exact_acceptors().values(), ids=exact_acceptors())
@pytest.mark.parametrize("shape", range(6))
def test_the_joint_distribution_is_exact(acceptor, shape):
    """By enumeration with fractions: over all outcomes of chance, weighted, the output has the model's joint.

    With the noise fixed, a model is a choice function: one token after every path. All of them are run.
    """
    vocabulary, depth = (2, 3) if shape < 4 else (3, 2)
    drafter = Guesser(lambda tokens, room: random_tree(tokens, room, vocabulary, seed=shape))
    joint: dict[tuple[int, ...], Fraction] = {}
    for choices in choice_functions(vocabulary, depth):
        weight = Fraction(1)
        for path, token in choices.items():
            weight *= conditional(shape, path, vocabulary)[token]
        model = TableModel(vocabulary, lambda path, c=choices: one_hot(c.get(path[1:], 0), vocabulary))
        row = decode(model, [[0]], drafter=drafter, acceptor=acceptor, new_tokens=depth)[0]
        output = tuple(row.new_tokens)
        joint[output] = joint.get(output, Fraction(0)) + weight
    for output in itertools.product(range(vocabulary), repeat=depth):
        exact = Fraction(1)
        for at, token in enumerate(output):
            exact *= conditional(shape, output[:at], vocabulary)[token]
        assert joint.get(output, Fraction(0)) == exact


def one_hot(token: int, vocabulary: int) -> list[float]:
    return [1.0 if other == token else 0.0 for other in range(vocabulary)]


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_the_cache_equals_a_fresh_prefill_after_every_round(drafter):
    rounds = 0

    def compare(loop: Loop) -> None:
        nonlocal rounds
        rounds += 1
        for row in loop.rows:
            held = [int(key) for key in loop.cache.keys(row.cache_row, 0)[0, :, 0]]
            assert held == row.history.tokens[:-1]
            assert loop.cache.row_positions(row.cache_row).tolist() == list(range(len(held)))

    decode(TARGET, PROMPTS, drafter=drafter, new_tokens=[5, 12, 9], each_round=compare)
    assert rounds > 1


@pytest.mark.parametrize("drafter", registered().values(), ids=registered())
def test_proposals_keep_to_their_room_and_have_distinct_siblings(drafter):
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


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_rows_end_at_the_first_end_token_and_at_their_limit(drafter):
    for ends in (frozenset({3}), frozenset({0, 1})):
        plain = decode(TARGET, PROMPTS, new_tokens=[1, 20, 7], ends=ends)
        fast = decode(TARGET, PROMPTS, drafter=drafter, new_tokens=[1, 20, 7], ends=ends)
        assert [(row.new_tokens, row.finish) for row in fast] == [(row.new_tokens, row.finish) for row in plain]
        for row in fast:
            assert all(token not in ends for token in row.new_tokens[:-1])
            assert (row.finish == "end") == (row.new_tokens[-1] in ends)
            for step in row.steps:
                assert len(step.sources) == len(step.committed) >= len(step.accepted)


def test_who_is_always_wrong_is_never_accepted():
    """It knows the answer, guesses all else, and tempts with the answer below its wrong guesses."""
    for pipeline in (GREEDY, PIPELINES["penalised"]):
        answers = [[*prompt, *plain(prompt, pipeline, 7, 12)] for prompt in PROMPTS]

        def avoid(tokens, room, answers=answers):
            (answer,) = (known for known in answers if known[: len(tokens)] == list(tokens))
            tree = Tree()
            for wrong in range(V):
                if wrong != answer[len(tokens)]:
                    node = tree.add(wrong)
                    for right in answer[len(tokens) : len(tokens) + room.depth - 1]:
                        node = tree.add(right, node)
            return tree

        rows = decode(TARGET, PROMPTS, drafter=Guesser(avoid), pipeline=pipeline, seed=7)
        assert [[*prompt, *row.new_tokens] for prompt, row in zip(PROMPTS, rows, strict=True)] == answers
        for row in rows:
            assert (row.counters.accepted, row.counters.rounds) == (0, 12) and row.counters.drafted > 3 * 11


def test_duplicate_siblings_are_refused_and_do_not_reach_the_tokens():
    def twins(tokens=(), room=None):
        tree = Tree()
        for token in (0, 0, 1, 1, 2, 3, 3):
            node = tree.add(token)
            for below in (2, 2, 0):
                tree.add(below, node)
        return tree

    with pytest.raises(ValueError, match="both bear token"):
        twins().check()
    for pipeline in (GREEDY, PIPELINES["truncated"]):
        expected = [plain(prompt, pipeline, 7, 12) for prompt in PROMPTS]
        rows = decode(TARGET, PROMPTS, drafter=Guesser(twins), pipeline=pipeline, seed=7)
        assert [row.new_tokens for row in rows] == expected


def test_a_perfect_drafter_commits_its_whole_chain_every_round():
    """Counters: committed = accepted + rounds, and a drafter that is the target is never rejected."""
    drafter = drafters()["draft (itself)"]
    row = decode(TARGET, [[0, 1]], drafter=drafter, new_tokens=12, pipeline=Pipeline([Temperature(1.0)]))[0]
    counters = row.counters
    assert counters.rounds == 2  # 5 drafted and one more, twice
    assert counters.new_tokens == 12 == counters.accepted + counters.rounds
    assert counters.drafted == counters.accepted == 10
    assert counters.token_forwards == 12


def test_a_draft_model_reads_what_was_committed():
    """After every round its cache holds a beginning of the row's tokens, whatever of its draft was rejected."""
    model = TableModel.random(V, seed=2)
    drafter = DraftModel(model)
    drafting = drafter.begin(Context(TARGET, SimulatedClock(), lambda name: TARGET))
    row = Row(History(PROMPTS[0]), -1, Rule(GREEDY, 0, 0), Limits(99))
    session = drafting.open(row)
    for agreed in (0, 1, 3, 4, 2, 0):
        tree = session.propose(Room(4, 4))
        committed = [*tree.tokens[:agreed], *([] if agreed == 4 else [(tree.tokens[agreed] + 1) % V])]
        committed += [3, 3] if agreed == 1 else []  # as when another drafter's branch was accepted
        row.history.extend(committed)
        session.advance(Outcome(tree, list(range(agreed)), committed))
        draft = session.draft
        held = [int(key) for key in draft.small.cache.keys(draft.cache_row, 0)[0, :, 0]]
        assert held == row.history.tokens[: len(held)] and len(held) < len(row.history.tokens)


def test_a_fork_goes_on_like_its_source():
    """A row forked in the middle with another stream ends like a row that had that stream from the prompt on."""
    pipeline = Pipeline([Temperature(1.0)])
    for drafter in drafters().values():
        context = Context(TARGET, SimulatedClock(), lambda name: TARGET)
        loop = Speculate(drafter, Exact(), Fixed(4)).loop(context, TARGET.new_cache(slots=2))
        first = Row(History([1, 2]), loop.cache.open(), Rule(pipeline, 5, 0), Limits(9))
        loop.add(first)
        loop.step()
        second = Row(first.history.fork(), -1, Rule(pipeline, 5, 1), Limits(9))
        loop.fork(first, second)
        while loop.rows:
            loop.step()
        assert first.new_tokens == plain([1, 2], pipeline, 5, 9)
        assert len(second.new_tokens) == 9


def test_the_table_model_sees_the_path_and_nothing_else():
    """A tree window gives every node the logits of its path run as a chain."""
    table = TableModel.random(V, seed=1)
    tree = random_tree([1], Room(9, 4), V, size=20)
    held = table.new_cache()
    row = held.open()
    table.evaluate(Window.chain([row], [[0, 3]], [0], table.device), held)
    window = Window.forest([row], [1], [tree], [2], table.device)
    logits = table.evaluate(window, held).logits
    for node in range(len(tree)):
        expected = torch.tensor(table.rule((0, 3, 1, *tree.path_tokens(node))), dtype=torch.float64)
        assert torch.equal(logits[0, node + 1], expected)
