"""Requests come and go at any round: their rows wait, are read in chunks, run, are preempted, and end.

There is no thread of its own: whoever waits for an answer runs the rounds, of all rows that there are. One thread does
so at a time, others look on; `attend` gives the task to a helper, for requests for which nobody waits.
"""

from __future__ import annotations

import atexit
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Lock, RLock, Thread, get_ident
from typing import Any, Literal

from .context import Context
from .errors import InvalidRequest, OutOfMemory, Unsupported
from .loop import Loop
from .method import Method
from .models.memory import free_bytes
from .models.reading import CHUNK
from .pace.contract import Pace
from .pace.patience import Patience
from .row import Row

Status = Literal["waiting", "reading", "running", "preempted", "ended"]

MOST_ROWS = 256  # that run or are read at a time
LONGEST_WAIT = 1.0  # seconds: then it is looked whether the thread that runs the rounds is still there


@dataclass(slots=True, eq=False)
class Ticket:
    """One row on its way. `group` are the samples of its prompt: they fork from the first of them that has read it."""

    row: Row
    method: Method
    needs: int  # bytes, once it has grown
    group: list[Ticket] = field(default_factory=list)
    call: object = None  # what is asked for together is waited for together
    status: Status = "waiting"
    error: BaseException | None = None
    cancelled: bool = False
    alone: bool = False  # shares no rounds with others: one of them has failed, and it is not known which
    loop: Loop[Any] | None = None
    work: Any = None
    twins: list[Ticket] = field(default_factory=list)  # those of the group that wait for this one to have read
    reading: Generator[None, None, None] | None = None
    unread: int = 0  # tokens
    listeners: list[Callable[[], object]] = field(default_factory=list)  # called once, after the next round
    at_end: list[Callable[[], object]] = field(default_factory=list)  # called once, when it has ended


