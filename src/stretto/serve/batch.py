"""Requests from files, each answered as the server answers it: `stretto batch`.

A line of the input is one request, a line of the output its answer, both in the form of OpenAI's batch files. Answers
are appended as they end, and lie on the disk before more are begun: a batch that was killed goes on where it stood.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..files import locked, sync
from ..values import shown
from .errors import Refused, refusal
from .fields import PATHS, Asked, parsed
from .replies import REPLIES
from .service import Service
from .sources import files_of, texts_of

BEGINNING = b'{"id": "batch_req_'  # of each line of an output


@dataclass(slots=True)
class Line:
    """One request of the input: what names its answer, and what it asks for, or why that cannot be read."""

    id: str
    place: str  # as messages name it
    text: bytes
    custom_id: str | None = None
    asked: Asked | None = None
    fault: Refused | None = None  # of the line
    refused: Refused | None = None  # of the request in it

    @property
    def rows(self) -> int:
        """Answers that it takes."""
        return 0 if self.asked is None else self.asked.prompts * self.asked.samples

    def identify(self, seen: dict[str, str]) -> tuple[str, Any]:
        """Its endpoint and its body, or its fault; `seen`: custom ids -> the place of the first that has each."""
        try:
            given = parsed(self.text, self.place)
            self._name(given)
            endpoint = self._endpoint(given)
            if (first := seen.setdefault(str(self.custom_id), self.place)) != self.place:
                what = f"{self.place} has the custom_id of {first}, {shown(self.custom_id)}"
                raise Refused(400, what, "no two may have the same", code="duplicate_custom_id")
            return endpoint, given.get("body")
        except (Refused, RecursionError) as fault:
            self.fault = refusal(fault)
            return "", None

    def read(self, service: Service, endpoint: str, body: Any) -> None:
        """Find what it asks of a service, or why that is refused."""
        try:
            self.asked = service.read(body, endpoint)
            if self.asked.stream:
                raise Refused(400, "a batch writes no streams", "leave stream out", param="stream")
        except Exception as error:
            self.asked, self.refused = None, service.refusal(error)

    def _name(self, given: Any) -> None:
        if not isinstance(given, dict) or not isinstance(given.get("custom_id"), str):
            hint = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {…}}'
            raise Refused(400, f"{self.place} is no request with a custom_id, a text", hint)
        self.custom_id = given["custom_id"]
        if surplus := given.keys() - {"custom_id", "method", "url", "body"}:
            raise Refused(400, f"{self.place} has a field {shown(min(surplus))}", "custom_id, method, url, body")

    def _endpoint(self, given: dict[str, Any]) -> str:
        method, url = given.get("method"), given.get("url")
        if method != "POST" or not isinstance(url, str) or url not in PATHS:
            hint = " or ".join(f"POST {path}" for path in PATHS)
            raise Refused(400, f"{self.place} asks for {shown(method)} {shown(url)}", hint)
        return PATHS[url]

    def answer(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The line of the output."""
        response: dict[str, Any] | None = None
        if self.fault is None:
            status, said = (200, body) if self.refused is None else (self.refused.status, self.refused.object)
            response = {"status_code": status, "request_id": f"req_{secrets.token_hex(12)}", "body": said}
        error = self.fault and {"code": self.fault.code or "invalid_request", "message": self.fault.message}
        return {"id": self.id, "custom_id": self.custom_id, "response": response, "error": error}


def lines_of(source: Path, about: str = "") -> Iterator[Line]:
    """The requests of a file, or of all files of a folder; blank lines are none. Raises InvalidRequest.

    `about` tells what answers depend on beside them: the id of a line is one of its text, its place, and that.
    """
    for file in files_of(source):
        name = "" if file == source else f"{file.name} "
        for number, text in enumerate(texts_of(file), 1):
            if text.strip():
                known = f"{about}\n{name}{number}\n".encode() + text.strip()
                place = f"line {number} of {file.name}" if name else f"line {number}"
                yield Line(f"batch_req_{hashlib.sha256(known).hexdigest()[:24]}", place, text)


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
            file.write(b"".join(written(answer) for answer in answers))
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


def written(answer: dict[str, Any]) -> bytes:
    """A line of the output."""
    try:
        return json.dumps(answer, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(answer).encode() + b"\n"


# -- answering --------------------------------------------------------------------------------------


class Batch:
    """The requests of a file or a folder, and the file of their answers."""

    def __init__(self, source: Path, out: Journal, *, about: str = "") -> None:
        """Raises InvalidRequest where `out` holds answers to other lines, or about other things."""
        self._source, self.out, self._about = source, out, about
        ids = [line.id for line in lines_of(source, about)]
        self.total = len(ids)
        if strange := out.done.difference(ids):
            raise InvalidRequest(
                f"{out.path} holds {len(strange)} answers to other lines, or by another model or other options",
                hint="name another file with -o",
            )

    def left(self) -> Iterator[tuple[Line, str, Any]]:
        """Lines that have no answer yet, each with its endpoint and its body."""
        seen: dict[str, str] = {}
        for line in lines_of(self._source, self._about):
            asked = line.identify(seen)
            if line.id not in self.out.done:
                yield line, *asked

    async def run(self, service: Service, told: Callable[[int], object] = lambda count: None) -> None:
        """Answer what has no answer yet; `told` hears how many have got one. Raises OSError."""
        async for answers in answered(service, self.left()):
            self.out.append(answers)
            told(len(answers))


async def answered(service: Service, lines: Iterable[tuple[Line, str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
    """The answers to lines, those together that have ended together; as many are on their way as the service takes."""
    most = service.limits.rows + service.limits.waiting
    working: dict[asyncio.Task[dict[str, Any]], int] = {}

    async def finished() -> list[dict[str, Any]]:
        done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del working[task]
        return [task.result() for task in done]

    for line, endpoint, body in lines:
        if line.fault is None:
            line.read(service, endpoint, body)
        while working and (sum(working.values()) + line.rows > most or len(working) >= most):
            yield await finished()
        working[asyncio.create_task(_answer(service, line))] = line.rows
    while working:
        yield await finished()


async def _answer(service: Service, line: Line) -> dict[str, Any]:
    if line.asked is None:
        return line.answer()
    try:
        with service.admitted(line.rows):
            reply = REPLIES[line.asked.endpoint](service, line.asked)
            handles = await service.apart(reply.submit)
            await asyncio.gather(*(handle.ended() for handle in handles))
            answers = [handle.result() for handle in handles]
            return line.answer(reply.whole(answers))
    except Exception as error:
        line.refused = service.refusal(error)
        return line.answer()
