"""PEARL: the draft model drafts on while the target verifies, so that neither waits for the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import ClassVar, cast

import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.clock import Clock
from ...models.contract import Model, Want
from ...models.window import Window
from ...row import Row
from ...steer.choice import choose
from ...steer.nodes import Nodes
from ...steer.path import History, Path
from ...tree import Tree
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..small_model import SmallModel

MOST = 16  # tokens that are drafted during one forward of the target, where their number is measured
LEAST = 2  # at least: one token is judged by the forward that it is drafted beside, and leaves none to verify
FIRST = 4  # before it was measured
RECENT = 0.1  # weight of the newest measurement

ENTRY = Entry(
    name="pearl",
    family="speculate",
    source="arXiv 2408.11850; github.com/smart-lty/ParallelSpeculativeDecoding",
    parts="pearl+fixed(16)",
    guarantee=Guarantee.EXACT,
    number=36,
    needs=("draft model",),
    summary="a draft model drafts on while the target verifies; pays where they run on two devices",
    system="overlapped",
)


@dataclass(frozen=True, slots=True)
class Pearl(Drafter):
    """A chain of a smaller model that is drafted a round ahead, in a thread beside the target's forward.

    With nothing drafted, the target evaluates the last token while the draft grows, and so judges its first token
    (pre-verify). With tokens waiting, it evaluates them while the draft grows behind them (post-verify): where all are
    right, its own choice after them judges the first of the new ones, and the rest are the next to wait; where one is
    wrong, all behind it goes. So drafts are long where they are right and short where they are not. Guesses are chosen
    as 'draft' chooses them, with the row's own noise. On one processor the two models share it, and nothing is won.
    """

    model: str | Model = "zoo/draft"  # a name or folder, or a loaded model; not the target itself
    ahead: int = 0  # tokens drafted in each round, ≥ 1; 0: as many as take as long as the target's forward, 2 or more

    name: ClassVar[str] = "pearl"

    def __post_init__(self) -> None:
        if self.ahead < 0:
            raise InvalidRequest(f"pearl(ahead={self.ahead})", hint="ahead >= 1, or 0 to measure it")

    def begin(self, context: Context) -> Drafting:
        small = SmallModel(context, self.model)
        if small.model is context.target:
            raise Unsupported("pearl cannot draft with the target itself", hint="load the model a second time")
        settings = replace(self, ahead=self.ahead or FIRST) if context.steady else self
        return PearlDrafting(settings, small, context.clock)


class PearlDrafting(Drafting):
    """Drafts all rows together, one token at a time, in a thread of its own."""

    def __init__(self, settings: Pearl, small: SmallModel, clock: Clock) -> None:
        super().__init__(settings, self._open_session)
        self.small = small
        self._ahead = settings.ahead
        self._clock = clock
        self._token_seconds: float | None = None  # of one drafted token, of late
        self._sessions = 0  # that are open
        self._worker: ThreadPoolExecutor | None = None  # while any is
        self._running: Future[None] | None = None

    def _open_session(self, row: Row) -> DraftSession:
        self.wait()
        return PearlSession(self, row, self.small.cache.open())

    def opened(self) -> None:
        """One session more."""
        self._sessions += 1

    def closed(self) -> None:
        """One session less; the thread ends with the last."""
        self._sessions -= 1
        if not self._sessions and self._worker is not None:
            self._worker.shutdown()
            self._worker = None

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        """What waits to be verified, at once; what follows it is drafted meanwhile."""
        self.wait()
        mine = cast(Sequence[PearlSession], sessions)
        trees = [
            Tree.chain(session.drafted[: min(room.nodes, room.depth)], source=Pearl.name)
            for session, room in zip(mine, rooms, strict=True)
        ]
        # Beyond a window and a round's draft nothing is gained by drafting on.
        limits = [room.nodes and min(room.nodes, room.depth) for room in rooms]
        ahead = self._ahead or self._affordable(max(map(len, trees), default=0), len(mine))
        wanted = [
            (session, min(len(session.drafted), limit) + ahead)
            for session, limit in zip(mine, limits, strict=True)
            if limit
        ]
        if wanted:
            self._worker = self._worker or ThreadPoolExecutor(1, thread_name_prefix="pearl")
            self._running = self._worker.submit(self._draft, wanted)
        return trees

    def wait(self) -> None:
        """Let the draft that runs come to its end. Raises what it raised."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def _affordable(self, nodes: int, rows: int) -> int:
        """How many tokens can be drafted while the target evaluates a window of so many nodes."""
        if not self._token_seconds:
            return FIRST
        return max(LEAST, min(MOST, math.ceil(self._clock.cost(1 + nodes, rows) / self._token_seconds)))

    def _draft(self, wanted: Sequence[tuple[PearlSession, int]]) -> None:
        """In the thread: draft each session on to so many tokens."""
        lengths = dict(wanted)
        active = [session for session, length in wanted if session.goes_on(length)]
        while active:
            begun, caught_up = perf_counter(), all(session.behind == 1 for session in active)
            with torch.inference_mode():
                found = self._next(active)
            for session, token in zip(active, found, strict=True):
                session.drafted.append(token)
            if caught_up:  # reading a prompt is no habit
                seconds = perf_counter() - begun
                before = self._token_seconds or seconds
                self._token_seconds = before + RECENT * (seconds - before)
            active = [session for session in active if session.goes_on(lengths[session])]

    def _next(self, sessions: Sequence[PearlSession]) -> list[int]:
        """The draft model's choice after each session's last token; it reads what it has not read."""
        pending = [session.catch_up() for session in sessions]
        rows = [session.cache_row for session in sessions]
        starts = [self.small.cache.following(row) for row in rows]
        device = self.small.model.device
        window = Window.chain(rows, pending, starts, device)
        last = torch.tensor([[length - 1] for length in window.lengths], device=device)  # [B, 1]
        logits = self.small.model.evaluate(window, self.small.cache, Want(logits=last)).logits
        assert logits is not None
        paths = [Path(session.history, tuple(session.drafted)) for session in sessions]
        nodes = Nodes(paths, self.small.as_target(logits[:, 0]))
        return choose(nodes, [session.row.rule.guessing for session in sessions]).tokens


