"""The answer to `/v1/responses`: items of output, and the events that tell how they come about."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..generation import Generation, LogProbability
from ..handle import Piece
from .errors import Refused
from .fields import Asked
from .reply import Reply, Spoken
from .service import Service

Event = dict[str, Any]

PART = {"message": "output_text", "reasoning": "reasoning_text"}  # kinds of items -> the kind of their one part
MORE: dict[str, dict[str, Any]] = {"message": {"role": "assistant"}, "reasoning": {"summary": []}}
PREFIX = {"message": "msg", "reasoning": "rs"}
TOLD = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0}  # as asked


class Response(Reply):
    """Nothing is stored: what is told is all that there is of it."""

    prefix, done = "resp", b""

    def __init__(self, service: Service, asked: Asked) -> None:
        super().__init__(service, asked)
        self._spoken: Spoken | None = None
        self._output: list[dict[str, Any]] = []
        self._events = 0
        self._entries: list[dict[str, Any]] = []  # log-probabilities that no text was told with yet

    # -- at once: the same as in events ---------------------------------------------------------------

    def whole(self, answers: Sequence[Generation]) -> dict[str, Any]:
        (answer,) = answers
        piece = Piece(answer.text, answer.tokens, [], answer.log_probabilities or [])
        *_, last = [*self.begin(0, answer.prompt_tokens), *self.piece(0, piece), *self.end(0, answer)]
        found: dict[str, Any] = last["response"]
        return found

    # -- in events ------------------------------------------------------------------------------------

    def begin(self, index: int, prompt: Sequence[int]) -> Iterator[Event]:
        self._spoken = self.spoken(prompt)
        for name in ("created", "in_progress"):
            yield self._event(name, response=self._told("in_progress"))

    def piece(self, index: int, piece: Piece) -> Iterator[Event]:
        assert self._spoken is not None, "it has begun"
        if self.asked.log_probabilities:
            self._entries += self._logprobs(piece.log_probabilities)
        thought, text = self._spoken.feed(piece.text)
        yield from self._more("reasoning", thought)
        yield from self._more("message", text)

    def end(self, index: int, answer: Generation) -> Iterator[Event]:
        assert self._spoken is not None, "it has begun"
        thought, text, calls = self._spoken.end()
        yield from self._more("reasoning", thought)
        yield from self._more("message", text)
        if not calls and not any(item["type"] == "message" for item in self._output):
            yield from self._open("message")
        status = "incomplete" if self.finish(answer) == "length" else "completed"
        yield from self._close("completed" if calls else status)
        for call in calls:
            yield from self._call(call["id"], **call["function"])
        yield self._event(status, response=self._told(status, answer))

    def broken(self, refused: Refused) -> Iterator[Event]:
        yield self._event("", type="error", message=refused.message, code=refused.code, param=refused.param)
        failed = {**self._told("failed"), "error": {"code": "server_error", "message": refused.message}}
        yield self._event("failed", response=failed)

    def written(self, chunk: Event) -> bytes:
        return f"event: {chunk['type']}\n".encode() + super().written(chunk)

    # -- items ----------------------------------------------------------------------------------------

    def _more(self, kind: str, text: str) -> Iterator[Event]:
        """Some more of a message, or of what is thought before it."""
        if not text:
            return
        if self._item is None or self._item["type"] != kind:
            yield from self._close()
            yield from self._open(kind)
        assert self._item is not None
        part = self._item["content"][0]
        part["text"] += text
        extra = self._taken(part) if kind == "message" else {}
        yield self._event(f"{PART[kind]}.delta", **self._place, content_index=0, delta=text, **extra)

    @property
    def _item(self) -> dict[str, Any] | None:
        """The one that is not whole yet."""
        last = self._output[-1] if self._output else {"status": "completed"}
        return last if last["status"] == "in_progress" else None

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _open(self, kind: str) -> Iterator[Event]:
        item: dict[str, Any] = {"id": f"{PREFIX[kind]}_{secrets.token_hex(12)}", "type": kind, "status": "in_progress"}
        item |= MORE[kind]
        self._output.append(item)
        yield self._event("output_item.added", output_index=len(self._output) - 1, item={**item, "content": []})
        part: dict[str, Any] = {"type": PART[kind], "text": ""}
        if kind == "message":
            part |= {"annotations": [], "logprobs": []}
        item["content"] = [part]
        yield self._event("content_part.added", **self._place, content_index=0, part=dict(part))

    def _close(self, status: str = "completed") -> Iterator[Event]:
        item = self._item
        if item is None:
            return
        (part,) = item["content"]
        message = item["type"] == "message"
        if message:
            self._taken(part)
        extra = {"logprobs": part["logprobs"]} if message else {}
        yield self._event(f"{part['type']}.done", **self._place, content_index=0, text=part["text"], **extra)
        yield self._event("content_part.done", **self._place, content_index=0, part=part)
        item["status"] = status
        yield self._event("output_item.done", output_index=len(self._output) - 1, item=item)

    def _call(self, number: str, name: str, arguments: str) -> Iterator[Event]:
        item: dict[str, Any] = {"id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "status": "in_progress"}
        item |= {"call_id": number, "name": name, "arguments": ""}
        self._output.append(item)
        yield self._event("output_item.added", output_index=len(self._output) - 1, item=dict(item))
        yield self._event("function_call_arguments.delta", **self._place, delta=arguments)
        yield self._event("function_call_arguments.done", **self._place, name=name, arguments=arguments)
        item |= {"arguments": arguments, "status": "completed"}
        yield self._event("output_item.done", output_index=len(self._output) - 1, item=item)

    # -- log-probabilities ------------------------------------------------------------------------------

    def _logprobs(self, entries: Sequence[LogProbability]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.spelling.of_chat(entries)["content"]
        return found

    def _taken(self, part: dict[str, Any]) -> dict[str, Any]:
        """Those that came since the last text of a message, now with this one."""
        entries, self._entries = self._entries, []
        part["logprobs"] += entries
        return {"logprobs": entries}

    # -- the object -------------------------------------------------------------------------------------

    def _event(self, kind: str, **told: Any) -> Event:
        self._events += 1
        return {"type": f"response.{kind}", **told, "sequence_number": self._events - 1}

    def _told(self, status: str, answer: Generation | None = None) -> dict[str, Any]:
        """The response as it is now."""
        body = self.asked.body
        made = {"id": self._head["id"], "object": "response", "created_at": self._head["created"], "status": status}
        made |= {"model": self._head["model"], "output": list(self._output), "error": None}
        made["incomplete_details"] = {"reason": "max_output_tokens"} if status == "incomplete" else None
        made |= {name: body.get(name, usual) for name, usual in TOLD.items()}
        made |= {name: body.get(name) for name in ("instructions", "max_output_tokens", "top_logprobs", "user")}
        made |= {"metadata": body.get("metadata", {}), "text": {"format": {"type": "text"}, **body.get("text", {})}}
        made |= {"store": False, "background": False, "previous_response_id": None, "truncation": "disabled"}
        made |= {"reasoning": {"effort": None, "summary": None}, "usage": None}
        if answer is None:
            return made
        usage = self.usage([answer])
        made["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        return {**made, "completed_at": int(time.time()), "stretto": self.told(answer)}
