"""Answers as the API writes them: one object, or chunks of one that add up to it."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..engine import Piece
from ..generation import Generation, LogProbability
from ..method import default
from .calls import Telling
from .errors import Refused
from .fields import Asked
from .service import Service

FINISH = {"end": "stop", "stop": "stop", "length": "length", "budget": "length"}


class Reply(ABC):
    """The answer to one request, of which several choices may be on their way at once."""

    prefix: ClassVar[str]  # of ids
    whole_name: ClassVar[str]
    chunk_name: ClassVar[str]

    def __init__(self, service: Service, asked: Asked) -> None:
        self.asked, self.spelling = asked, service.spelling
        self._method = asked.method or default(service.engine.model)  # as it was named: parts may hold paths
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": service.name,
        }
        self._head["system_fingerprint"] = service.fingerprint

    # -- at once ------------------------------------------------------------------------------------

    def whole(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """All choices."""
        choices = [{"index": index, **self.choice(index, answer)} for index, answer in enumerate(answers)]
        return {**self._head, "object": self.whole_name, "choices": choices, "usage": self.usage(answers)}

    @abstractmethod
    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        """A whole choice."""

    # -- in chunks ----------------------------------------------------------------------------------

    def chunk(self, index: int, **choice: Any) -> dict[str, Any]:
        """What is new of a choice."""
        made = {**self._head, "object": self.chunk_name, "choices": [{"index": index, **choice}]}
        return {**made, "usage": None} if self.asked.usage else made

    @abstractmethod
    def begin(self, index: int) -> Iterator[dict[str, Any]]:
        """Chunks before the first token."""

    @abstractmethod
    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        """Chunks of what came."""

    @abstractmethod
    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        """Chunks after the last token."""

    def last(self, answers: Sequence[Generation]) -> Iterator[dict[str, Any]]:
        """The chunk that tells the usage, where it was asked for."""
        if self.asked.usage:
            yield {**self._head, "object": self.chunk_name, "choices": [], "usage": self.usage(answers)}

    # -- what both tell -----------------------------------------------------------------------------

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
        return told | ({"trace": {**answer.record(), "method": self._method}} if self.asked.trace else {})


class Chat(Reply):
    """Of `/v1/chat/completions`."""

    prefix, whole_name, chunk_name = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, service: Service, asked: Asked) -> None:
        super().__init__(service, asked)
        self._telling = [Telling(tools=bool(asked.tools)) for _ in range(asked.samples)]

    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        telling = self._telling[index]
        text = telling.feed(answer.text)
        rest, calls = telling.end()
        message: dict[str, Any] = {"role": "assistant", "content": text + rest, "refusal": None}
        if calls:
            message |= {"content": text + rest or None, "tool_calls": calls}
        return {
            "message": message,
            "logprobs": self._logprobs(answer.log_probabilities),
            "finish_reason": "tool_calls" if calls else self.finish(answer),
            "stretto": self.told(answer),
        }

    def begin(self, index: int) -> Iterator[dict[str, Any]]:
        yield self._delta(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        text = self._telling[index].feed(piece.text)
        if text or (self.asked.log_probabilities and piece.tokens):
            yield self._delta(index, {"content": text}, logprobs=self._logprobs(piece.log_probabilities))

    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        text, calls = self._telling[index].end()
        if text:
            yield self._delta(index, {"content": text})
        for at, call in enumerate(calls):
            yield self._delta(index, {"tool_calls": [{"index": at, **call}]})
        finish = "tool_calls" if calls else self.finish(answer)
        yield self._delta(index, {}, finish_reason=finish, stretto=self.told(answer))

    def _delta(self, index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.chunk(index, delta=delta, **{"logprobs": None, "finish_reason": None, **more})

    def _logprobs(self, entries: Sequence[LogProbability] | None) -> dict[str, Any] | None:
        return self.spelling.of_chat(entries or ()) if self.asked.log_probabilities else None


class Completion(Reply):
    """Of `/v1/completions`."""

    prefix, whole_name, chunk_name = "cmpl", "text_completion", "text_completion"

    def __init__(self, service: Service, asked: Asked) -> None:
        super().__init__(service, asked)
        self._written = [0] * (asked.prompts * asked.samples)  # characters of the tokens that came

    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        said = {"text": answer.text, "logprobs": self._logprobs(index, answer.log_probabilities)}
        return {**said, "finish_reason": self.finish(answer), "stretto": self.told(answer)}

    def begin(self, index: int) -> Iterator[dict[str, Any]]:
        yield from ()

    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.text or (self.asked.log_probabilities and piece.tokens):
            logprobs = self._logprobs(index, piece.log_probabilities)
            yield self.chunk(index, text=piece.text, logprobs=logprobs, finish_reason=None)

    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        yield self.chunk(index, text="", logprobs=None, finish_reason=self.finish(answer), stretto=self.told(answer))

    def _logprobs(self, index: int, entries: Sequence[LogProbability] | None) -> dict[str, Any] | None:
        if not self.asked.log_probabilities:
            return None
        made = self.spelling.of_completion(entries or (), self._written[index])
        self._written[index] += sum(map(len, made["tokens"]))
        return made


REPLIES: dict[str, type[Reply]] = {"chat": Chat, "completions": Completion}
