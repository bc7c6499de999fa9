"""What a published system declares about itself, beside its principal part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

# The flags of the taxonomy (arXiv 2502.19732 for all but the branch, which is arXiv 2405.13019's). An entry
# that leaves one open is classified by what else it declares: see `diagnose.taxonomy`.
Generation = Literal[
    "none",  # nothing is guessed
    "fill",  # guesses start from anything and are refined: Jacobi, masks
    "retrieval",  # copied from the text, a datastore, an index
    "table",  # n-grams, tables of followers
    "own model",  # an independent drafter: a model of its own
    "target's parts",  # a dependent drafter: early exit, extra heads, skipped layers
    "constraint",  # forced by what keeps the output valid
    "mixed",
]
Refinement = Literal["none", "chain", "tree", "iterative"]
System = Literal["single device", "overlapped", "batched serving", "distributed", "kernel"]
Modality = Literal["text", "image tokens", "speech tokens", "actions", "continuous"]
Training = Literal["none", "head", "drafter", "target"]
Branch = Literal["speculative", "early exit", "non-autoregressive", "hybrid", "none"]


class Guarantee(Enum):
    """What holds between the output and plain decoding by the same model and settings."""

    EXACT = "exact"  # the same tokens, greedy and with a seed
    DEFINED = "exact of its definition"  # the tokens of plain decoding under it, whoever drafts: steers, constraints
    DISTRIBUTION = "exact in distribution"  # other tokens, drawn from the same distribution
    APPROXIMATE = "approximate"  # a knob trades fidelity; its extreme setting is exact
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue of methods.

    `number` is the system's number in the catalogue of methods this project implements, None for the base
    techniques that everything stands on. `parts` is the text form that `method="…"` takes; what is no way of
    decoding has none, and names the `command` that shows it.
    """

    name: str
    family: str
    source: str  # paper with its arXiv id, or the repository it was published in
    parts: str
    guarantee: Guarantee
    number: int | None = None
    needs: tuple[str, ...] = ()  # beyond a causal model: "draft model", "hidden states", …
    confirmed: bool = True  # False: the published description leaves details open
    summary: str = ""
    command: str = ""  # of the command line, for what is no way of decoding
    generation: Generation | None = None  # how guesses arise; None: as the entry of its drafter says
    refinement: Refinement | None = None  # how they become tokens; None: as the parts say
    system: System = "single device"
    modality: Modality = "text"
    training: Training = "none"
    branch: Branch | None = None  # of accelerated generation; None: as the family says

    @property
    def lossless(self) -> bool:
        """Whether the output is plain decoding's, token by token or in distribution."""
        return self.guarantee in (Guarantee.EXACT, Guarantee.DISTRIBUTION)
