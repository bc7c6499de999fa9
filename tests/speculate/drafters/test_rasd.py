from __future__ import annotations

import pytest

from laws.worlds import GREEDY, Guesser, decode, plainly
from speculate.drafters.by_hand import row_of
from stretto import method
from stretto.context import Context
from stretto.errors import InvalidRequest
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.speculate.contract import Outcome, Room
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.rasd import Rasd
from stretto.speculate.drafters.store import Store
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import ROOT, NodeKind, Tree

V = 6


def tree_of(source, *nodes):
    """Nodes are (token, parent, score)."""
    tree = Tree()
    for token, parent, score in nodes:
        tree.add(token, parent, source=source, score=score)
    return tree


def asking(guess):
    """A drafter that shows its first level as those do that evaluate a model, and proposes within its room."""

    def propose(tokens, room):
        whole = guess(tokens)
        level = [node for node in range(len(whole)) if whole.parents[node] == ROOT]
        if room.more is not None and len(whole):
            room.more(whole.prune(level))
        return whole.prune(range(min(room.nodes, len(whole))))

    return Guesser(propose)


MODEL = tree_of("model", (1, ROOT, 0.6), (2, 0, 0.9), (3, ROOT, 0.3), (4, ROOT, 0.004))
FOUND = tree_of("store", (1, ROOT, 0.5), (5, 0, 0.5), (4, ROOT, 0.2), (0, 2, 0.5), (0, ROOT, 0.1), (2, 4, 0.9))


def propose(room=Room(99, 99), model=MODEL, found=FOUND, **settings):
    drafter = Rasd(asking(lambda tokens: model), asking(lambda tokens: found), **settings)
    here = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)
    return drafter.begin(here).open(row_of([0])).propose(room)


def paths(tree):
    return {tuple(tree.path_tokens(node)) for node in range(len(tree))}


def test_the_trees_are_united_by_their_longest_common_paths():
    tree = propose(rank=99)
    tree.check()
    assert paths(tree) == {(1,), (1, 2), (3,), (4,), (1, 5), (4, 0)}  # the model never heard of the first token 0
    assert tree.tokens[: len(MODEL)] == MODEL.tokens and tree.parents[: len(MODEL)] == MODEL.parents
    by_path = {tuple(tree.path_tokens(node)): tree.sources[node] for node in range(len(tree))}
    assert by_path[1,] == "model+store" and by_path[1, 2] == "model" and by_path[1, 5] == "store"
    assert len(tree) <= len(MODEL) + len(FOUND)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"rank": 0, "probability": 0.01}, {(1, 5)}),  # token 4 has 0.004
        ({"rank": 0, "probability": 0.001}, {(1, 5), (4, 0)}),
        ({"rank": 3, "probability": 1.0}, {(1, 5), (4, 0)}),
        ({"rank": 2, "probability": 1.0}, {(1, 5)}),
        ({"rank": 0, "probability": 1.0}, set()),
    ],
)
def test_branches_that_the_model_finds_unlikely_are_dropped(settings, kept):
    assert paths(propose(**settings)) == paths(MODEL) | kept


def test_the_first_level_is_judged_as_it_was_shown_not_as_it_was_kept():
    """With room for one node the model's tree holds token 1 only; it has shown 3 and 4 as well."""
    found = tree_of("store", (3, ROOT, 0.5), (5, 0, 0.5), (4, ROOT, 0.2))
    tree = propose(Room(4, 9), found=found, share=0.75, rank=2, probability=1.0)
    assert paths(tree) == {(1,), (3,), (3, 5)}


def test_the_room_is_kept_and_shared():
    for nodes in range(1, 10):
        for share in (0.0, 0.3, 0.5, 1.0):
            tree = propose(Room(nodes, 9), share=share, rank=99)
            assert len(tree) <= nodes
            own = nodes - min(len(FOUND), int(share * nodes))
            assert paths(MODEL.prune(range(min(own, len(MODEL))))) <= paths(tree)
    assert paths(propose(share=0.0)) >= paths(MODEL)
    assert paths(propose(Room(4, 9), found=Tree())) == paths(MODEL)  # nothing found: all room is the model's


