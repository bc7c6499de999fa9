"""Other forms of pictures: noised, transformed, few of their rows, seen with other attention."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch

from ..errors import Unsupported
from .pictures import Picture, View

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["random", "uniform", "reversed", "shuffled"]
STEPS = 1000  # of the diffusion that noise follows
TURNS = ("flip", "mirror", "rotate", "colour", "blur", "crop")
TINY = 1e-9  # no share of attention is less: its logarithm is finite


@runtime_checkable
class Salient(Protocol):
    """An encoder that tells what its own summary token attends to."""

    def salience(self, pixels: Tensor) -> Tensor:
        """Of each row: [n]."""
        ...


@runtime_checkable
class Changeable(Protocol):
    """An encoder in which other attention can be put in the place of its own."""

    def changed(self, pixels: Tensor, change: Any) -> Tensor:
        """Rows [n, C], where `change(layer, shares [B, H, T, T])` gives the shares in each layer."""
        ...


def pixels_of(picture: Picture) -> Tensor:
    """A picture's pixels. Raises Unsupported where it came without."""
    if picture.pixels is None or picture.encoder is None:
        raise Unsupported("a picture of rows alone has no other forms", hint="make it by Picture.of(pixels, encoder)")
    return picture.pixels


def salient(picture: Picture, most: int) -> list[int]:
    """So many of a picture's rows, ascending: those that its encoder's summary token attends to most.

    Raises Unsupported where the encoder does not tell.
    """
    if not isinstance(picture.encoder, Salient):
        raise Unsupported("the picture's encoder does not tell what it attends to", hint="one with `salience` does")
    salience = picture.encoder.salience(pixels_of(picture))
    found: list[int] = salience.topk(min(most, len(picture))).indices.tolist()
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Noised(View):
    """As diffusion has noised it after `step` of a thousand steps, with betas on a sigmoid (as VCD has it)."""

    step: int = 500  # 0 to 999
    seed: int = 0  # of the noise

    def __call__(self, picture: Picture) -> Picture:
        pixels = pixels_of(picture)
        betas = torch.linspace(-6, 6, STEPS, dtype=torch.float64).sigmoid() * (5e-3 - 1e-5) + 1e-5
        kept = float((1 - betas).cumprod(0)[self.step])
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(self.seed)).to(pixels)
        return picture.encoded(kept**0.5 * pixels + (1 - kept) ** 0.5 * noise)


@dataclass(frozen=True, slots=True)
class Turned(View):
    """Transformed: turned over, mirrored, rotated by up to half a turn, in other colours, blurred, or a part of it.

    `seed` chooses how, where `by` does not, and how far.
    """

    by: Literal["any", "flip", "mirror", "rotate", "colour", "blur", "crop"] = "any"
    seed: int = 0

    def __call__(self, picture: Picture) -> Picture:
        chance = random.Random(self.seed)
        by = chance.choice(TURNS) if self.by == "any" else self.by
        whole = pixels_of(picture)
        if whole.dim() < 3 or whole.shape[-3] != 3:
            raise Unsupported(
                "a picture can be transformed whose pixels are [3, height, width]", hint="see its encoder"
            )
        flat = whole.reshape(-1, *whole.shape[-3:])
        return picture.encoded(_turned(flat, by, chance).to(whole).reshape(whole.shape))


