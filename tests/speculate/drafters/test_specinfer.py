from __future__ import annotations

import itertools
from collections import Counter

import pytest

from laws.branching import DRAFTS, Sampler, outcomes, table
from laws.worlds import decode
from speculate.drafters.growing import (
    GREEDY,
    OTHER,
    SMALL,
    TARGET,
    WARM,
    Watched,
    begin,
    commit,
    drafts,
    error,
    grown,
    held,
    row_of,
    trees,
)
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.table import TableModel
from stretto.speculate.acceptors.k_seq import KSeq
from stretto.speculate.acceptors.multi import Multi
from stretto.speculate.acceptors.specinfer import SpecInfer
from stretto.speculate.contract import Room
from stretto.speculate.drafters.lookup import Lookup
from stretto.speculate.drafters.rsd import Constant
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.specinfer import Independent, Merged, merge
from stretto.speculate.planners.fixed import Fixed
from stretto.tree import ROOT, NodeKind, Tree

BRANCHES = [(2, 1), (3,), (1, 2)]


@pytest.mark.parametrize("acceptor", [Multi(), SpecInfer(), KSeq()], ids=["multi", "specinfer", "k-seq"])
@pytest.mark.parametrize("branches", BRANCHES)
def test_with_its_acceptors_the_output_is_exact(acceptor, branches):
    for least in (0, 1):
        p, q = table("p", 2, least), table("q", 2, least)
        worst = error(lambda chance, q=q: grown(Independent(branches), q, Room(9, 9), chance), acceptor, p, 2, 3)
        assert worst == 0 if acceptor.name != "k-seq" else worst < 1e-9


def sequences(tree: Tree) -> list[tuple[int, ...]]:
    """The multiset of whole sequences: at a token stand as many draws as sequences went there."""
    return sorted(tuple(tree.path_tokens(node)) for node in range(len(tree)))


def test_they_are_so_many_independent_sequences():
    """Two chains of two tokens: each pair of sequences as often as drawing them one by one would give."""
    q = table("q", 2)
    p = {s: q(())[s[0]] * q(s[:1])[s[1]] for s in itertools.product(range(2), repeat=2)}
    expected: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for a, b in itertools.product(p, repeat=2):
        expected[tuple(sorted((a[:1], a, b[:1], b)))] += p[a] * p[b]
    found: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for weight, tree in trees(Independent((2, 1)), q, Room(9, 9)):
        found[tuple(sequences(tree))] += weight
    assert found == expected


def test_below_equal_siblings_the_first_stands_for_all():
    for _, tree in trees(Independent((3, 1)), table("q", 2), Room(99, 9)):
        for token in {tree.tokens[node] for node in tree.children(ROOT)}:
            first, *others = (node for node in tree.children(ROOT) if tree.tokens[node] == token)
            assert len(tree.children(first)) == 1 + len(others)
            assert not any(tree.children(other) for other in others)


def test_a_sequence_is_evaluated_once():
    sure = Watched(SMALL)
    drafting = begin(Independent((8, 1, 1), sure))
    (tree,) = drafting.propose([drafting.open(row_of([0], WARM))], [Room(24, 3)])
    assert len(tree) == 24 and len(set(sequences(tree))) < 24
    seconds = {path for path in sequences(tree) if len(path) <= 2}
    assert sum(sure.windows) <= 1 + 2 * len({path for path in seconds if len(path) == 1}) + len(seconds)


def test_with_one_child_each_it_is_a_chain_of_draws():
    q = table("q", 3)
    one, chain = (trees(drafter, q, Room(2, 2)) for drafter in (Independent((1, 1)), Sampled()))
    assert [(weight, tree.tokens) for weight, tree in one] == [(weight, tree.tokens) for weight, tree in chain]


def test_without_chance_children_are_the_likeliest_ones():
    q = table("q", 4, 1, 97)
    tree = grown(Independent((2, 1)), lambda path: q(path).astype(float), Room(9, 9), None)
    best = sorted(range(4), key=lambda token: -q(())[token])[:2]
    assert tree.tokens[:2] == best and set(tree.proposals) == {NodeKind.POINT}


# -- merged ---------------------------------------------------------------------------------------


def merged(q, other, chance) -> Tree:
    """What `merged` makes of a chain of one model and two chains of another."""
    chain = grown(Sampled(), q, Room(2, 2), chance)
    return merge([chain, grown(Independent((2, 1)), other, Room(4, 2), chance)])


def test_two_models_are_exact_in_one_tree():
    """Each candidate with the vector of the model that drew it: the acceptor needs every pair of token and drafter."""
    p, q, other = (table(name, 2, 0) for name in ("p", "q", "other"))
    assert error(lambda chance: merged(q, other, chance), SpecInfer(), p, 2, 3) == 0


