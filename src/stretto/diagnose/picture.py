"""The trace of one answer as a picture: position by step, when each token came, how sure it was, what was taken back.

One page of HTML that needs nothing else. Columns are the positions after the prompt, rows the steps, so that a model
that continues text draws a staircase, and one that fills masks whatever its order made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from ..generation import Generation

WIDE, HIGH = 15, 11  # pixels of a cell
LEFT, HEAD = 34, 96  # room for the numbers of the steps, and for the tokens
UNSURE, SURE, UNKNOWN = (244, 162, 97), (42, 157, 143), (141, 153, 174)  # colours of probability 0, 1, and of none
GUESSED = (69, 123, 193)  # of none, but a drafter guessed it
LONGEST_TOKEN = 14  # characters that are written above a column

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: #1d2433; background: #fff;
  max-width: 75rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } p { margin: .4rem 0; }
.small { color: #5b6478; font-size: .87rem; }
.scroll { overflow: auto; max-height: 80vh; border: 1px solid #dfe3ea; border-radius: 6px; }
svg { display: block; font: 10px ui-monospace, Consolas, monospace; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, Consolas, monospace;
  font-size: .87rem; line-height: 1.8; background: #f6f7fa; border-radius: 6px; padding: .6rem .8rem; }
.text span { border-radius: 3px; padding: .1rem 0; }
.key { display: inline-block; width: .9rem; height: .7rem; border-radius: 2px; margin: 0 .3rem 0 1rem; }
"""


@dataclass(slots=True)
class Stay:
    """A token at a position, from the step that wrote it to the one that took it back."""

    step: int
    token: int | None  # None: the trace does not tell; it was rewritten once more
    sure: float  # probability under the model itself; nan: unknown
    source: str = ""
    revised: bool = False  # it replaced another token
    until: int | None = None  # the step that opened the position again, or wrote another token; None: it stayed
    remasked: bool = field(default=False)  # ended by being opened again


def stays(generation: Generation) -> dict[int, list[Stay]]:
    """What each position held when, by position; given tokens have nothing to tell."""
    found: dict[int, list[Stay]] = {}
    first = len(generation.prompt_tokens)
    for number, step in enumerate(generation.steps):
        for place in step.remasked:
            found[place][-1].until, found[place][-1].remasked = number, True
        for place in step.revised:
            found[place][-1].until = number
            found[place].append(Stay(number, None, math.nan, revised=True))
        sure = step.confidence or [math.nan] * len(step.committed)
        for place, token, certain, source in zip(step.places, step.committed, sure, step.sources, strict=True):
            found.setdefault(place, []).append(Stay(number, token, certain, source))
    for place, line in found.items():
        if line[-1].token is None and first <= place < first + len(generation.tokens):
            line[-1].token = generation.tokens[place - first]
    return found


