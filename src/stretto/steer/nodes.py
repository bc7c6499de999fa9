"""What a steer sees: the nodes it works at, with what was computed of them once for all steers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import torch

from ..noise import key, uniform_one
from .taps import NO_TAPS, Taps

if TYPE_CHECKING:
    from torch import Tensor

    from .choice import Rule
    from .contract import Companion, Steer
    from .path import Path
    from .states import Persistent

STEERING = 1 << 41  # beyond all token ids, and beyond what drafters and acceptors draw


class Nodes:
    """N nodes of a tree, of one row or several, at each of which a token is to be chosen.

    `raw` are the logits [N, V] as they came out of the model. What is derived of them is computed when it is first
    asked for, once, whoever asks, and is not to be written to. Some of N nodes (`nodes[places]`) share it.
    """

    __slots__ = ("_found", "_places", "_whole", "paths", "raw", "rules", "taps")

    def __init__(self, paths: Sequence[Path], raw: Tensor, taps: Taps = NO_TAPS, rules: Sequence[Rule] = ()) -> None:
        self.paths = paths  # N; none where nobody looks at them: for steers that are pointwise
        self.raw = raw
        self.taps = taps
        self.rules = rules  # N, of choice; `choose` puts them here, and there are none where nobody draws
        self._found: dict[str, Tensor] = {}
        self._whole: Nodes | None = None  # of which these are some
        self._places: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, places: Sequence[int] | slice) -> Nodes:
        """The nodes at these places."""
        if isinstance(places, slice):
            places = range(len(self))[places]
        if self._whole is not None:
            return self._whole[[self._places[place] for place in places]]
        paths = [self.paths[place] for place in places] if self.paths else ()
        rules = [self.rules[place] for place in places] if self.rules else ()
        places = list(places)
        some = Nodes(paths, self.raw[places], self.taps if self.taps is NO_TAPS else self.taps[places], rules)
        some._whole, some._places = self, places
        return some

    @property
    def positions(self) -> list[int]:
        """Of each token that is to be chosen: how many stand before it, prompt and all."""
        return [len(path) for path in self.paths]

    @property
    def depths(self) -> list[int]:
        """How many drafted tokens lead to each node; 0 at the root."""
        return [len(path.drafted) for path in self.paths]

    def states(self, steer: Steer) -> list[Any]:
        """The steer's own state at the end of each path: see `Steer.begin`."""
        return [path.history.state(steer, path.drafted) for path in self.paths]

    def tell(self, steer: Steer, places: Sequence[int], states: Sequence[Any]) -> None:
        """The states at `places` once their logits are seen, where the next steps begin; in order of depth."""
        for place, state in zip(places, states, strict=True):
            cast("Persistent", self.paths[place].history.states(steer)).tell(self.paths[place].drafted, state)

    @property
    def keys(self) -> list[int]:
        """Of the noise at each position: see `noise.key`."""
        return [key(rule.seed, rule.stream, at) for rule, at in zip(self.rules, self.positions, strict=True)]

    def coins(self, steer: Steer) -> list[float]:
        """A draw for each node, strictly inside (0, 1): of seed, sample, position and the steer's name alone."""
        label = STEERING + crc32(steer.name.encode())
        return [uniform_one(key, label) for key in self.keys]

    @property
    def hidden(self) -> Mapping[int, Tensor]:
        """Layer -> output rows [N, C] of the layers that the steer wants; 0 is the embedding."""
        return self.taps.hidden

    @property
    def readout(self) -> Mapping[int, Tensor]:
        """Layer -> logits [N, V] of its output, read through the final norm and head."""
        return self.taps.readout

    @property
    def attention(self) -> Mapping[tuple[int, int], Tensor]:
        """(Layer from 0, query head) -> what each node gives to the tokens of its path [N, L], 0 beyond its end."""
        return self.taps.attention

    @property
    def companions(self) -> Mapping[Companion, Tensor]:
        """Companion -> its logits [N, V] at these nodes."""
        return self.taps.companions

    @property
    def log_probabilities(self) -> Tensor:
        """Of the model itself, at temperature 1: [N, V], float32 or float64."""
        return self._once("log_probabilities", lambda: self.raw.log_softmax(-1, dtype=self._precise))

    @property
    def entropy(self) -> Tensor:
        """Of the model's own distribution, in nats: [N], from 0 to ln V."""
        return self._once("entropy", lambda: torch.special.entr(self.log_probabilities.exp()).sum(-1))

    @property
    def gap(self) -> Tensor:
        """By how much the best raw logit beats the second: [N], 0 or more."""
        return self._once("gap", lambda: -self.raw.topk(min(2, self.raw.shape[-1])).values.diff().sum(-1))

    @property
    def ranks(self) -> Tensor:
        """The place of each token by its raw logit: [N, V], 0 for the best; the lower id first among equals."""
        return self._once("ranks", lambda: _places_of(self.raw.sort(dim=-1, descending=True, stable=True).indices))

    @property
    def _precise(self) -> torch.dtype:
        return torch.promote_types(self.raw.dtype, torch.float32)

    def _once(self, what: str, compute: Callable[[], Tensor]) -> Tensor:
        if what not in self._found:
            of = self._whole
            self._found[what] = compute() if of is None else getattr(of, what)[self._places]
        return self._found[what]


def _places_of(order: Tensor) -> Tensor:
    """Where each token stands in an order of all tokens: [N, V] -> [N, V]."""
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
