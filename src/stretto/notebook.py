"""An answer as notebooks show it: its text, coloured by who guessed which token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .generation import Generation

COLOURS = ("#cdeedd", "#cfe6f7", "#fbeac0", "#ead9f5", "#d9def8", "#f8d7d2")  # behind the text; black reads on all
TORN = "\ufffd"  # what decoders write for the bytes of an unfinished character
BOX = "white-space:pre-wrap;overflow-wrap:anywhere"


def html(answer: Generation, decode: Callable[[Sequence[int]], str] | None) -> str:
    """A piece of HTML that needs nothing else: the text, and a line of what it cost; plain where nothing decodes."""
    if answer.error is not None:
        return f"<pre>{escape(str(answer.error))}</pre>"
    sources = {place: source for step in answer.steps for place, source in zip(step.places, step.sources, strict=True)}
    first = len(answer.prompt_tokens)
    named = [sources.get(first + at, "") for at in range(len(answer.tokens))]
    colours = {source: COLOURS[at % len(COLOURS)] for at, source in enumerate(dict.fromkeys(filter(None, named)))}
    spans = "".join(
        f'<span style="background:{colours[source]};color:#000" title="{escape(source)}">{escape(text)}</span>'
        if source
        else escape(text)
        for text, source in _stretches(answer, named, decode)
    )
    legend = "".join(
        f' · <span style="background:{code};color:#000">{escape(name)}</span>' for name, code in colours.items()
    )
    about = f"{len(answer.tokens)} tokens, {escape(answer.finish)}, {escape(answer.method)}{legend}"
    return f'<div style="{BOX}">{spans}</div><small>{about}</small>'


def _stretches(
    answer: Generation, named: list[str], decode: Callable[[Sequence[int]], str] | None
) -> list[tuple[str, str]]:
    """The text in pieces, each with who guessed it; a character of several tokens is its last one's."""
    found: list[tuple[str, str]] = []
    before = ""
    for at, source in enumerate(named if decode is not None else []):
        after = decode(answer.tokens[: at + 1]) if decode is not None else ""
        if after.endswith(TORN) and at + 1 < len(named):
            continue
        if found and found[-1][1] == source:
            found[-1] = (found[-1][0] + after[len(before) :], source)
        else:
            found.append((after[len(before) :], source))
        before = after
    whole = "".join(text for text, _ in found)
    if not whole.startswith(answer.text):  # decoding by parts tells another text: rather none than a wrong colour
        return [(answer.text, "")]
    kept, room = [], len(answer.text)  # a stop string is cut off
    for text, source in found:
        kept.append((text[: max(0, room)], source))
        room -= len(text)
    return [(text, source) for text, source in kept if text]
