"""Lays the views of several canvases side by side: one window, who sees whom in it, and where the answers come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..models.masked import Masking
from ..models.window import Window
from .prediction import Positions
from .views import CanvasView, sources

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def window_of(views: Sequence[CanvasView], rows: Sequence[Positions], masking: Masking, device: torch.device) -> Window:
    """The window in which each view computes its rows, and those beside its canvas behind them."""
    beside = [view.beside(masking) for view in views]
    lengths = [len(each) + len(places) for each, (places, _) in zip(rows, beside, strict=True)]
    size = max(lengths)
    tokens = np.zeros((len(views), size), np.int64)
    positions = np.zeros((len(views), size), np.int64)
    real = np.zeros((len(views), size), np.bool_)
    for r, (view, computed) in enumerate(zip(views, rows, strict=True)):
        places, owners = beside[r]
        tokens[r, : len(computed)] = view.ids[computed]
        tokens[r, len(computed) : lengths[r]] = np.where(places == owners, masking.mask, view.ids[places])
        positions[r, : lengths[r]] = np.concatenate([computed, places])
        real[r, : lengths[r]] = True
    visible = _visible(views, rows, masking, positions, real)
    return Window(
        rows=[view.memory.row for view in views],
        tokens=torch.from_numpy(tokens).to(device),
        positions=torch.from_numpy(positions).to(device),
        lengths=lengths,
        visible=None if visible is None else torch.from_numpy(visible).to(device),
        everyone=visible is None,
    )


def slots_of(view: CanvasView, computed: Positions, masking: Masking) -> Positions:
    """Slots of the window whose logits predict the wanted positions [n]."""
    slot = np.full(len(view.ids), -1)
    slot[computed] = np.arange(len(computed))
    slots: Positions = slot[sources(masking, view.wanted)]
    if len(view.rechecked):
        places, owners = view.beside(masking)
        predicting = np.flatnonzero(places == sources(masking, owners))
        slots[np.searchsorted(view.wanted, owners[predicting])] = len(computed) + predicting
    return slots


def padded(slots: Sequence[Positions], device: torch.device) -> Tensor:
    """Slot numbers side by side, [B, n]; shorter ones are filled up with the first slot."""
    size = max(len(each) for each in slots)
    table = np.zeros((len(slots), size), np.int64)
    for row, each in zip(table, slots, strict=True):
        row[: len(each)] = each
    return torch.from_numpy(table).to(device)


def _visible(
    views: Sequence[CanvasView],
    rows: Sequence[Positions],
    masking: Masking,
    positions: Positions,
    real: NDArray[np.bool_],
) -> NDArray[np.bool_] | None:
    """Who sees whom [B, T, T] of slots at these positions [B, T], of which some are real; None: everyone."""
    owners = [view.beside(masking)[1] for view in views]
    blind = np.array([view.plan.blind for view in views])[:, None]
    if masking.block is None and not blind.any() and not any(map(len, owners)):
        return None
    visible: NDArray[np.bool_] = np.broadcast_to(real[:, None, :], (*real.shape, real.shape[1])).copy()
    for seen, computed, each in zip(visible, rows, owners, strict=True):
        _hide(seen, computed, each, masking)
    if masking.block is not None:
        block = positions // masking.block
        visible &= block[:, None, :] <= block[:, :, None]
        visible |= (~real)[:, :, None] & real[:, None, :]  # padding sees something, and is not read
    if blind.any():
        visible &= ~((real & (positions < blind))[:, :, None] & (positions >= blind)[:, None, :])
    return visible


def _hide(seen: NDArray[np.bool_], computed: Positions, owners: Positions, masking: Masking) -> None:
    """Hide the rows beside a canvas from it and from each other, and from them what they stand in for: seen [T, T]."""
    if not len(owners):
        return
    start, end = len(computed), len(computed) + len(owners)
    seen[:, start:end] = False
    seen[start:end, start:end] = owners[:, None] == owners
    seen[start:end, :start] &= (computed != owners[:, None]) & (computed != sources(masking, owners)[:, None])
