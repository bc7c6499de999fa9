"""Decoding under a context-free grammar: nothing is filled after which the canvas can become no sentence any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...constrain.completion import Gap
from ...constrain.languages import language
from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, closest
from ..canvas import Canvas
from ..contract import World
from ..grammatical import RETRIES, CompletingState, GrammaticalState
from .contract import CanvasConstraint

ENTRY = Entry(
    name="cfg-diffusion",
    family="diffusion",
    source="arXiv 2508.10111; code github.com/eth-sri/constrained-diffusion",
    parts="low-confidence+blocks(32)+grammar(json)",
    guarantee=Guarantee.APPROXIMATE,
    number=53,
    needs=("masked-diffusion model", "tokenizer"),
    summary="fills only what leaves the canvas completable to a sentence of a context-free grammar",
    generation="fill",
    refinement="iterative",
    branch="non-autoregressive",
)
GAPS = {gap.value: gap for gap in Gap}


@dataclass(frozen=True, slots=True)
class Grammar(CanvasConstraint):
    """Tests each choice of the order for a sentence that the canvas and the grammar have in common.

    A token that fails is ruled out at its position, and the order asked again; after `retries` of that its positions
    get the likeliest tokens that pass. As published, holes stand for any number of tokens, and a canvas of fixed
    length can be led to where nothing fits; that raises. With exact gaps, the default, the output is a sentence.
    """

    language: str = "json"  # json, expression, or the path of a grammar
    gap: str = "exact"  # exact, at most, any: how many tokens a run of holes stands for
    retries: int = RETRIES  # other choices asked of the order in a step, ≥ 0

    name: ClassVar[str] = "grammar"

    def __post_init__(self) -> None:
        if self.gap not in GAPS:
            raise InvalidRequest(f"no gap is {self.gap!r}", hint=closest(self.gap, GAPS))
        if self.retries < 0:
            raise InvalidRequest(f"{self.retries} retries", hint="0 or more")

    def check(self, world: World) -> None:
        language(self.language)

    def open(self, canvas: Canvas, context: Context) -> GrammaticalState:
        return CompletingState(
            language(self.language), self.language, canvas, context, gap=GAPS[self.gap], retries=self.retries
        )
