"""What of a draft is worth verifying: the one file that leaves nodes out.

Acceptors that judge a drawn token by its distribution stay exact only while no drawn node is left out for what it
turned out to be. What lies below a node may depend on the node; so a tree that holds drawn nodes is cut below nodes,
never at them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nlargest
from operator import itemgetter

from ...tree import ROOT, NodeKind, Tree
from .acceptance import along


def reaches(tree: Tree) -> list[float]:
    """The drafter's own estimate that each node is accepted: the product of the scores on its path; of riders 0."""
    return along(tree, tree.scores)


def best_sum(values: Sequence[float], nodes: int) -> float:
    """What the `nodes` best are worth together: their expected accepted tokens."""
    return sum(values) if len(values) <= nodes else sum(nlargest(nodes, values))


def holds_draws(tree: Tree) -> bool:
    """Whether a node was drawn, so that none may be left out for its own token."""
    return NodeKind.SAMPLED in tree.proposals


def keep_best(tree: Tree, values: Sequence[float], nodes: int) -> Tree:
    """The `nodes` most valuable candidates and the riders under them; values never rise along a path.

    Of equals the first wins. A tree that holds drawn nodes passes as it is.
    """
    if len(tree) <= nodes or holds_draws(tree):
        return tree
    order = sorted(range(len(tree)), key=values.__getitem__, reverse=True)  # stable: parents before their children
    if NodeKind.RIDER in tree.proposals:
        riders = [node for node, kind in enumerate(tree.proposals) if kind is NodeKind.RIDER]
        candidates = [node for node in order if node not in riders]
        return tree if len(candidates) <= nodes else tree.prune([*candidates[:nodes], *riders])
    return tree.prune(order[:nodes]) if nodes else Tree()


def sizes_that_pay(
    values: Sequence[Sequence[float]], cost: Callable[[int, int], float], price: float | None = None
) -> list[int]:
    """How many nodes of each row to verify: those likeliest of all rows, as many as pay for the batch as a whole.

    `values` are the rows' reaches in any order; `cost(nodes, padding)` the seconds of a round with so many nodes in all
    rows, and slots that are only there because another row is longer. A second must bring `price` tokens; where there
    is no price, tokens per second become as many as they can.
    """
    orders = [sorted(each, reverse=True) for each in values]
    nodes = [(reach, row) for row, order in enumerate(orders) for reach in order]
    nodes.sort(key=itemgetter(0), reverse=True)  # stable: a row's nodes stay in their order
    rows, slots, longest = len(orders), len(nodes), 0
    expected, seconds = float(rows), cost(0, 0)
    best = expected / seconds if price is None else expected - price * seconds
    sizes, kept = [0] * rows, 0
    for count, (reach, row) in enumerate(nodes, start=1):
        ahead = expected + reach * (slots - count + 1)  # were all others as likely, and free
        if best >= (ahead / seconds if price is None else ahead - price * seconds):
            break
        sizes[row] += 1
        longest = max(longest, sizes[row])
        expected, seconds = expected + reach, cost(count, rows * longest - count)
        gain = expected / seconds if price is None else expected - price * seconds
        if gain > best:
            kept, best = count, gain
    sizes = [0] * rows
    for _, row in nodes[:kept]:
        sizes[row] += 1
    return sizes


def keep_paying(
    trees: list[Tree],
    values: Sequence[Sequence[float]],
    cost: Callable[[int, int], float],
    price: float | None = None,
) -> list[Tree]:
    """The likeliest nodes of each tree, as many as pay, see `sizes_that_pay`; drawn trees pass as they are."""
    if any(map(holds_draws, trees)):
        return trees
    sizes = sizes_that_pay(values, cost, price)
    return [keep_best(tree, each, size) for tree, each, size in zip(trees, values, sizes, strict=True)]


def cut_below(tree: Tree, stop: Callable[[int], bool]) -> Tree:
    """The tree without what lies below nodes at which drafting should have stopped; those themselves stay.

    Riders under a node that stays stay with it.
    """
    open_nodes: set[int] = {ROOT}  # kept, and going on
    kept: set[int] = {ROOT}
    for node, parent in enumerate(tree.parents):
        if parent in open_nodes or (parent in kept and tree.proposals[node] is NodeKind.RIDER):
            kept.add(node)
            if not stop(node):
                open_nodes.add(node)
    return tree if len(kept) == 1 + len(tree) else tree.prune(sorted(kept - {ROOT}))


def prune_branches(tree: Tree, keep: Callable[[int], bool]) -> Tree:
    """Without the branches whose first token `keep` refuses."""
    first = {node for node, parent in enumerate(tree.parents) if parent == ROOT and not keep(tree.tokens[node])}
    return tree.prune([node for node in range(len(tree)) if node not in first]) if first else tree
