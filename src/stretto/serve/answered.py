"""One request from its admission to the last byte, streamed or not; a client that goes away frees its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from time import perf_counter
from typing import Any

from starlette.responses import JSONResponse

from ..engine import Handle
from ..generation import Generation
from .fields import Asked
from .replies import REPLIES
from .service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Answered:
    """The response to a request that was read."""

    def __init__(self, service: Service, asked: Asked, begun: float) -> None:
        """`begun`: when the request came, by `perf_counter`."""
        self._service, self._asked, self._begun = service, asked, begun
        self._reply = REPLIES[asked.endpoint](service, asked)
        self._handles: list[Handle] = []
        self._heard = False  # a first token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, unless the client goes away before. Raises what is wrong before anything was sent."""
        with self._service.admitted(self._asked.prompts * self._asked.samples):
            work = asyncio.create_task(
                self._streamed(send) if self._asked.stream else self._whole(scope, receive, send)
            )
            gone = asyncio.create_task(_gone(receive))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                else:
                    self._service.metrics.gone += 1
            finally:
                work.cancel()
                gone.cancel()
                self._leave()
                await asyncio.gather(work, gone, return_exceptions=True)

    async def _begin(self) -> list[Handle]:
        self._handles = await self._service.apart(self._reply.submit)
        self._service.handles.update(self._handles)
        return self._handles

    def _leave(self) -> None:
        """Answers that have not ended are called off: that takes a round at most."""
        for handle in self._handles:
            handle.cancel()
            self._service.handles.discard(handle)

    async def _whole(self, scope: Message, receive: Receive, send: Send) -> None:
        handles = await self._begin()
        self._hear(await anext(handles[0]))
        await asyncio.gather(*(handle.ended() for handle in handles))
        answers = [handle.result() for handle in handles]
        self._count(answers)
        await JSONResponse(self._reply.whole(answers))(scope, receive, send)

    # -- as server-sent events ----------------------------------------------------------------------

    async def _streamed(self, send: Send) -> None:
        handles = await self._begin()
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})

        async def emit(chunk: dict[str, Any]) -> None:
            await send({"type": "http.response.body", "body": self._reply.written(chunk), "more_body": True})

        try:
            async with asyncio.TaskGroup() as group:
                choices = [group.create_task(self._follow(*each, emit)) for each in enumerate(handles)]
            answers = [choice.result() for choice in choices]
            for chunk in self._reply.last(answers):
                await emit(chunk)
            await send({"type": "http.response.body", "body": self._reply.done, "more_body": True})
        except* Exception as failed:  # of one choice: the others end with it
            for chunk in self._reply.broken(self._service.refusal(failed.exceptions[0])):
                await emit(chunk)
            answers = [handle.generation for handle in handles]
        self._count(answers)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(
        self, index: int, handle: Handle, emit: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> Generation:
        """Write one choice as it comes: a client that reads slowly gets longer pieces, and holds nobody up."""
        for chunk in self._reply.begin(index, handle.prompt):
            await emit(chunk)
        async for piece in handle:
            self._hear(piece)
            for chunk in self._reply.piece(index, piece):
                await emit(chunk)
        answer = handle.generation
        for chunk in self._reply.end(index, answer):
            await emit(chunk)
        return answer

    # -- what is counted ----------------------------------------------------------------------------

    def _hear(self, piece: Any) -> None:
        if not self._heard and piece.tokens:
            self._heard = True
            self._service.metrics.first.add(perf_counter() - self._begun)

    def _count(self, answers: Sequence[Generation]) -> None:
        metrics, usage = self._service.metrics, self._reply.usage(answers)
        metrics.tokens["prompt_tokens"] += usage["prompt_tokens"]
        metrics.tokens["new_tokens"] += usage["completion_tokens"]
        for counters in (answer.counters for answer in answers):
            metrics.tokens["drafted_tokens"] += counters.drafted
            metrics.tokens["accepted_tokens"] += counters.accepted
            metrics.tokens["rounds"] += counters.rounds
            if counters.new_tokens > 1:
                metrics.each.add(counters.seconds / counters.new_tokens)


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
