"""Laws of drafting and verifying, over every registered drafter, acceptor and planner, on table models."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from laws.stores import random_store
from laws.worlds import (
    GREEDY,
    Guesser,
    LastTwo,
    adversaries,
    decode,
    random_tree,
)
from stretto import catalogue
from stretto.context import Context
from stretto.entry import Guarantee
from stretto.laws import drafting
from stretto.laws.drafting import PIPELINES, PROMPTS, TARGET, V, plain
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.models.window import Window
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafter, Outcome, Room
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.recycle import Recycle
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.specinfer import Independent
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.script import HOLE, Template
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.steer.pipeline import Pipeline
from stretto.steer.temperature import Temperature
from stretto.tree import Tree
from wide import WIDE

DRAFT = LastTwo(V, seed=2)
OTHER = LastTwo(V, seed=3)


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
    drafting.drafting_never_changes_the_tokens(drafter, pipeline)


def planned() -> list[Any]:
    """Every drafter with every planner; the seeds take turns, so that each of both meets every seed."""
    return [
        pytest.param(drafter, planner, range(3) if WIDE else [(at + turn) % 3], id=f"{drafted}-{named}")
        for at, (drafted, drafter) in enumerate(drafters().items())
        for turn, (named, planner) in enumerate(planners().items())
    ]


@pytest.mark.parametrize(("drafter", "planner", "seeds"), planned())
def test_planning_never_changes_the_tokens(drafter, planner, seeds):
    drafting.planning_never_changes_the_tokens(drafter, planner, seeds)


@pytest.mark.parametrize("acceptor", exact_acceptors().values(), ids=exact_acceptors())
@pytest.mark.parametrize("shape", range(6))
def test_the_joint_distribution_is_exact(acceptor, shape):
    drafting.the_joint_distribution_is_exact(acceptor, shape)


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_the_cache_equals_a_fresh_prefill_after_every_round(drafter):
    drafting.the_cache_equals_a_fresh_prefill_after_every_round(drafter)


@pytest.mark.parametrize("drafter", registered().values(), ids=registered())
def test_proposals_keep_to_their_room_and_have_distinct_siblings(drafter):
    drafting.proposals_keep_to_their_room_and_have_distinct_siblings(drafter)


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_rows_end_at_the_first_end_token_and_at_their_limit(drafter):
    drafting.rows_end_at_the_first_end_token_and_at_their_limit(drafter)


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_a_fork_goes_on_like_its_source(drafter):
    drafting.a_fork_goes_on_like_its_source(drafter)


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
