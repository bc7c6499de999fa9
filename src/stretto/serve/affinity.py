"""Requests that begin alike go to one replica, which has read that beginning before.

A proxy of Ray Serve chooses the replica before it reads a body, and Ray's own router by consistent hashing goes by a
header. This stands before the proxy (Ray names the hook RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH): it reads the body,
and writes that header. Which replica that is, and what is done where it is full or gone, is for Ray's router.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.middleware import Middleware

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADER = b"x-session-id"  # that Ray's router reads
TEXT = 256  # characters, or token ids, of a prompt that are its beginning
LONGEST = 4 << 20  # bytes of a body that are looked at: what is longer goes anywhere


def beginning(body: bytes) -> bytes:
    """What names the beginning of a request's prompt, nothing where there is none.

    Of a chat it is all up to the first message of the user, so that a conversation stays where it began.

    >>> first = {"role": "user", "content": "Spell owl."}
    >>> later = [first, {"role": "assistant", "content": "o-w-l"}, {"role": "user", "content": "Again."}]
    >>> one, two = (json.dumps({"messages": said}).encode() for said in ([first], later))
    >>> beginning(one) == beginning(two) != beginning(b'{"prompt": "Spell owl."}')
    True
    """
    try:
        given = json.loads(body)
        said = given.get("messages") or given.get("input") or given.get("prompt")
        if isinstance(said, list) and said and isinstance(said[0], dict):
            first = next((at for at, each in enumerate(said) if each.get("role") == "user"), 0)
            said = said[: first + 1]
        else:
            said = said[:TEXT]
    except (ValueError, TypeError, AttributeError, RecursionError):  # the server says what is wrong with it
        return b""
    known = json.dumps([given.get("instructions"), said])
    return hashlib.sha256(known.encode()).hexdigest()[:32].encode() if said else b""


class Affinity:
    """Writes the header, unless the client has: so it may keep together what it likes."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "POST" or HEADER in dict(scope["headers"]):
            await self._app(scope, receive, send)
            return
        body = b""
        came: list[Message] = []
        while not came or (came[-1].get("more_body") and len(body) <= LONGEST):
            came.append(await receive())
            body += came[-1].get("body", b"")
        if name := beginning(body):
            scope = {**scope, "headers": [*scope["headers"], (HEADER, name)]}

        async def once_more() -> Message:
            return came.pop(0) if came else await receive()

        await self._app(scope, once_more, send)


def middlewares() -> list[Middleware]:
    """What Ray's hook calls, in every proxy."""
    return [Middleware(Affinity)]