def page(generation: Generation, text: Callable[[int], str] = str) -> str:
    """The page; `text` gives the text of one token."""
    found = stays(generation)
    counters = generation.counters
    figures = [
        f"{counters.new_tokens} tokens in {counters.rounds} rounds",
        f"{counters.tokens_per_round:.2f} tokens per row evaluated",
        f"{counters.token_forwards} positions computed",
        f"{counters.seconds:.3f} s",
    ]
    taken = sum(stay.remasked for line in found.values() for stay in line)
    again = sum(stay.revised for line in found.values() for stay in line)
    figures += [f"{taken} taken back"] * (taken > 0) + [f"{again} rewritten"] * (again > 0)
    body = [
        f"<h1>{escape(generation.method or 'a decode')}</h1>",
        f'<p class="small">{escape(", ".join(figures))}; finish: {escape(generation.finish)}.</p>',
        _key(),
        f'<div class="scroll">{_drawing(generation, found, text)}</div>',
        "<h1>The text</h1>",
        '<p class="small">Each token in the colour of its step: early ones light, late ones dark.</p>',
        _text(generation, found, text),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>stretto: how an answer came about</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _key() -> str:
    """What the colours mean."""
    marks = [
        (f"background: rgb{UNSURE}", "written, unsure"),
        (f"background: rgb{SURE}", "written, sure"),
        (f"background: rgb{UNKNOWN}", "how sure is unknown"),
        (f"background: rgb{GUESSED}", "the same, guessed by a drafter"),
        (f"background: rgb{SURE}; opacity: .25", "stands"),
        ("background: #fff; border: 2px solid #c1121f", "taken back here"),
        ("background: #fff; border: 2px solid #6a4c93", "rewritten here"),
    ]
    spans = "".join(f'<span class="key" style="{style}"></span>{escape(what)}' for style, what in marks)
    return f'<p class="small">Across: positions after the prompt. Down: steps.{spans}</p>'


def _drawing(generation: Generation, found: dict[int, list[Stay]], text: Callable[[int], str]) -> str:
    first = len(generation.prompt_tokens)
    last = max([*found, first + len(generation.tokens) - 1, first])
    steps = len(generation.steps)
    width, height = LEFT + (last - first + 1) * WIDE + 8, HEAD + steps * HIGH + 8
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">']
    for number in range(0, steps, 5):
        y = HEAD + number * HIGH
        parts.append(f'<line x1="{LEFT}" x2="{width}" y1="{y}" y2="{y}" stroke="#e4e8ef"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 9}" text-anchor="end" fill="#5b6478">{number}</text>')
    for place in range(first, last + 1):
        x, line = LEFT + (place - first) * WIDE, found.get(place, [])
        token = line[-1].token if line else None
        if not line and place - first < len(generation.tokens):
            token = generation.tokens[place - first]
            parts.append(f'<rect x="{x}" y="{HEAD}" width="{WIDE}" height="{steps * HIGH}" fill="#eef1f6"/>')
        if token is not None:
            label = escape(_shown(text(token)))
            parts.append(f'<text transform="translate({x + 11} {HEAD - 5}) rotate(-90)" fill="#1d2433">{label}</text>')
        for stay in line:
            parts += _cells(stay, place, x, steps, text)
    return "".join([*parts, "</svg>"])


def _cells(stay: Stay, place: int, x: int, steps: int, text: Callable[[int], str]) -> list[str]:
    """The cell in which a token was written, and the bar of the steps for which it stood."""
    y, end = HEAD + stay.step * HIGH, HEAD + (steps if stay.until is None else stay.until) * HIGH
    told = "" if stay.token is None else f" {text(stay.token)!r}"
    sure = "" if math.isnan(stay.sure) else f", sure {stay.sure:.3f}"
    source = f", guessed by {stay.source}" if stay.source else ""
    title = f"<title>{escape(f'position {place}, step {stay.step}:{told}{sure}{source}')}</title>"
    colour = _colour(stay)
    edge = ' stroke="#6a4c93" stroke-width="2"' if stay.revised else ""
    cells = [
        f'<rect x="{x + 1}" y="{y}" width="{WIDE - 2}" height="{end - y}" fill="{colour}" fill-opacity="0.2"/>',
        f'<rect class="written" x="{x + 1}" y="{y + 1}" width="{WIDE - 2}" height="{HIGH - 2}" fill="{colour}"{edge}>'
        f"{title}</rect>",
    ]
    if stay.remasked:
        cells.append(
            f'<rect class="taken" x="{x + 2}" y="{end + 1}" width="{WIDE - 4}" height="{HIGH - 3}" fill="#fff" '
            f'stroke="#c1121f" stroke-width="2"><title>position {place}, step {stay.until}: taken back</title></rect>'
        )
    return cells


def _text(generation: Generation, found: dict[int, list[Stay]], text: Callable[[int], str]) -> str:
    first, steps = len(generation.prompt_tokens), max(1, len(generation.steps) - 1)
    spans = []
    for at, token in enumerate(generation.tokens):
        line = found.get(first + at)
        style = f' style="background: rgba(42, 157, 143, {0.1 + 0.5 * line[-1].step / steps:.2f})"' if line else ""
        what = f"step {line[-1].step}" if line else "given"
        spans.append(f'<span{style} title="{what}">{escape(text(token))}</span>')
    return f'<p class="text">{"".join(spans)}</p>'


def _shown(text: str) -> str:
    """A token's text in one line; blanks are visible."""
    text = text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·")
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= LONGEST_TOKEN else text[: LONGEST_TOKEN - 1] + "…"


def _colour(stay: Stay) -> str:
    if math.isnan(stay.sure):
        return f"rgb{GUESSED if stay.source else UNKNOWN}"
    part = min(1.0, max(0.0, stay.sure))
    return f"rgb{tuple(round(low + (high - low) * part) for low, high in zip(UNSURE, SURE, strict=True))}"
