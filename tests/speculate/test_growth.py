from __future__ import annotations

import itertools

import numpy as np
import pytest

from laws.branching import Branching, outcomes, vector
from speculate.drafters.growing import (
    GREEDY,
    SMALL,
    STEERED,
    WARM,
    V,
    Watched,
    begin,
    commit,
    distribution,
    drafters,
    drafts,
    grown,
    held,
    row_of,
)
from stretto.models.contract import Ability
from stretto.models.table import TableModel
from stretto.speculate.contract import NO_ROOM, Room
from stretto.speculate.drafters.rsd import Constant
from stretto.speculate.drafters.specinfer import Independent
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.growth import Urn, shape_of
from stretto.tree import ROOT, NodeKind, Siblings, Tree

SHAPED = {name: drafters()[name] for name in ("draft-tree", "rsd-c", "iid")}


def told(tree: Tree) -> object:
    """All of a tree, as data that can be compared."""
    drawn = {node: q.tolist() for node, q in tree.drawn_from.items()}
    return tree.tokens, tree.parents, tree.ranks, tree.sources, tree.scores, tree.proposals, drawn


# -- of all drafters ------------------------------------------------------------------------------


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_a_row_gets_the_same_trees_alone_and_in_a_batch(drafter):
    """Rows of unequal length, room, rule and seed, over rounds of unequal outcome."""
    prompts = [[0, 1, 2], [3], [2, 2, 1, 0, 3, 1], [1, 1]]
    rules = [(GREEDY, 0), (WARM, 1), (STEERED, 2), (WARM, 3)]
    rooms = [Room(7, 3), Room(12, 4), Room(9, 9), Room(5, 2)]

    def rounds(indices: list[int]) -> list[list[object]]:
        drafting = begin(drafter)
        rows = [row_of(prompts[at], *rules[at]) for at in indices]
        sessions = [drafting.open(row) for row in rows]
        seen: list[list[object]] = [[] for _ in indices]
        for turn in range(4):
            asked = [rooms[at] if (turn + at) % 4 else NO_ROOM for at in indices]
            for place, tree in enumerate(drafting.propose(sessions, asked)):
                seen[place].append(told(tree))
                assert len(tree) <= asked[place].nodes and max(tree.depths, default=0) <= asked[place].depth
                commit(rows[place], sessions[place], tree, (turn + indices[place]) % (len(tree) + 1) - 1, turn)
        return seen

    assert rounds([0, 1, 2, 3]) == [rounds([at])[0] for at in range(4)]


