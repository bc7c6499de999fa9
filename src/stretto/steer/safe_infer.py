"""SafeInfer: what an unsafe model would rather say is taken off (arXiv 2406.12274)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..entry import Entry, Guarantee
from ..models.contract import Model
from ..models.vocabulary import NEVER
from .contract import Companion, Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

ENTRY = Entry(
    name="safe-infer",
    family="steer",
    number=107,
    source="arXiv 2406.12274 (SafeInfer); NeuralSentinel/SafeInfer",
    parts="plain+safe_infer(zoo/draft)",
    guarantee=Guarantee.DEFINED,
    needs=("draft model",),
    summary="tokens that an unsafe model finds likelier lose what it gives them beyond, many times over",
)


@dataclass(frozen=True, slots=True)
class SafeInfer(Steer):
    """Log-probabilities become (log p - by * max(log p, log u)) / (1 - by), u the unsafe model's.

    So a token stays as it is where the model finds it at least as likely, and loses by / (1 - by) times the difference
    elsewhere. This is the second half of the system. The first, a vector that is added inside of the model, is an edit
    beside it: `edits=`, or `vector(FILE)`.
    """

    name: ClassVar[str] = "safe_infer"
    stage: ClassVar[Stage] = Stage.CONTRAST

    unsafe: str | Model = ""  # a model that was made unsafe, of the same tokenizer; empty: the target itself
    by: float = 0.99  # 0 to 0.999; 0 is neutral
    newest: int | None = None  # tokens of the prompt that it sees, the newest, 1 or more; None: all

    def __post_init__(self) -> None:
        require(in_range(self.by, 0, 0.999), f"safe_infer by {self.by}", "0 to 0.999, usually 0.99")
        require(self.newest is None or self.newest >= 1, f"safe_infer with newest {self.newest}", "1 or more, or None")

    @property
    def idle(self) -> bool:
        return self.by == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        return (Companion(self.unsafe, newest=self.newest),)

    @classmethod
    def examples(cls) -> tuple[SafeInfer, ...]:
        return cls(by=0.0), cls("other"), cls("other", 0.5, newest=1)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        own = nodes.log_probabilities
        unsafe = nodes.companions[self.companions[0]].log_softmax(-1, dtype=own.dtype)
        beyond = (unsafe.clamp(min=NEVER) - own.clamp(min=NEVER)).clamp(min=0)
        return logits - self.by / (1 - self.by) * beyond.to(logits.dtype)
