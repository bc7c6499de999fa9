"""Chance with every outcome and its weight: exact distributions of what draws, by enumeration with fractions."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
import torch

from stretto.context import Context
from stretto.models.contract import Evaluation
from stretto.models.table import TableModel
from stretto.row import Limits, Row
from stretto.speculate.chance import DRAFTING, SamplingAcceptor, chance_of
from stretto.speculate.contract import Acceptor, Drafter, Drafting, DraftSession, Room, Target, Verdict
from stretto.steer.choice import Rule
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.tree import ROOT, NodeKind, Siblings, Tree

T = TypeVar("T")
Table = Callable[[tuple[int, ...]], np.ndarray]  # tokens of a path -> probabilities [V] of what follows


class Branching:
    """Answers as the script says, and with the first possible outcome beyond it; notes what else was possible."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = script
        self.options: list[list[tuple[Any, Any]]] = []  # of each question: (answer, weight)

    def _answer(self, options: list[tuple[Any, Any]]) -> Any:
        at = len(self.options)
        self.options.append(options)
        return options[self.script[at] if at < len(self.script) else 0][0]

    def accept(self, probability: Any) -> bool:
        if probability >= 1 or probability <= 0:
            return bool(probability >= 1)
        return self._answer([(True, probability), (False, 1 - probability)])

    def at(self, depth: int, *labels: int) -> Branching:
        assert depth >= 1
        return self

    def draw(self, weights: np.ndarray) -> int:
        total = sum(weights.tolist())
        assert total > 0
        return self._answer([(at, Fraction(1) * w / total) for at, w in enumerate(weights.tolist()) if w > 0])


def outcomes(experiment: Callable[[Branching], T]) -> Iterator[tuple[Any, T]]:
    """Every outcome of an experiment with chance, and its probability."""
    script: list[int] = []
    while True:
        chance = Branching(script)
        result = experiment(chance)
        script = (script + [0] * len(chance.options))[: len(chance.options)]
        weight: Any = Fraction(1)
        for at, options in zip(script, chance.options, strict=True):
            weight *= options[at][1]
        yield weight, result
        while script and script[-1] + 1 == len(chance.options[len(script) - 1]):
            script.pop()
        if not script:
            return
        script[-1] += 1


def vector(*weights: Any) -> np.ndarray:
    """Exact probabilities in proportion to whole weights."""
    total = sum(map(Fraction, weights))
    return np.array([Fraction(weight) / total for weight in weights], dtype=object)


def table(seed: object, vocabulary: int, least: int = 1, most: int = 6) -> Table:
    """A made-up model: weights from `least` to `most`, all their sums positive."""

    @cache
    def after(path: tuple[int, ...]) -> np.ndarray:
        chance = random.Random(f"{seed}/{path}")
        weights = [chance.randint(least, most) for _ in range(vocabulary)]
        weights[chance.randrange(vocabulary)] += not any(weights)
        return vector(*weights)

    return after


def one_hot(seed: object, vocabulary: int) -> Table:
    """A made-up model at temperature 0."""
    return lambda path: vector(*np.eye(vocabulary)[random.Random(f"{seed}/{path}").randrange(vocabulary)].tolist())


# -- drafts -----------------------------------------------------------------------------------

SAMPLED, POINT, RIDER = NodeKind.SAMPLED, NodeKind.POINT, NodeKind.RIDER
Draw = Callable[[Any, Table], Tree]


@dataclass(frozen=True)
class Draft:
    """A way to draft with chance, from a small model's table."""

    draw: Draw
    siblings: Siblings = Siblings.NONE
    proposals: frozenset[NodeKind] = field(default=frozenset({SAMPLED}))
    vocabulary: int = 2
    depth: int = 2  # of the deepest node


def sample(tree: Tree, parent: int, q: np.ndarray, chance: Any, taken: Sequence[int] = (), source: str = "q") -> int:
    """Add a node drawn from q without the tokens in `taken`; uniformly, once they hold all of its mass."""
    weights = q.copy()
    weights[list(taken)] = 0
    if not weights.any():
        weights[:] = Fraction(1)
        weights[list(taken)] = 0
    token = chance.draw(weights)
    return tree.add(token, parent, proposal=SAMPLED, drawn_from=q, source=source)


def guess(tree: Tree, parent: int) -> int | None:
    """Add the first token that `parent` has no child for, in an order that the path decides."""
    path = tree.path_tokens(parent)
    order = [(len(path) + sum(path) + step) % 3 for step in range(3)]
    token = next((token for token in order if token < 2 and tree.child_bearing(parent, token) is None), None)
    return None if token is None else tree.add(token, parent, source="guess")


def chain(kinds: Sequence[NodeKind], chance: Any, q: Table) -> Tree:
    tree, parent = Tree(), ROOT
    for kind in kinds:
        if kind is RIDER:  # hangs beside the chain
            tree.add(0, parent, proposal=RIDER)
        elif kind is SAMPLED:
            parent = sample(tree, parent, q(tuple(tree.path_tokens(parent))), chance)
        else:
            parent = guess(tree, parent)
    return tree


