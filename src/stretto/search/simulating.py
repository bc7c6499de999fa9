"""A tree search at work: its places are rows that wait, and what grows from them are rows that are drafted for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..context import Context
from ..row import Row
from ..tree import ROOT
from .branches import Branches
from .contract import Branch, Group, Searching
from .ranking import likeliest
from .scorer import Judged
from .segmenters import Every
from .tree import Edge, Node
from .tree_search import TreeSearch

if TYPE_CHECKING:
    from ..speculate.target import Target

TOKEN = Every(1)


@dataclass(slots=True, eq=False)
class Growth:
    """A row that is under way: along an edge, and after it, where there are rollouts, on to the end of an answer."""

    branch: Branch
    node: Node  # that it starts from
    edge: Edge | None  # that it goes; None: as yet it goes whichever is best
    place: Node | None = None  # that it came to, once it rolls out from there


@dataclass(slots=True, eq=False)
class Plan:
    """The tree of one group."""

    root: Node
    simulations: int = 0  # from this root
    growing: list[Growth] = field(default_factory=list)
    whole: dict[tuple[int, ...], Branch] = field(default_factory=dict)  # answers, by their tokens
    unrolled: list[tuple[int, Branch]] = field(
        default_factory=list
    )  # answers that greedy rollouts gave, and from where
    learnt: list[tuple[Node, Branch, bool]] = field(
        default_factory=list
    )  # places to be judged, by what, if it is whole


class Simulating(Searching):
    """All groups of one tree search."""

    def __init__(self, search: TreeSearch, context: Context, branches: Branches) -> None:
        self.search = search
        self.branches = branches
        self.judged = Judged(search.scorer, context)
        self.decode = context.decode

    # -- rounds -------------------------------------------------------------------------------

    def grow(self, groups: Sequence[Group]) -> None:
        for group in groups:
            if group.plan is None:
                group.first.paused = True
                group.alive = [Branch(worth=-math.inf)]  # no answer is certain yet
                group.plan = Plan(Node(Branch(row=group.first)))
                self._plant(group, group.plan.root)
                self._simulate(group)

    def force(self, group: Group, target: Target, places: Mapping[Row, int]) -> dict[Row, int]:
        """The token with which each row begins that goes along an edge; the first time the edges become known."""
        forced: dict[Row, int] = {}
        for growth in self._plan(group).growing:
            row = growth.branch.row
            if row is not None and row in places and self.search.segmenter is None and growth.place is None:
                if growth.node.edges is None:
                    growth.node.edges = self._edges(target, places[row])
                growth.edge = growth.edge or self._best(growth.node)
                assert growth.edge.token is not None, "ways of this search are tokens"
                forced[row] = growth.edge.token
        return forced

    def settle(self, group: Group) -> None:
        plan = self._plan(group)
        growing, plan.growing = plan.growing, []
        for growth in growing:
            paused = growth.branch.row is not None and growth.branch.row.paused
            growth.branch.catch_up()
            if growth.branch.row is not None and not paused:
                plan.growing.append(growth)
            elif growth.place is None:
                self._arrive(group, growth)
            else:
                self._rolled(plan, growth.place, growth.branch)
        if not plan.growing:
            self._learn(group)
            self._simulate(group)

    def rank(self, group: Group) -> None:
        if group.plan is not None and not self.search.stepwise:
            group.finished = list(group.plan.whole.values())

    def _plan(self, group: Group) -> Plan:
        plan: Plan = group.plan
        return plan

    # -- simulations --------------------------------------------------------------------------

    def _plant(self, group: Group, root: Node) -> None:
        """A root counts as visited once; where places are judged by themselves, it is."""
        root.visits = 1
        if not self.search.rollouts:
            root.value = root.total = root.best = self.judged.values(group, [root.branch], whole=False)[0]

    def _simulate(self, group: Group) -> None:
        """Begin simulations until one needs the model, or all is done."""
        plan, search = self._plan(group), self.search
        while not plan.growing and not group.ended:
            if any(branch.worth >= search.enough for branch in plan.whole.values()):
                plan.simulations = search.simulations
            if plan.simulations < search.simulations:
                plan.simulations += 1
                self._descend(group)
            elif search.stepwise:
                self._step(group)
            else:
                self.rank(group)
                group.alive, group.ended = [], True

    def _descend(self, group: Group) -> None:
        """Go down to a way that was not tried, and begin to go it; a place that has ended says again what it said."""
        node = self._plan(group).root
        while not node.ended and node.edges is not None:
            edge = self._best(node)
            if edge.child is None:
                self._start(group, node, edge)
                return
            node = edge.child
        if node.ended:
            node.learn(node.value)
        elif self.search.segmenter is None:
            self._start(group, node, None)
        else:
            for _ in range(self.search.width):
                self._start(group, node, None)

    def _best(self, node: Node) -> Edge:
        return max(self.search.ways(node), key=lambda edge: self.search.worth(node, edge))

    def _start(self, group: Group, node: Node, edge: Edge | None) -> None:
        assert node.branch.row is not None, "nothing follows a place that has ended"
        row = self._fork(group, node.branch.row)
        row.segment = (self.search.segmenter or TOKEN).open(self.decode)
        self._plan(group).growing.append(Growth(Branch(row=row, number=group.streams), node, edge))

    def _fork(self, group: Group, row: Row) -> Row:
        """Another row that goes on from there, with noise of its own; the first has that of the prompt's row."""
        copy = self.branches.sprout(row, group.streams or None)
        group.streams += 1
        return copy

    def _edges(self, target: Target, place: int) -> list[Edge]:
        """The likeliest tokens after a node, and how likely each is among them."""
        weights = target.steered(place, ROOT).double().log_softmax(-1)[None]
        said, tokens = likeliest(weights, self.search.width)
        odds = weights[0, tokens[0].tolist()].softmax(-1).tolist()
        able = [at for at, each in enumerate(said[0]) if each > float("-inf")]
        return [Edge(odds[at], int(tokens[0, at])) for at in able]

    def _arrive(self, group: Group, growth: Growth) -> None:
        """A row has come to the end of its edge."""
        branch = growth.branch
        if growth.edge is None:  # a drawn segment: it may be one that was drawn before
            growth.node.edges = growth.node.edges or []
            alike = (edge for edge in growth.node.edges if edge.child and edge.child.branch.tokens == branch.tokens)
            growth.edge = next(alike, None)
            if growth.edge is None:
                growth.edge = Edge()
                growth.node.edges.append(growth.edge)
        if growth.edge.child is None:
            growth.edge.child = Node(replace(branch, tokens=tuple(branch.tokens)), growth.node, growth.edge.prior)
        place = growth.edge.child.branch
        place.number = min(place.number, branch.number)  # who comes first is a matter of drafts
        self._tell(group, growth, growth.edge.child)

    def _tell(self, group: Group, growth: Growth, child: Node) -> None:
        """What speaks for a place that a row has come to: itself, an answer that is known, or one that is grown."""
        plan, branch = self._plan(group), growth.branch
        row, mine = branch.row, branch.row is child.branch.row
        known = None if row is None or not self.search.rollouts else self._unrolled(plan, child)
        if row is None or not self.search.rollouts or known is not None:
            plan.learnt.append((child, known or branch, known is not None or row is None))
            if row is not None and not mine:
                self.branches.remove(row)
            return
        if mine:
            child.branch.row = self.branches.stand(row)
        row.segment, row.paused = Every(self.search.far).open(self.decode) if self.search.far else None, False
        plan.growing.append(Growth(Branch(row=row, number=branch.number), growth.node, growth.edge, child))

    def _rolled(self, plan: Plan, place: Node, branch: Branch) -> None:
        """A rollout is over: an answer has ended, or is as long as rollouts are."""
        if branch.row is None:
            plan.unrolled.append((len(place.branch.tokens), branch))
        else:
            self.branches.remove(branch.row)
        plan.learnt.append((place, branch, branch.row is None))

    def _unrolled(self, plan: Plan, child: Node) -> Branch | None:
        """An answer that was grown greedily through this very place: growing it again would give it again."""
        tokens = child.branch.tokens
        drawn = self.search.segmenter is not None
        through = (
            branch
            for start, branch in plan.unrolled
            if start <= len(tokens) < len(branch.tokens) and tuple(branch.tokens[: len(tokens)]) == tokens
        )
        return None if drawn else next(through, None)

    def _learn(self, group: Group) -> None:
        """Judge what was arrived at, all at once, and let it come back."""
        plan = self._plan(group)
        learnt, plan.learnt = sorted(plan.learnt, key=lambda each: each[1].number), []
        if self.search.segmenter is not None:
            for node in [node.parent for node, _, _ in learnt if node.parent is not None]:
                node.edges = sorted(node.edges or (), key=lambda edge: edge.child.branch.number if edge.child else 0)
        for whole in (True, False):
            asked = [(node, branch) for node, branch, ended in learnt if ended == whole]
            values = self.judged.values(group, [branch for _, branch in asked], whole) if asked else []
            for (node, branch), value in zip(asked, values, strict=True):
                branch.worth = value
                if not node.visits:
                    node.value = value
                node.learn(value)
                if whole:
                    plan.whole.setdefault(tuple(branch.tokens), branch)

    def _step(self, group: Group) -> None:
        """The best way is final, which is the one gone most often where a search says nothing else; the tree begins
        anew from there."""
        plan = self._plan(group)
        edge = max(plan.root.edges or (), key=self.search.final)
        chosen = edge.child
        assert chosen is not None, "the first simulation tries a way"
        for node in [plan.root, *plan.root.below()]:
            if node is not chosen and node.branch.row is not None:
                self.branches.remove(node.branch.row)
        final = replace(chosen.branch, worth=chosen.value)
        if chosen.ended:
            group.alive, group.finished, group.ended = [], [final], True
            return
        group.alive = [final]
        plan.root, plan.simulations, plan.whole = Node(chosen.branch), 0, {}
        plan.root.visits, plan.root.value, plan.root.total = 1, chosen.value, chosen.value
