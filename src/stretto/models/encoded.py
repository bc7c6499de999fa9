"""What an encoder–decoder reads beside the text that it writes: a source, encoded once, whose rows stand before it.

The rows of a source [n, C] stand at the beginning of a row of the cache, in the place of n tokens, as those of a
picture do; but what is held of them are the keys and values of cross-attention, and the text does not go on from them:
the decoder counts its positions from behind the source, and penalties count no token of it. So whatever holds for a row
of the cache holds for a source: forks share it, it is freed and counted in bytes with the row, and what was read before
is found again where the whole source is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from ..errors import InvalidRequest, Unsupported
from .pictures import Picture, Pictured, Pictures, require_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from .contract import Model


@dataclass(frozen=True, eq=False)
class Source(Picture):
    """What the encoder made of a source: rows [n, C of the encoder], at the beginning of the prompt."""

    apart: ClassVar[bool] = True

    room: int = 0  # positions of the decoder

    @property
    def ends(self) -> int:
        """One past the last place that a text behind it can have."""
        return self.span.stop + self.room


@dataclass(frozen=True, eq=False)
class Sourced:
    """A prompt of an encoder–decoder: the source, and what the answer begins with.

    A text or token ids by themselves are a source. The start that the checkpoint names comes first in any case.
    """

    source: Any  # text, token ids or, where the encoder hears, features: floats [bins, frames]
    start: str | Sequence[int] = ()  # the answer's first tokens, such as a language's; a text without special tokens


Shown = Pictured | Sourced  # prompts of more than tokens


class SourceReader(Protocol):
    """What of an encoder–decoder reads the source of an answer."""

    def read(self, source: Sequence[int] | Tensor, start: Sequence[int] = ()) -> tuple[list[int], Pictures]:
        """The prompt of a source (tokens, or features [bins, frames]), encoded: its tokens, and its rows.

        Behind the source come the checkpoint's start and the answer's own `start`. Raises InvalidRequest for what it
        cannot read, or where no position is left for an answer.
        """
        ...


class Speller(Protocol):
    """Makes tokens of texts."""

    def encode(self, prompt: Any) -> list[int]:
        """Of a prompt."""
        ...

    def encode_piece(self, text: str) -> list[int]:
        """Of a piece of text, without special ones."""
        ...


class Serves(Protocol):
    """A method."""

    pictures: ClassVar[bool]  # whether prompts may have pictures or a source


def reader_of(model: Model) -> SourceReader | None:
    """What reads sources; None for a model without an encoder."""
    reader: SourceReader | None = getattr(model, "reader", None)
    return reader


def beside(
    prompt: Any, model: Model, speller: Speller, image_token: int | None, method: Serves | None
) -> tuple[list[int], Pictures]:
    """The tokens of a prompt with pictures, or with a source, and what stands in the place of some of them.

    Raises Unsupported where model or method (None: any) do not serve these, InvalidRequest for what cannot be read.
    """
    served = method is None or method.pictures
    reader = reader_of(model)
    if isinstance(prompt, Pictured) and reader is None:
        tokens, pictures = prompt.placed(speller.encode(prompt.prompt), image_token)
        require_pictures(pictures, model, len(tokens), served=served)
        return tokens, pictures
    if reader is None:
        raise Unsupported("a source is for a model with an encoder", hint="give text or token ids")
    if isinstance(prompt, Pictured):
        raise Unsupported("an encoder–decoder takes no pictures", hint="give a source: text, ids or features")
    if not served:
        raise Unsupported("this method reads no source", hint="use plain, one that drafts, or beam")
    given = prompt if isinstance(prompt, Sourced) else Sourced(prompt)
    source, start = given.source, given.start
    heard = isinstance(source, torch.Tensor) and source.is_floating_point()
    return reader.read(
        _features(source) if heard else speller.encode(source),
        speller.encode_piece(start) if isinstance(start, str) else list(start),
    )


def _features(features: Tensor) -> Tensor:
    """Features of one source. Raises InvalidRequest where they are no matrix of finite numbers."""
    if features.dim() != 2 or not bool(features.isfinite().all()):
        raise InvalidRequest("features are finite numbers [bins, frames]", hint="give those of one source")
    return features