class Scheduler:
    """All rows of one model that are to be decoded, on their way."""

    def __init__(self, context: Callable[[], Context], rows: int = MOST_ROWS, pace: Pace = Patience()) -> None:
        if rows < 1:
            raise InvalidRequest(f"{rows} rows run at a time", hint="rows >= 1")
        self._context = context
        self._rows = self._most = rows
        self._pace = pace
        self.errands: list[Callable[[], object]] = []  # what a round begins with: see `between`
        self._tickets: list[Ticket] = []  # that have not ended, in the order in which they came
        self._waiting: deque[Ticket] = deque()
        self._loops: dict[type, Loop[Any]] = {}  # by family
        self._budget: int | None = None  # bytes for rows; None: nobody can tell
        self._turn = 0
        self._left = 0  # tokens of prompts that this round may still read
        self._lock = RLock()  # of the lists above, where threads come with requests
        self._baton = Lock()  # of the thread that runs rounds, which holds it
        self._driver = 0  # that thread
        self._level = 0  # how many times it waits for answers, one within another
        self._stepping = False  # whether it is in the middle of a round
        self._news = Condition()
        self._helper: Thread | None = None
        self._leaving = False  # the program ends

    # -- coming and going ---------------------------------------------------------------------

    def submit(self, group: Sequence[Ticket]) -> None:
        """Let the samples of one prompt wait for their turn. Raises Unsupported where the parts cannot serve."""
        first = group[0]
        self._begin(first)
        for ticket in group:
            ticket.group = list(group)
        first.twins = list(group[1:])
        with self._lock:
            self._tickets.extend(group)
            self._waiting.append(first)

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Let them end with what they have; at once where no round is running, else after it."""
        for ticket in tickets:
            ticket.cancelled = True
        baton = Lock()
        with baton:
            if self._take(baton):
                self._sweep()

    def preempt(self, ticket: Ticket) -> None:
        """Take its cache from a row that runs; it gets its turn again, and goes on with the same tokens.

        Nothing happens where it does not run. Call it between rounds.
        """
        if ticket.status == "running" and ticket.loop is not None:
            kin = ticket.loop.kin(ticket.row)
            tickets = [each for each in self._tickets if each.row in kin]
            for each in tickets:
                ticket.loop.remove(each.row)
            self._requeue(tickets)

    # -- running ------------------------------------------------------------------------------

    @property
    def inside(self) -> bool:
        """Whether this thread runs the rounds already."""
        return self._level > 0 and self._driver == get_ident()

    def run(
        self, done: Callable[[], bool], mine: Sequence[Ticket] = (), watch: Callable[[], object] | None = None
    ) -> None:
        """Run rounds until `done()`, or look on while another thread runs them; `watch` is called after each.

        An interrupt ends the rows that are `mine` with what they have, and is raised again.
        """
        if self.inside:
            if self._stepping:
                raise Unsupported(
                    "an answer is waited for in the middle of a round that is to give it",
                    hint="wait for it outside of steers, stoppers and parts",
                )
            self._drive(done, mine, watch)  # who watches waits for another answer
            return
        if self._baton.locked() and self._driver == get_ident():  # an interrupt came as it was about to be let go
            self._baton = Lock()
        while not done():
            baton = Lock()
            with baton:
                if self._take(baton):
                    self._drive(done, mine, watch)
            if self._baton is not baton:
                self._look_on(done, mine, watch)
            with self._news:
                self._news.notify_all()
        if any(ticket.cancelled for ticket in self._tickets):  # since the last round that this thread ran
            self.cancel([])

    def _take(self, baton: Lock) -> bool:
        """Whether this thread may run rounds, as long as it holds its lock `baton`: wherever it is interrupted."""
        with self._lock:
            if self._baton.locked():
                return False
            self._baton, self._driver = baton, get_ident()
            return True

    def _drive(self, done: Callable[[], bool], mine: Sequence[Ticket], watch: Callable[[], object] | None) -> None:
        self._level += 1
        try:
            while not done() and (self._tickets or self.errands):
                self._stepping = True
                self._round(done)
                self._stepping = False
                if watch is not None:
                    watch()
        except BaseException:
            self._stepping = False
            self._rescue(mine)
            raise
        finally:
            self._level -= 1

    def _look_on(self, done: Callable[[], bool], mine: Sequence[Ticket], watch: Callable[[], object] | None) -> None:
        try:
            with self._news:
                if self._baton.locked() and not done():
                    self._news.wait(LONGEST_WAIT)
            if watch is not None:
                watch()
        except BaseException:
            self.cancel(mine)
            raise

    def attend(self) -> None:
        """See to it that what was submitted is decoded though nobody waits for it. The helper ends when all is done."""
        with self._lock:
            if self._helper is None:
                self._helper = Thread(target=self._attend, name="stretto", daemon=True)
                self._helper.start()
                atexit.register(self._leave)

    def _attend(self) -> None:
        while True:
            try:
                self.run(lambda: self._leaving or not self._tickets)
            except Exception as error:  # nobody else would hear of it
                self._fail(self._tickets, error)
            with self._lock:
                if self._leaving:
                    return
                if not self._tickets:
                    self._helper = None
                    atexit.unregister(self._leave)
                    return

    def _leave(self) -> None:
        """The program ends: let the helper end its round first, as no thread may be in the middle of one then."""
        self._leaving = True
        if self._helper is not None:
            self._helper.join()

    # -- one round ----------------------------------------------------------------------------

    def _round(self, done: Callable[[], bool]) -> None:
        """Who waits is admitted, a chunk is read, and, unless all is `done()` by that, every row takes a step."""
        while self.errands:
            self.errands.pop(0)()
        self._sweep()
        self._admit()
        self._read()
        if done():
            return
        running = [ticket for ticket in self._tickets if ticket.status == "running"]
        for loop in dict.fromkeys(ticket.loop for ticket in running):
            assert loop is not None, "a row that runs has a loop"
            try:
                loop.step()
            except Exception as error:
                self._isolate(loop, error)
        ended = [ticket for ticket in running if ticket.status == "running" and ticket.row.finish]
        self._end(ended)
        self._tell(running)

    def _tell(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            for listeners in (ticket.listeners, ticket.at_end if ticket.status == "ended" else []):
                while listeners:
                    with suppress(RuntimeError):  # an event loop that is closed has nobody who waits
                        listeners.pop()()
        with self._news:
            self._news.notify_all()

    def _end(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            ticket.status, ticket.loop, ticket.work, ticket.reading = "ended", None, None, None
        if tickets:
            with self._lock:
                self._tickets = [ticket for ticket in self._tickets if ticket.status != "ended"]
                if not self._tickets:
                    self._loops.clear()
                    self._most = self._rows

    def _sweep(self) -> None:
        """Those that were cancelled leave."""
        leaving = [ticket for ticket in self._tickets if ticket.cancelled]
        for ticket in leaving:
            if ticket.status == "running" and ticket.loop is not None:
                ticket.loop.hand_over(ticket.row)
        for ticket in leaving:
            if ticket.status == "running" and ticket.loop is not None:
                ticket.loop.remove(ticket.row)
            self._stand_aside(ticket)
            ticket.row.unwind()
        self._end(leaving)
        self._tell(leaving)

    def _stand_aside(self, ticket: Ticket) -> None:
        """Read no further, and leave that to one of those that wait for it."""
        if ticket.reading is not None:
            ticket.reading.close()
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        heirs = [twin for twin in ticket.twins if not twin.cancelled]
        ticket.twins = []
        if heirs:
            heirs[0].twins = heirs[1:]
            with self._lock:
                self._waiting.appendleft(heirs[0])

    # -- admission and reading ----------------------------------------------------------------

    def _begin(self, ticket: Ticket) -> None:
        """Find the ticket the loop of its family, and its parts at work."""
        family = type(ticket.method)
        loop: Loop[Any] | None = None if ticket.alone else self._loops.get(family)
        if loop is None:
            context, limits = self._context(), ticket.row.limits
            slots = len(ticket.row.history.tokens) + limits.new_tokens + 64
            fresh: Loop[Any] = ticket.method.loop(context, context.target.new_cache(1, min(slots, 1024)))
            loop, ticket.work, fresh.usual = fresh, fresh.usual, None
            if not ticket.alone:
                self._loops[family] = loop
        ticket.loop = loop
        ticket.work = ticket.work or loop.begin(ticket.method)

    def _admit(self) -> None:
        """Let those begin to be read for which there is memory, in turn; where nothing runs, one in any case."""
        active = [ticket for ticket in self._tickets if ticket.status in ("reading", "running")]
        if not active:
            self._budget = free_bytes(self._context().target.device) if self._waiting else None
        rows, promised = len(active), sum(ticket.needs for ticket in active)
        coming: Counter[Loop[Any]] = Counter()
        while self._waiting:
            first = self._waiting[0]
            group = [first, *first.twins]
            rows, promised = rows + len(group), promised + sum(ticket.needs for ticket in group)
            full = rows > self._most or (self._budget is not None and promised > self._budget)
            if full and rows > len(group):
                break
            with self._lock:
                self._waiting.popleft()
            try:
                coming[self._open(first)] += len(group)
            except Exception as error:
                self._fail(group, error)
        for loop, count in coming.items():
            with suppress(OutOfMemory):  # the rows that find none fail one by one
                loop.cache.reserve(len(loop.cache.rows) + count)

    def _open(self, ticket: Ticket) -> Loop[Any]:
        """Begin to read a row's text, in the loop that is returned."""
        known = self._loops.get(type(ticket.method))
        if ticket.alone or known is None or known is not ticket.loop:  # that of the ticket has failed since
            ticket.loop = ticket.work = None
            self._begin(ticket)
        assert ticket.loop is not None
        ticket.unread = len(ticket.row.history.tokens)
        ticket.reading = ticket.loop.read(ticket.row, ticket.work, lambda: self._chunk(ticket))
        ticket.status = "reading"
        return ticket.loop

    def _read(self) -> None:
        """Read what a round may: all, where everyone waits for it, else as much as those that run have patience for."""
        active = [ticket for ticket in self._tickets if ticket.status in ("reading", "running")]
        readers = [ticket for ticket in active if ticket.status == "reading"]
        while readers and len({id(ticket.call) for ticket in active}) == 1 and not self._waiting:
            self._left = CHUNK
            self._next(readers[0])
            readers = [ticket for ticket in readers if ticket.status == "reading"]
        if not readers:
            return
        running = [ticket.row for ticket in active if ticket.status == "running"]
        self._left = self._pace.tokens(self._context().clock, running)
        self._turn += 1
        if self._turn % 2:  # the shortest first, but the oldest at every second round
            readers.sort(key=lambda ticket: ticket.unread)
        while readers and self._left > 0:
            self._next(readers[0])
            if readers[0].status != "reading":
                readers.pop(0)

    def _next(self, ticket: Ticket) -> None:
        """Read a chunk; the row that is read to its end joins, and so do those that waited for it."""
        assert ticket.reading is not None and ticket.loop is not None
        try:
            next(ticket.reading)
        except StopIteration:
            ticket.status, ticket.reading = "running", None
            for twin in ticket.twins:
                twin.loop, twin.work, twin.status = ticket.loop, ticket.work, "running"
                ticket.loop.fork(ticket.row, twin.row)
            ticket.twins = []
        except Exception as error:
            self._fail([ticket, *ticket.twins], error)

    def _chunk(self, ticket: Ticket) -> int:
        """How many tokens of a row are read at once."""
        size = max(1, min(self._left, CHUNK))
        self._left -= min(size, ticket.unread) or size
        ticket.unread = max(0, ticket.unread - size)
        return size

    # -- when something fails -----------------------------------------------------------------

    def _isolate(self, loop: Loop[Any], error: Exception) -> None:
        """A round has failed: the row that failed it ends, the others go on as if it had never been beside them.

        Which one it was shows when each takes the step by itself. Where memory ran out, fewer go on at a time.
        """
        tickets = [ticket for ticket in self._tickets if ticket.loop is loop and ticket.status != "waiting"]
        rows = [ticket for ticket in tickets if ticket.status == "running"]
        if rows and {ticket.row for ticket in rows} == set(loop.kin(rows[0].row)):
            self._fail(rows, error)
            tickets = [ticket for ticket in tickets if ticket.status != "ended"]
        elif isinstance(error, OutOfMemory):
            self._most = max(1, len(rows) // 2)
        else:
            for ticket in tickets:
                ticket.alone = True
        self._loops = {family: known for family, known in self._loops.items() if known is not loop}
        self._requeue(tickets)

    def _rescue(self, mine: Sequence[Ticket]) -> None:
        """An interrupt may have come anywhere: `mine` end with what they have, all others are read anew."""
        for ticket in mine:
            if ticket.status == "running" and ticket.loop is not None:
                ticket.row.roll_back()
                with suppress(Exception):
                    ticket.loop.hand_over(ticket.row)
        for ticket in mine:
            if ticket.status != "ended":
                ticket.cancelled = True
                ticket.row.unwind()
        self._end([ticket for ticket in mine if ticket.status != "ended"])
        self._loops.clear()
        self._waiting.clear()
        self._requeue(self._tickets)
        self._tell(mine)

    def _fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        for ticket in tickets:
            ticket.error, ticket.twins = error, []
            ticket.row.roll_back()
            ticket.row.finish = "error"
        self._end(tickets)
        self._tell(tickets)

    def _requeue(self, tickets: Sequence[Ticket]) -> None:
        """Rows that no loop holds any more wait for their turn again, before all others."""
        first: dict[int, Ticket] = {}
        for ticket in tickets:
            row, loop = ticket.row, ticket.loop
            resumes = row.settled > 0 and loop is not None and loop.resumes(ticket.work)
            row.cache_row = -1
            row.roll_back()
            if row.finish:
                continue
            if not resumes:
                row.begin_again()
            ticket.status = "waiting" if not row.new_tokens else "preempted"
            ticket.loop = ticket.work = ticket.reading = None
            ticket.twins = []
            leader = first.setdefault(id(ticket if resumes or ticket.alone else ticket.group[0]), ticket)
            if leader is not ticket:
                leader.twins.append(ticket)
        self._end([ticket for ticket in tickets if ticket.row.finish and ticket.status != "ended"])
        with self._lock:
            self._waiting.extendleft(reversed(first.values()))
