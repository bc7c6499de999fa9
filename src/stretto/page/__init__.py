"""The page on which one sees decoding happen: one file of HTML that needs nothing else.

    page.html, page.css   what stands on it, and how it looks
    view.js               draws traces: tokens by what brought them about, draft trees, the clock, the canvas
    live.js               the form of a server's page, which asks and shows the answers as they come

`stretto generate --trace page.html` writes one, `stretto diagnose --trace A B --page page.html` one that compares, and
`stretto serve` has one at `/`. Text of models is put in as text, never as HTML, and the page's policy lets no other
script run, nor anything be loaded.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..generation import Generation


class Pieces(Protocol):
    """Text that grows token by token, as `stretto.pieces.Text`."""

    def extend(self, tokens: Sequence[int], *, last: bool = False) -> None:
        """Take tokens."""
        ...

    def release(self, *, last: bool = False) -> str:
        """What they add for good."""
        ...


class Codec(Protocol):
    """What reads tokens, as `stretto.text.Codec`."""

    @property
    def decode(self) -> Callable[[Sequence[int]], str]:
        """Text of tokens."""
        ...

    @property
    def reading(self) -> Mapping[str, Any]:
        """How texts are read: of `special` tokens, what they stand for."""
        ...

    @property
    def text(self) -> Callable[..., Pieces]:
        """The text that follows a prompt; empty yet."""
        ...


def traced(answer: Generation, codec: Codec) -> dict[str, Any]:
    """The record of an answer with its texts: `prompt`, `pieces` (of each new token), `texts` (of each token's id).

    A character of several tokens is its last one's.
    """
    record = answer.record()
    growing = codec.text(answer.prompt_tokens, (), frozenset())
    pieces = []
    for at, token in enumerate(answer.tokens, 1):
        last = at == len(answer.tokens)
        growing.extend([token], last=last)
        pieces.append(growing.release(last=last))
    ids = set(answer.tokens)
    for step in answer.steps:
        ids.update(step.committed, step.drafted)
    for entry in answer.log_probabilities or ():
        ids.update(token for token, _ in (*entry.top_raw, *entry.top_steered))
    special = codec.reading.get("special", {})  # that decoding leaves out
    texts = {str(token): codec.decode([token]) or special.get(token, "") for token in sorted(ids)}
    return {**record, "prompt": codec.decode(answer.prompt_tokens), "pieces": pieces, "texts": texts}


def page(traces: Sequence[Mapping[str, Any]], asking: Mapping[str, Any] | None = None) -> str:
    """The page of one or two traces (`traced`, or saved by `Generation.save_trace`: then tokens are numbers).

    `asking` makes it a server's: what its form says at first: two `methods`, and whether `chat` is.
    """
    data = json.dumps({"traces": traces, "asking": asking}, ensure_ascii=False, separators=(",", ":"))
    return (
        _text("page.html")
        .replace("/*STYLE*/", _text("page.css"))
        .replace("POLICY", policy(asking is not None))
        .replace("/*SCRIPT*/", _script())
        .replace("/*DATA*/", data.replace("<", "\\u003c"))  # the last: nothing in it is replaced, nor ends its element
    )


def policy(live: bool) -> str:
    """The page's Content-Security-Policy: its own script and style, by their hashes, and its own server."""
    own = {"script-src": _script(), "style-src": _text("page.css")}
    rules = [f"{name} 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for name, text in own.items()]
    rules += ["img-src data:", "base-uri 'none'", "form-action 'none'"] + ["connect-src 'self'"] * live
    return "; ".join(["default-src 'none'", *rules])


@cache
def _script() -> str:
    return _text("view.js") + _text("live.js")


@cache
def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
