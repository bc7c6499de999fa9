"""Fusing: the tree is the union of its parts' trees, the free ones first, each within its share."""

from __future__ import annotations

import pytest

from laws.worlds import GREEDY, Guesser, decode
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.method import describe, parse
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafting, Room
from stretto.speculate.drafters.fuse import Fuse, FuseDrafting
from stretto.speculate.planners.cheapest import Cheapest
from stretto.steer.choice import Rule
from stretto.steer.path import History
from stretto.tree import ROOT, Tree

V = 5
COUNTING = TableModel(V, lambda path: [float(token == (path[-1] + 1) % V) for token in range(V)])


class Paid(Guesser):
    """A guesser that pretends to cost forwards, and counts how often it is asked."""

    def begin(self, context: Context) -> Drafting:
        drafting = super().begin(context)
        drafting.free = False
        return drafting


def paths(tree: Tree) -> set[tuple[int, ...]]:
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def chain(*tokens: int, name: str = "a") -> Guesser:
    return Guesser(lambda history, room: Tree.chain(tokens[: min(room.nodes, room.depth)], source=name))


def fused(*parts: Guesser, room: Room = Room(20, 20)) -> Tree:
    row = Row(History([0, 1]), -1, Rule(GREEDY, 0, 0), Limits(99))
    drafting = Fuse(parts).begin(Context(COUNTING, SimulatedClock(), lambda name: COUNTING))
    (tree,) = drafting.propose([drafting.open(row)], [room])
    tree.check()
    return tree


def test_the_tree_is_the_union_and_a_node_names_all_who_proposed_it():
    tree = fused(chain(1, 2, 3), chain(1, 4, name="b"))
    assert paths(tree) == {(1,), (1, 2), (1, 2, 3), (1, 4)}
    assert tree.sources[0] == "a+b"
    assert paths(fused(chain(1, 4, name="b"), chain(1, 2, 3))) == paths(tree)


def test_each_gets_its_share_and_what_others_left():
    assert paths(fused(chain(1, 1, 1, 1), chain(2, 2, 2, 2), room=Room(4, 9))) == {(1,), (1, 1), (2,), (2, 2)}
    assert len(fused(chain(1), chain(2, 2, 2, 2), room=Room(4, 9))) == 4
    assert max(fused(chain(1, 1, 1), chain(2, 2, 2), room=Room(9, 2)).depths) == 2


def test_one_that_costs_forwards_is_asked_last_and_for_what_the_planner_pays():
    seen = []

    def price(tree: Tree) -> int:
        seen.append(paths(tree))
        return 1

    paid = Paid(lambda history, room: Tree.chain([3] * room.nodes, source="paid"))
    tree = fused(paid, chain(1, 2), room=Room(9, 9, paid=price))
    assert seen == [{(1,), (1, 2)}]
    assert paths(tree) == {(1,), (1, 2), (3,)}
    assert paths(fused(paid, chain(1), room=Room(9, 9, paid=lambda tree: 0))) == {(1,)}


def test_the_planner_keeps_what_earns_and_stops_paying_for_what_does_not():
    right = Guesser(lambda history, room: Tree.chain([(history[-1] + 1) % V] * min(1, room.nodes), source="right"))
    wrong = Guesser(lambda history, room: Tree.chain([history[-1]] * min(3, room.depth, room.nodes), source="wrong"))
    asked = []
    useless = Paid(lambda history, room: (asked.append(room), Tree.chain([(history[-1] + 2) % V], source="useless"))[1])
    row = decode(COUNTING, [[0]], drafter=Fuse((wrong, right, useless)), planner=Cheapest(8), new_tokens=200)[0]
    assert row.new_tokens == [(1 + at) % V for at in range(200)]
    late = row.steps[len(row.steps) // 2 : -1]  # the last one has room for the model's own token alone
    assert sum(len(step.accepted) for step in late) == len(late)
    assert all("wrong" not in source for step in late for source in step.drafters)
    assert len(asked) <= 12  # free ones are never at a loss here


def test_a_paid_part_that_is_right_is_paid_for():
    def count(history, room):
        return Tree.chain([(history[-1] + 1 + at) % V for at in range(min(room.nodes, room.depth))], source="model")

    wrong = Guesser(lambda history, room: Tree.chain([history[-1]], source="wrong"))
    row = decode(COUNTING, [[0]], drafter=Fuse((wrong, Paid(count))), planner=Cheapest(8), new_tokens=200)[0]
    assert row.counters.rounds < 60


def test_its_text_form_holds_its_parts():
    method = parse("fuse(lookup(5,matches=2),recycle)+fixed(6)")
    assert [part.name for part in method.draft.parts] == ["lookup", "recycle"]
    assert method.draft.parts[0].longest == 5 and method.draft.parts[0].matches == 2
    assert parse(describe(method)) == method


@pytest.mark.parametrize("text", ["fuse", "fuse(lookup)", "fuse(lookup,3)", "fuse(lookup,exact)"])
def test_less_than_two_drafters_are_refused(text):
    with pytest.raises(InvalidRequest, match=r"fuse merges drafters|several: each a Drafter"):
        parse(text)


def test_drawn_guesses_are_refused():
    with pytest.raises(InvalidRequest, match="draws its guesses"):
        parse("fuse(lookup,sjd)")


def test_the_union_is_cut_at_its_room_with_parents_kept():
    tree = fused(chain(1, 2, 3, 4), chain(5 % V, 1, 2, 3), chain(2, 2), room=Room(5, 9))
    assert len(tree) == 5 and all(parent == ROOT or parent < node for node, parent in enumerate(tree.parents))


def test_where_nothing_is_worth_its_time_whole_rounds_are_rested(monkeypatch):
    """Neither asked nor told; and asked again after a while, when it is right at once."""
    told = []
    learn = FuseDrafting.learn
    monkeypatch.setattr(
        FuseDrafting, "learn", lambda self, parts, outcome: (told.append(1), learn(self, parts, outcome))
    )

    def late(history, room):
        right = (history[-1] + (1 if len(history) > 300 else 2)) % V
        return Tree.chain([right] * min(1, room.nodes), source="late")

    both = Fuse((Guesser(late), Guesser(late)))
    decode(COUNTING, [[0]], drafter=both, planner=Cheapest(8), new_tokens=290)
    assert 10 < len(told) < 200
    row = decode(COUNTING, [[0]], drafter=both, planner=Cheapest(8), new_tokens=600)[0]
    assert row.counters.rounds < 520 and row.new_tokens == [(1 + at) % V for at in range(600)]


def test_a_draft_model_that_rested_with_the_others_tells_of_the_meantime():
    from speculate.drafters.growing import SMALL, begin, row_of
    from stretto.speculate.drafters.model import DraftModel

    drafting = begin(DraftModel(SMALL))
    row = row_of([0, 1, 2])
    session = drafting.open(row)
    row.history.extend([2, 0, 3])  # without a word
    session.propose(Room(2, 2, more=lambda tree: True))
    assert len(session.missed()) == 3
    twin = session.fork(row_of(row.history.tokens))
    assert twin.unasked == session.unasked
