"""Requests from a file, each answered as the server answers it: `stretto batch`.

A line of the input is one request, a line of the output its answer, both in the form of OpenAI's batch files. Answers
are appended as they end, and lie on the disk before more are begun: a batch that was killed goes on where it stood.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..files import locked, sync
from ..values import shown
from .errors import Refused
from .fields import PATHS, Asked, parsed
from .replies import REPLIES
from .service import Service

BEGINNING = b'{"id": "batch_req_'  # of each line of an output


@dataclass(slots=True)
class Line:
    """One request of the input: what names its answer, and what it asks for, or why that cannot be read."""

    id: str
    number: int
    text: bytes
    custom_id: str | None = None
    asked: Asked | None = None
    fault: Refused | None = None  # of the line
    refused: Refused | None = None  # of the request in it

    @property
    def rows(self) -> int:
        """Answers that it takes."""
        return 0 if self.asked is None else self.asked.prompts * self.asked.samples

    def answer(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The line of the output."""
        response: dict[str, Any] | None = None
        if self.fault is None:
            status, said = (200, body) if self.refused is None else (self.refused.status, self.refused.object)
            response = {"status_code": status, "request_id": f"req_{secrets.token_hex(12)}", "body": said}
        error = self.fault and {"code": self.fault.code or "invalid_request", "message": self.fault.message}
        return {"id": self.id, "custom_id": self.custom_id, "response": response, "error": error}


def lines_of(source: Path, about: str = "") -> Iterator[Line]:
    """The requests of a file; blank lines are none.

    `about` tells what answers depend on beside them: the id of a line is one of its text, its number, and that.
    """
    with source.open("rb") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                known = f"{about}\n{number}\n".encode() + text.strip()
                yield Line(f"batch_req_{hashlib.sha256(known).hexdigest()[:24]}", number, text)


# -- the output -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Journal:
    """The output, of whole lines: what is here has been answered, and is not answered again."""

    path: Path
    done: set[str] = field(default_factory=set)  # ids
    failed: int = 0

    def append(self, answers: Sequence[dict[str, Any]]) -> None:
        """Have the disk hold them. Raises OSError."""
        with self.path.open("ab") as file:
            file.write(b"".join(_written(answer) for answer in answers))
        sync(self.path)
        for answer in answers:
            self._count(answer)

    def _read(self) -> None:
        """Raise InvalidRequest where this is no output; a last line that a kill has torn is cut off."""
        size = 0
        with self.path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n") and (text.startswith(BEGINNING) or BEGINNING.startswith(text)):
                    break
                try:
                    if not text.endswith(b"\n"):
                        raise ValueError
                    self._count(json.loads(text))
                except (ValueError, TypeError, LookupError):
                    raise InvalidRequest(
                        f"line {number} of {self.path} is no answer of a batch", hint="name another file with -o"
                    ) from None
                size += len(text)
        os.truncate(self.path, size)

    def _count(self, answer: dict[str, Any]) -> None:
        self.done.add(answer["id"])
        self.failed += answer["error"] is not None or answer["response"]["status_code"] != 200


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """The output, made where there is none, and nobody else's while the block runs.

    Raises InvalidRequest where another process writes it, or something else stands there.
    """
    if path.exists() and not path.is_file():
        raise InvalidRequest(f"{path} is no file", hint="name one with -o")
    path.touch()
    sync(path.parent)
    with locked(path, wait=False) as mine:
        if not mine:
            raise InvalidRequest(f"{path} is being written by another batch", hint="wait for it, or name another file")
        made = Journal(path)
        made._read()
        yield made


def _written(answer: dict[str, Any]) -> bytes:
    try:
        return json.dumps(answer, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(answer).encode() + b"\n"


# -- answering --------------------------------------------------------------------------------------


class Batch:
    """One file of requests on its way through a service."""

    def __init__(self, service: Service, source: Path, out: Journal, *, about: str = "") -> None:
        """Raises InvalidRequest where `out` holds answers to other lines, or about other things."""
        self._service, self._source, self._out, self._about = service, source, out, about
        ids = [line.id for line in lines_of(source, about)]
        self.total = len(ids)
        if strange := out.done.difference(ids):
            raise InvalidRequest(
                f"{out.path} holds {len(strange)} answers to other lines, or by another model or other options",
                hint="name another file with -o",
            )

    async def run(self, told: Callable[[int], object] = lambda count: None) -> None:
        """Answer what has no answer yet; `told` hears how many have got one. Raises OSError."""
        most = self._service.limits.rows + self._service.limits.waiting
        working: dict[asyncio.Task[dict[str, Any]], int] = {}

        async def finish_some() -> None:
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            self._out.append([task.result() for task in done])
            told(len(done))
            for task in done:
                del working[task]

        seen: dict[str, int] = {}  # custom id -> which line it is of
        for line in lines_of(self._source, self._about):
            self._read(line, seen)
            if line.id in self._out.done:
                continue
            while working and (sum(working.values()) + line.rows > most or len(working) >= most):
                await finish_some()
            working[asyncio.create_task(self._answered(line))] = line.rows
        while working:
            await finish_some()

    def _read(self, line: Line, seen: dict[str, int]) -> None:
        """Find what a line asks for, or why nobody can tell."""
        try:
            given = parsed(line.text, f"line {line.number}")
            self._name(line, given)
            endpoint = _endpoint(line, given)
            if (first := seen.setdefault(str(line.custom_id), line.number)) != line.number:
                what = f"line {line.number} has the custom_id of line {first}, {shown(line.custom_id)}"
                raise Refused(400, what, "no two may have the same", code="duplicate_custom_id")
        except (Refused, RecursionError) as fault:
            line.fault = self._service.refusal(fault)
            return
        try:
            line.asked = self._service.read(given.get("body"), endpoint)
            if line.asked.stream:
                raise Refused(400, "a batch writes no streams", "leave stream out", param="stream")
        except Exception as error:
            line.asked, line.refused = None, self._service.refusal(error)

    @staticmethod
    def _name(line: Line, given: Any) -> None:
        if not isinstance(given, dict) or not isinstance(given.get("custom_id"), str):
            hint = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {…}}'
            raise Refused(400, f"line {line.number} is no request with a custom_id, a text", hint)
        line.custom_id = given["custom_id"]
        if surplus := given.keys() - {"custom_id", "method", "url", "body"}:
            hint = "custom_id, method, url, body"
            raise Refused(400, f"line {line.number} has a field {shown(min(surplus))}", hint)

    async def _answered(self, line: Line) -> dict[str, Any]:
        if line.asked is None:
            return line.answer()
        try:
            with self._service.admitted(line.rows):
                handles = await self._service.apart(self._service.submit, line.asked)
                await asyncio.gather(*(handle.ended() for handle in handles))
                answers = [handle.result() for handle in handles]
                return line.answer(REPLIES[line.asked.endpoint](self._service, line.asked).whole(answers))
        except Exception as error:
            line.refused = self._service.refusal(error)
            return line.answer()


def _endpoint(line: Line, given: dict[str, Any]) -> str:
    method, url = given.get("method"), given.get("url")
    if method != "POST" or not isinstance(url, str) or url not in PATHS:
        hint = " or ".join(f"POST {path}" for path in PATHS)
        raise Refused(400, f"line {line.number} asks for {shown(method)} {shown(url)}", hint)
    return PATHS[url]
