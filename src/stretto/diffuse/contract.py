"""What orders, blocks, refreshes and stops must do.

Settings are frozen dataclasses (`Order`, `Blocks`, `Refresh`, `Stop`); what a row remembers lives in the sessions they
open. A session is asked with the canvas each time and holds none, so that a copy of it serves a copy of the row.
A `Lookahead` guesses what the coming steps will change.
Each step the loop asks, in this order: `Blocking.window` (where to work), `Refreshing.plan` (what to compute),
`Recalling.reconsider` (what earlier steps make of it), `Ordering.choose` (what to fill), `Stopping.ended` (whether to
go on). The loop, not the parts, sees to it that what is frozen never changes, that every step gets somewhere, and that
no mask is left at the end.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np

from ..context import Context
from ..entry import Guarantee
from ..models.contract import Model
from ..models.masked import Masking
from ..models.window import Branch
from ..steer.choice import Rule
from ..steer.pipeline import Pipeline
from ..values import Checked
from .proposal import Positions, Proposal

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

OPEN = -1  # in `Canvas.filled`: the position still bears a mask
GIVEN = -2  # in `Canvas.filled`: it was given, not generated


def none() -> Positions:
    """No positions."""
    return np.zeros(0, np.int64)


class Span(NamedTuple):
    """Positions start … end − 1."""

    start: int
    end: int

    @property
    def positions(self) -> Positions:
        return np.arange(self.start, self.end)


class Canvas:
    """One row's tokens, given and generated, with masks where it is still open.

    The prompt stands first; given tokens may stand anywhere (infilling), and are frozen. It grows up to `limit`.
    """

    def __init__(
        self, given: Positions, masking: Masking, limit: int, rule: Rule, ends: frozenset[int] = frozenset()
    ) -> None:
        """`given` [L] are ids with the mask token where the model shall write."""
        self.masking = masking
        self.ids = given.copy()  # [L]
        self.frozen = given != masking.mask  # [L] never changes
        self.filled = np.where(self.frozen, GIVEN, OPEN)  # [L] the step at which each position was filled
        self.sure = np.full(len(given), np.nan)  # [L] raw probability of the token when it was filled
        holes = np.flatnonzero(~self.frozen)
        self.prompt = int(holes[0]) if len(holes) else len(given)  # where the answer begins
        self.limit = limit
        self.rule = rule
        self.ends = ends
        self.step = 0  # steps done
        self.window_step = 0  # steps done in the window
        self.front: Span | None = None  # what is to be full first, where the window reaches beyond it; set by blocks
        self.total = len(holes) + max(0, limit - len(given))  # positions to fill before the row ends, at most

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def open(self) -> NDArray[np.bool_]:
        """Where masks are [L]."""
        masks: NDArray[np.bool_] = self.filled == OPEN
        return masks

    def masks(self, span: Span) -> Positions:
        """Open positions of a span, ascending."""
        return span.start + np.flatnonzero(self.filled[span.start : span.end] == OPEN)

    def written(self, span: Span) -> Positions:
        """Positions of a span that were open and are filled now, ascending."""
        return span.start + np.flatnonzero(self.filled[span.start : span.end] >= 0)

    @property
    def ready(self) -> int:
        """Where the first mask stands: everything before it is known."""
        found = np.flatnonzero(self.filled == OPEN)
        return int(found[0]) if len(found) else len(self)

    def scope(self, span: Span) -> int:
        """The end of what positions of a span can see."""
        block = self.masking.block
        return len(self) if block is None else min(len(self), -(-span.end // block) * block)

    def behind(self, span: Span) -> Positions:
        """Positions that a span cannot see; rows of them may be held where the window has moved back."""
        return np.arange(self.scope(span), len(self))

    def grow(self, size: int) -> None:
        """Append masks until the canvas has `size` positions (at most `limit`)."""
        more = min(size, self.limit) - len(self)
        if more > 0:
            self.ids = np.concatenate([self.ids, np.full(more, self.masking.mask)])
            self.frozen = np.concatenate([self.frozen, np.zeros(more, np.bool_)])
            self.filled = np.concatenate([self.filled, np.full(more, OPEN)])
            self.sure = np.concatenate([self.sure, np.full(more, np.nan)])

    def change(self, delta: Delta) -> None:
        """Do as a step says; whether it may is for the loop to judge."""
        for position in delta.remask:
            self.ids[position], self.filled[position], self.sure[position] = self.masking.mask, OPEN, np.nan
        for position, token in (*delta.commit.items(), *delta.revise.items()):
            self.ids[position], self.filled[position] = token, self.step

    def cut(self, size: int) -> None:
        """Drop the positions from `size` on; given ones are never dropped. A block may grow what it dropped again."""
        assert not self.frozen[size:].any(), "a given token is cut off"
        for name in ("ids", "frozen", "filled", "sure"):
            setattr(self, name, getattr(self, name)[:size])

    def fork(self, rule: Rule) -> Canvas:
        """A copy under another rule of choice."""
        twin = copy.copy(self)
        for name in ("ids", "frozen", "filled", "sure"):
            setattr(twin, name, getattr(self, name).copy())
        twin.rule = rule
        return twin


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step changes."""

    commit: Mapping[int, int] = field(default_factory=dict)  # open position -> its token
    remask: frozenset[int] = frozenset()  # filled positions that are opened again
    revise: Mapping[int, int] = field(default_factory=dict)  # filled position -> another token
    others: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # of `commit`: position -> tokens tried beside

    @classmethod
    def of(cls, proposal: Proposal, at: Positions) -> Delta:
        """Commit what is proposed at the indices `at` of a proposal."""
        return cls(dict(zip(proposal.positions[at].tolist(), proposal.tokens[at].tolist(), strict=True)))

    def within(self, size: int) -> Delta:
        """Without what happens at positions from `size` on."""
        if all(position < size for position in self.touched):
            return self
        changes = [{at: token for at, token in each.items() if at < size} for each in (self.commit, self.revise)]
        return Delta(changes[0], frozenset(at for at in self.remask if at < size), changes[1])

    @property
    def touched(self) -> list[int]:
        """Positions that change."""
        return [*self.commit, *self.remask, *self.revise]


