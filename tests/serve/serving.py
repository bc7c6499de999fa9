"""A live server on a free port, and how tests ask it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Thread
from typing import Any

import pytest

from stretto.serve.app import application
from stretto.serve.running import Server
from stretto.serve.service import Service

LONGEST = 60.0  # seconds that anything is waited for


class Live:
    """A server that runs in a thread of this process."""

    def __init__(self, service: Service, server: Server, port: int) -> None:
        self.service, self.server, self.port = service, server, port

    def stop(self) -> None:
        """What SIGTERM and SIGINT do."""
        self.server.should_exit = True

    def ask(self, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
        """Status, headers and the JSON of what comes back; a body that is no text is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        sent = body if isinstance(body, str | bytes | None) else json.dumps(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        connection.request("GET" if sent is None else "POST", path, sent, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        plain = not answer.headers["content-type"].startswith("application/json")
        return answer.status, answer.headers, text.decode() if plain else json.loads(text)

    def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of a stream, which ends as it should."""
        status, headers, text = self.ask(path, {**body, "stream": True})
        assert status == 200 and headers["content-type"].startswith("text/event-stream"), text
        *events, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def until(self, true: Callable[[], Any]) -> None:
        """Wait until something is so."""
        late = time.monotonic() + LONGEST
        while not true():
            if time.monotonic() > late:
                pytest.fail(f"{LONGEST:.0f} seconds later it is still not so")
            time.sleep(0.005)

    def until_idle(self) -> None:
        """Wait until nothing is on its way."""
        self.until(lambda: not (self.service._rows or self.service.engine._scheduler._tickets))


@contextmanager
def serving(service: Service, *, grace: int = 30, **options: Any) -> Iterator[Live]:
    """A server on a free port of this machine, until the block ends; `live.stop()` is what a signal does."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(application(service, **options), service, grace=grace)
    thread = Thread(target=server.run, args=[[listening]])
    thread.start()
    try:
        yield Live(service, server, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