def test_multiplicity_and_vectors_are_kept():
    q, other = table("q", 2), table("other", 2)
    for _, tree in outcomes(lambda chance: merged(q, other, chance)):
        assert len(tree) == 6 and Counter(tree.sources) == {"sampled": 2, "iid": 4}
        for node, source in enumerate(tree.sources):
            path = tuple(tree.path_tokens(tree.parents[node]))
            assert tree.drawn_from[node] is (q if source == "sampled" else other)(path)
        for node in range(len(tree)):  # all that follows a token hangs below the first node that bears it
            token, parent = tree.tokens[node], tree.parents[node]
            first = tree.child_bearing(parent, token)
            assert node == first or not tree.children(node)


def test_no_two_drafters_toss_the_same_coins():
    """With real coins: what one drafter draws says nothing about what another draws, nor do nested ones."""
    free = TableModel(2, lambda path: [0.0, 0.0])
    nested = Merged((Sampled(free), Sampled(free)))
    drafting = begin(Merged((nested, Sampled(free), Sampled(free))), TableModel(2, lambda path: [0.0, 0.0]))
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(1600):
        (tree,) = drafting.propose([drafting.open(row_of([0], WARM, seed))], [Room(6, 1)])
        seen[tuple(tree.tokens)] += 1
    assert len(seen) == 16 and all(abs(count - 100) < 45 for count in seen.values())


def test_guesses_without_chance_are_one_node_where_they_agree():
    left, right = Tree.chain([1, 2], source="a"), Tree.chain([1, 3], source="b")
    tree = merge([left, right])
    assert tree.tokens == [1, 2, 3] and tree.parents == [-1, 0, 0] and tree.sources == ["a", "a", "b"]
    tree.check()


def test_drafters_of_one_name_are_told_apart():
    drafting = begin(Merged((Sampled(SMALL), Sampled(OTHER), Lookup())))
    (tree,) = drafting.propose([drafting.open(row_of([0, 1, 0, 1], WARM))], [Room(9, 3)])
    assert set(tree.sources) == {"sampled#1", "sampled#2", "lookup"}
    assert Counter(tree.sources)["sampled#1"] == 3


def test_each_drafters_cache_follows_the_row_whoever_was_right():
    drafting = begin(Merged((Sampled(SMALL), Independent((2, 1), OTHER))))
    row = row_of([0, 1], WARM, seed=3)
    session = drafting.open(row)
    for turn in range(8):
        (tree,) = drafting.propose([session], [Room(8, 3)])
        theirs = [node for node, source in enumerate(tree.sources) if source == ("sampled", "iid")[turn % 2]]
        commit(row, session, tree, theirs[-1], turn % 4)
        assert len(drafts(session)) == 2
        for draft in drafts(session):
            assert held(draft) == row.history.tokens[: len(held(draft))]
            assert len(held(draft)) >= len(row.history.tokens) - 4


def test_complementary_drafters_reach_further_together():
    """The target is one model at even tokens and the other at odd ones: neither alone is enough."""
    target = Watched(TARGET)
    target.rule = lambda path: (SMALL if len(path) % 2 else OTHER).rule(path)
    lengths = {}
    for name, drafter in {
        "small": Sampled(SMALL),
        "other": Sampled(OTHER),
        "merged": Merged((Sampled(SMALL), Sampled(OTHER))),
    }.items():
        rows = decode(target, [[0], [1, 2]], drafter=drafter, planner=Fixed(8, 4), new_tokens=60)
        lengths[name] = sum(row.counters.new_tokens / row.counters.rounds for row in rows)
    assert lengths["merged"] > max(lengths["small"], lengths["other"])


def test_what_does_not_belong_in_one_tree_is_refused():
    for make in (lambda: Merged(()), lambda: Merged((Sampled(SMALL),)), lambda: Independent((0,))):
        with pytest.raises(InvalidRequest) as caught:
            make()
        assert caught.value.hint
    with pytest.raises(InvalidRequest, match="without replacement"):
        Merged((Sampled(SMALL), Constant((2,), SMALL)))
    with pytest.raises(Unsupported, match="draws of 'sampler'"):
        begin(Merged((Sampled(SMALL), Sampler(DRAFTS["sampled chain"], SMALL))))
    drafting = begin(Merged((Sampled(SMALL), Independent((2, 2), OTHER))))
    assert drafting.propose([drafting.open(row_of([0], GREEDY))], [Room(1, 1)])[0].sources == ["sampled"]
