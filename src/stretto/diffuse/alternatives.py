"""Several tokens for one position: the next evaluation tries them side by side, and the order says where it is better.

A step fills the position with the first of them. With the next evaluation of the row stand those of the canvases that
have the others there; what is kept is one canvas with what was evaluated for it, so no round is spent on the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..row import reported
from .contract import Delta
from .line import Alternative, Ask, Attempt, Line
from .proposal import Proposal


def offered(line: Line, delta: Delta, proposal: Proposal, chosen_from: Proposal) -> tuple[Alternative, ...]:
    """The other tokens of a step, with what is reported of them; `chosen_from` is what the order saw."""
    found: list[Alternative] = []
    for position, tokens in delta.others.items():
        assert position in delta.commit, f"other tokens are named for position {position}, which is not filled"
        if position >= len(line.canvas):
            continue  # cut off by now
        at = np.array([position])
        known, own, most = proposal.at(at), chosen_from.at(at), line.row.log_probabilities
        for token in tokens:
            report = None if most is None else reported([token], known.logits, own.steered, most)[0]
            found.append(Alternative(position, token, float(known.probability(np.array([token]))[0]), report))
    return tuple(found)


def variants(line: Line, ask: Ask) -> list[Ask]:
    """What a row asks for now, once for each other token that the last step named."""
    found = []
    for other in line.others:
        canvases = [ids.copy() for ids in ask.canvases]
        for ids in canvases:
            ids[other.position] = other.token
        found.append(replace(ask, canvases=canvases))
    return found


def settled(line: Line, chain: Sequence[Attempt]) -> Attempt:
    """The evaluation whose canvas the order prefers, of equals the first; the row then holds that token."""
    others: list[Alternative | None] = [None, *line.others]
    worth = [_worth(line, attempt, other) for attempt, other in zip(chain, others, strict=True)]
    best = worth.index(max(worth))
    other, line.others = others[best], ()
    if other is not None:
        line.put(other)
        _amend(line, other)
    return chain[best]


def _worth(line: Line, attempt: Attempt, other: Alternative | None) -> float:
    """What the order thinks of one canvas, asked on copies of everything."""
    twin = line.fork(line.row, [])
    if other is not None:
        twin.put(other)
    assert twin.window is not None and attempt.proposal is not None
    own = twin.own(twin.drawn(attempt.proposal, attempt.ask.draw).at(twin.wanted(twin.window)))
    return twin.order.worth(twin.canvas, own, twin.window)


def _amend(line: Line, other: Alternative) -> None:
    """Let the trace of the last step say what it came to fill."""
    steps = line.row.steps
    if steps and other.position in steps[-1].positions:
        last, at = steps[-1], steps[-1].positions.index(other.position)
        committed, confidence = last.committed.copy(), last.confidence.copy()
        committed[at], confidence[at] = other.token, other.sure
        steps[-1] = replace(last, committed=committed, confidence=confidence)
