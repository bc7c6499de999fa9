"""Trees of guesses as sets of paths: how they are planted and united. Siblings differ, so that a path stands for its
node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..tree import ROOT, NodeKind, Tree


def plant(tokens: Sequence[int], parents: Sequence[int], scores: Sequence[float], sources: Sequence[str]) -> Tree:
    """A tree of point guesses from its columns, in one pass: parents before their children, siblings by rank."""
    depths: list[int] = []
    ranks: list[int] = []
    families: dict[int, int] = {}  # parent -> children so far
    for parent in parents:
        depths.append(1 if parent == ROOT else depths[parent] + 1)
        rank = families.get(parent, 0)
        families[parent] = rank + 1
        ranks.append(rank)
    return Tree(
        tokens=list(tokens),
        parents=list(parents),
        depths=depths,
        ranks=ranks,
        sources=list(sources),
        scores=list(scores),
        proposals=[NodeKind.POINT] * len(depths),
    )


def bundle(chains: Iterable[Sequence[int]], nodes: int, source: str, score: float) -> Tree:
    """One tree that holds each chain as a path, at most `nodes` nodes, the first chains first."""
    tokens: list[int] = []
    parents: list[int] = []
    place: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    for chain in chains:
        parent = ROOT
        for token in chain:
            node = place.get((parent, token))
            if node is None:
                if len(tokens) == nodes:
                    break
                node = place[parent, token] = len(tokens)
                tokens.append(token)
                parents.append(parent)
            parent = node
    return plant(tokens, parents, [score] * len(tokens), [source] * len(tokens))


def union(trees: Sequence[Tree]) -> Tree:
    """The paths of all trees as point guesses, those of the first tree in its order.

    As a set of paths it does not depend on the order of the trees. A path of several trees has the highest score, and
    all their sources, joined by "+". Riders are left out: they belong to the drafter that laid them.
    """
    tokens: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    sources: list[list[str]] = []
    place: dict[tuple[int, int], int] = {}
    for tree in trees:
        renamed = {ROOT: ROOT}
        for node, (token, above) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            parent = renamed.get(above)
            if parent is None or tree.proposals[node] is NodeKind.RIDER:
                continue
            known = place.get((parent, token))
            if known is None:
                known = place[parent, token] = len(tokens)
                tokens.append(token)
                parents.append(parent)
                scores.append(tree.scores[node])
                sources.append([tree.sources[node]])
            else:
                scores[known] = max(scores[known], tree.scores[node])
                if tree.sources[node] not in sources[known]:
                    sources[known].append(tree.sources[node])
            renamed[node] = known
    return plant(tokens, parents, scores, ["+".join(names) for names in sources])