def chains(count: int, depth: int, chance: Any, q: Table) -> Tree:
    """Independent chains from the root."""
    tree = Tree()
    for _ in range(count):
        parent = ROOT
        for _ in range(depth):
            parent = sample(tree, parent, q(tuple(tree.path_tokens(parent))), chance)
    return tree


def grown(branches: Sequence[int], chance: Any, q: Table, *, distinct: bool, points: int = 0) -> Tree:
    """So many sampled children at each depth, then so many point ones that bear other tokens."""
    tree, level = Tree(), [ROOT]
    for count in branches:
        below = []
        for parent in level:
            taken: list[int] = []
            for _ in range(count):
                q_here = q(tuple(tree.path_tokens(parent)))
                below.append(sample(tree, parent, q_here, chance, taken if distinct else ()))
                taken.append(tree.tokens[below[-1]])
            below += [node for _ in range(points) if (node := guess(tree, parent)) is not None]
        level = below
    return tree


def guessed(branches: Sequence[int], chance: Any, q: Table) -> Tree:
    return grown([0] * len(branches), chance, q, distinct=True, points=branches[0])


def two_drafters(chance: Any, q: Table) -> Tree:
    """Two of one model, one of another, and each goes on below its own tokens."""
    tree = Tree()
    models = {"q": q, "other": table("other", len(q(())))}
    for source in ("q", "other", "q"):
        node = sample(tree, ROOT, models[source](()), chance, source=source)
        if source == "other" or len(tree) == 1:
            sample(tree, node, models[source]((tree.tokens[node],)), chance, source=source)
    return tree


def adaptive(nodes: int, chance: Any, q: Table) -> Tree:
    """Always the slot of the highest value, where a slot is one more sibling or a first child (DySpec)."""
    tree = Tree()
    slots: list[tuple[Any, int, list[int]]] = [(Fraction(1), ROOT, [])]
    while len(tree) < nodes and slots:
        slots.sort(key=lambda slot: (-slot[0], slot[1]))
        value, parent, taken = slots.pop(0)
        here = q(tuple(tree.path_tokens(parent)))
        left = 1 - sum(here[taken])
        if left == 0:
            continue
        node = sample(tree, parent, here, chance, taken)
        share = here[tree.tokens[node]] / left
        slots += [(value * (1 - share), parent, [*taken, tree.tokens[node]]), (value * share, node, [])]
    return tree


def beside(chance: Any, q: Table) -> Tree:
    """A guess that stands beside a drawn node even where both bear one token, and draws below each."""
    tree = Tree()
    for node in (sample(tree, ROOT, q(()), chance), tree.add(0, source="guess")):
        taken: list[int] = []
        for _ in range(2):
            below = sample(tree, node, q((tree.tokens[node],)), chance, taken)
            taken.append(tree.tokens[below])
    return tree


BOTH = frozenset({SAMPLED, POINT})
DISTINCT, REPEATED = Siblings.DISTINCT, Siblings.REPEATED
DRAFTS = {
    "nothing": Draft(lambda chance, q: Tree(), depth=0),
    "sampled chain": Draft(partial(chain, [SAMPLED] * 2), vocabulary=3),
    "long sampled chain": Draft(partial(chain, [SAMPLED] * 3), depth=3),
    "point chain": Draft(partial(chain, [POINT] * 2), proposals=frozenset({POINT}), vocabulary=3),
    "mixed chain": Draft(partial(chain, [SAMPLED, POINT, SAMPLED]), proposals=BOTH, depth=3),
    "guess first": Draft(partial(chain, [POINT, SAMPLED, POINT]), proposals=BOTH, depth=3),
    "riders": Draft(partial(chain, [RIDER, SAMPLED, RIDER, SAMPLED]), proposals=frozenset({SAMPLED, RIDER})),
    "point tree": Draft(partial(guessed, [2, 2]), DISTINCT, frozenset({POINT}), vocabulary=3),
    "independent chains": Draft(partial(chains, 2, 2), REPEATED),
    "three drafts": Draft(partial(chains, 3, 1), REPEATED, vocabulary=3, depth=1),
    "independent tree": Draft(partial(grown, [2, 1], distinct=False), REPEATED),
    "two drafters": Draft(two_drafters, REPEATED),
    "repeated and points": Draft(partial(grown, [2], distinct=False, points=1), REPEATED, BOTH, vocabulary=3, depth=1),
    "distinct": Draft(partial(grown, [2], distinct=True), DISTINCT, vocabulary=3, depth=1),
    "distinct tree": Draft(partial(grown, [2, 1], distinct=True), DISTINCT, vocabulary=3),
    "all of a tree": Draft(partial(grown, [2, 2], distinct=True), DISTINCT),
    "all of them": Draft(partial(grown, [3], distinct=True), DISTINCT, vocabulary=3, depth=1),
    "distinct and points": Draft(partial(grown, [1, 1], distinct=True, points=1), DISTINCT, BOTH, vocabulary=3),
    "a guess beside a draw": Draft(beside, DISTINCT, BOTH, vocabulary=3),
    "adaptive": Draft(partial(adaptive, 3), DISTINCT, depth=3),
    "adaptive, wide": Draft(partial(adaptive, 3), DISTINCT, vocabulary=3, depth=3),
}


