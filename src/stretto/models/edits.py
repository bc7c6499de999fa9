"""Edits of the rows that leave layers: in a window of rows of which each has its own, or none."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch

from ..errors import Unsupported
from ..values import Checked
from .contract import Ability, Model

if TYPE_CHECKING:
    from torch import Tensor

    from .pictures import Pictures
    from .window import Window

Change = Callable[["Tensor"], "Tensor"]  # rows [B, T, C] that leave a layer -> the same as edited


class Edit(metaclass=Checked):
    """A change of the rows that leave some layers: a frozen, slotted dataclass of its own settings.

    Asked with a layer and rows [N, C], it returns rows [N, C]. Each is made of its own row alone, in operations that
    round alike wherever a row stands, and is finite where that is. It never writes into what it was given. What was
    read under unlike edits is never shared, so equal ones compare equal.
    """

    __slots__ = ()

    recalls: ClassVar[bool] = False  # looks at the rows that left the earlier ones of its layers
    gazes: ClassVar[bool] = False  # changes attention, not rows: see gazes.py

    @property
    @abstractmethod
    def layers(self) -> tuple[int, ...]:
        """The layers at which it is asked: 0 the embedding, l the output of the l-th decoder layer."""

    @abstractmethod
    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        """The edited rows [N, C]; `earlier` holds those of its layers before, as edited, where it recalls them."""

    def at(self, pictures: Pictures, prompt: int) -> Edit:
        """The same for a prompt of so many tokens and these pictures."""
        return self

    def check(self, model: Model) -> None:
        """Raise Unsupported where it is not made for a model of these layers and channels."""
        wrong = next((layer for layer in self.layers if not 0 <= layer <= model.layers), None)
        if wrong is not None:
            raise Unsupported(
                f"an edit is of layer {wrong}, which {model.name} lacks",
                hint=f"it has layers 0 (the embedding) to {model.layers}",
            )


def require_edits(edits: Iterable[Edit], model: Model) -> None:
    """Raise Unsupported where the model takes no edits, or not these."""
    for edit in edits:
        if not edit.gazes and Ability.EDITS not in model.abilities:
            raise Unsupported(
                f"{model.name} takes no edits of its rows", hint="leave the steer out, or use a model of known layers"
            )
        edit.check(model)


def edit(window: Window, edits: Sequence[tuple[Edit, ...]]) -> None:
    """Let a window's rows be edited, each by its own."""
    window.edits = changes(edits)
    if any(each.gazes for own in edits for each in own):
        from .gazes import Regards

        window.regard = Regards(edits).of


def changes(edits: Sequence[tuple[Edit, ...]]) -> dict[int, Change]:
    """For a window of rows that have these edits each: what becomes of the rows that leave a layer."""
    groups: dict[tuple[Edit, ...], list[int]] = {}
    for row, own in enumerate(edits):
        if own:
            groups.setdefault(own, []).append(row)
    earlier: dict[tuple[tuple[Edit, ...], Edit], dict[int, Tensor]] = {}
    layers = {layer for own in groups for edit in own for layer in edit.layers}
    return {layer: partial(_changed, layer, groups, earlier) for layer in sorted(layers)}


def _changed(
    layer: int,
    groups: Mapping[tuple[Edit, ...], list[int]],
    earlier: dict[tuple[tuple[Edit, ...], Edit], dict[int, Tensor]],
    rows: Tensor,
) -> Tensor:
    for own, places in groups.items():
        mine = [edit for edit in own if layer in edit.layers]
        if not mine:
            continue
        every = len(places) == len(rows)
        part = rows if every else rows[places]
        flat = part.reshape(-1, part.shape[-1])
        for edit in mine:
            before = earlier.setdefault((own, edit), {})
            flat = edit(layer, flat, before).to(rows.dtype)
            if edit.recalls:
                before[layer] = flat
        flat = flat.view(part.shape)
        rows = flat if every else rows.index_copy(0, torch.tensor(places, device=rows.device), flat)
    return rows


def dots(rows: Tensor, directions: Tensor) -> Tensor:
    """Products of rows [N, C] with directions [R, C]: [N, R] float64, each the same bits whatever rows are beside."""
    return (rows.double()[:, None] * directions.to(rows.device, torch.float64)).sum(-1)
