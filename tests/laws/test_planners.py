"""What every planner must do that goes by an estimate: verify the likeliest nodes, and as many as pay.

A planner is tried the moment it is registered. One that goes by no estimate is named here, with the reason.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from heapq import nlargest

import pytest

from laws.worlds import random_tree
from stretto import catalogue
from stretto.context import Context
from stretto.models.clock import SimulatedClock
from stretto.speculate.contract import Drafting, Outcome, Planner, Planning, Room
from stretto.speculate.planners.opt_tree import OptTree
from stretto.tree import ROOT, Tree

NO_ESTIMATE = {
    "fixed": "takes what it is given",
    "confidence": "draws a line at a score, and keeps what crosses it first",
    "specdec": "draws a line at a probability, and keeps what crosses it first",
    "thompson": "tosses coins for the length",
}
NO_COST = {"opt-tree": "makes the tree longest, whatever it costs"}
OF_CHAINS = {"smartspec": "plans lengths: a token of a chain is as likely as the one before it"}
CHAINS_WHERE_COSTLY = {"cheapest": "says after each level whether to go on, and asks for no shape"}

RATES = (0.6, 0.2, 0.1)  # of the child of each rank, under every node
LEARNING, JUDGED = 200, 300  # rounds
STEADY = 0.99  # weight of what was learnt before, where that is a setting: these worlds never change
NEARLY = 0.97


def within(planner: Planner, **bounds: int) -> Planner:
    """The planner with these of its settings."""
    return replace(planner, **{each.name: bounds[each.name] for each in fields(planner) if each.name in bounds})


def planners() -> dict[str, Planner]:
    return {name: part() for name, part in catalogue.parts().items() if part.kind == "planner"}


ESTIMATING = sorted(planners().keys() - NO_ESTIMATE.keys())
PAYING = sorted(set(ESTIMATING) - NO_COST.keys())


def begun(planner: Planner, clock: SimulatedClock, *, free: bool) -> Planning:
    drafting = Drafting("a drafter", lambda row: None)
    drafting.free, drafting.watched = free, not free
    return planner.begin(Context(None, clock, lambda name: None), drafting)


@pytest.mark.parametrize("name", planners())
def test_who_has_an_estimate_is_known(name):
    plan = begun(planners()[name], SimulatedClock(), free=True)
    plan.rooms([])
    assert (plan.estimate(None, Tree.chain([1])) is None) == (name in NO_ESTIMATE)


@pytest.mark.parametrize("per_token", [0.01, 0.06])
@pytest.mark.parametrize("name", ESTIMATING)
def test_what_is_kept_is_the_likeliest(name, per_token):
    """No set of as many nodes is likelier by the planner's own estimate; those kept hang together."""
    planner = OptTree(4) if name == "opt-tree" else planners()[name]
    plan, chance, some = begun(planner, SimulatedClock(1.0, per_token), free=True), random.Random(name), 0
    for at in range(80):
        tree = random_tree([at], Room(12, 5), 4)
        tree.scores = [chance.random() for _ in tree.scores]
        rows = [None, None]
        plan.rooms(rows)
        trees = [tree, random_tree([at, 0], Room(12, 5), 4)]
        for row, whole, kept in zip(rows, trees, plan.trim(rows, trees), strict=True):
            values = plan.estimate(row, whole)
            place = {tuple(whole.path_tokens(node)): node for node in range(len(whole))}
            nodes = [place[tuple(kept.path_tokens(node))] for node in range(len(kept))]
            assert sum(values[node] for node in nodes) == pytest.approx(sum(nlargest(len(nodes), values)))
            some += 0 < len(nodes) < len(whole)
        for row, whole in zip(rows, trees, strict=True):
            said = [chance.randrange(4) for _ in range(6)]
            plan.learn(row, whole, Outcome(whole, path_of(whole, said), said), 0.0)
    assert some > 20  # else nothing was chosen


def path_of(tree: Tree, said: Sequence[int]) -> list[int]:
    """The nodes that bear these tokens, from the root down."""
    path: list[int] = []
    while (
        len(path) < len(said) and (node := tree.child_bearing(path[-1] if path else ROOT, said[len(path)])) is not None
    ):
        path.append(node)
    return path


