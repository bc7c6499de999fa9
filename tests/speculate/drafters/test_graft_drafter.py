"""Prune then graft: where the model is unsure its tree stops, and retrieved guesses take the nodes that it leaves."""

from __future__ import annotations

import pytest

from laws.worlds import GREEDY, Guesser, decode
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Room
from stretto.speculate.drafters.graft import Graft
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.tree import DraftTree
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import ROOT, Tree

V = 6
SURE = TableModel(V, lambda path: [5.0 if token == (path[-1] + 1) % V else 0.0 for token in range(V)])
UNSURE = TableModel(V, lambda path: [0.25, 0.2, 0.15, 0.15, 0.15, 0.1])  # logits: nearly even
ROOM = Room(15, 7)


def broad(history: list[int], room: Room) -> Tree:
    """A root with every token, each of them with every token again."""
    tree = Tree()
    for node in [tree.add(token, ROOT, source="table", score=0.1) for token in range(min(V, room.nodes))]:
        for token in range(V):
            if len(tree) < room.nodes:
                tree.add(token, node, source="table", score=0.1)
    return tree


def grafted(model: TableModel, **thresholds: float) -> tuple[Tree, int]:
    """The tree, and how many times the model was evaluated for it."""
    calls = 0

    class Counting(TableModel):
        def evaluate(self, *given, **named):
            nonlocal calls
            calls += 1
            return super().evaluate(*given, **named)

    drafter = Graft(DraftTree(4, model=Counting(V, model.rule)), Guesser(broad), **thresholds)
    row = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))
    drafting = drafter.begin(Context(SURE, SimulatedClock(), lambda name: SURE))
    (tree,) = drafting.propose([drafting.open(row)], [ROOM])
    tree.check()
    return tree, calls


def test_all_nodes_are_used_wherever_it_stops():
    for model in (SURE, UNSURE):
        for first, second, third in ((0, 0, 0), (2, 0, 0), (0, 2, 0), (0, 0, 2), (0.35, 0.25, 0.15)):
            tree, _ = grafted(model, first=first, second=second, third=third)
            assert len(tree) == ROOM.nodes


def test_without_thresholds_the_tree_is_the_models():
    tree, _ = grafted(SURE, first=0.0, second=0.0, third=0.0)
    alone = DraftTree(4, model=SURE)
    row = Row(History([0]), -1, Rule(GREEDY, 0, 0), Limits(99))
    drafting = alone.begin(Context(SURE, SimulatedClock(), lambda name: SURE))
    (expected,) = drafting.propose([drafting.open(row)], [ROOM])
    assert {tuple(tree.path_tokens(node)) for node in range(len(tree))} == {
        tuple(expected.path_tokens(node)) for node in range(len(expected))
    }


def test_a_model_that_is_never_trusted_is_read_once():
    tree, calls = grafted(SURE, first=2.0)
    assert calls == 1
    assert sum(source != "table" for source in tree.sources) == 2  # 8 of 60 nodes, in a room of 15


def test_the_surer_the_model_the_more_of_the_tree_is_its_own():
    sure, _ = grafted(SURE)
    unsure, _ = grafted(UNSURE)
    own = [sum("draft" in source for source in tree.sources) for tree in (sure, unsure)]
    assert own[0] > own[1] == 2


@pytest.mark.parametrize("parts", [(Lookup(), 3), ("recycle", Lookup())])
def test_what_is_no_drafter_is_refused(parts):
    with pytest.raises(InvalidRequest, match=r"of 'graft' is .*a value of the wrong kind"):
        Graft(*parts)


def test_the_tokens_are_plain():
    plain = decode(UNSURE, [[0, 1], [3]], new_tokens=20)
    fast = decode(UNSURE, [[0, 1], [3]], drafter=Graft(DraftTree(3, model=SURE), Guesser(broad)), new_tokens=20)
    assert [row.new_tokens for row in fast] == [row.new_tokens for row in plain]