def _turned(pixels: Tensor, by: str, chance: random.Random) -> Tensor:
    """Pixels [B, 3, height, width], transformed."""
    if by in ("flip", "mirror"):
        return pixels.flip(-2 if by == "flip" else -1)
    if by == "colour":
        return _coloured(pixels, chance)
    if by == "blur":
        places = torch.arange(-6.0, 7.0)
        weights = (-0.5 * (places / chance.uniform(1.5, 2.0)) ** 2).exp()
        weights = (weights / weights.sum()).to(pixels).expand(3, 1, 1, -1)
        rows = torch.nn.functional.conv2d(torch.nn.functional.pad(pixels, (6, 6, 0, 0), "replicate"), weights, groups=3)
        return torch.nn.functional.conv2d(
            torch.nn.functional.pad(rows, (0, 0, 6, 6), "replicate"), weights.mT, groups=3
        )
    if by == "rotate":
        turn = torch.tensor(chance.uniform(-torch.pi, torch.pi))
        sizes = torch.tensor([[turn.cos(), -turn.sin(), 0.0], [turn.sin(), turn.cos(), 0.0]])
    else:  # a part of it, as large as the whole
        size = chance.uniform(0.3, 1.0) ** 0.5
        middle = (chance.uniform(size - 1, 1 - size) for _ in range(2))
        sizes = torch.tensor([[size, 0.0, next(middle)], [0.0, size, next(middle)]])
    grid = torch.nn.functional.affine_grid(
        sizes.to(pixels).expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False
    )
    return torch.nn.functional.grid_sample(pixels, grid, align_corners=False)


def _coloured(pixels: Tensor, chance: random.Random) -> Tensor:
    """Brightness, contrast and saturation by up to twice, and hues turned."""
    bright, contrast, full = (chance.uniform(0.0, 2.0) for _ in range(3))
    pixels = pixels * bright
    mean = pixels.mean((-3, -2, -1), keepdim=True)
    pixels = mean + contrast * (pixels - mean)
    grey = pixels.mean(-3, keepdim=True)
    turn = torch.tensor(chance.uniform(-torch.pi, torch.pi))
    third, side = (1 - turn.cos()) / 3, turn.sin() / 3**0.5  # a rotation about the axis of greys
    about = torch.stack([turn.cos() + third, third - side, third + side])
    matrix = torch.stack([about, about.roll(1), about.roll(2)]).to(pixels)
    return grey + full * torch.einsum("ij,bjhw->bihw", matrix, pixels - grey)


@dataclass(frozen=True, slots=True)
class Outlying(View):
    """Only the rows that the encoder's summary token attends to most."""

    most: int = 4  # rows, >= 1

    def __call__(self, picture: Picture) -> Picture:
        return replace(picture, rows=picture.rows[salient(picture, self.most)])


@dataclass(frozen=True, slots=True)
class Counterfactual(View):
    """As the encoder makes it of another attention than its own in some layers."""

    form: Form = "reversed"
    first: int = 0  # layer, >= 0
    last: int = 1  # layer, >= first
    seed: int = 0  # of what is random or shuffled

    def __call__(self, picture: Picture) -> Picture:
        if not isinstance(picture.encoder, Changeable):
            raise Unsupported("the picture's encoder keeps its attention", hint="one with `changed` takes another")
        return replace(picture, rows=picture.encoder.changed(pixels_of(picture), self._change))

    def _change(self, layer: int, shares: Tensor) -> Tensor:
        if not self.first <= layer <= self.last:
            return shares
        generator = torch.Generator().manual_seed(self.seed + layer)
        return instead(self.form, shares, torch.rand(shares.shape, generator=generator).to(shares))


@dataclass(frozen=True, slots=True)
class Levelled(View):
    """Each row the mean of all: a picture of which nothing can be seen."""

    def __call__(self, picture: Picture) -> Picture:
        return replace(picture, rows=picture.rows.mean(0, keepdim=True).expand_as(picture.rows).contiguous())


def instead(form: Form, shares: Tensor, draws: Tensor) -> Tensor:
    """Attention in the place of shares [..., S], which add up to 1 as they do; none of what had none.

    Draws of the same shape, 0 to 1, say what is random: the shares themselves, or where each goes.
    """
    seen = shares > 0
    if form == "uniform":
        other = torch.ones_like(shares)
    elif form == "random":
        other = draws
    elif form == "reversed":
        other = shares.amax(-1, keepdim=True) - shares + TINY
    else:
        order = draws.masked_fill(~seen, 2.0).argsort(-1)  # what is seen, drawn by lot, then the rest
        places = seen.to(torch.int64).mul(-1).argsort(dim=-1, stable=True)
        other = torch.zeros_like(shares).scatter(-1, places, shares.gather(-1, order))
    other = other.masked_fill(~seen, 0.0)
    return other / other.sum(-1, keepdim=True)
