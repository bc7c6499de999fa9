"""What constraints by a grammar share: the canvas as they see it, the texts of the tokens, and tokens ruled out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..constrain.completion import HOLE, Completion, Gap
from ..constrain.contract import Constraint as OfText
from ..constrain.lexicon import Language
from ..context import Context
from ..errors import InvalidRequest, Unsupported
from .canvas import OPEN, Canvas, Delta, Span
from .constraints.contract import CanvasConstraint, CanvasConstraintState
from .contract import World
from .prediction import Prediction

RETRIES = 100  # other choices asked of the order in a step
TORN = "\ufffd"  # what decoders write for a part of a character


class GrammaticalState(CanvasConstraintState):
    """Keeps the answer completable in a language. Its position 0 is the canvas's `prompt`."""

    def __init__(
        self, language: Language, name: str, canvas: Canvas, context: Context, *, gap: Gap, retries: int
    ) -> None:
        """`name` is what messages call the language."""
        self.gap = gap
        self.retries = retries
        self.completion = completion_of(context, language, canvas)
        if not self.completion.can_extend(self.text(canvas), gap):
            raise InvalidRequest(
                f"no text of {name!r} fits on {canvas.limit - canvas.prompt} positions with what is given",
                hint="give more tokens, name an end token, or look at the tokens given",
            )

    def fork(self) -> GrammaticalState:
        """A copy; what is known of the language is shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def text(self, canvas: Canvas, changes: Delta | None = None) -> list[int]:
        """The answer's token ids with HOLEs, up to the limit, as it is or after some changes."""
        ids = np.where(canvas.filled == OPEN, HOLE, canvas.ids)
        if changes is not None:
            for position in changes.remask:
                ids[position] = HOLE
            for position, token in (*changes.commit.items(), *changes.revise.items()):
                ids[position] = token
        return [*ids[canvas.prompt :].tolist(), *[HOLE] * (canvas.limit - len(canvas))]

    def culprit(self, canvas: Canvas, delta: Delta, holds: Callable[[list[int]], bool]) -> tuple[int, int] | None:
        """The first change after which the text does not hold any more, as (position, token); None: all do.

        Changes of one step are tried one upon the other: each alone may be right, and all of them wrong.
        """
        if holds(self.text(canvas, delta)):
            return None
        done = Delta({}, delta.remask)
        for changes, kept in ((delta.commit, done.commit), (delta.revise, done.revise)):
            for position, token in changes.items():
                assert isinstance(kept, dict)
                kept[position] = token
                if not holds(self.text(canvas, done)):
                    return position, token
        return next(iter({**delta.commit, **delta.revise}.items()))  # the remasks alone: another choice may mend it

    def choose(
        self,
        canvas: Canvas,
        prediction: Prediction,
        ask: Callable[[Prediction], Delta],
        holds: Callable[[list[int]], bool],
    ) -> tuple[Prediction, Delta, bool]:
        """Ask the order until its choice holds, each time without the token that did not; whether one did."""
        for left in range(self.retries, -1, -1):
            delta = ask(prediction)
            new = delta.commit or delta.revise  # what is only opened takes no completion away
            wrong = self.culprit(canvas, delta, holds) if new else None
            if wrong is None:
                return prediction, delta, True
            if left:
                prediction = without(prediction, [wrong])
        return prediction, delta, False

    def mend(
        self, canvas: Canvas, prediction: Prediction, positions: Iterable[int], filled: Mapping[int, int]
    ) -> Delta:
        """Fill positions one upon the other, each with the likeliest token that keeps the text completable.

        Biases and bans hold here too, but where all that completes it is banned. `filled` has tokens beside the canvas
        that are settled for this. Raises Unsupported where there is none, which only gaps of any length come to.
        """
        commit: dict[int, int] = {}
        for position in positions:
            text = self.text(canvas, Delta({**filled, **commit}))
            allowed = self.completion.allowed(text, position - canvas.prompt, self.gap)
            if not allowed:
                raise Unsupported(
                    f"no token fits at position {position}: the gap there is shorter than what must stand in it",
                    hint="use gap=exact, which counts the positions that are left",
                )
            row = prediction.at(np.array([position]))
            commit[position] = int(row.under(only(row.logits, allowed)).best[0])
        return Delta(commit)


class CompletingState(GrammaticalState):
    """Tests every choice, and remembers nothing of the row."""

    def admit(
        self, canvas: Canvas, prediction: Prediction, window: Span, choose: Callable[[Prediction], Delta]
    ) -> tuple[Prediction, Delta]:
        chosen, delta, held = self.choose(
            canvas, prediction, choose, lambda text: self.completion.can_extend(text, self.gap)
        )
        return chosen, delta if held else self.mend(canvas, prediction, delta.commit, {})


@dataclass(frozen=True, slots=True)
class OnCanvas(CanvasConstraint):
    """A constraint on texts, kept on a canvas: as `grammar` does with its defaults."""

    constraint: OfText

    @property
    def name(self) -> str:  # type: ignore[override]  # it bears the constraint's
        return self.constraint.name

    def check(self, world: World) -> None:
        if self.constraint.language is None:
            raise Unsupported(
                f"{self.name} is kept token by token, and positions are filled in any order",
                hint="use regex, choices or sentence, which say their texts as a language",
            )

    def open(self, canvas: Canvas, context: Context) -> GrammaticalState:
        language = self.constraint.language
        assert language is not None, "it was checked"
        return CompletingState(language, self.name, canvas, context, gap=Gap.EXACT, retries=RETRIES)


def only(logits: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Logits [n, V] that exclude all but these tokens, and none of these."""
    kept = torch.full_like(logits, -torch.inf)
    kept[:, tokens] = logits[:, tokens].clamp(min=torch.finfo(logits.dtype).min)
    return kept


def without(prediction: Prediction, places: Iterable[tuple[int, int]]) -> Prediction:
    """The prediction had the model excluded some tokens, as (position, token)."""
    logits = prediction.logits.clone()
    rows = {int(position): row for row, position in enumerate(prediction.positions)}
    for position, token in places:
        logits[rows[position], token] = -torch.inf
    return prediction.under(logits)


def completion_of(context: Context, language: Language, canvas: Canvas) -> Completion:
    """The test for canvases of this model; rows and requests share what it has read of the tokens."""
    mask, ends = canvas.masking.mask, canvas.ends
    pieces = pieces_of(context, mask)
    key = (language, context.tokenizer(), context.target.vocabulary, mask, ends)
    return context.remembered(Completion, key, lambda: Completion(language, pieces, ends))


def pieces_of(context: Context, mask: int) -> list[str | None]:
    """The text that each token adds [V]; None for special ones and for parts of a character."""
    decode, encode = context.decode, context.encode
    if decode is None or encode is None:
        raise Unsupported("a grammar speaks of text, and there is no tokenizer", hint="load one with the model")

    def found() -> list[str | None]:
        try:
            anchor = encode(":")[-1:]  # where text begins some tokenizers leave a space out
        except InvalidRequest:
            anchor = []
        before = len(decode(anchor))
        every = [decode([*anchor, token])[before:] for token in range(context.target.vocabulary)]
        return [piece if piece and TORN not in piece else None for piece in every]

    key = ("pieces", context.tokenizer(), context.target.vocabulary)
    pieces = context.remembered(list, key, found).copy()
    pieces[mask] = None
    return pieces
