"""Texts with holes, for models that fill them."""

from __future__ import annotations

import re

from .errors import InvalidRequest, Unsupported
from .models.contract import Model, masking_of
from .text import Codec

HOLE = re.compile(r"<\|([1-9][0-9]*)\|>")  # so many tokens of a text that are to be filled
DIGITS = 18  # of a hole's size: what has more is beyond all positions anyway


def encode_holes(text: str, model: Model, codec: Codec) -> list[int]:
    """Token ids of a text with holes, see `Engine.encode_holes`."""
    if not isinstance(text, str):
        raise InvalidRequest(
            "holes are in a text, not in messages or token ids", hint="write the chat marks into the text itself"
        )
    masking = masking_of(model)
    if masking is None:
        raise Unsupported(f"{model.name} continues text, and fills no holes", hint="use a masked-diffusion model")
    pieces = HOLE.split(text)  # text, size, text, size, … text
    if len(pieces) == 1:
        raise InvalidRequest("the text has no hole", hint="write <|5|> for a hole of five tokens")
    most = model.max_positions  # a hole of as many is refused by `Engine.encode`, and need not be made longer
    sizes = [min(int(size[:DIGITS]), most) for size in pieces[1::2]]
    tokens: list[int] = []
    for piece, size in zip(pieces[::2], [*sizes, 0], strict=True):
        tokens += codec.encode_piece(piece) if piece else []
        tokens += [masking.mask] * size
    return tokens


def holes_or_fault(text: str, model: Model, codec: Codec) -> list[int] | InvalidRequest:
    """The same, where one text of several may be wrong."""
    try:
        return encode_holes(text, model, codec)
    except InvalidRequest as error:
        if not isinstance(text, str):
            raise
        return error
