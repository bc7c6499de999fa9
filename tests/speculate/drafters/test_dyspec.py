from __future__ import annotations

import itertools

import numpy as np
import pytest

from laws.branching import table, vector
from speculate.drafters.growing import WARM, Watched, begin, error, grown, row_of, trees
from stretto.errors import InvalidRequest
from stretto.models.table import TableModel
from stretto.speculate.acceptors.recursive import Recursive
from stretto.speculate.acceptors.traversal import Traversal
from stretto.speculate.chance import DRAFTING, chance_of
from stretto.speculate.contract import Room
from stretto.speculate.drafters import dyspec
from stretto.speculate.drafters.dyspec import DySpec

FREE = vector(6, 3, 1)  # whatever the context
FORMS = {"heap": DySpec(layered=False), "layers": DySpec(), "threshold": DySpec(threshold=0.2)}


def paths(tree):
    return [tuple(tree.path_tokens(node)) for node in range(len(tree))]


def value(tree, node) -> float:
    return float(np.prod([tree.scores[above] for above in tree.path(node)]))


def test_the_illustration(monkeypatch):
    """Argmax in place of draws: which slots are popped, of which value, and what they hold."""
    popped = []
    pop = dyspec.Heap.pop

    def noted(heap):
        slot = pop(heap)
        popped.append(round(slot.value, 9))
        return slot

    monkeypatch.setattr(dyspec.Heap, "pop", noted)
    tree = grown(FORMS["heap"], lambda path: FREE.astype(float), Room(5, 9), None)
    assert popped == [1.0, 0.6, 0.4, 0.36, 0.3]
    assert paths(tree) == [(0,), (0, 0), (1,), (0, 0, 0), (1, 0)]
    assert sum(value(tree, node) for node in range(5)) == pytest.approx(1.656)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("acceptor", [Recursive(), Traversal()], ids=["recursive", "traversal"])
@pytest.mark.parametrize("least", [0, 1])
def test_the_output_is_exact_although_the_shape_depends_on_the_draws(form, acceptor, least):
    assert len({tuple(tree.parents) for _, tree in trees(form, lambda path: vector(9, 1), Room(4, 3))}) > 1
    for seed in range(3):
        p, q = table(("p", seed), 2, least), table(("q", seed), 2, least, 9)
        assert error(lambda chance, q=q: grown(form, q, Room(4, 3), chance), acceptor, p, 2, 4) == 0
    p, q = table("p", 3, least), table("q", 3, least)
    assert error(lambda chance: grown(form, q, Room(3, 2), chance), acceptor, p, 3, 3) == 0


def slots_of(tree, q) -> list[float]:
    """The value of the slot that each node was put into, by the definition."""
    values = []
    for node, parent in enumerate(tree.parents):
        place = tree.path(parent)
        reached = np.prod([values[at] * share(tree, at, q) / values[at] for at in place]) if place else 1.0
        earlier = [other for other in tree.children(parent) if other < node]
        before = values[parent] * share(tree, parent, q) if parent >= 0 else 1.0
        assert reached >= 0
        for other in earlier:
            before *= 1 - share(tree, other, q)
        values.append(before)
    return values


def share(tree, node, q) -> float:
    """Of what its earlier siblings left of q, the node's own part."""
    parent = tree.parents[node]
    line = q(tuple(tree.path_tokens(parent)))
    left = line.sum() - sum(line[tree.tokens[other]] for other in tree.children(parent) if other < node)
    return float(line[tree.tokens[node]] / left)


def test_slots_are_filled_from_the_most_valuable_down():
    model = table("q", 4)
    for seed in range(10):
        chance = chance_of(row_of([0], WARM, seed), DRAFTING)
        tree = grown(FORMS["heap"], lambda path: model(path).astype(float), Room(12, 9), chance)
        values = slots_of(tree, model)
        assert len(values) == 12
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))


def test_layers_fill_every_slot_above_the_threshold():
    """With room to spare the tree is that of the heap proper, cut at the threshold; only the order differs."""
    model = table("q", 4)

    def q(path):
        return model(path).astype(float)

    layered = grown(DySpec(threshold=0.05), q, Room(99, 9), None)
    whole = grown(FORMS["heap"], q, Room(99, 9), None)
    above = {path for path, slot in zip(paths(whole), slots_of(whole, model), strict=True) if slot > 0.05}
    assert set(paths(layered)) == above and 5 < len(above) < 99


def test_the_threshold_is_one_over_the_room_unless_it_is_set():
    free = FREE.astype(float)
    by_room = grown(DySpec(), lambda path: free, Room(4, 9), None)
    by_hand = grown(DySpec(threshold=0.25), lambda path: free, Room(4, 9), None)
    assert paths(by_room) == paths(by_hand) == [(0,), (1,), (0, 0), (1, 0)]
    assert paths(grown(DySpec(threshold=0.5), lambda path: free, Room(9, 9), None)) == [(0,), (0, 0)]


def test_layers_evaluate_once_per_level_and_the_heap_once_per_inner_node():
    for layered in (True, False):
        model = Watched(TableModel.random(4, seed=2))
        drafting = begin(DySpec(layered=layered, model=model))
        (tree,) = drafting.propose([drafting.open(row_of([0], WARM))], [Room(9, 4)])
        inner = set(tree.parents)
        assert len(model.windows) == (max(tree.depths) if layered else len(inner))


def test_settings_out_of_range_are_refused():
    with pytest.raises(InvalidRequest) as caught:
        DySpec(threshold=1.0)
    assert caught.value.hint