# -- as many as pay ---------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Rounds of rows alike, in which the child of a rank is the right one as often as `RATES` say."""

    clock: SimulatedClock
    rows: int = 1
    level: float | None = None  # seconds of drafting a level for a row; None: drafting is free
    ranks: int = 1  # children that a drafter has for a node
    nodes: int = 7  # that it proposes, at most
    depth: int = 5

    def expected(self, tree: Tree) -> float:
        """Tokens that a row commits, its own one included."""
        values: list[float] = []
        for parent, rank in zip(tree.parents, tree.ranks, strict=True):
            values.append(RATES[rank] * (1.0 if parent == ROOT else values[parent]))
        return 1.0 + sum(values)

    def window(self, longest: int) -> float:
        """Seconds of a round's window, for all rows."""
        return self.clock.cost(1 + longest, self.rows)

    def drafting(self, trees: Sequence[Tree]) -> float:
        return (self.level or 0.0) * sum(max(tree.depths, default=0) for tree in trees)

    def seconds(self, proposed: Sequence[Tree], verified: Sequence[Tree]) -> float:
        return self.window(max(map(len, verified))) + self.drafting(proposed)

    def fill(self, room: Room) -> Tree:
        """What the drafter proposes: the shape that is asked for, or the likeliest nodes, level by level."""
        if room.nodes <= 0:
            return Tree()
        if self.level is None:
            return grown(likeliest(self.ranks, self.nodes, min(self.depth, room.depth))[: room.nodes])
        if room.shape is not None:
            return grown(room.shape)
        tree = Tree()
        while len(tree) < min(room.nodes, room.depth, self.nodes):
            tree.add(0, len(tree) - 1, source="drafter", score=RATES[0])
            if room.more is not None and not room.more(tree):
                break
        return tree

    def best(self) -> float:
        """Tokens of a row per second of the best shape that could always be verified, by enumeration."""
        trees = (grown(parents) for parents in all_trees(self.nodes, self.ranks, self.depth))
        return max(self.expected(tree) / self.seconds([tree] * self.rows, [tree]) for tree in trees)


def grown(parents: Sequence[int]) -> Tree:
    """The tree of these parents; a token is its rank among its siblings."""
    tree, below = Tree(), {}
    for parent in parents:
        rank = below[parent] = below.get(parent, -1) + 1
        tree.add(rank, parent, source="drafter", score=RATES[rank])
    return tree


@cache
def likeliest(ranks: int, nodes: int, depth: int) -> tuple[int, ...]:
    """The parents of the likeliest nodes, grown one by one."""
    parents: list[int] = []
    values: list[float] = []
    depths: list[int] = []
    for _ in range(nodes):
        worth = [
            ((RATES[parents.count(above)] * (1.0 if above == ROOT else values[above])), -above)
            for above in range(ROOT, len(parents))
            if parents.count(above) < ranks and (0 if above == ROOT else depths[above]) < depth
        ]
        if not worth:
            break
        value, above = max(worth)
        parents.append(-above)
        values.append(value)
        depths.append(1 if above == -ROOT else depths[-above] + 1)
    return tuple(parents)


@cache
def all_trees(nodes: int, ranks: int, depth: int) -> tuple[tuple[int, ...], ...]:
    """All trees of up to so many nodes, as parents: each level by level, left to right."""

    def longer(parents: tuple[int, ...], depths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        yield parents
        if len(parents) < nodes:
            for above in range(parents[-1] if parents else ROOT, len(parents)):
                below = 1 if above == ROOT else depths[above] + 1
                if parents.count(above) < ranks and below <= depth:
                    yield from longer((*parents, above), (*depths, below))

    return tuple(longer((), ()))


def tokens_per_second(planner: Planner, world: World) -> float:
    """Of a row, expected, once the planner has learnt."""
    plan, chance = begun(planner, world.clock, free=world.level is None), random.Random(3)
    rows, tokens, seconds = [object() for _ in range(world.rows)], 0.0, 0.0
    missed: dict[object, list[tuple[float, bool]]] = {row: [] for row in rows}
    for at in range(LEARNING + JUDGED):
        proposed = [world.fill(room) for room in plan.rooms(rows)]
        verified = plan.trim(rows, proposed)
        taken, window = world.seconds(proposed, verified), world.window(max(map(len, verified)))
        if at >= LEARNING:
            tokens, seconds = tokens + sum(map(world.expected, verified)) / world.rows, seconds + taken
        for row, whole, tree in zip(rows, proposed, verified, strict=True):
            said = [chance.choices((*range(3), 9), (*RATES, 0.1))[0] for _ in range(world.depth + 1)]
            path = path_of(tree, said)
            outcome = Outcome(tree, path, said[: len(path) + 1], seconds=window / world.rows)
            if len(whole):
                outcome.missed, missed[row] = missed[row], []
            else:  # as drafters tell that must read those tokens anyway
                missed[row] += [(RATES[0], token == 0) for token in outcome.committed]
            plan.learn(row, whole, outcome, world.drafting(proposed) / world.rows)
    return tokens / seconds


WORLDS = {
    f"{rows} rows, a node {per_token}, a level {level}": (rows, per_token, level)
    for rows, per_token, level in itertools.product((1, 4), (0.03, 0.2), (None, 0.05, 0.3))
}


@pytest.mark.parametrize(("rows", "per_token", "level"), WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("name", PAYING)
def test_the_choice_is_nearly_the_best_fixed_shape(name, rows, per_token, level):
    """In tokens per second on a fixed clock, by enumeration of all trees that the drafter can propose."""
    trees = name not in OF_CHAINS and (level is None or name not in CHAINS_WHERE_COSTLY)
    world = World(SimulatedClock(1.0, per_token / rows), rows, level, ranks=2 if trees else 1)
    planner = within(planners()[name], most=world.nodes, depth=world.depth, width=world.ranks, fade=STEADY)
    assert tokens_per_second(planner, world) > NEARLY * world.best()
