"""What all answers have in common: one object, or chunks of one that add up to it."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..engine import Handle, Piece
from ..generation import Generation
from ..method import default
from ..page import traced
from .calls import Telling
from .errors import Refused
from .fields import Asked
from .service import Service
from .thinking import Thinking

FINISH = {"end": "stop", "stop": "stop", "length": "length", "budget": "length"}


class Reply(ABC):
    """The answer to one request, of which several choices may be on their way at once."""

    prefix: ClassVar[str]  # of ids
    done: ClassVar[bytes] = b"data: [DONE]\n\n"  # what ends a stream

    def __init__(self, service: Service, asked: Asked) -> None:
        self.asked, self.service, self.spelling = asked, service, service.spelling
        self._method = asked.method or default(service.engine.model)  # as it was named: parts may hold paths
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": service.name,
        }
        self._head["system_fingerprint"] = service.fingerprint

    def submit(self) -> list[Handle]:
        """Hand the request to the engine: one handle for each choice. Raises what is wrong with it."""
        return self.service.submit(self.asked)

    @abstractmethod
    def whole(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """All of it at once."""

    # -- in chunks ----------------------------------------------------------------------------------

    def written(self, chunk: dict[str, Any]) -> bytes:
        """A chunk as a server-sent event."""
        return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    @abstractmethod
    def begin(self, index: int, prompt: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Chunks before the first token of a choice; `prompt` has its tokens."""

    @abstractmethod
    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        """Chunks of what came."""

    @abstractmethod
    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        """Chunks after the last token."""

    def last(self, answers: Sequence[Generation]) -> Iterator[dict[str, Any]]:
        """Chunks after all choices."""
        yield from ()

    def broken(self, refused: Refused) -> Iterator[dict[str, Any]]:
        """Chunks of an answer that fails on its way."""
        yield refused.object

    # -- what all tell ------------------------------------------------------------------------------

    def spoken(self, prompt: Sequence[int]) -> Spoken:
        """What tells the parts of the answer to a chat apart."""
        return Spoken(Telling(tools=bool(self.asked.tools)), self.service.thinking(self.asked, prompt))

    def usage(self, answers: Sequence[Generation]) -> dict[str, int]:
        """Tokens of each prompt once, and of all answers."""
        read = sum(len(answer.prompt_tokens) for answer in answers[:: self.asked.samples])
        written = sum(len(answer.tokens) for answer in answers)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def finish(self, answer: Generation) -> str:
        """Why a choice ended. Raises Refused where the server ended it."""
        if answer.finish not in FINISH:
            raise Refused(503, "the answer was called off", "the server stops: ask again")
        return FINISH[answer.finish]

    def told(self, answer: Generation) -> dict[str, Any]:
        """What the API has no field for: how the choice came about, and what gives it again."""
        counters = answer.counters
        told: dict[str, Any] = {"seed": answer.seed, "method": self._method, "guarantee": answer.guarantee}
        told |= {"rounds": counters.rounds, "drafted": counters.drafted, "accepted": counters.accepted}
        if self.asked.trace:
            told["trace"] = {**traced(answer, self.service.engine.codec), "method": self._method}
        return told


class Spoken:
    """What was thought, text, and calls of functions, told apart as an answer comes."""

    def __init__(self, telling: Telling, thinking: Thinking | None) -> None:
        """`thinking` is None where nothing is thought before the answer."""
        self._telling, self._thinking = telling, thinking

    def feed(self, text: str) -> tuple[str, str]:
        """Take some more; returns what of it is thought, and what is text, for sure."""
        thought, rest = ("", text) if self._thinking is None else self._thinking.feed(text)
        return thought, self._telling.feed(rest)

    def end(self) -> tuple[str, str, list[dict[str, Any]]]:
        """The answer is over: the rest of both, and the calls."""
        thought, rest = ("", "") if self._thinking is None else self._thinking.end()
        text = self._telling.feed(rest)
        more, calls = self._telling.end()
        return thought, text + more, calls