def test_without_a_model_tree_what_was_found_stands_alone():
    assert paths(propose(model=Tree())) == paths(FOUND)
    assert paths(propose(Room(9, 9, paid=lambda tree: 0), rank=99)) == paths(propose(rank=99))  # guessers are free


def test_a_costly_drafter_is_asked_for_what_pays():
    here = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)
    drafter = Rasd(DraftTree(model=TableModel.random(V, 1)), asking(lambda tokens: FOUND), rank=99)
    drafting = drafter.begin(here)
    assert not drafting.free and drafting.mixed
    asked = []
    session = drafting.open(row_of([0]))
    tree = session.propose(Room(9, 9, paid=lambda tree: asked.append(paths(tree)) or 2))
    assert asked == [paths(FOUND)] and sum("draft-tree" in source for source in tree.sources) == 2
    tree = session.propose(Room(9, 9, paid=lambda tree: 0))
    assert paths(tree) == paths(FOUND)


def test_tokens_stay_and_sources_add_up():
    target, draft = TableModel.random(V, 3), TableModel.random(V, 4)
    drafter = Rasd(DraftTree(width=3, model=draft), Lookup(matches=4), rank=2)
    prompts = [[0, 1, 2, 0, 1, 2, 0], [5, 4]]
    rows = decode(target, prompts, drafter=drafter, planner=Fixed(8), new_tokens=30)
    sources = {"", "draft-tree", "lookup", "draft-tree+lookup"}
    for row, prompt in zip(rows, prompts, strict=True):
        assert row.new_tokens == plainly(target, prompt, GREEDY, 0, 30)
        named = [source for step in row.steps for source in step.sources]
        assert set(named) <= sources and len(named) == 30
        assert sum(source != "" for source in named) == row.counters.accepted


def test_on_copied_text_the_fused_tree_accepts_no_less_than_either_part():
    text = [0, 1, 2, 3, 4, 5, 3, 1] * 12
    target = TableModel(V, lambda path: [float(token == text[len(path)]) for token in range(V)])

    def tau(drafter, nodes):
        row = decode(target, [text[:10]], drafter=drafter, planner=Fixed(nodes, 6), new_tokens=60)[0]
        return row.counters.tokens_per_round

    model, retriever = DraftTree(width=V, model=TableModel.random(V, 4)), Lookup(matches=2)
    assert tau(Rasd(model, retriever, rank=V), 16) >= max(tau(model, 8), tau(retriever, 8)) > 1


def test_parts_that_draw_or_that_are_none_are_refused():
    drawing = Guesser(lambda tokens, room: Tree())
    object.__setattr__(drawing, "proposals", frozenset({NodeKind.SAMPLED}))
    for wrong in (("lookup", Lookup()), (Lookup(), None), (drawing, Lookup())):
        with pytest.raises(InvalidRequest, match=r"cannot unite|of 'rasd' is .*a value of the wrong kind"):
            Rasd(*wrong)
    for wrong in ({"rank": -1}, {"probability": 2}, {"share": -0.1}):
        with pytest.raises(InvalidRequest):
            Rasd(Lookup(), Lookup(), **wrong)


def test_the_text_form_nests():
    parsed = method.parse("rasd(draft-tree,store(path=a/b),rank=3)")
    assert parsed.draft == Rasd(DraftTree(), Store("a/b"), rank=3)
    assert method.parse(method.describe(parsed)) == parsed


def test_both_learn_forks_and_close():
    here = Context(TableModel.random(V, 0), SimulatedClock(), lambda name: None)
    drafting = Rasd(Lookup(), Lookup(matches=2)).begin(here)
    row = row_of([1, 2, 3, 1])
    session = drafting.open(row)
    tree = session.propose(Room(4, 4))
    row.history.extend([2])
    session.advance(Outcome(tree, [0], [2]))
    twin = row_of(row.history.tokens)
    assert session.fork(twin).propose(Room(4, 4)) == session.propose(Room(4, 4))
    session.close()
