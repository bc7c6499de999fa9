"""What a search must do: grow and prune the candidate answers (branches) of each prompt.

The rows of one prompt are a group: as many answers are wanted as rows joined before the first round. Their histories
get tokens only once all surviving branches agree on them. There are three ways to write a search:

- stepwise.py: each next token of all branches is chosen from what the model says after each (beams);
- segmentwise.py: branches go on by the rule of choice, and are judged where a segment ends (best of n);
- `Search` and `Searching` themselves: it evaluates what it likes (superposed drafts).

In the first two a branch is a row like any other: it forks, is drafted for, steered and counted.

>>> from stretto.engine import Engine
>>> from stretto.models.table import TableModel
>>> from stretto.search.stepwise import Sprout, Stepwise
>>> @dataclass(frozen=True)
... class Second(Stepwise):
...     '''One branch, which takes the second best token.'''
...     name: ClassVar[str] = "second"
...     def grow(self, tips, weights, ends, wanted):
...         scores, tokens = weights[0].topk(2)
...         return [Sprout(0, int(tokens[1]), tips[0].score + float(scores[1]))]
>>> engine = Engine(TableModel(3, lambda path: [0.0, 5.0, 1.0]))
>>> engine.generate([0], "plain", max_new_tokens=2).tokens, engine.generate([0], Second(), max_new_tokens=2).tokens
([1, 1], [2, 2])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..context import Context
from ..entry import Guarantee
from ..generation import Counters, Finish, LogProbability
from ..models.contract import Model
from ..row import Row
from ..steer.pipeline import Pipeline
from ..values import Checked
from .within import UNBOUNDED, Within

if TYPE_CHECKING:
    from ..speculate.contract import Target, Verdict
    from .branches import Branches


@dataclass(slots=True, eq=False)
class Branch:
    """One candidate answer."""

    tokens: Sequence[int] = ()  # of the answer, without the prompt's
    score: float = 0.0  # natural logarithm of what was chosen so far, summed
    worth: float = 0.0  # what answers are ranked by
    reports: Sequence[LogProbability] = ()  # of each token, where the rows want them
    sources: Sequence[str] = ()  # who guessed each token
    owed: float = 0.0  # to the logarithm of its weight, where it was drawn from weights that were not the mask's
    strand: int = 0  # branches of unlike strands do not compete
    number: int = 0  # of two that are worth the same, the one that was begun first is the better one
    row: Row | None = None  # where the branch is a row of its own, and has not ended
    finish: Finish | None = None  # how its row ended

    def catch_up(self) -> None:
        """Take over what the round has brought to the branch's row."""
        if self.row is not None:
            self.tokens, self.reports, self.sources = self.row.new_tokens, self.row.reported, self.row.sources
            self.finish = self.row.finish
            self.row = None if self.row.finish else self.row


@dataclass(slots=True, eq=False)
class Group:
    """All rows and branches of one prompt."""

    rows: list[Row]  # those that wait for answers
    first: Row  # has read the prompt; the other branches fork from it
    alive: list[Branch] = field(default_factory=lambda: [Branch()])  # best first
    finished: list[Branch] = field(default_factory=list)  # nothing can follow
    ended: bool = False  # nothing will change any more
    cut: bool = False  # as the search has taken all that it may
    counters: Counters = field(default_factory=Counters)  # of all branches together
    streams: int = 0  # of noise that were given to branches
    handed: int = 0  # tokens of the answers that the rows hold
    plan: Any = None  # what the search itself remembers of it

    @property
    def wanted(self) -> int:
        """How many answers are wanted."""
        return len(self.rows)

    @property
    def best(self) -> list[Branch]:
        """The best branches, as many as are wanted, best first; the last stands for what there is not."""
        found = sorted((*self.finished, *self.alive), key=lambda branch: (-branch.worth, branch.number))
        ranked = found[: self.wanted]
        return ranked + ranked[-1:] * (self.wanted - len(ranked))

    def catch_up(self) -> None:
        """Take over what the round has brought to the rows of all branches; those that have ended are finished."""
        for branch in self.alive:
            branch.catch_up()
        self.finished += [branch for branch in self.alive if branch.row is None]
        self.alive = [branch for branch in self.alive if branch.row is not None]

    def spend(self, slots: Sequence[int], seconds: float, drafting: float = 0.0, accepted: int = 0) -> None:
        """A round took that: how many slots each evaluated row of the cache had, the time, drafts that were of use."""
        self.counters.rounds += 1
        self.counters.seconds += seconds
        self.counters.draft_seconds += drafting
        self.counters.row_forwards += len(slots)
        self.counters.token_forwards += sum(slots)
        self.counters.drafted += sum(slots) - len(slots)
        self.counters.accepted += accepted


class Searching(ABC):
    """A search at work in one decode, for all groups of rows that are searched by it."""

    @abstractmethod
    def grow(self, groups: Sequence[Group]) -> None:
        """Begin a round: what it evaluates by itself, and how many branches there are at first."""

    def choose(self, group: Group, target: Target, places: Mapping[Row, int]) -> list[Heir] | None:
        """Of branches that are rows: what follows, seen what the model says after each, whose tree is at which place.

        None: what the rule of choice says.
        """
        return None

    def force(self, group: Group, target: Target, places: Mapping[Row, int]) -> Mapping[Row, int]:
        """Of branches that go on by the rule of choice: tokens that some of them take instead in this round."""
        return {}

    def settle(self, group: Group) -> None:
        """End a round: `alive`, `finished` and `ended` are brought up to date."""

    def rank(self, group: Group) -> None:
        """The best so far is asked for: let every branch know its worth."""


class Heir(NamedTuple):
    """What a branch becomes in a round. One that several come from forks; one that none comes from is dropped."""

    branch: Branch  # gets its row
    row: Row  # of the branch that it comes from
    verdict: Verdict


class Search(metaclass=Checked):
    """Grows several answers at once. Approximate by nature: see each search's own words."""

    name: ClassVar[str]
    kind: ClassVar[str] = "search"
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE
    forks: ClassVar[bool] = True  # its branches are rows: drafted for, under constraints, seen by steers from inside
    pictures: ClassVar[bool] = False  # prompts may have pictures or a source: it reads no text but through its branches
    writes: ClassVar[bool] = False  # puts tokens of its own into answers, which no constraint has allowed
    within: Within = UNBOUNDED  # what it may take for one prompt; a field of those that can be bounded

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest for a model, steers, or number of answers that it cannot serve."""

    def rows(self, samples: int) -> int:
        """How many branches it has at most, for so many answers."""
        return samples

    @property
    def hears(self) -> bool:
        """Whether it wants the log-probabilities of its branches' tokens, which cost a little."""
        return False

    @abstractmethod
    def begin(self, context: Context, branches: Branches) -> Searching:
        """Start work in one decode; `branches` is the loop of the branches that are rows."""
