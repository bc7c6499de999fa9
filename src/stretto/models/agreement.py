"""Whether a model computes what the module behind it computes, wherever checkpoints can differ.

A few tokens are put at the positions at which the configuration says that something changes: around the end of a
window, of a chunk, of the length that a rotation was made for, and at the last position. The module is the plain one
that reads Llama-shaped checkpoints (plain.py), or transformers' own, which is asked through eager.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .contract import Model
from .window import Window

FIRST = 7  # how many of the first positions are looked at
SHARES = (4, 2)  # and these parts of the whole length, for what no field names
LENGTHS = ("window", "position", "chunk", "floor", "context", "length", "_len")  # in the names of fields


@dataclass(frozen=True, slots=True)
class Probe:
    """Tokens on which a module was asked."""

    tokens: Tensor  # [1, N]
    positions: Tensor  # [1, N]
    logits: Tensor  # [1, N, V] the module's

    def window(self, row: int, start: int = 0, end: int | None = None, **more: Any) -> Window:
        """Some of the tokens, as a window of one row."""
        tokens, positions = self.tokens[:, start:end], self.positions[:, start:end]
        return Window([row], tokens, positions, [tokens.shape[1]], **more)

    def gap(self, logits: Tensor) -> float:
        """The largest difference of a model's logits [1, N, V], as a share of the largest one."""
        return float((logits - self.logits).abs().max() / self.logits.abs().max())


def probe(model: Model, module: Any) -> Probe:
    """Ask the module behind a model where checkpoints can differ."""
    places = probed(module.config.get_text_config(), model.max_positions)
    positions = torch.tensor([places], device=model.device)
    tokens = (torch.arange(len(places), device=model.device)[None] * 31 + 5) % model.vocabulary
    if hasattr(module, "logits_at"):
        return Probe(tokens, positions, module.logits_at(tokens, positions))
    from .eager import logits_at

    return Probe(tokens, positions, logits_at(module, tokens, positions))


def gap(model: Model, module: Any) -> float:
    """The largest difference of their logits on probing tokens, read in pieces, as a share of the largest logit."""
    asked = probe(model, module)
    count = asked.tokens.shape[1]
    cache = model.new_cache(slots=count)
    row = cache.open()
    ours = []
    for start, end in _pieces(count):
        logits = model.evaluate(asked.window(row, start, end), cache).logits
        assert logits is not None
        ours.append(logits)
    return asked.gap(torch.cat(ours, dim=1))


def probed(config: Any, positions: int) -> list[int]:
    """The positions that are compared, ascending; all of them lie below `positions`."""
    last = positions - 1
    named = {length for length in _lengths(vars(config)) if length < positions}
    chosen = {*range(FIRST), *(positions // share for share in SHARES), last - 1, last}
    for length in named:
        chosen |= {length - 1, length, length + 1, 2 * length}
    return sorted(place for place in chosen if 0 <= place <= last)


def _lengths(fields: Mapping[str, Any]) -> Iterator[int]:
    """Whatever a configuration calls a length: of windows, chunks, tables; those of its rotations included."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _lengths(value)
        elif any(word in str(name) for word in LENGTHS) and isinstance(value, int | float) and 1 < value < torch.inf:
            yield int(value)


def _pieces(count: int) -> list[tuple[int, int]]:
    """Windows of several tokens, of a few, and of one."""
    ends = [0, count // 2, count - 1, count]
    return list(pairwise(ends))
