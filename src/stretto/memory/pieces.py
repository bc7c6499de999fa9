"""Long windows of text, evaluated piece by piece: for stores of which a window may not reach far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import Unsupported
from ..models.contract import Evaluation, Want

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.window import Window

Evaluate = Callable[..., Evaluation]


def in_pieces(evaluate: Evaluate, most: int) -> Evaluate:
    """The same, of windows of so many tokens at most. Longer ones are split, unless they branch: then they are left."""

    def evaluated(window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        size = window.tokens.shape[1]
        if size <= most or window.visible is not None or window.everyone:
            return evaluate(window, cache, want)
        if window.edits and min(window.lengths) < size:
            raise Unsupported("edits of rows of unlike length, in pieces", hint="leave out the store")
        picked = want.logits if not isinstance(want.logits, bool) else None
        every = want if picked is None else replace(want, logits=True)
        found = Evaluation()
        for start in range(0, size, most):
            rows = [row for row, length in enumerate(window.lengths) if length > start]
            part = evaluate(_piece(window, rows, start, start + most), cache, every)
            _put(found, part, window, rows, start)
        if picked is not None and found.logits is not None:
            found.logits = found.logits.gather(1, picked[..., None].expand(-1, -1, found.logits.shape[-1]))
        return found

    return evaluated


def _piece(window: Window, rows: list[int], start: int, end: int) -> Window:
    """Some slots of some rows of a window."""
    lengths = [min(end, window.lengths[row]) - start for row in rows]
    part = slice(start, start + max(lengths))

    def cut(rows_of: Tensor | None) -> Tensor | None:
        return None if rows_of is None else rows_of[rows, part]

    return replace(
        window,
        rows=[window.rows[row] for row in rows],
        tokens=window.tokens[rows, part],
        positions=window.positions[rows, part],
        lengths=lengths,
        embeds=cut(window.embeds),
        hidden=cut(window.hidden),
        given={branch: added[rows, part] for branch, added in window.given.items()},
    )


def _put(found: Evaluation, part: Evaluation, window: Window, rows: list[int], start: int) -> None:
    """What came out of a piece, at its place among that of the window."""

    def put(whole: Tensor | None, new: Tensor) -> Tensor:
        if whole is None:
            whole = new.new_zeros(*window.tokens.shape, new.shape[-1])
        whole[torch.tensor(rows, device=new.device), start : start + new.shape[1]] = new
        return whole

    if part.logits is not None:
        found.logits = put(found.logits, part.logits)
    for name in ("hidden", "readout"):
        mine, new = getattr(found, name), getattr(part, name)
        mine.update({layer: put(mine.get(layer), rows_of) for layer, rows_of in new.items()})
