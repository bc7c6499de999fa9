"""An answer that is on its way: piece by piece, or awaited, or called off."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .call import Call
from .generation import Generation, LogProbability
from .scheduler import Scheduler, Status, Ticket


@dataclass(frozen=True, slots=True)
class Piece:
    """What the rounds since the last piece added to an answer."""

    text: str  # may be empty while a character or a stop string is unfinished
    tokens: list[int]
    sources: list[str]  # who guessed each token; "" for the model's own
    log_probabilities: list[LogProbability] = field(default_factory=list)  # of each token, where they were asked for


class Handle(Iterator[Piece]):
    """One answer on its way. Iterate it (also with `async for`) for its pieces, or wait (or `await`) for all of it.

    Whoever waits sees to it that rounds are run, of all answers that are on their way. An answer whose handle is
    dropped is called off.

        handle = engine.submit("Once upon a time", "lookup", max_new_tokens=40)
        for piece in handle:
            print(piece.text, end="")
    """

    def __init__(self, scheduler: Scheduler, ticket: Ticket, call: Call) -> None:
        self._scheduler = scheduler
        self._ticket = ticket
        self._call = call
        self.prompt = ticket.row.history.tokens[: ticket.row.history.prompt_length]  # as the model reads it
        self._text = call.text(self.prompt)
        self._given = 0  # new tokens handed out
        self._ended = False
        self._leave = weakref.finalize(self, scheduler.cancel, [ticket])
        self._leave.atexit = False

    @property
    def status(self) -> Status:
        """waiting, reading (its prompt), running, preempted (it will go on where it was), or ended."""
        return self._ticket.status

    @property
    def generation(self) -> Generation:
        """What there is so far; of an answer that failed, with its `error`."""
        return self._call.answer(self._ticket)

    def cancel(self) -> None:
        """Call the answer off: it ends with what there is, and its memory is given back after the round at most."""
        self._scheduler.cancel([self._ticket])

    def begin(self) -> None:
        """Wait until the prompt has been read. Raises what made that fail."""
        self._scheduler.run(lambda: self._news or self._ticket.status == "running", [self._ticket])
        if self._ticket.error is not None:
            raise self._ticket.error

    def result(self) -> Generation:
        """Wait for the whole answer. Raises what made it fail; an interrupt ends it with what there is."""
        with suppress(KeyboardInterrupt):
            self._scheduler.run(lambda: self._over, [self._ticket])
        return self._whole()

    # -- piece by piece -------------------------------------------------------------------------

    def __iter__(self) -> Handle:
        return self

    def __next__(self) -> Piece:
        with suppress(KeyboardInterrupt):
            self._scheduler.run(lambda: self._news, [self._ticket])
        piece = self._piece()
        if piece is None:
            raise StopIteration
        return piece

    def __aiter__(self) -> Handle:
        return self

    async def __anext__(self) -> Piece:
        while not self._news:
            await self._told(self._ticket.listeners, lambda: self._news)
        piece = self._piece()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __await__(self) -> Generator[Any, None, Generation]:
        return self._finished().__await__()

    async def _finished(self) -> Generation:
        await self.ended()
        return self._whole()

    async def ended(self) -> None:
        """Wait for the answer, whatever becomes of it; where the waiting is cancelled, so is the answer."""
        try:
            while not self._over:
                await self._told(self._ticket.at_end, lambda: self._over)
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _told(self, listeners: list[Callable[[], object]], already: Callable[[], bool]) -> None:
        """Listen until something is told, or it is so `already`; a helper thread runs the rounds."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            loop.call_soon_threadsafe(lambda: None if told.done() else told.set_result(None))

        listeners.append(tell)
        if not already():  # since one listens, it can't be missed
            self._scheduler.attend()
            await told

    # -- what there is --------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._ticket.status == "ended"

    @property
    def _news(self) -> bool:
        return self._over or self._ticket.row.settled > self._given

    def _piece(self) -> Piece | None:
        """What is new; None after the last of it."""
        row, over = self._ticket.row, self._over
        settled = len(row.new_tokens) if over else row.settled
        if settled <= self._given and over:  # fewer where it was called off after it had begun again
            if self._ended:
                self._whole()
                return None
            self._ended = True
            self._text.extend([], last=True)
            return Piece(self._text.release(last=True), [], [])
        new = slice(self._given, settled)
        sources, reported, tokens = row.sources[new], row.reported[new], row.new_tokens[new]
        self._given += len(tokens)  # none where the row has just begun again: they will come once more
        self._text.extend(tokens)
        return Piece(self._text.release(), tokens, sources[: len(tokens)], reported[: len(tokens)])

    def _whole(self) -> Generation:
        if self._ticket.error is not None:
            raise self._ticket.error
        return self.generation
