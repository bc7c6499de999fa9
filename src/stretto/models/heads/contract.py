"""What a head is, and what it may use of its target.

Positions, once for all heads: `row t` is what the target made of token t, and `token t + 1` follows it. A head has read
the pairs (row t, token t + 1) of all committed tokens; token t + 1 is the newest, which the target has not read yet. So
the first guess is at token t + 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from ...errors import ModelError, Unsupported
from ..contract import Model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..lean import Lean

Made = TypeVar("Made")

ENDLESS = 1 << 20  # how deep a head guesses that feeds on its own guesses


@dataclass(frozen=True, slots=True)
class Around:
    """What a head uses of its target: in serving the model's own products, in training plain matrices."""

    embed: Callable[[Tensor], Tensor]  # tokens [...] -> [..., C]
    final_norm: Callable[[Tensor], Tensor]  # output rows of the last layer [..., C] -> [..., C]
    lm_head: Callable[[Tensor], Tensor]  # rows behind the final norm [..., C] -> logits [..., V]
    layers: int  # of the target


class DraftHead(ABC):
    """Tensors of float32 by name, and what they compute."""

    form: ClassVar[str]  # its name among kinds of heads
    depth: int = ENDLESS  # how many tokens ahead of the newest it guesses
    among: ClassVar[int] = 0  # in training it is led on where the token was among its so many likeliest; 0: everywhere
    channels: int  # C of its target; set before the tensors are looked at
    _made: tuple[list[Tensor], Any] | None = None  # see `made`

    def __init__(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any], name: str = "") -> None:
        """Raises ModelError where tensors are missing or of another shape than the others ask for."""
        self.name = name or self.form
        self.config = dict(config)
        self.tensors = {each: tensor.detach().float() for each, tensor in tensors.items()}
        wanted = self.shapes()
        for each, shape in wanted.items():
            if each not in tensors:
                raise ModelError(f"{self.name} has no tensor {each!r}", hint=f"it is no whole {self.form} head")
            if tuple(tensors[each].shape) != shape:
                raise ModelError(
                    f"{self.name}: {each!r} is {tuple(tensors[each].shape)}, not {shape}", hint="train it again"
                )
        self.tensors = {each: self.tensors[each] for each in wanted}
        if not all(bool(each.isfinite().all()) for each in self.tensors.values()):
            raise ModelError(f"{self.name} holds what is no number", hint="train it again")

    def __str__(self) -> str:
        return self.name

    @property
    def common(self) -> tuple[int, ...]:
        """The tokens that it guesses, by `common_tokens` of its configuration; none: all. Raises ModelError."""
        said = self.config.get("common_tokens") or []
        if not isinstance(said, list) or not all(type(each) is int and each >= 0 for each in said):
            raise ModelError(f"{self.name}: common_tokens of config.json are no token ids", hint="leave them out")
        return tuple(said)

    @classmethod
    @abstractmethod
    def fresh(cls, channels: int, vocabulary: int, layers: int, generator: torch.Generator, **settings: Any) -> Self:
        """First weights, to be trained for a target of C channels, V tokens and L layers."""

    @classmethod
    def suiting(cls, target: Model, ahead: int) -> dict[str, Any]:
        """Settings of a fresh one for a target, to be trained so many tokens ahead. Raises Unsupported."""
        return {}

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that there must be."""

    def taps(self, layers: int) -> tuple[int, ...]:
        """The layers of a target of L layers whose output rows it reads, k of them: the last, where it says no more."""
        return (layers,)

    @abstractmethod
    def unrolled(self, rows: Tensor, tokens: Tensor, around: Around, depth: int) -> list[Unrolled]:
        """What it says at every place of texts when it is led along them, one entry a step: for training.

        `rows` [B, T, k · C] of tokens 0 … T - 1, `tokens` [B, T + 1]. Entry i speaks at place t of token t + 2 + i; the
        last i places of it say nothing.
        """

    def made(self, make: Callable[[], Made]) -> Made:
        """What serving makes of the tensors, once for as long as they are the same."""
        tensors = list(self.tensors.values())
        if self._made is None or any(one is not other for one, other in zip(tensors, self._made[0], strict=True)):
            self._made = tensors, make()
        made: Made = self._made[1]
        return made

    def check(self, model: Model) -> None:
        """Raise Unsupported where it is not of this target."""
        if self.channels != model.channels:
            raise Unsupported(
                f"{self.name} is of {self.channels} channels, {model.name} has {model.channels}",
                hint="a head serves the model that it was trained for",
            )


class RowHead(DraftHead):
    """Guesses from rows of committed tokens and from the tokens drafted since; needs no layer of the target."""

    @abstractmethod
    def memory(self, around: Around) -> Memory:
        """One row's memory, which has read nothing."""


class LayerHead(DraftHead):
    """Guesses from layers of the target that read the drafted tokens as well."""

    @abstractmethod
    def beside(self, target: Model) -> Lean:
        """The small model that guesses for a target. Raises Unsupported where it is not of this target."""


@dataclass(slots=True)
class Unrolled:
    """One step of a head that is led along texts: `read` makes logits [..., V] of its rows, any of them."""

    rows: Tensor  # [B, T, C] at place t of token t + 2 + i
    read: Callable[[Tensor], Tensor]
    meant: Tensor | None = None  # [B, T, C] what is to be the target's own rows t + 1 + i behind the final norm, if any


class Memory(ABC):
    """What a head remembers of one row of a batch: the committed pairs, and the nodes drafted below them.

    Kinds that compute several rows at once say so by `read_all` and `after_all`, of memories of one head.
    """

    @abstractmethod
    def read(self, rows: Tensor, following: Sequence[int]) -> None:
        """The next pairs: output rows [n, k · C] of the tapped layers side by side, and the token behind each."""

    @abstractmethod
    def after(self, nodes: Sequence[int], tokens: Sequence[int], parents: Sequence[int]) -> Tensor:
        """Logits [N, V] of what follows drafted nodes; -1 is the newest committed token.

        `tokens` and `parents` are those of all nodes drafted in this round; a parent's number is below its child's.
        """

    @classmethod
    def read_all(cls, memories: Sequence[Self], rows: Sequence[Tensor], following: Sequence[Sequence[int]]) -> None:
        """`read` of each."""
        for memory, mine, behind in zip(memories, rows, following, strict=True):
            memory.read(mine, behind)

    @classmethod
    def after_all(cls, memories: Sequence[Self], asked: Sequence[Asked]) -> Tensor:
        """`after` of each, one below the other."""
        import torch

        return torch.cat([memory.after(*each) for memory, each in zip(memories, asked, strict=True)])

    @abstractmethod
    def forget(self) -> None:
        """Nothing is drafted any more."""

    @abstractmethod
    def copy(self) -> Memory:
        """The same for another row; what was drafted stays behind."""

    def as_of(self, pairs: int) -> Memory | None:
        """For another row: the same as it was when so many pairs were read. None: it cannot be told any more."""
        return None


Asked = tuple[Sequence[int], Sequence[int], Sequence[int]]  # nodes, tokens, parents: see `Memory.after`


def path_of(node: int, parents: Sequence[int]) -> list[int]:
    """The drafted nodes from below the newest committed token down to this one; none for that token, -1."""
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]
