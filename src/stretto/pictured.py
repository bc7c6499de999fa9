"""A prompt with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .models.pictures import Picture, Pictures, placed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pictured:
    """A prompt, and the pictures that stand in it.

    Where a picture has no place of its own, the prompt has an image token for it, or one for each of its rows.
    """

    prompt: Any  # text, token ids, messages or a Conversation
    pictures: Sequence[Picture | Tensor]  # or their rows [n, C]

    def placed(self, tokens: list[int], token: int | None) -> tuple[list[int], Pictures]:
        """Tokens and pictures as the model reads them; `tokens` are those of the prompt, `token` the image token."""
        return placed(
            tokens, [Picture(each) if not isinstance(each, Picture) else each for each in self.pictures], token
        )
