"""One method's drafter, acceptor and planner at work, and its share of a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..context import Context
from ..entry import Guarantee
from ..models.contract import NOTHING, Evaluation, Want
from ..row import Commit, Row
from ..tree import ROOT, NodeKind, Tree
from .contract import Drafting, DraftSession, Outcome, Planning, Room

if TYPE_CHECKING:
    from .loop import Speculate


class Work:
    """What the rows of one method share, and each row's session."""

    def __init__(self, context: Context, method: Speculate) -> None:
        self.method = method
        self.drafting: Drafting | None = None
        self.planning: Planning | None = None
        if method.draft is not None:
            if method.accept.guarantee is not Guarantee.EXACT:
                context = replace(context, steady=True)
            self.drafting = method.draft.begin(context)
            self.planning = method.plan.begin(context, self.drafting)
        self.sessions: dict[Row, DraftSession] = {}

    @property
    def of_prompt(self) -> Want:
        """What the drafter wants of the prompt."""
        return self.drafting.of_prompt if self.drafting else NOTHING

    @property
    def want(self) -> Want:
        """What the drafter wants of every round."""
        return self.drafting.want if self.drafting else NOTHING

    def open(self, row: Row) -> DraftSession | None:
        """The drafter's session of a row that is about to be read."""
        if self.drafting is not None:
            self.sessions[row] = self.drafting.open(row)
        return self.sessions.get(row)

    def fork(self, row: Row, copy: Row) -> None:
        if row in self.sessions:
            self.sessions[copy] = self.sessions[row].fork(copy)

    def close(self, row: Row) -> None:
        if row in self.sessions:
            self.sessions.pop(row).close()


@dataclass(slots=True)
class Share:
    """The rows of one method in one round: what was proposed for them, and what came of it."""

    work: Work
    places: list[int] = field(default_factory=list)  # of the rows, among all rows of the round
    rows: list[Row] = field(default_factory=list)
    resting: bool = True  # the drafter, in this round
    proposed: list[Tree] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)  # what of it is verified
    seconds: float = 0.0  # of proposing

    def propose(self, fitting: Callable[[Row, Room], Room]) -> None:
        """The planner gives room, which `fitting` cuts to what the row can use; the drafter fills it."""
        drafting, planning = self.work.drafting, self.work.planning
        if drafting is not None and planning is not None:
            wished = planning.rooms(self.rows)
            self.resting = drafting.rests(wished)
            if not self.resting:
                rooms = [fitting(row, room) for row, room in zip(self.rows, wished, strict=True)]
                trees = drafting.propose([self.work.sessions[row] for row in self.rows], rooms)
                self.proposed = [valid(row, tree) for row, tree in zip(self.rows, trees, strict=True)]
                self.trees = planning.trim(self.rows, self.proposed)
                return
        self.proposed = self.trees = [Tree() for _ in self.rows]

    def fork(self, row: Row, copy: Row) -> None:
        """A row has forked in the middle of the round: to its copy the same was proposed."""
        at = self.rows.index(row)
        self.rows.append(copy)
        self.places.append(self.places[at])
        self.trees.append(self.trees[at])
        self.proposed.append(self.proposed[at])

    def teach(self, done: Mapping[Row, tuple[Commit, Outcome]], evaluation: Evaluation, seconds: float) -> None:
        """Drafter and planner learn what became of the proposals; `evaluation` is that of all rows of the round, which
        took `seconds` for each."""
        drafting, planning = self.work.drafting, self.work.planning
        if drafting is None or planning is None or self.resting:
            return
        for at, (place, row) in enumerate(zip(self.places, self.rows, strict=True)):
            if row not in done:  # it has left in the middle of the round
                continue
            outcome = done[row][1]
            outcome.seconds = seconds
            if drafting.want.logits is True and evaluation.logits is not None:
                outcome.logits = evaluation.logits[place, : 1 + len(outcome.tree)]
            for layer in drafting.want.hidden:
                outcome.hidden[layer] = evaluation.hidden[layer][place, : 1 + len(outcome.tree)]
            session = self.work.sessions[row]
            outcome.missed = session.missed()
            session.advance(outcome)
            planning.learn(row, self.proposed[at], outcome, self.seconds / len(self.rows))


def valid(row: Row, tree: Tree) -> Tree:
    """A draft without what the row's constraint excludes. Drawn nodes stay, whatever token they bear: what is judged
    by how it was drawn may not depend on it."""
    if (held := row.held) is None:
        return tree
    kept: set[int] = {ROOT}
    for node, (parent, proposal) in enumerate(zip(tree.parents, tree.proposals, strict=True)):
        free = proposal is not NodeKind.POINT or held.follows(row.history.tokens, tuple(tree.path_tokens(node)))
        if parent in kept and free:
            kept.add(node)
    return tree if len(kept) > len(tree) else tree.prune(sorted(kept - {ROOT}))


def part_of(evaluation: Evaluation, places: Sequence[int], size: int) -> Evaluation:
    """The evaluation of some of a round's `size` rows."""
    if len(places) == size:
        return evaluation
    index = list(places)
    assert evaluation.logits is not None
    return Evaluation(
        logits=evaluation.logits[index],
        hidden={layer: rows[index] for layer, rows in evaluation.hidden.items()},
        readout={layer: rows[index] for layer, rows in evaluation.readout.items()},
        attention={head: rows[index] for head, rows in evaluation.attention.items()},
    )


def row_of(evaluation: Evaluation, place: int) -> Evaluation:
    """The evaluation of one row, without the dimension of rows."""
    logits = None if evaluation.logits is None else evaluation.logits[place]
    return Evaluation(logits=logits, hidden={layer: rows[place] for layer, rows in evaluation.hidden.items()})
