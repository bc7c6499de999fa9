"""What the rows of one call have in common, from the prompt's tokens to the answer that is handed back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from . import method as methods
from .errors import StrettoError
from .generation import Generation
from .guarantee import guarantee
from .method import Method
from .models.contract import Model, masking_of
from .models.memory import require_memory
from .models.numbers import numbers_of
from .models.pictures import Pictures
from .pieces import Text
from .request import Request
from .row import Limits, Row
from .scheduler import Ticket
from .steer.choice import Rule
from .steer.path import History, Scope
from .steer.pipeline import Pipeline
from .text import Codec

BYTES_PER_ANSWER = 8192  # what a row, its statistics and its Generation take beside its tokens, at least
BYTES_PER_LOGIT = 8  # a row's logits of one position, and what the steers make of them


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Request and method, checked against the model."""

    model: Model
    codec: Codec
    request: Request
    method: Method
    ends: frozenset[int]
    pipeline: Pipeline

    def require_memory(self, prompts: Sequence[int]) -> None:
        """Raise OutOfMemory where the answers to prompts of these lengths can't be held, or one prompt's samples.

        Nothing has been made for any of them yet.
        """
        samples = self.request.samples
        together = self._rows * self.needs(max(prompts, default=1))  # of a prompt run side by side
        answers = len(prompts) * samples * BYTES_PER_ANSWER
        require_memory(together + answers, self.model.device)

    @property
    def _rows(self) -> int:
        """How many rows of the cache one prompt takes."""
        return self.method.rows(self.request.samples)

    def needs(self, prompt: int) -> int:
        """Bytes that a row takes after a prompt of so many tokens, once it has grown to its end."""
        slots = min(prompt + self.request.max_new_tokens + 64, self.model.max_positions + 64)
        readings = 1 + len(self.pipeline.companions)  # each has a cache of its own
        return readings * (self.model.new_cache(1, 1).needs(slots) + BYTES_PER_LOGIT * self.model.vocabulary)

    def tickets(self, tokens: list[int], pictures: Pictures = ()) -> list[Ticket]:
        """One row per sample of a prompt, for the scheduler."""
        masking = masking_of(self.model)
        prompt = len(tokens)  # masks in a prompt are holes: what stands before the first one is the prompt
        if masking is not None and masking.mask in tokens:
            prompt = tokens.index(masking.mask)
        rows = [
            self._row(History(tokens[:prompt], pictures), tokens[prompt:], sample)
            for sample in range(self.request.samples)
        ]
        needs = -(-self._rows * self.needs(len(tokens)) // self.request.samples)
        return [Ticket(row, self.method, needs, call=self) for row in rows]

    def _row(self, history: History, given: list[int], sample: int) -> Row:
        request, prompt = self.request, list(history.tokens)
        size = min([len(given) or request.max_new_tokens, *(each.ends - len(prompt) for each in history.pictures)])
        return Row(
            history=history,
            cache_row=-1,
            rule=Rule(self.pipeline, request.noise, sample),
            limits=Limits(min(size, self.model.max_positions - len(prompt)), self.ends),
            stoppers=request.stoppers(prompt, lambda: self.text(prompt[history.start(Scope.PATH) :])),
            given=given,
            log_probabilities=request.log_probabilities,
        )

    def text(self, prompt: Sequence[int]) -> Text:
        """The text of what follows a prompt; empty yet."""
        return self.codec.text(prompt, self.request.stop_strings, self.ends)

    def answer(self, item: Ticket | BaseException) -> Generation:
        """What is handed back for a ticket that has ended, or for a prompt that got none."""
        if not isinstance(item, Ticket):
            return self.failure(item)
        return self.generation(item.row) if item.error is None else self.failure(item.error, item.row)

    def generation(self, row: Row) -> Generation:
        """The answer of a row, as far as there is one."""
        prompt, tokens = row.history.tokens[: row.history.prompt_length], row.new_tokens
        text, numbers = self.text(prompt[row.history.start(Scope.PATH) :]), numbers_of(self.model)
        greedy, repeats = self.pipeline.greedy, self.method.repeats(self.pipeline.greedy)
        text.extend(tokens, last=True)
        if row.steps and row.held is not None:  # asked for, it exists
            row.held.tell(row.counters)
        answer = Generation(
            text=text.text,
            tokens=tokens,
            finish=row.finish or "interrupt",
            prompt_tokens=prompt,
            counters=row.counters,
            steps=row.steps,
            log_probabilities=row.reported if row.log_probabilities is not None else None,
            method=methods.describe(self.method),
            seed=self.request.noise,
            repeats=repeats,
            guarantee=guarantee(self.method.guarantee, numbers, greedy=greedy, repeats=repeats),
            numbers=asdict(numbers),
        )
        answer.read_by(self.codec.decode)
        return answer

    def failure(self, error: BaseException, row: Row | None = None) -> Generation:
        """Of a prompt that could not be answered, or not to its end: that is told, and what there was by then."""
        if not isinstance(error, StrettoError):
            told = StrettoError(f"{type(error).__name__}: {error}", "the fault is in a part, a steer or a stopper")
            told.__cause__ = error
            error = told
        if row is None:
            return Generation(
                "", [], "error", [], error=error, method=methods.describe(self.method), seed=self.request.noise
            )
        answer = self.generation(row)
        answer.error = error
        return answer