@pytest.mark.parametrize("pipeline", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_the_cache_is_a_beginning_of_the_row_after_every_round(drafter, pipeline):
    """Whatever is accepted: nothing, all, a side branch, or tokens that stood in no tree."""
    drafting = begin(drafter)
    row = row_of([0, 1, 2], pipeline)
    session = drafting.open(row)
    for turn in range(8):
        (tree,) = drafting.propose([session], [Room(9, 4)])
        commit(row, session, tree, len(tree) - 1 - turn % 5 if turn != 3 else ROOT, turn % V)
        for draft in drafts(session):
            assert held(draft) == row.history.tokens[: len(held(draft))]
            assert 3 <= len(held(draft)) < len(row.history.tokens)


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_nothing_is_drafted_below_an_end_token(drafter):
    ends = frozenset({0, 3})
    drafting = begin(drafter)
    rows = [row_of([1, token], WARM, seed, ends) for seed, token in enumerate((1, 2, 0, 1, 2))]
    trees = drafting.propose([drafting.open(row) for row in rows], [Room(12, 5)] * len(rows))
    assert any(token in ends for tree in trees for token in tree.tokens)
    for tree in trees:
        assert not any(tree.tokens[parent] in ends for parent in tree.parents if parent != ROOT)


@pytest.mark.parametrize("name", drafters())
def test_the_draft_models_positions_are_kept_to(name):
    """A node may stand one past the last position of the draft model, which evaluates all above it."""
    for length in (5, 6, 7, 8, 9):
        model = Watched(SMALL, max_positions=7)
        drafting = begin(drafters(model)[name])
        (tree,) = drafting.propose([drafting.open(row_of([1] * length))], [Room(8, 8)])
        assert max(tree.depths, default=0) <= max(0, 8 - length)
        assert length > 7 or len(tree) > 0


@pytest.mark.parametrize("name", ["sampled", "rsd-c", "rsd-s", "dyspec", "dyspec, heap", "iid", "merged"])
def test_drawn_nodes_carry_the_vector_they_were_drawn_from(name):
    """After the whole pipeline, on the drafted path; an excluded token is never drawn."""
    drafting = begin(drafters()[name])
    checked = 0
    for seed in range(5):
        row = row_of([0, 1, 2, 2], STEERED, seed)
        (tree,) = drafting.propose([drafting.open(row)], [Room(12, 4)])
        for node, parent in enumerate(tree.parents):
            expected = distribution(SMALL, row, tree.path_tokens(parent))
            assert np.allclose(tree.drawn_from[node], expected, atol=1e-12)
            assert tree.scores[node] == pytest.approx(expected[tree.tokens[node]]) and tree.scores[node] > 0
            assert tree.proposals[node] is NodeKind.SAMPLED
            checked += (expected == 0).any()
    assert checked > 10


@pytest.mark.parametrize("name", [name for name in drafters() if name not in ("sampled", "merged")])
def test_without_chance_guesses_are_points_and_siblings_differ(name):
    drafting = begin(drafters()[name])
    (tree,) = drafting.propose([drafting.open(row_of([0, 1, 2]))], [Room(12, 4)])
    assert set(tree.proposals) == {NodeKind.POINT} and not tree.drawn_from
    tree.check()
    for parent in {*tree.parents}:
        expected = distribution(SMALL, row_of([0, 1, 2], WARM), tree.path_tokens(parent))
        best = np.argsort(-expected)[: len(tree.children(parent))]
        assert [tree.tokens[node] for node in tree.children(parent)] == best.tolist()


@pytest.mark.parametrize("drafter", drafters().values(), ids=drafters())
def test_what_is_declared_is_what_is_proposed(drafter):
    drafting = begin(drafter)
    repeated = 0
    for seed, pipeline in itertools.product(range(12), (GREEDY, WARM)):
        (tree,) = drafting.propose([drafting.open(row_of([0, 1], pipeline, seed))], [Room(12, 4)])
        assert set(tree.proposals) <= drafter.proposals
        assert tree.is_chain or Ability.TREE in drafter.needs
        siblings = [(parent, token) for parent, token in zip(tree.parents, tree.tokens, strict=True)]
        repeated += len(siblings) - len(set(siblings))
        assert drafter.siblings is not Siblings.NONE or tree.is_chain
    assert (repeated > 0) == (drafter.siblings is Siblings.REPEATED)


@pytest.mark.parametrize("name", [name for name in drafters() if name not in ("merged", "hierarchy")])
def test_the_planner_is_asked_after_each_level(name):
    """It sees the levels there are, and none grows after its no."""
    for pipeline in (GREEDY, WARM):
        for levels in (1, 2, 3, 9):
            drafting = begin(drafters()[name])
            asked: list[int] = []

            def more(tree: Tree, asked=asked, levels=levels) -> bool:
                asked.append(max(tree.depths))
                return len(asked) < levels

            (tree,) = drafting.propose([drafting.open(row_of([0, 1, 2], pipeline))], [Room(40, 4, more=more)])
            depth = max(tree.depths)
            assert asked == list(range(1, 1 + len(asked)))
            assert depth == len(asked) == levels or len(asked) == depth - 1 < levels  # it said no, or nothing was left


# -- shapes ---------------------------------------------------------------------------------------


def test_shapes_by_hand():
    room = Room(99, 9)
    assert shape_of((2, 1, 2), room) == (-1, -1, 0, 1, 2, 2, 3, 3)
    assert shape_of((1, 1, 1), room) == (-1, 0, 1)
    assert shape_of((2, 2, 2), Room(5, 9)) == (-1, -1, 0, 0, 1)
    assert shape_of((2, 2, 2), Room(99, 1)) == (-1, -1)
    assert shape_of((2, 2), Room(0, 0)) == ()
    assert len(shape_of((1, 1, 3, 1, 1, 1, 1, 1), room)) == 20


@pytest.mark.parametrize("pipeline", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", SHAPED)
def test_a_shape_is_filled(name, pipeline):
    """Parents may come in any order that puts them first; ranks are told in order."""
    wide = Watched(TableModel.random(7, seed=5))
    drafter = {"draft-tree": DraftTree(1, model=wide), "rsd-c": Constant((1,), wide), "iid": Independent((1,), wide)}
    drafting = begin(drafter[name], TableModel.random(7, seed=1))
    shape = (-1, 0, -1, 0, 1, -1, 2, 4)
    (tree,) = drafting.propose([drafting.open(row_of([0], pipeline))], [Room(8, 8, shape)])
    assert sorted(tree.depths) == [1, 1, 1, 2, 2, 2, 3, 4]
    assert wide.windows[0] == 1 and len(wide.windows) == 4  # one evaluation per level
    if name != "iid" or pipeline is GREEDY:
        families = sorted(len(tree.children(node)) for node in range(ROOT, len(tree)))
        assert families == [0, 0, 0, 0, 1, 1, 1, 2, 3]
        assert [tree.ranks[node] for node in tree.children(ROOT)] == [0, 1, 2]
        first, second, _ = tree.children(ROOT)
        assert (len(tree.children(first)), len(tree.children(second))) == (2, 1)
    (short,) = drafting.propose([drafting.open(row_of([0], pipeline))], [Room(4, 9, shape)])
    assert sorted(short.depths) == [1, 1, 2, 2]
    (flat,) = drafting.propose([drafting.open(row_of([0], pipeline))], [Room(8, 2, shape)])
    assert sorted(flat.depths) == [1, 1, 1, 2, 2, 2]
    (empty,) = drafting.propose([drafting.open(row_of([0], pipeline))], [Room(8, 2, ())])
    assert len(empty) == 0


# -- urns -----------------------------------------------------------------------------------------


def test_drawing_without_replacement_orders_tokens_as_it_should():
    """By enumeration: P(1, then 0) = q1 q0 / (1 - q1), and so on."""
    q = vector(2, 5, 3)

    def order(chance: Branching) -> tuple[int | None, ...]:
        urn = Urn(q, chance)
        return tuple(urn.take() for _ in range(4))

    found: dict[tuple[int | None, ...], object] = {}
    for weight, tokens in outcomes(order):
        found[tokens] = found.get(tokens, 0) + weight
    for a, b, c in itertools.permutations(range(3)):
        assert found.pop((a, b, c, None)) == q[a] * q[b] / (1 - q[a])
    assert not found


def test_sorting_by_gumbel_noise_orders_tokens_the_same_way():
    q = np.array([0.2, 0.5, 0.3])
    noise = np.random.default_rng(0).gumbel(size=(40000, 3))
    orders = (-(np.log(q) + noise)).argsort(-1)[:, :2]
    for a, b in itertools.permutations(range(3), 2):
        share = (orders == [a, b]).all(-1).mean()
        assert share == pytest.approx(q[a] * q[b] / (1 - q[a]), abs=0.01)


def test_urns_by_hand():
    q = vector(0, 5, 3, 5)
    best = Urn(q, None)
    assert [(best.take(), best.score) for _ in range(3)] == [(1, 5 / 13), (3, 5 / 13), (2, 3 / 13)]
    assert best.take() is None
    again = Urn(q, Branching([0, 0, 0]), replaced=True)
    assert [again.take() for _ in range(3)] == [1, 1, 1]
    assert q.tolist() == vector(0, 5, 3, 5).tolist()
    greedy = Urn(q, None, replaced=True)  # where draws would all repeat
    assert [greedy.take() for _ in range(3)] == [1, 3, 2]


def test_a_growth_needs_no_model():
    """The trees of the tests below come from tables, with the very code that the models drive."""
    tree = grown(Constant((2, 1)), lambda path: vector(1, 2, 3), Room(9, 9), None)
    assert tree.tokens == [2, 1, 2, 2] and tree.parents == [-1, -1, 0, 1]
