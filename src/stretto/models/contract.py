"""What a model must do, and what one may ask of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .cache import KeyForm
    from .masked import Masking
    from .store import Store
    from .window import Branch, Window


class Ability(Flag):
    """What a model can do beyond evaluating a chain; methods declare which of these they need."""

    NONE = 0
    TREE = auto()  # windows with their own visibility: trees, riders, bidirectional blocks
    EMBEDS = auto()  # raw embedding rows
    LAYERS = auto()  # run layers [a, b) from given hidden rows
    HIDDEN = auto()  # hands out hidden states of chosen layers, and reads any of them out
    ATTENTION = auto()  # attention summaries of chosen heads
    EDITS = auto()  # edits of the residual stream
    RAW_KEYS = auto()  # keys stored before rotation
    GAZES = auto()  # changes of what queries read of keys
    BRANCHES = auto()  # hands out what an attention or an MLP adds to its rows, and takes that as given
    ALL = TREE | EMBEDS | LAYERS | HIDDEN | ATTENTION | EDITS | GAZES | RAW_KEYS


@dataclass(frozen=True, slots=True)
class Want:
    """What an evaluation shall hand out. Whatever is not asked for costs nothing."""

    logits: Tensor | bool = True  # True: of all slots; [B, n] slot numbers: of those; False: of none
    hidden: tuple[int, ...] = ()  # layers whose output rows are wanted; 0 is the embedding
    readout: tuple[int, ...] = ()  # layers whose output is read through the final norm and head
    attention: tuple[tuple[int, int], ...] = ()  # (layer from 0, query head) whose probabilities are wanted
    branches: tuple[Branch, ...] = ()  # whose additions to the rows are wanted

    @property
    def inside(self) -> bool:
        """Whether anything but logits is wanted."""
        return bool(self.hidden or self.readout or self.attention or self.branches)

    def __bool__(self) -> bool:
        """Whether anything is wanted."""
        return self.logits is not False or self.inside

    def __or__(self, other: Want) -> Want:
        """What both want, logits of all slots included; for wants that name no single slots."""
        return replace(self.beside(other), logits=bool(self.logits is True or other.logits is True))

    def beside(self, other: Want) -> Want:
        """What both want; the logits of this one."""
        if not other.inside:
            return self
        return Want(
            self.logits,
            *(
                tuple(dict.fromkeys((*getattr(self, what), *getattr(other, what))))
                for what in ("hidden", "readout", "attention", "branches")
            ),
        )


NOTHING = Want(logits=False)


@dataclass(slots=True)
class Evaluation:
    """What came out. Shapes: B rows, T window slots, n wanted slots, V vocabulary, C channels, S cache slots."""

    logits: Tensor | None = None  # [B, n, V] float32
    hidden: dict[int, Tensor] = field(default_factory=dict)  # layer -> [B, T, C]
    readout: dict[int, Tensor] = field(default_factory=dict)  # layer -> [B, T, V]
    attention: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # (layer, head) -> [B, T, S]
    branches: dict[Branch, Tensor] = field(default_factory=dict)  # -> [B, T, C]


@runtime_checkable
class Model(Protocol):
    """Evaluates windows over a cache. Knows no text, no draft, no sampling."""

    vocabulary: int  # V
    layers: int  # L
    channels: int  # C
    heads: int  # query heads of a layer
    max_positions: int
    abilities: Ability
    device: torch.device
    dtype: torch.dtype
    name: str

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Store:
        """An empty store of what is made of tokens, with room for `rows` rows of `slots` tokens (both grow)."""
        ...

    def evaluate(self, window: Window, cache: Any, want: Want = ...) -> Evaluation:
        """Evaluate the window's slots, append what is held of them to a cache of this model, hand out what is wanted.

        Afterwards row r of the cache is longer by window.lengths[r] in the layers that ran; `Store.keep`
        and `Store.truncate` take back what is not to stay.
        """
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding rows as `Window.embeds` takes them: [...] -> [..., C]; a raw row `embed(t)` is token t."""
        ...

    def read_out(self, hidden: Tensor) -> Tensor:
        """Final norm and head on the output rows of any layer: [..., C] -> [..., V] float32."""
        ...


def masking_of(model: Model) -> Masking | None:
    """The masking of a masked-diffusion model; None for a model that continues text."""
    masking: Masking | None = getattr(model, "masking", None)
    return masking
