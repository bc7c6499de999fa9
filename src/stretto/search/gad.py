"""Grammar-aligned decoding: valid answers as likely as the model itself finds them among all valid ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, NothingAllowed, Unsupported
from ..models.contract import Model
from ..row import Row
from ..speculate.chance import KeyedChance
from ..steer.constrained import constrained_by
from ..steer.contract import Stage
from ..steer.pipeline import Pipeline
from ..steer.temperature import Temperature
from .bounds import Bounded, Met, Place, Trail
from .branches import Branches
from .contract import Branch, Group, Search, Searching
from .within import UNBOUNDED, Within

ENTRIES = (
    Entry(
        name="asap",
        family="search",
        source="arXiv 2405.21047; code github.com/ebmoon/transformers-GAD",
        parts="gad",
        guarantee=Guarantee.APPROXIMATE,
        number=218,
        summary="every sample teaches the next ones how likely beginnings become valid answers: ever nearer to the "
        "model's own distribution over the valid ones",
    ),
    Entry(
        name="cars",
        family="search",
        source="arXiv 2510.01902",
        parts="gad(tries=1000)",
        guarantee=Guarantee.APPROXIMATE,
        summary="the same with rejection: each answer is drawn from the model's own distribution over the valid ones",
    ),
)

REJECTING = (1 << 40) + 4  # beyond all token ids: draws no one else makes


@dataclass(frozen=True, slots=True)
class Aligned(Search):
    """Answers from the model's distribution, as steers and temperature shape it, over all that are valid and end.

    All samples of a prompt learn from each other. A draw that comes where none has been is given up with the
    probability of all that the constraint excludes there: then what is kept is drawn from that distribution exactly.
    After `tries` - 1 draws that were given up the next one is kept, however likely it was; with one try that is each.
    """

    tries: int = 1  # ≥ 1, draws for one answer
    width: int = 1  # ≥ 1, answers that are drawn side by side, which learn only of those before
    within: Within = UNBOUNDED

    name: ClassVar[str] = "gad"

    def __post_init__(self) -> None:
        if min(self.tries, self.width) < 1:
            raise InvalidRequest(f"{self.tries} tries, {self.width} side by side", hint="at least 1 each")

    def rows(self, samples: int) -> int:
        return min(self.width, samples) + 1  # and the prompt's, from which all begin

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if pipeline.greedy:
            raise Unsupported(f"{self.name} draws its answers, and without chance all are one", hint="temperature=1")
        late = [s for s in pipeline.steps if s.stage >= Stage.TEMPERATURE and not isinstance(s, Temperature)]
        if late:
            raise Unsupported(
                f"what {late[0].name} removes or reshapes behind the constraint is in no bound of {self.name}",
                hint="leave it out; penalties, bans and a temperature are served",
            )

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Aligning(self, branches)


@dataclass(slots=True, eq=False)
class Draw(Branch):
    """A draw for answer number `strand`, the `number`th for it."""

    met: list[Met] = field(default_factory=list)  # with each token, where there is a constraint
    failed: bool = False  # it was given up, or is no whole answer


class Aligning(Searching):
    """The search at work. All draws that are side by side, a wave, see what was known before: then all learn."""

    def __init__(self, search: Aligned, branches: Branches) -> None:
        self.search = search
        self.branches = branches

    def grow(self, groups: Sequence[Group]) -> None:
        for group in (group for group in groups if not group.streams):
            first = group.first
            first.paused, group.counters.branches = True, 0
            first.rule = replace(first.rule, pipeline=bounded(first.rule.pipeline))
            self._begin(group, [(answer, 0) for answer in range(min(self.search.width, group.wanted))])

    def _begin(self, group: Group, draws: Sequence[tuple[int, int]]) -> None:
        """Begin a wave: the draws by the answer that they are for, and how many were made for it."""
        known = _known(group.first)
        if known is not None and not known.trail.root.bound:
            raise NothingAllowed(
                f"no valid answer ends within {group.first.limits.new_tokens} tokens", hint="raise max_new_tokens"
            )
        group.alive = [Branch(worth=-math.inf)]  # stands for what is not certain yet
        for answer, number in draws:
            row = self.branches.sprout(group.first, group.streams or None)  # the first has the request's own noise
            group.streams += 1
            group.alive.append(Draw(row=row, strand=answer, number=number, worth=-answer))

    def settle(self, group: Group) -> None:
        draws = [branch for branch in group.alive if isinstance(branch, Draw)]
        for draw in draws:
            if draw.row is not None:
                self._look(group, draw, draw.row)
        if any(draw.row is not None for draw in draws):
            return
        if (known := _known(group.first)) is not None:
            for draw in draws:
                known.trail.root.learn(draw.met, dead=draw.finish == "length")
        kept = [draw for draw in draws if not draw.failed or draw.number + 1 >= self.search.tries]
        group.finished += kept
        again = [(draw.strand, draw.number + 1) for draw in draws if draw not in kept]
        begun = len(group.finished) + len(again)
        others = range(begun, min(group.wanted, len(group.finished) + self.search.width))
        if again or others:
            self._begin(group, [*again, *((answer, 0) for answer in others)])
        else:
            group.alive, group.ended = [], True

    def _look(self, group: Group, draw: Draw, row: Row) -> None:
        """What the round has brought to a draw: it may be given up, or end."""
        before, known = len(draw.tokens), _known(row)
        fresh = [] if known is None else known.met(row.history, len(row.new_tokens) - before)
        last = draw.number + 1 >= self.search.tries
        for at, met in enumerate(fresh, before):
            draw.met.append(met)
            if at and met.new and not last and not self._passes(row, at, met.mass):
                draw.failed = True
                if not row.finish:
                    self.branches.remove(row)
                draw.row = None
                return
        draw.catch_up()
        draw.failed = known is not None and draw.finish == "length"

    def _passes(self, row: Row, at: int, mass: float) -> bool:
        return KeyedChance(row.rule, row.history.prompt_length + at, REJECTING).accept(mass)

    def rank(self, group: Group) -> None:
        """The best so far is asked for: what was kept, then what is being drawn."""
        group.alive = [branch for branch in group.alive if isinstance(branch, Draw)] or group.alive


def bounded(pipeline: Pipeline) -> Pipeline:
    """The pipeline with a constraint that learns how likely beginnings become valid; as it is where there is none."""
    return constrained_by(pipeline, Bounded, trail=Trail(Place()))


def _known(row: Row) -> Bounded | None:
    step = row.rule.pipeline.constraint
    return step if isinstance(step, Bounded) else None
