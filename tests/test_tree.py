from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.tree import ROOT, NodeKind, Tree


@st.composite
def trees(draw):
    tree = Tree()
    for _ in range(draw(st.integers(0, 12))):
        tree.add(draw(st.integers(0, 5)), draw(st.integers(ROOT, len(tree) - 1)))
    return tree


@given(trees())
def test_depths_and_ranks_agree_with_the_parents(tree):
    for node in range(len(tree)):
        path = tree.path(node)
        assert tree.depths[node] == len(path)
        assert tree.children(tree.parents[node])[tree.ranks[node]] == node


@given(trees(), st.data())
def test_pruning_keeps_whole_paths_only(tree, data):
    keep = data.draw(st.lists(st.integers(0, max(0, len(tree) - 1)), max_size=len(tree)))
    kept = tree.prune([node for node in keep if node < len(tree)])
    paths = {tuple(kept.path_tokens(node)) for node in range(len(kept))}
    assert paths <= {tuple(tree.path_tokens(node)) for node in keep}
    assert len(kept) == sum(all(step in keep for step in tree.path(node)) for node in set(keep) if node < len(tree))


def test_a_chain_is_a_thin_tree():
    chain = Tree.chain([4, 5, 6], source="x", score=0.2)
    grown = Tree()
    parent = ROOT
    for token in (4, 5, 6):
        parent = grown.add(token, parent, source="x", score=0.2)
    assert chain == grown
    assert chain.is_chain and Tree().is_chain
    grown.add(7, 0)
    assert not grown.is_chain


def test_riders_are_never_followed():
    tree = Tree()
    tree.add(3, proposal=NodeKind.RIDER)
    assert tree.child_bearing(ROOT, 3) is None
    committable = tree.add(3)
    assert tree.child_bearing(ROOT, 3) == committable


def test_duplicate_point_siblings_are_refused():
    tree = Tree()
    tree.add(3)
    tree.add(3, 0)
    tree.check()
    tree.add(3)
    with pytest.raises(ValueError, match="both bear token 3"):
        tree.check()
