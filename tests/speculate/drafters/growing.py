"""Drafters with a second model in small worlds: rounds by hand, and trees grown from tables with any chance."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from laws.branching import Table, outcomes
from stretto.context import Context
from stretto.models.clock import SimulatedClock
from stretto.models.contract import Want
from stretto.models.table import TableModel
from stretto.noise import uniform_one
from stretto.row import Limits, Row
from stretto.speculate.contract import Drafter, Drafting, DraftSession, Outcome, Room
from stretto.speculate.drafters.dyspec import DySpec
from stretto.speculate.drafters.hierarchy import Hierarchy
from stretto.speculate.drafters.model import DraftModel
from stretto.speculate.drafters.rsd import Constant, Stochastic
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.drafters.specinfer import Independent, Merged
from stretto.speculate.drafters.tree import DraftTree
from stretto.speculate.small_model import DraftRow
from stretto.steer.choice import Rule
from stretto.steer.nodes import Nodes
from stretto.steer.path import History, Path
from stretto.steer.pipeline import Pipeline
from stretto.steer.repetition import Repetition
from stretto.steer.temperature import Temperature
from stretto.steer.top_p import TopP
from stretto.tree import Tree

V = 4
TARGET = TableModel.random(V, seed=1)
SMALL = TableModel.random(V, seed=2, order=99)
OTHER = TableModel.random(V, seed=3, order=99)
GREEDY = Pipeline([Temperature(0.0)])
WARM = Pipeline([Temperature(1.0)])
STEERED = Pipeline([Repetition(1.4), Temperature(0.8), TopP(0.8)])


def drafters(model: TableModel = SMALL) -> dict[str, Drafter]:
    """Every drafter of this kind, at settings that make it wide and deep."""
    return {
        "draft": DraftModel(model),
        "sampled": Sampled(model),
        "draft-tree": DraftTree(3, model=model),
        "draft-tree, coupled": DraftTree(3, coupled=True, model=model),
        "rsd-c": Constant((2, 2, 2, 1), model),
        "rsd-s": Stochastic(3, model),
        "dyspec": DySpec(model=model),
        "dyspec, heap": DySpec(layered=False, model=model),
        "iid": Independent((3, 2, 1, 1), model),
        "merged": Merged((Sampled(model), Independent((2, 2, 1), model))),
        "hierarchy": Hierarchy(DraftTree(2, model=model), model, least=3),
    }


def begin(drafter: Drafter, target: TableModel = TARGET) -> Drafting:
    return drafter.begin(Context(target, SimulatedClock(), lambda name: target))


def row_of(
    tokens: Sequence[int], pipeline: Pipeline = GREEDY, seed: int = 0, ends: frozenset[int] = frozenset()
) -> Row:
    return Row(History(tokens), -1, Rule(pipeline, seed, 0), Limits(999, ends))


def commit(row: Row, session: DraftSession, tree: Tree, node: int, extra: int) -> None:
    """The target accepts the path to `node` and adds a token."""
    committed = [*tree.path_tokens(node), extra]
    row.history.extend(committed)
    session.advance(Outcome(tree, tree.path(node), committed))


def drafts(session: DraftSession) -> list[DraftRow]:
    """All drafts that a session holds, whatever holds them."""
    found = [session.draft] if hasattr(session, "draft") else []
    for held in [*getattr(session, "parts", []), *([session.inner] if hasattr(session, "inner") else [])]:
        found += drafts(held)
    return found


def held(draft: DraftRow) -> list[int]:
    """The tokens in a draft's cache row; a table stores each as its key."""
    return [int(key) for key in draft.small.cache.keys(draft.cache_row, 0)[0, :, 0]]


def distribution(model: TableModel, row: Row, drafted: Sequence[int]) -> np.ndarray:
    """What the row's rule draws from after a path, by the definition: [V]."""
    logits = torch.tensor([model.rule((*row.history.tokens, *drafted))], dtype=torch.float64)
    return row.rule.pipeline(Nodes([Path(row.history, tuple(drafted))], logits))[0].softmax(-1).numpy()


class Watched(TableModel):
    """A table that notes the tokens of every window, and refuses positions that it does not have."""

    def __init__(self, model: TableModel, max_positions: int = 4096) -> None:
        super().__init__(model.vocabulary, model.rule, max_positions)
        self.windows: list[int] = []

    def evaluate(self, window: Any, cache: Any, want: Want = Want()) -> Any:
        self.windows.append(sum(window.lengths))
        for positions, length in zip(window.positions, window.lengths, strict=True):
            assert int(positions[:length].max()) < self.max_positions
        return super().evaluate(window, cache, want)


# -- without a model ------------------------------------------------------------------------------


def timed(chance: Any, seed: int) -> Any:
    """The chance with uniform numbers as well, which are set: what depends on them is one case of many."""
    tossed = itertools.count(1)
    chance.uniform = lambda: uniform_one(seed, next(tossed))
    return chance


def grown(drafter: Any, q: Table, room: Room, chance: Any, ends: frozenset[int] = frozenset()) -> Tree:
    """The tree that a drafter grows when its model's probabilities are `q`."""
    draft = DraftRow(None, row_of([0], ends=ends), -1)  # type: ignore[arg-type]
    growth = drafter.grow(draft, room, chance)
    wanted = next(growth)
    while True:
        lines = [q(draft.path(node).drafted) for node in wanted]
        if isinstance(drafter, Sampled):
            lines = [(line, line) for line in lines]
        elif isinstance(drafter, DraftTree):
            lines = torch.tensor(np.array(lines, dtype=float))
        try:
            wanted = growth.send(lines)
        except StopIteration as done:
            return done.value


def trees(drafter: Any, q: Table, room: Room, seed: int = 0) -> list[tuple[Any, Tree]]:
    """Every tree that chance can make, with its probability."""
    return list(outcomes(lambda chance: grown(drafter, q, room, timed(chance, seed))))


def error(draw: Callable[[Any], Tree], acceptor: Any, p: Table, vocabulary: int, length: int) -> Any:
    """Between the joint of `length` tokens that begin with a round's, over all draws and coins, and p's own."""
    committed: Counter[tuple[int, ...]] = Counter()

    def experiment(chance: Any) -> tuple[int, ...]:
        tree = draw(chance)
        verdict = acceptor.walk(tree, lambda node: p(tuple(tree.path_tokens(node))), chance)
        return (*(tree.tokens[node] for node in verdict.path), verdict.extra)

    for weight, tokens in outcomes(experiment):
        committed[tokens] += weight
    assert max(map(len, committed)) <= length

    def after(tokens: tuple[int, ...], begun: int) -> Any:
        return math.prod(p(tokens[:at])[tokens[at]] for at in range(begun, length))

    return max(
        abs(sum(committed[tokens[:size]] * after(tokens, size) for size in range(1, length + 1)) - after(tokens, 0))
        for tokens in itertools.product(range(vocabulary), repeat=length)
    )
