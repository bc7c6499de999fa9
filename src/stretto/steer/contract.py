"""What a steer is: a pure reshaping of next-token logits at the nodes of a tree.

>>> from stretto.engine import Engine
>>> from stretto.models.table import TableModel
>>> from stretto.steer.logits import remove
>>> @dataclass(frozen=True, slots=True)
... class Without(Steer):
...     '''One token less.'''
...
...     token: int = 0  # >= 0
...     name: ClassVar[str] = "without"
...
...     def __call__(self, logits, nodes):
...         return remove(logits, [(node, self.token) for node in range(len(logits))])
>>> engine = Engine(TableModel(3, lambda path: [0.0, 5.0, 1.0]))
>>> engine.generate([0], max_new_tokens=2).tokens, engine.generate([0], max_new_tokens=2, steers=[Without(1)]).tokens
([1, 1], [2, 2])
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..errors import InvalidRequest
from ..models.contract import NOTHING, Model, Want
from ..models.edits import Edit
from ..models.pictures import View
from ..values import Checked
from .states import Persistent, States

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes


class Stage(IntEnum):
    """Where in the pipeline a steer works; the order of the stages is the order of the steps.

    Masks come before truncation, otherwise truncation could keep only tokens that the mask then removes.
    """

    CONTRAST = 0  # combination with companions; its cut-off comes from the raw logits
    PENALTY = 1  # penalties, biases, bans
    MASK = 2  # what keeps the output valid; wins over every ban
    TEMPERATURE = 3
    TOP_N_SIGMA = 4
    TOP_H = 5
    TOP_K = 6
    TOP_P = 7
    MIN_P = 8
    TYPICAL = 9
    EPSILON = 10
    ETA = 11
    LAST = 12  # what looks at all that is left: by chance, or at what became of it; each leaves a token


@dataclass(frozen=True, slots=True)
class Companion(metaclass=Checked):
    """Another reading of the same output: by another model, after another prompt, or both."""

    model: str | Model = ""  # a folder, a model of the zoo, or a loaded one; empty: the target itself
    before: str | tuple[int, ...] = ()  # text or token ids that stand before what it sees of the prompt
    newest: int | None = None  # tokens of the prompt that it sees, the newest, 0 or more; None: all of them
    view: View | None = None  # the form in which it sees the pictures of the prompt; None: as they are
    edits: tuple[Edit, ...] = ()  # of its rows, beside those of the target
    mute: bool = False  # of the prompt that it sees pictures alone are left, and the first and the last token

    def __post_init__(self) -> None:
        require(self.newest is None or self.newest >= 0, f"a companion sees {self.newest} tokens", "0 or more, or None")

    @classmethod
    def instead(cls, before: str | tuple[int, ...]) -> Companion:
        """The target after another prompt; where that is empty, after its prompt's last token alone."""
        return cls(before=before, newest=0 if before else 1)


class Steer(metaclass=Checked):
    """One step of the pipeline: a frozen, slotted dataclass of its own settings.

    Called with logits [N, V] (float32 or float64; steered by the steps before it, `nodes.raw` as the model gave them)
    and the N nodes, it returns steered logits [N, V] of the same type, -inf where a token is removed; row n depends on
    row n and node n only. It never writes into what it was given, and may return it.

    It keeps nothing from call to call, as drafts are rejected and rows fork. What is to be remembered along a path is a
    state: `begin` gives the first one, `step` the next, as new values, and `nodes.states(self)` what they have become
    at each node. Steers with equal settings share their states. Chance is `nodes.coins(self)`, and no other.
    """

    __slots__ = ()

    name: ClassVar[str]
    kind: ClassVar[str] = "steer"
    stage: ClassVar[Stage] = Stage.PENALTY
    pointwise: ClassVar[bool] = False  # needs the logits and signals of them only, not the path
    hears: ClassVar[bool] = False  # its states go on from what `nodes.tell` was told of the node; never pointwise then
    sees: ClassVar[bool] = False  # wants pictures in the prompt
    strict: ClassVar[bool] = False  # where it leaves no token, that is an error, and no other token stands in

    @abstractmethod
    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        """The steered logits [N, V]."""

    @property
    def idle(self) -> bool:
        """Whether these settings are neutral: the logits come back bit for bit, and it need not be asked."""
        return False

    @property
    def wants(self) -> Want:
        """Layers and heads of which `nodes.hidden`, `.readout` and `.attention` are to tell; never pointwise then."""
        return NOTHING

    @property
    def companions(self) -> tuple[Companion, ...]:
        """What `nodes.companions` is to tell of: their logits at the same nodes; never pointwise then."""
        return ()

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What becomes of rows inside of the model, of the prompt and of the answer; never pointwise then."""
        return ()

    @property
    def aided(self) -> bool:
        """Whether it needs more than logits and paths. Guesses are steered without such steers."""
        return bool(self.wants or self.companions or self.edits or self.hears)

    def begin(self, prompt: Sequence[int]) -> Any:
        """The state at the end of the prompt; None for steers without one."""
        return None

    def step(self, state: Any, token: int) -> Any:
        """The state after one more token of the output: a new value. A state is never written into."""
        return state

    def follow(self, prompt: Sequence[int]) -> States:
        """What keeps its states along one row: a new value at each node, or, in steers that say otherwise, one that
        moves."""
        return Persistent(self, len(prompt), self.begin(prompt))

    @property
    def named_tokens(self) -> frozenset[int]:
        """Token ids that the settings name; a pipeline checks them against the vocabulary."""
        return frozenset()

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Settings for four tokens or more, the first of them neutral: what the laws are tried on."""
        return ()


def require(holds: bool, what: str, hint: str) -> None:
    """Raise `InvalidRequest` unless the setting is in its range."""
    if not holds:
        raise InvalidRequest(what, hint)


def in_range(value: float, low: float, high: float) -> bool:
    """Whether `value` is a finite number with low <= value <= high."""
    return math.isfinite(value) and low <= value <= high
