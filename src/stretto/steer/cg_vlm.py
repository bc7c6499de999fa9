"""CG-VLM: heads are brought to agree on a picture where picture and text speak together (arXiv 2512.05546, in parts
reconstructed)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ..entry import Entry, Guarantee
from ..models.gazes import Agreeing
from ..models.views import Levelled
from .contract import Companion, Stage, Steer, in_range, require

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes

SAME = 1e-4  # nats or probability: an interaction that is no further above the threshold counts as on it

ENTRY = Entry(
    name="cg-vlm",
    family="steer",
    number=91,
    source="arXiv 2512.05546 (conscious gaze)",
    parts="plain+cg_vlm",
    guarantee=Guarantee.DEFINED,
    needs=("embeddings as input", "pictures", "changes of attention"),
    confirmed=False,  # how a modality is taken away, the value that is compared, the threshold, the edit of attention
    summary="where picture and text say more together than apart, the answer of heads that agree on the picture",
)


@dataclass(frozen=True, slots=True)
class CgVlm(Steer):
    """Where the interaction of picture and text is above `threshold`, the logits of a reading whose heads agree.

    The interaction is Harsanyi's, of the value of the best token: with both, less with the picture alone and with the
    text alone, plus with neither. Without the picture means that each of its rows is their mean; without the text, that
    of the prompt only pictures, the first token and the last one are left. In the reading whose heads agree, their
    shares of the picture's rows go by `by` towards the average share (`mixed`), or scores grow by `by` times it
    (`added`), in the layers `first` to `last`, at the prompt and at every step.

    The paper edits the forward that triggered, and goes on from it: here there are two readings, one edited throughout,
    and at each token one of them is taken, so that no draft depends on what it is to decide.
    """

    name: ClassVar[str] = "cg_vlm"
    stage: ClassVar[Stage] = Stage.CONTRAST
    sees: ClassVar[bool] = True

    by: float = 0.5  # mixed: 0 to 1; added: 0 to 1000; 0 is neutral
    threshold: float = 0.0  # -1000 to 1000, nats or probability
    value: Literal["log", "probability"] = "log"  # of the best token
    form: Literal["mixed", "added"] = "mixed"
    first: int = 1  # layer, from 0; the paper speaks of the middle ones
    last: int = 2  # layer, >= first

    def __post_init__(self) -> None:
        most = 1 if self.form == "mixed" else 1000
        require(in_range(self.by, 0, most), f"cg_vlm by {self.by}", f"0 to {most}; 0 changes nothing")
        require(in_range(self.threshold, -1000, 1000), f"cg_vlm above {self.threshold}", "-1000 to 1000")
        require(0 <= self.first <= self.last, f"cg_vlm of layers {self.first} to {self.last}", "from 0, in order")

    @property
    def idle(self) -> bool:
        return self.by == 0

    @property
    def companions(self) -> tuple[Companion, ...]:
        agreeing = Companion(edits=(Agreeing(self.first, self.last, by=self.by, form=self.form),))
        return agreeing, Companion(mute=True), Companion(view=Levelled()), Companion(view=Levelled(), mute=True)

    @classmethod
    def examples(cls) -> tuple[CgVlm, ...]:
        return cls(0.0), cls(1.0, -1000.0), cls(400.0, form="added"), cls(1.0, -0.05, "probability")

    def interaction(self, nodes: Nodes) -> Tensor:
        """How much more picture and text say of the best token together than apart: [N]."""
        best = nodes.raw.argmax(-1, keepdim=True)
        _, picture, text, neither = (nodes.companions[each] for each in self.companions)
        values = [each.double().log_softmax(-1).gather(1, best)[:, 0] for each in (nodes.raw, picture, text, neither)]
        if self.value == "probability":
            values = [each.exp() for each in values]
        return values[0] - values[1] - values[2] + values[3]

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        if self.idle:
            return logits
        agreed = nodes.companions[self.companions[0]].to(logits.dtype)
        moved = torch.where(nodes.raw == -torch.inf, logits, logits + agreed - nodes.raw.to(logits.dtype))
        return torch.where((self.interaction(nodes) > self.threshold + SAME)[:, None], moved, logits)
