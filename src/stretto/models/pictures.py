"""Pictures: rows that enter a model in the place of tokens' embeddings, at some positions of a prompt.

What encodes a picture stands outside of the language model; what comes out of it are rows [n, C], one for each token
that it takes up. The prompt holds a token at each of these positions, which steers and drafters see; the model sees the
row. Two prompts are read alike where tokens *and* rows are the same.
"""

from __future__ import annotations

import hashlib
import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from ..errors import InvalidRequest, Unsupported
from ..values import Checked
from .contract import Ability, Model
from .window import RAW

if TYPE_CHECKING:
    from torch import Tensor

    from .window import Window


class Encoder(Protocol):
    """Makes rows of pixels."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Rows [n, C] of one picture."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """Rows in the place of as many tokens of a prompt; with pixels and encoder, other forms of it may be asked for.

    Raises InvalidRequest where the rows are no matrix of finite numbers.
    """

    apart: ClassVar[bool] = False  # whether it is no part of the text behind it (encoded.py)
    ends: ClassVar[Any] = sys.maxsize  # one past the last place that a text behind it can have

    rows: Tensor  # [n, C], as `Model.embed` gives those of tokens
    at: int | None = None  # place of the first in the prompt, from 0; None: where the prompt has image tokens
    pixels: Tensor | None = None
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        rows = self.rows
        if not isinstance(rows, torch.Tensor) or rows.dim() != 2 or not rows.is_floating_point() or not len(rows):
            raise InvalidRequest("a picture has no rows", hint="give a tensor of floats [n, channels], n at least 1")
        if not bool(rows.isfinite().all()):
            raise InvalidRequest("a picture's rows are not finite", hint="look at its pixels")

    @classmethod
    def of(cls, pixels: Tensor, encoder: Encoder, at: int | None = None) -> Picture:
        """The picture of these pixels."""
        return cls(encoder(pixels), at, pixels, encoder)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def start(self) -> int:
        """Its place in a prompt."""
        assert self.at is not None, "a picture is placed before it is read"
        return self.at

    @property
    def span(self) -> range:
        """The places in the prompt at which its rows stand."""
        return range(self.start, self.start + len(self))

    @cached_property
    def digest(self) -> int:
        """Of its rows, by SHA-256."""
        rows = self.rows.detach().to("cpu", torch.float64).contiguous()
        return int.from_bytes(hashlib.sha256(repr(rows.shape).encode() + rows.numpy().tobytes()).digest())

    def encoded(self, pixels: Tensor) -> Picture:
        """The same with other pixels. Raises Unsupported where it came without an encoder."""
        if self.encoder is None:
            raise Unsupported("a picture of rows alone has no other forms", hint="make it by Picture.of")
        return replace(self, rows=self.encoder(pixels), pixels=pixels)


class View(metaclass=Checked):
    """Another form of a picture, for a companion: a frozen, slotted dataclass of its own settings.

    The same picture gives the same form, whenever it is asked. It may have fewer rows, and stands where the picture
    stood.
    """

    __slots__ = ()

    @abstractmethod
    def __call__(self, picture: Picture) -> Picture:
        """That form. Raises Unsupported where it cannot be made of what is known of the picture."""


Pictures = Sequence[Picture]


@dataclass(frozen=True, eq=False)
class Pictured:
    """A prompt, and the pictures that stand in it.

    Where a picture has no place of its own, the prompt has an image token for it, or one for each of its rows.
    """

    prompt: Any  # text, token ids, messages or a Conversation
    pictures: Sequence[Picture | Tensor]  # or their rows [n, C]

    def placed(self, tokens: list[int], token: int | None) -> tuple[list[int], Pictures]:
        """Tokens and pictures as the model reads them; `tokens` are those of the prompt, `token` the image token."""
        return placed(tokens, [each if isinstance(each, Picture) else Picture(each) for each in self.pictures], token)


def require_pictures(pictures: Pictures, model: Model, tokens: int, *, served: bool) -> None:
    """Raise Unsupported where the model takes no rows, or the method is not one that has `served` any before;
    InvalidRequest where these rows are not for the model, or for so many tokens."""
    if not served:
        raise Unsupported("this method takes no pictures", hint="use plain, or one that drafts")
    if Ability.EMBEDS not in model.abilities:
        raise Unsupported(f"{model.name} takes no rows in the place of tokens", hint="ask without pictures")
    for picture in pictures:
        if picture.rows.shape[1] != model.channels:
            raise InvalidRequest(
                f"a picture has rows of {picture.rows.shape[1]} channels, {model.name} has {model.channels}",
                hint="use the encoder that belongs to the model",
            )
    places = [place for picture in pictures for place in picture.span]
    if len(set(places)) < len(places) or not 0 <= min(places) <= max(places) < tokens:
        raise InvalidRequest("pictures overlap, or lie outside of the prompt", hint="look at `at`")
    if max(places) == tokens - 1:
        raise InvalidRequest("the prompt ends in a picture", hint="let a token follow: an answer follows tokens")


def placed(tokens: Sequence[int], pictures: Pictures, token: int | None) -> tuple[list[int], tuple[Picture, ...]]:
    """Pictures at their places among the tokens of a prompt. `token` is the model's image token, if it has one.

    Those without a place stand where the image tokens are, in order: one for each row, or one for each picture, which
    then becomes as many as it has rows. Raises InvalidRequest where they are neither.
    """
    bare = [picture for picture in pictures if picture.at is None]
    if not bare:
        return list(tokens), tuple(pictures)
    if len(bare) < len(pictures):
        raise InvalidRequest("some pictures have a place, others not", hint="give `at` for all, or for none")
    marks = sum(each == token for each in tokens)
    if token is None or marks not in (len(bare), sum(map(len, bare))):
        what = "no image token is known" if token is None else f"the prompt has {marks} image tokens"
        hint = f"one for each of {len(bare)} pictures, or for each of {sum(map(len, bare))} rows; or say where: `at`"
        raise InvalidRequest(what, hint=hint)
    single = marks == len(bare)
    found: list[int] = []
    done: list[Picture] = []
    waiting = list(bare)
    for each in tokens:
        if each == token and (not done or len(found) >= done[-1].span.stop) and waiting:
            done.append(replace(waiting.pop(0), at=len(found)))
            found += [each] * len(done[-1]) if single else [each]
        else:
            found.append(each)
    return found, tuple(done)


def identified(tokens: Sequence[int], pictures: Pictures) -> list[int]:
    """Tokens by which texts are told apart: in the places of pictures, numbers that stand for their rows."""
    found = list(tokens)
    for picture in pictures:
        for place in picture.span:
            if place < len(found):
                found[place] = -1 - (picture.digest << 32) - (place - picture.start)
    return found


def show(window: Window, pictures: Pictures) -> None:
    """Let the rows of pictures enter a window of one row, in the place of the tokens at their positions."""
    begin, length = int(window.positions[0, 0]), window.lengths[0]
    for picture in pictures:
        places = range(max(begin, picture.span.start), min(begin + length, picture.span.stop))
        if not places:
            continue
        if window.embeds is None:
            shape = *window.tokens.shape, picture.rows.shape[1]
            window.embeds = torch.zeros(shape, dtype=picture.rows.dtype, device=window.tokens.device)
        slots = slice(places.start - begin, places.stop - begin)
        rows = picture.rows[places.start - picture.start : places.stop - picture.start]
        window.tokens[0, slots] = RAW
        window.embeds[0, slots] = rows.to(window.embeds)


def viewed(
    tokens: Sequence[int], pictures: Pictures, view: View | None, first: int = 0, by: int = 0, *, mute: bool = False
) -> tuple[list[int], tuple[Picture, ...]]:
    """What is left of a prompt from place `first` on, and its pictures in another form, all of them moved `by`.

    Where a picture has fewer rows in that form, fewer tokens stand there; where the prompt is `mute`, no other tokens
    than the first and the last.
    """
    kept: list[int] = []
    done: list[Picture] = []
    at, last = first, len(tokens) - 1
    for picture in sorted(pictures, key=lambda each: each.start):
        start = max(picture.start, first)
        if picture.span.stop <= first:
            continue
        kept += [token for place, token in enumerate(tokens[at:start], at) if not mute or place == first]
        rows = picture.rows[start - picture.start :]
        form = replace(picture, rows=rows) if view is None else view(picture)
        done.append(replace(form, at=len(kept) + by))
        kept += [tokens[start]] * len(form)
        at = picture.span.stop
    kept += [token for place, token in enumerate(tokens[at:], at) if not mute or place in (first, last)]
    return kept, tuple(done)


def rows_of(pictures: Iterable[Picture]) -> list[int]:
    """All places at which a picture's row stands."""
    return [place for picture in pictures for place in picture.span]
