"""Gazes: what queries read of keys is changed, in some layers, by where pictures stand in the prompt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch

from ..errors import InvalidRequest, Unsupported
from ..noise import split, uniform
from .contract import Ability, Model
from .edits import Edit
from .views import Form, instead, salient

if TYPE_CHECKING:
    from torch import Tensor

    from .pictures import Pictures

Regard = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]  # scores, positions of queries and of keys -> scores
EVERY = 10_000  # layers: more than any model has


@dataclass(frozen=True, slots=True)
class Sighted:
    """Where the pictures of a prompt stand, and where it ends."""

    spans: tuple[tuple[int, int], ...] = ()  # first place, and the one behind the last
    dwelt: tuple[int, ...] = ()  # places of the rows that the encoder finds salient
    last: int = -1  # place of the prompt's last token

    def on(self, keys: Tensor) -> Tensor:
        """Which of the keys, by position, are rows of pictures: bool, of the same shape."""
        found = torch.zeros_like(keys, dtype=torch.bool)
        for start, stop in self.spans:
            found |= (keys >= start) & (keys < stop)
        return found


@dataclass(frozen=True, slots=True)
class Gaze(Edit):
    """A change of the scores of attention before their softmax; a frozen, slotted dataclass of its own settings.

    Asked with a layer, counted from 0, scores [N, H, T, S] (-inf where a key is not seen), and the positions of queries
    [N, T] and keys [N, S], it returns scores of the same shape. Those of a query are made of its own alone. What it
    knows of the prompt is in `sighted`, which `at` fills in.
    """

    gazes: ClassVar[bool] = True

    first: int = 0  # layer, >= 0
    last: int = EVERY  # layer, the last one that is changed
    sighted: Sighted = Sighted()

    @property
    def layers(self) -> tuple[int, ...]:
        return ()  # rows that leave layers stay as they are

    def __call__(self, layer: int, rows: Tensor, earlier: Mapping[int, Tensor]) -> Tensor:
        return rows

    @abstractmethod
    def scores(self, layer: int, scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        """The changed scores."""

    def at(self, pictures: Pictures, prompt: int) -> Self:
        """The same for a prompt of so many tokens. Raises InvalidRequest where it has no pictures."""
        if not pictures:
            raise InvalidRequest("a steer looks at pictures, and the prompt has none", hint="leave the steer out")
        spans = tuple((picture.span.start, picture.span.stop) for picture in pictures)
        return replace(self, sighted=Sighted(spans, self.dwelt(pictures), prompt - 1))

    def dwelt(self, pictures: Pictures) -> tuple[int, ...]:
        """The places of salient rows, for gazes that ask for them."""
        return ()

    def check(self, model: Model) -> None:
        if Ability.GAZES not in model.abilities:
            raise Unsupported(
                f"{model.name} computes attention in one piece, which no steer changes",
                hint="load it with exact='tokens' and weights='float32'",
            )
        if self.first >= model.layers:
            raise Unsupported(
                f"a steer changes attention from layer {self.first} on", hint=f"{model.name} has {model.layers}, from 0"
            )


class Regards:
    """What becomes of the scores of a window's rows, which have these edits each."""

    def __init__(self, edits: Sequence[tuple[Edit, ...]]) -> None:
        self._gazes = [[each for each in own if isinstance(each, Gaze)] for own in edits]

    def of(self, layer: int) -> Regard | None:
        """In a layer, counted from 0; None: nothing."""
        mine = [[each for each in own if each.first <= layer <= each.last] for own in self._gazes]
        if not any(mine):
            return None

        def regard(scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
            changed = [scores[row : row + 1] for row in range(len(scores))]
            for row, own in enumerate(mine):
                places = queries[row : row + 1], keys[min(row, len(keys) - 1)][None]
                for gaze in own:
                    changed[row] = gaze.scores(layer, changed[row], *places)
            return torch.cat(changed)

        return regard


@dataclass(frozen=True, slots=True)
class Scaled(Gaze):
    """Of the prompt's last token, scores of pictures `by` times as large; or larger by the logarithm, where `added`."""

    by: float = 1.0  # > 0; 1 is neutral
    added: bool = False

    def scores(self, layer: int, scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        asks = (queries == self.sighted.last)[:, None, :, None]
        told = self.sighted.on(keys)[:, None, None, :]
        changed = scores + torch.tensor(self.by).log().to(scores) if self.added else scores * self.by
        return torch.where(asks & told, changed, scores)


@dataclass(frozen=True, slots=True)
class Otherwise(Gaze):
    """Attention of another `form` in the place of each head's own; see `views.instead`."""

    form: Form = "reversed"
    seed: int = 0  # of what is random or shuffled

    def scores(self, layer: int, scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        heads = torch.arange(scores.shape[1], device=keys.device)[None, :, None, None]
        state = split(split(0, self.seed), layer) >> 2  # a draw for each head, query and key, by their positions
        lots = uniform((queries[:, None, :, None] * scores.shape[1] + heads) * 2654435761 + state, keys[:, None, None])
        return instead(self.form, scores.softmax(-1), lots.to(scores)).log()


@dataclass(frozen=True, slots=True)
class Dwelling(Gaze):
    """What follows a picture sees its salient rows `by` times as strongly as it would, or these `only`."""

    share: float = 0.3  # of the rows, 0 to 1: those that the encoder's summary attends to most
    by: float = 2.0  # > 0; 1 is neutral
    only: bool = False

    def dwelt(self, pictures: Pictures) -> tuple[int, ...]:
        return tuple(
            picture.start + row
            for picture in pictures
            for row in salient(picture, max(1, round(self.share * len(picture))))
        )

    def scores(self, layer: int, scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        told = self.sighted.on(keys)[:, None, None, :]
        asks = (queries[:, :, None] > keys[:, None, :])[:, None] & ~self.sighted.on(queries)[:, None, :, None]
        near = torch.isin(keys, torch.tensor(self.sighted.dwelt, device=keys.device))[:, None, None, :]
        if self.only:
            return scores.masked_fill(asks & told & ~near, -torch.inf)
        return torch.where(asks & near, scores + torch.tensor(self.by).log().to(scores), scores)


@dataclass(frozen=True, slots=True)
class Agreeing(Gaze):
    """Heads read pictures as they do on average, in part.

    `mixed`: shares go by `by` from each head's own to the average one; `added`: scores grow by `by` times the average
    share of the row.
    """

    by: float = 0.5  # 0 is neutral; mixed: to 1
    form: Literal["mixed", "added"] = "mixed"

    def scores(self, layer: int, scores: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        told = self.sighted.on(keys)[:, None, None, :]
        shares = scores.softmax(-1)
        mean = shares.mean(1, keepdim=True)
        if self.form == "added":
            return torch.where(told, scores + self.by * mean, scores)
        return torch.where(told, (1 - self.by) * shares + self.by * mean, shares).log()