NOTHING = Delta()


@dataclass(frozen=True, slots=True)
class Plan:
    """What one evaluation computes for one row; what it computes replaces what the cache holds."""

    rows: Positions  # positions, ascending, whatever stands between them; wanted ones are added by the loop
    forget: Positions = field(default_factory=none)  # dropped from the cache without being computed
    blind: int = 0  # positions before this one do not see the computed ones from it on
    hidden: tuple[int, ...] = ()  # layers whose rows the refresh wants to see
    attention: tuple[tuple[int, int], ...] = ()  # (layer, head) whose probabilities it wants to see
    store: tuple[Branch, ...] = ()  # keep what these add to the rows, where everything is computed
    reuse: tuple[Branch, ...] = ()  # do not compute these: what they added when they were last stored
    keep: bool = False  # keep the hidden rows of all layers, from the first evaluation on, for `Refreshing.redo`


@dataclass(frozen=True, slots=True)
class Reading:
    """What a refresh asked to see of an evaluation. q: rows computed, S: slots read."""

    rows: Positions  # [q] positions in the order of the tensors below
    slots: Positions  # [S] the position in each slot of the attention
    hidden: Mapping[int, Tensor] = field(default_factory=dict)  # layer -> [q, C]
    attention: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)  # (layer, head) -> [q, S]
    branches: Mapping[Branch, Tensor] = field(default_factory=dict)  # of those stored -> [q, C]


@dataclass(frozen=True, slots=True)
class World:
    """What a part must fit: the model with its masking, and how tokens are chosen."""

    model: Model
    masking: Masking
    pipeline: Pipeline
    order: Order  # by which positions are filled


