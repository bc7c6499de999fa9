"""Text in, Generation out: the only place where tokenizer and model meet."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch

from . import method as methods
from .aliases import ours
from .context import Context
from .errors import InvalidRequest, NotTaken, StrettoError, Unsupported
from .generation import Generation
from .guarantee import guarantee
from .holes import encode_holes
from .messages import Conversation, Message
from .method import Loop, Method
from .models.cache import Cache
from .models.clock import Clock, MeasuredClock
from .models.contract import Model
from .models.generation_config import Asked
from .models.load import load
from .models.masked import masking_of
from .models.memory import require_memory
from .models.numbers import numbers_of
from .models.vocabulary import require_fit
from .pieces import Text
from .request import Request
from .row import Limits, Row
from .score import Continuation, Score, Scorer
from .steer.choice import Rule
from .steer.path import History
from .steer.pipeline import Pipeline
from .stream import Piece, Stream
from .text import Codec, Prompt, is_one, sequence
from .values import checked, plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTES_PER_ANSWER = 8192  # what a row, its statistics and its Generation take beside its tokens, at least
BYTES_PER_LOGIT = 8  # a row's logits of one position, and what the steers make of them


class _Decode:
    """One call's rows on their way: an own loop of the method's family, over an own cache."""

    def __init__(self, loop: Loop, request: Request, method: Method, ends: frozenset[int], pipeline: Pipeline) -> None:
        self.loop = loop
        self.request = request
        self.method = method
        self.ends = ends
        self.pipeline = pipeline
        self.rows: list[Row] = []

    def run(self, watch: Callable[[int], object] | None = None) -> None:
        """Until every row has ended, or an interrupt: then what there is, is kept. For `watch` see `generate`."""
        try:
            while self.loop.rows:
                self.loop.step()
                if watch is not None:
                    watch(sum(row.finish is not None for row in self.rows))
        except KeyboardInterrupt:
            self.interrupt()

    def interrupt(self) -> None:
        for row in self.rows:
            row.unwind()


class Engine:
    """A model and its tokenizer, ready to answer."""

    def __init__(
        self, model: Model, tokenizer: PreTrainedTokenizerBase | None = None, *, clock: Clock | None = None
    ) -> None:
        self.model = model
        masking = masking_of(model)
        self.codec = Codec(model.name, tokenizer, () if masking is None else (masking.mask,))
        self.clock = clock or MeasuredClock(model)
        self.end_tokens: frozenset[int] = frozenset()
        self.asked = Asked()  # by the checkpoint's generation_config.json
        self._told = False  # what of that is not taken
        self._drafts: dict[str, Model] = {}
        self._memory: dict[object, object] = {}

    @classmethod
    @checked
    def load(
        cls,
        name: str | Path,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        weights: str = "auto",
        exact: str = "tokens",
        reproducible: bool = False,
    ) -> Engine:
        """An engine for a local folder, a model of the zoo (`zoo/causal`) or a hub name; options as in `models.load`.

        `dtype` and `device` may be torch's own as well as their names. Raises ModelError where the checkpoint cannot
        be read, Unsupported where it cannot be driven, InvalidRequest for an option that there is not.
        """
        loaded = load(name, dtype=dtype, device=device, weights=weights, exact=exact, reproducible=reproducible)
        engine = cls(loaded.model, loaded.tokenizer)
        engine.end_tokens = loaded.end_tokens
        engine.asked = loaded.asked
        return engine

    def request(self, settings: Mapping[str, Any]) -> Request:
        """The request of these settings, with the checkpoint's own where `defaults="model"`.

        What the checkpoint asks for and does not get is said once, as a warning of the category `NotTaken`; never
        where `defaults="stretto"` is given. Raises InvalidRequest, or ModelError for a wrong generation_config.json.
        """
        request = Request.of(settings, self.asked.settings)
        taken = request.defaults == "model"
        if not self._told and (taken or "defaults" not in settings):
            left = self.asked.left_out(ours(settings), taken)
            self._told = bool(left)
            if left:
                hint = (
                    "they have no counterpart" if taken else "defaults='model' takes what it can, 'stretto' is silent"
                )
                told = f"generation_config.json of {self.model.name} asks for {left}: not taken (hint: {hint})"
                warnings.warn(told, NotTaken, stacklevel=3)
        return request

    # -- answering ----------------------------------------------------------------------------

    @overload
    def generate(self, prompt: Prompt, method: str | Method | None = ..., **settings: Any) -> Generation: ...
    @overload
    def generate(
        self, prompt: Sequence[Prompt], method: str | Method | None = ..., **settings: Any
    ) -> list[Generation]: ...
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        method: str | Method | None = None,
        *,
        watch: Callable[[int], object] | None = None,
        **settings: Any,
    ) -> Generation | list[Generation]:
        """Answer one prompt, or several together; `settings` are those of `Request`.

        A text is continued as it stands, and may spell control tokens; to ask, use `chat`. Messages are what `chat`
        takes, and are answered as there. Where no method is named it is 'auto', or Fast-dLLM's for a masked-diffusion
        model.

        A single prompt gives a Generation. A list of prompts, or `samples` > 1, gives a list: all samples of
        the first prompt, then of the second … In a list, a bad prompt gives a Generation with `error` set
        and the others complete.
        `watch` is told after each round how many answers have ended. Raises the typed errors of `stretto.errors` before
        any work is done.
        """
        request = self.request(settings)
        alone = is_one(prompt)
        prompts = cast(Sequence[Prompt], [prompt] if alone else plain(prompt))
        decode, placed = self._begin(prompts, request, self._method(method), strict=alone)
        decode.run(watch)
        answers = [
            self._generation(item, decode) if isinstance(item, Row) else self._failure(item, decode) for item in placed
        ]
        return answers[0] if alone and request.samples == 1 else answers

    def chat(
        self,
        messages: str | Sequence[Message] | Sequence[str | Sequence[Message]],
        method: str | Method | None = None,
        *,
        tools: Sequence[Any] | None = None,
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        allow_control_tokens: bool = False,
        **settings: Any,
    ) -> Generation | list[Generation]:
        """Answer messages through the model's chat template, or several conversations together, as `generate` does.

        A text is one message of the user; a list of texts or of lists is several conversations. An assistant's message
        at the end is continued. What messages hold is text, also where it spells control tokens, unless these are
        allowed. `tools` (functions or JSON schemas) and `template_options` go to the template, `template` names one
        of several; to stream, or to mix such, give `generate` and `stream` a `Conversation`.
        """

        def conversation(said: str | Sequence[Message]) -> Conversation:
            return Conversation(said, tools, template, template_options or {}, allow_control_tokens)

        if is_one(messages):
            return self.generate(conversation(cast(Sequence[Message], messages)), method, **settings)
        return self.generate([conversation(each) for each in cast(Sequence[Any], messages)], method, **settings)

    def stream(self, prompt: Prompt, method: str | Method | None = None, **settings: Any) -> Stream:
        """Answer one prompt piece by piece, one piece a round."""
        request = self.request(settings)
        if request.samples != 1:
            raise InvalidRequest("a stream is of one sample", hint="use generate() for several")
        decode, _ = self._begin([prompt], request, self._method(method), strict=True)
        (row,) = decode.rows
        return Stream(decode.loop, row, self._text(row.history, decode), lambda: self._generation(row, decode))

    def infill(
        self, text: str | Sequence[str], method: str | Method | None = None, **settings: Any
    ) -> Generation | list[Generation]:
        """Fill the holes of a text, or of several together: `<|5|>` is a hole of five tokens (`encode_holes`).

        What stands before the first hole is the prompt. The answer goes on to the end of the text; it is what a grammar
        judges. Nothing may end in a hole, so end tokens are banned unless `end_tokens` are given. Needs a
        masked-diffusion model.
        """
        texts = [text] if isinstance(text, str) else sequence(text)
        if "end_tokens" not in ours(settings):
            banned = {*self.request(settings).banned_tokens, *self.end_tokens}
            settings = ours(settings) | {"end_tokens": (), "banned_tokens": sorted(banned)}
        found = self.generate(cast(Sequence[Prompt], [self._holes(each) for each in texts]), method, **settings)
        alone = isinstance(text, str) and len(found) == 1
        if alone and found[0].error is not None:
            raise found[0].error
        return found[0] if alone else found

    def encode_holes(self, text: str) -> list[int]:
        """Token ids of a text with holes; `<|5|>` stands for five masks.

        Raises Unsupported where the model fills no masks, InvalidRequest where there is no text, or no hole in it.
        """
        return encode_holes(text, self.model, self.codec)

    def _holes(self, text: str) -> list[int] | InvalidRequest:
        """The same, where one text of several may be wrong."""
        try:
            return self.encode_holes(text)
        except InvalidRequest as error:
            if not isinstance(text, str):
                raise
            return error

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt. Raises InvalidRequest where it is empty, has no tokenizer, or does not fit."""
        tokens = self.codec.encode(prompt)
        wrong = next((token for token in tokens if not 0 <= token < self.model.vocabulary), None)
        if wrong is not None:
            raise InvalidRequest(
                f"token {wrong} is outside of the vocabulary", hint=f"ids run from 0 to {self.model.vocabulary - 1}"
            )
        if len(tokens) >= self.model.max_positions:
            raise InvalidRequest(
                f"the prompt has {len(tokens)} tokens, the model {self.model.max_positions} positions",
                hint="shorten the prompt: at least one position must be left for the answer",
            )
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return self.codec.decode(tokens)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The checkpoint's tokenizer, if it has one."""
        return self.codec.tokenizer

    def _method(self, method: str | Method | None) -> Method:
        return methods.parse(methods.default(self.model) if method is None else method)

    # -- scoring --------------------------------------------------------------------------------

    @overload
    def score(  # type: ignore[overload-overlap]  # a text counts as a sequence of texts
        self, prompt: Prompt, continuations: Continuation, *, batch: int = ...
    ) -> Score: ...
    @overload
    def score(self, prompt: Prompt, continuations: Sequence[Continuation], *, batch: int = ...) -> list[Score]: ...
    @overload
    def score(self, prompt: Sequence[Prompt], continuations: Sequence[Any], *, batch: int = ...) -> list[Any]: ...
    def score(self, prompt: Any, continuations: Any, *, batch: int = 16) -> Any:
        """How likely the model finds given continuations of a prompt; the result has the shape of `continuations`.

        That is one of them (text or token ids), a list of them, or for several prompts one or a list for each. The
        probabilities are the model's own: no temperature, no penalty. Texts are encoded as lm-evaluation-harness does;
        an empty prompt is the token that begins texts; a prompt too long loses its beginning (`Score.unseen`). Each
        prompt is evaluated once, and at most `batch` rows stand side by side. With several prompts a bad one fails
        alone (`Score.error`). Raises the typed errors of `stretto.errors` before any work is done.
        """
        return Scorer(self.model, self.codec, self.end_tokens, batch).score(prompt, continuations)

    @overload
    def score_text(  # type: ignore[overload-overlap]
        self, text: Continuation, *, window: int | None = ..., context: int = ..., batch: int = ...
    ) -> Score: ...
    @overload
    def score_text(
        self, text: Sequence[Continuation], *, window: int | None = ..., context: int = ..., batch: int = ...
    ) -> list[Score]: ...
    def score_text(self, text: Any, *, window: int | None = None, context: int = 1, batch: int = 16) -> Any:
        """How likely the model finds a text, or each of several, after nothing but the token that begins texts.

        What is longer than `window` tokens (None: the model's positions) is read in windows, and each token is
        predicted once; the second and later windows begin with `context` tokens of the one before. Otherwise as
        `score`.
        """
        return Scorer(self.model, self.codec, self.end_tokens, batch).score_text(text, window, context)

    # -- beginning a decode ---------------------------------------------------------------------

    def _begin(
        self, prompts: Sequence[Prompt], request: Request, method: Method, *, strict: bool
    ) -> tuple[_Decode, list[Row | StrettoError]]:
        """Check everything, then evaluate the prompts. One row or error per prompt and sample, in order."""
        ends = self.end_tokens if request.end_tokens is None else frozenset(request.end_tokens)
        pipeline = request.pipeline(ends)
        method = methods.complete(method, self.model)
        methods.check(method, self.model, pipeline, request.samples)
        request.check(self.model.vocabulary)
        if not prompts:
            raise InvalidRequest("there is no prompt", hint="give at least one")
        encoded: list[list[int] | StrettoError] = []
        for prompt in prompts:
            try:
                encoded.append(prompt if isinstance(prompt, StrettoError) else self.encode(prompt))
            except InvalidRequest as error:
                if strict:
                    raise
                encoded.append(error)
        cache = self._admit([len(tokens) for tokens in encoded if isinstance(tokens, list)], len(encoded), request)
        decode = _Decode(method.loop(self._context(), cache), request, method, ends, pipeline)
        placed: list[Row | StrettoError] = []
        for tokens in encoded:
            try:
                if isinstance(tokens, StrettoError):
                    raise tokens
                placed.extend(self._open(decode, tokens))
            except StrettoError as error:  # also where it fits this model, but not another that reads along
                if strict:
                    raise
                placed.extend([error] * request.samples)
        return decode, placed

    def _admit(self, lengths: Sequence[int], prompts: int, request: Request) -> Cache:
        """A cache for rows of prompts of these lengths. Raises OutOfMemory before anything is made for each of them."""
        slots = min(max(lengths, default=1) + request.max_new_tokens + 64, self.model.max_positions + 64)
        rows = max(1, len(lengths) * request.samples)
        one = self.model.new_cache(1, 1).shape.bytes_per_slot * slots + BYTES_PER_LOGIT * self.model.vocabulary
        require_memory(rows * one + prompts * request.samples * BYTES_PER_ANSWER, self.model.device)
        return self.model.new_cache(rows, min(slots, 1024))

    def _context(self) -> Context:
        """What the parts of a method may use."""
        codec = self.codec
        return Context(
            self.model,
            self.clock,
            self._load_draft,
            self._memory,
            tokenizer=codec.fingerprint,
            encode=codec.encode_piece,
            decode=codec.decode,
        )

    def _open(self, decode: _Decode, tokens: list[int]) -> list[Row]:
        """One row per sample: the prompt is evaluated once and forked."""
        request, loop = decode.request, decode.loop
        rows: list[Row] = []
        masking = masking_of(self.model)
        prompt = len(tokens)  # masks in a prompt are holes: what stands before the first one is the prompt
        if masking is not None and masking.mask in tokens:
            prompt = tokens.index(masking.mask)
        for sample in range(request.samples):
            row = self._row(decode, History(tokens[:prompt]), sample, tokens[prompt:])
            if sample == 0:
                row.cache_row = loop.cache.open()
                loop.add(row)
            else:
                loop.fork(rows[0], row)
            decode.rows.append(row)
            rows.append(row)
        return rows

    def _row(self, decode: _Decode, history: History, sample: int, given: Sequence[int] = ()) -> Row:
        request = decode.request
        room = self.model.max_positions - len(history.tokens)
        size = len(given) or request.max_new_tokens
        stopper = self._text(history, decode) if request.stop_strings else None
        return Row(
            history=history,
            cache_row=-1,
            rule=Rule(decode.pipeline, request.noise, sample),
            limits=Limits(min(size, room), decode.ends),
            stopper=stopper,
            given=list(given),
            log_probabilities=request.log_probabilities,
        )

    def _load_draft(self, name: str) -> Model:
        """A second model on the same device, once; its tokenizer must be the target's."""
        if name not in self._drafts:
            loaded = load(name, device=str(self.model.device), reproducible=numbers_of(self.model).settled)
            if masking_of(loaded.model) is not None and masking_of(self.model) is None:
                raise Unsupported(
                    f"the second model {name!r} fills masks, and {self.model.name} continues text",
                    hint="use a model that continues text, such as zoo/draft",
                )
            mine, other = self.codec.tokenizer, loaded.tokenizer
            same = None if mine is None or other is None else mine.get_vocab() == other.get_vocab()
            require_fit(name, loaded.model.vocabulary, self.model.vocabulary, same)
            self._drafts[name] = loaded.model
        return self._drafts[name]

    def _text(self, history: History, decode: _Decode) -> Text:
        """The text of what follows the prompt; empty yet."""
        return self.codec.text(history.tokens[: history.prompt_length], decode.request.stop_strings, decode.ends)

    def _generation(self, row: Row, decode: _Decode) -> Generation:
        text, tokens = self._text(row.history, decode), row.new_tokens
        greedy, numbers = decode.pipeline.greedy, numbers_of(self.model)
        repeats = methods.repeats(decode.method, decode.pipeline)
        text.extend(tokens, last=True)
        answer = Generation(
            text=text.text,
            tokens=tokens,
            finish=row.finish or "interrupt",
            prompt_tokens=row.history.tokens[: row.history.prompt_length],
            counters=row.counters,
            steps=row.steps,
            log_probabilities=row.reported if row.log_probabilities is not None else None,
            method=methods.describe(decode.method),
            seed=decode.request.noise,
            repeats=repeats,
            guarantee=guarantee(decode.method.guarantee, numbers, greedy=greedy, repeats=repeats),
            numbers=asdict(numbers),
        )
        answer.read_by(self.codec.decode)
        return answer

    def _failure(self, error: StrettoError, decode: _Decode) -> Generation:
        named = methods.describe(decode.method)
        return Generation("", [], "error", [], error=error, method=named, seed=decode.request.noise)


__all__ = ["Engine", "Piece", "Prompt", "Stream"]
