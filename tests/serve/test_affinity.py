"""What tells a router who begins alike: of a body that reaches the server as it came."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("starlette", reason="pip install 'stretto[serve]'")

from stretto.serve.affinity import HEADER, LONGEST, Affinity, beginning, middlewares

ASK = {"role": "user", "content": "Spell owl."}
BRIEF = {"role": "system", "content": "Be brief."}


def of(**body: Any) -> bytes:
    return beginning(json.dumps(body).encode())


def passed(pieces: list[bytes], **scope: Any) -> tuple[bytes | None, bytes]:
    """The header and the body that reach what stands behind, of a body in pieces."""
    left = [
        {"type": "http.request", "body": piece, "more_body": at < len(pieces)} for at, piece in enumerate(pieces, 1)
    ]
    left.append({"type": "http.disconnect"})
    seen: list[Any] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]).get(HEADER))
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"])

    async def receive() -> Any:
        return left.pop(0)

    (made,) = middlewares()
    assert made.cls is Affinity
    asyncio.run(Affinity(behind)({"type": "http", "method": "POST", "headers": [], **scope}, receive, None))
    return seen[0], b"".join(seen[1:])


def test_a_conversation_is_named_by_how_it_began() -> None:
    first = of(messages=[BRIEF, ASK], temperature=0)
    more = [BRIEF, ASK, {"role": "assistant", "content": "o-w-l"}, {"role": "user", "content": "And cat?"}]
    assert first == of(messages=more) == of(seed=3, messages=more[:3]) and len(first) == 32
    others = [
        of(messages=[ASK]),
        of(messages=[BRIEF, {**ASK, "content": "x"}]),
        of(prompt="Spell owl."),
        of(input=[ASK]),
    ]
    others += [of(input=[ASK], instructions="x"), of(input="Spell owl. "), of(prompt=[1, 2]), of(prompt=["a", "b"])]
    assert len({first, *others}) == len(others) + 1 - 1  # a chat and a response may begin alike
    assert of(prompt="a" * 300 + "b") == of(prompt="a" * 300 + "c") != of(prompt="a" * 30)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"{}", b"[" * 10**5, b'{"prompt": 3}'], ids=len)
def test_what_has_no_beginning_goes_anywhere(body: bytes) -> None:
    assert beginning(body) == b"" and passed([body]) == (None, body)


def test_the_body_comes_as_it_was_sent() -> None:
    body = json.dumps({"prompt": "Once upon a time"}).encode()
    assert passed([body[:5], body[5:]]) == (beginning(body), body) == passed([body])
    assert passed([body], headers=[(HEADER, b"mine")]) == (b"mine", body)
    assert passed([], method="GET") == (None, b"")
    long = [body[:-1] + b" " * LONGEST, b" ", b"}"]
    assert passed(long) == (None, b"".join(long))