class Session:
    """A part's memory of one row."""

    def fork(self) -> Self:
        """An independent copy."""
        return copy.deepcopy(self)

    def begin_window(self, canvas: Canvas, window: Span) -> None:
        """A window opens: another one than at the step before."""


class Ordering(Session, ABC):
    """An order at work in one row."""

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where it wants the model's proposal; open positions of the window unless it revises others."""
        return canvas.masks(window)

    def doubts(self, canvas: Canvas, window: Span) -> Positions:
        """Those of `looks` that are spoken of as if they alone were masked, by rows of their own that nobody sees."""
        return none()

    def foreseen(self, canvas: Canvas, window: Span) -> Positions:
        """What it fills in this step whatever the model proposes, where the order declares that it foresees this."""
        raise NotImplementedError

    def spare(self, canvas: Canvas, window: Span) -> int:
        """How many steps or remasks beyond one fill a step it may take in a window that now opens."""
        return 0

    def reconsider(self, canvas: Canvas, proposal: Proposal, window: Span) -> Proposal:
        """The proposal that it chooses from, where it remembers earlier ones; see `Recalling.reconsider`."""
        return proposal

    @abstractmethod
    def choose(self, canvas: Canvas, proposal: Proposal, window: Span) -> Delta:
        """What to fill now."""

    def worth(self, canvas: Canvas, proposal: Proposal, window: Span) -> float:
        """How good it is to be here, where one of the tokens of `Delta.others` led; the best one's canvas is kept."""
        raise NotImplementedError


class Order(metaclass=Checked):
    """Says which positions are filled in a step."""

    name: ClassVar[str]
    kind: ClassVar[str] = "order"
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE
    revises: ClassVar[bool] = False  # remasks or rewrites what was filled: nothing is final before the row ends
    roams: ClassVar[bool] = False  # may change positions outside of the window
    slides: ClassVar[bool] = False  # plans nothing for a whole window: fits one that moves on with each step
    foresees: ClassVar[bool] = False  # knows before the model proposes what it fills in a step
    doubting: ClassVar[bool] = False  # has filled positions read as if they were masked; see `Ordering.doubts`
    redraws: ClassVar[bool] = True  # a token is drawn anew at each step; else the first step's draw is kept

    @property
    def offers(self) -> bool:
        """Whether a step may name several tokens for a position; see `Delta.others`."""
        return False

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Ordering:
        """Begin work in one row."""


class Recalling(Session, ABC):
    """A hindsight at work in one row."""

    @abstractmethod
    def reconsider(self, canvas: Canvas, proposal: Proposal, window: Span) -> Proposal:
        """The proposal at the same positions, in the light of earlier ones; `Proposal.under` makes it.

        It is asked once a step, with the positions that were computed for the order in this step and no others.
        """


class Hindsight(metaclass=Checked):
    """Changes what is proposed by what was proposed at earlier steps, before the order chooses."""

    name: ClassVar[str]
    kind: ClassVar[str] = "hindsight"

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Recalling:
        """Begin work in one row."""


class Blocking(Session, ABC):
    """Blocks at work in one row."""

    slides: ClassVar[bool] = False  # the window moves on with each step: it opens once, and is never another one

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where it wants the model's proposal, beside what the order looks at."""
        return none()

    def settle(self, canvas: Canvas, window: Span, proposal: Proposal) -> Span:
        """The window again, or a part of it, now that the model has spoken; the order fills in that."""
        return window

    @abstractmethod
    def window(self, canvas: Canvas) -> Span | None:
        """Where to work in the next step; may grow the canvas. None: there is nothing left to fill."""


class Blocks(metaclass=Checked):
    """Gives the window in which positions are filled."""

    name: ClassVar[str]
    kind: ClassVar[str] = "blocks"

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Blocking:
        """Begin work in one row."""