class PearlSession(DraftSession):
    """One row in the draft model's cache, and the tokens that are drafted behind its committed ones.

    While a draft runs, only the thread touches it. The history is a copy of the row's: looking things up in one
    builds indexes, and the target's steers do so at the same time.
    """

    def __init__(self, drafting: PearlDrafting, row: Row, cache_row: int) -> None:
        self.drafting = drafting
        self.row = row
        self.cache_row = cache_row
        self.history: History = row.history.fork()
        self.drafted: list[int] = []
        drafting.opened()

    @property
    def behind(self) -> int:
        """Tokens, committed or drafted, that the draft model has not read; at least the last one."""
        read = self.drafting.small.cache.following(self.cache_row)
        return len(self.history.tokens) + len(self.drafted) - read

    def goes_on(self, length: int) -> bool:
        """Whether another token is to be drafted, up to `length` of them."""
        if len(self.drafted) >= length or (self.drafted and self.drafted[-1] in self.row.limits.ends):
            return False
        return len(self.history.tokens) + len(self.drafted) <= self.drafting.small.model.max_positions

    def catch_up(self) -> list[int]:
        """Read all but the last of many unread tokens, such as a prompt's; what is left is short."""
        small, committed = self.drafting.small, self.history.tokens
        read = small.cache.following(self.cache_row)
        unread = committed[read:] + self.drafted[max(0, read - len(committed)) :]
        return small.catch_up(self.cache_row, unread)

    def propose(self, room: Room) -> Tree:
        return self.drafting.propose([self], [room])[0]

    def advance(self, outcome: Outcome) -> None:
        """What was committed leaves the draft; where the two part, all behind goes."""
        self.drafting.wait()
        committed = outcome.committed
        agreed = next(
            (at for at, (a, b) in enumerate(zip(self.drafted, committed, strict=False)) if a != b),
            min(len(self.drafted), len(committed)),
        )
        right = len(self.history.tokens) + agreed  # tokens that the draft model may have read
        self.history.extend(committed)
        self.drafted = self.drafted[agreed:] if agreed == len(committed) else []
        last = len(self.history.tokens) + len(self.drafted) - 1  # is read when its continuation is wanted
        keep = last if self.drafted else min(right, last)
        self.drafting.small.cache.rewind(self.cache_row, keep)

    def fork(self, row: Row) -> DraftSession:
        self.drafting.wait()
        copy = PearlSession(self.drafting, row, self.drafting.small.cache.fork(self.cache_row)[0])
        copy.drafted = self.drafted.copy()
        return copy

    def close(self) -> None:
        self.drafting.wait()
        self.drafting.small.cache.free(self.cache_row)
        self.drafting.closed()