# -- the same drafts from real coins ------------------------------------------------------------


UNSTEERED = Pipeline()


@dataclass(frozen=True)
class Sampler(Drafter):
    """Drafts with chance from a small model, under the row's own steers and from the row's own coins."""

    draft: Draft
    model: TableModel | None = None
    name = "sampler"

    @property
    def proposals(self) -> frozenset[NodeKind]:
        return self.draft.proposals

    @property
    def siblings(self) -> Siblings:
        return self.draft.siblings

    def begin(self, context: Context) -> Drafting:
        drawn_from = cache(self.drawn_from)
        return Drafting(self, lambda row: SamplerSession(self.draft, row, drawn_from))

    def drawn_from(self, prompt: tuple[int, ...], path: tuple[int, ...], pipeline: Pipeline) -> np.ndarray:
        """The small model's steered probabilities [V] after a path."""
        logits = torch.tensor([self.model.rule((*prompt, *path))], dtype=torch.float64)
        history = History(prompt)
        history.extend(path)
        steered = pipeline(Nodes([Path(history)], logits))[0]
        if pipeline.greedy:
            return torch.nn.functional.one_hot(steered.argmax(), len(steered)).double().numpy()
        return steered.softmax(-1).numpy()


class SamplerSession(DraftSession):
    def __init__(self, draft: Draft, row: Row, drawn_from: Callable[..., np.ndarray]) -> None:
        self.draft, self.row, self.drawn_from = draft, row, drawn_from

    def propose(self, room: Room) -> Tree:
        history = self.row.history
        prompt, output = tuple(history.tokens[: history.prompt_length]), history.tokens[history.prompt_length :]

        def q(pipeline: Pipeline, path: tuple[int, ...]) -> np.ndarray:
            return self.drawn_from(prompt, (*output, *path), pipeline)

        tree = self.draft.draw(chance_of(self.row, DRAFTING), partial(q, self.row.rule.pipeline))
        tree = tree.prune([node for node in range(len(tree)) if tree.depths[node] <= room.depth])
        for node in tree.drawn_from:
            tree.beliefs[node] = q(UNSTEERED, tuple(tree.path_tokens(tree.parents[node])))
        return tree

    def fork(self, row: Row) -> DraftSession:
        return SamplerSession(self.draft, row, self.drawn_from)


# -- one round ----------------------------------------------------------------------------------


def enumerated(acceptor: SamplingAcceptor, draft: Draft, p: Table, q: Table) -> tuple[dict[tuple[int, ...], Any], Any]:
    """The exact distribution of what one round commits, and how many drafted tokens it accepts on average."""
    committed: dict[tuple[int, ...], Any] = {}
    accepted: Any = 0

    def experiment(chance: Any) -> tuple[tuple[int, ...], int]:
        tree = draft.draw(chance, q)
        tree.check()
        verdict = acceptor.walk(tree, lambda node: p(tuple(tree.path_tokens(node))), chance)
        assert verdict.path == (tree.path(verdict.path[-1]) if verdict.path else [])
        assert all(tree.proposals[node] is not NodeKind.RIDER for node in verdict.path)
        return (*(tree.tokens[node] for node in verdict.path), verdict.extra), len(verdict.path)

    total: Any = 0
    for weight, (tokens, length) in outcomes(experiment):
        committed[tokens] = committed.get(tokens, 0) + weight
        accepted += weight * length
        total += weight
    assert abs(total - 1) < 1e-12
    return committed, accepted


def worst_error(committed: dict[tuple[int, ...], Any], p: Table, vocabulary: int, length: int) -> Any:
    """Between the joint of `length` tokens, continued with p, and p's own."""
    assert max(map(len, committed)) <= length

    def probability(tokens: tuple[int, ...], after: int = 0) -> Any:
        return math.prod(p(tokens[:at])[tokens[at]] for at in range(after, len(tokens)))

    def reached(tokens: tuple[int, ...]) -> Any:
        heads = (tokens[:size] for size in range(1, length + 1))
        return sum(committed.get(head, 0) * probability(tokens, len(head)) for head in heads)

    outputs = itertools.product(range(vocabulary), repeat=length)
    return max(abs(reached(tokens) - probability(tokens)) for tokens in outputs)


def verdict(
    acceptor: Acceptor,
    tree: Tree,
    logits: Callable[[tuple[int, ...]], Sequence[float]],
    pipeline: Pipeline = UNSTEERED,
    seed: int = 0,
) -> Verdict:
    """What an acceptor makes of one tree after the prompt [0], given the model's logits [V] after each path."""
    row = Row(History([0]), 0, Rule(pipeline, seed, 0), Limits(99))
    lines = [logits(tuple(tree.path_tokens(node))) for node in range(ROOT, len(tree))]
    evaluation = Evaluation(logits=torch.tensor([lines], dtype=torch.float64))
    return acceptor.accept(Target([row], [tree], evaluation))[0]