class Refreshing(Session, ABC):
    """A refresh at work in one row."""

    foresight: ClassVar[bool] = False  # asks the order what it will fill: `wanted` is that alone

    @abstractmethod
    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        """What to compute so that `wanted` can be read; what is neither computed nor cached is not seen."""

    def redo(self, canvas: Canvas, reading: Reading) -> int | None:
        """The layer from which everything that is held is computed once more, where its plan keeps hidden rows."""
        return None

    def read(self, canvas: Canvas, reading: Reading) -> None:
        """See what it asked for, before anything is filled."""

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        """The canvas has changed by `delta`."""


class Refresh(metaclass=Checked):
    """Says what is computed anew in a step, and what is read from the cache."""

    name: ClassVar[str]
    kind: ClassVar[str] = "refresh"
    exact: ClassVar[bool] = False  # the same as computing everything, whatever the order

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Refreshing:
        """Begin work in one row."""


class Stopping(Session, ABC):
    """A stop at work in one row."""

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where it wants the model's proposal, beside what the order looks at."""
        return none()

    def weigh(self, canvas: Canvas, proposal: Proposal) -> Proposal:
        """The proposal as the order shall see it, with other confidence."""
        return proposal

    @abstractmethod
    def ended(self, canvas: Canvas, proposal: Proposal) -> Delta | None:
        """None: go on, on a canvas that it may have cut. Else the row ends, with these last changes, anywhere; masks
        may stay behind an end token."""


class Stop(metaclass=Checked):
    """Says whether a row ends before its canvas is full."""

    name: ClassVar[str]
    kind: ClassVar[str] = "stop"
    fills: ClassVar[bool] = True  # may change the canvas when it ends a row, or cut it

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Stopping:
        """Begin work in one row."""


@dataclass(slots=True, eq=False)
class Future:
    """A row as it will stand if the model keeps to what it said last; copies, which may be changed."""

    canvas: Canvas
    window: Span
    choose: Callable[[], Delta]  # what the order fills on what the model said last, drawn anew where it draws
    steps: int  # how many steps ahead of the canvas that is evaluated anyway


class Looking(Session, ABC):
    """A lookahead at work in one row."""

    width: int = 1  # guesses of each step, ≥ 1: further ones leave out what those before fill, and lead no further

    def looks(self, canvas: Canvas, window: Span) -> Positions:
        """Where else it wants to know the model's proposal; it is told where that costs no further row."""
        return none()

    @abstractmethod
    def next(self, future: Future) -> Delta | None:
        """What the next step will change there; None: look no further ahead."""

    def taken(self, canvas: Canvas, delta: Delta, ahead: Sequence[Positions]) -> Delta:
        """What the row takes of a step: all of it, or a part that leads to one of the canvases evaluated ahead."""
        return delta

    def learn(self, drafted: int, used: int) -> None:
        """So many canvases ahead were evaluated, and so many of them the row really reached."""


class Lookahead(metaclass=Checked):
    """Guesses the canvases that the next steps will reach, so that they are evaluated beside the present one.

    An evaluation is used only where the row comes to ask for exactly that one: the output is that of the same order,
    blocks, refresh and stop without a lookahead, step for step, greedy and with a seed; but where `Looking.taken` takes
    less of a step than the order fills.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "lookahead"
    together: bool  # all canvases in one evaluation; else one after the other, each as without a lookahead

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Looking:
        """Begin work in one row."""


class Constraining(Session, ABC):
    """A constraint at work in one row."""

    @abstractmethod
    def admit(
        self, canvas: Canvas, proposal: Proposal, window: Span, choose: Callable[[Proposal], Delta]
    ) -> tuple[Proposal, Delta]:
        """What is filled so that the canvas can still become valid, and what the order chose it from.

        `choose` asks the order, which may be asked again with other proposals at the same positions; only its last
        answer counts for it.
        """


class Constraint(metaclass=Checked):
    """Says what may stand on a canvas."""

    name: ClassVar[str]
    kind: ClassVar[str] = "constraint"

    def check(self, world: World) -> None:
        """Raise Unsupported or InvalidRequest where it cannot serve."""

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> Constraining:
        """Begin work in one row. Raises InvalidRequest where nothing valid fits on the canvas."""
