"""Text in, Generation out: the only place where tokenizer and model meet."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch

from . import method as methods
from .aliases import ours
from .call import Call
from .context import Context, Memory
from .errors import InvalidRequest, NotTaken, StrettoError, Unsupported
from .generation import Generation
from .handle import Handle, Piece
from .holes import encode_holes, holes_or_fault
from .memory.contract import stored
from .messages import Conversation, Message
from .method import Method
from .models.clock import Clock
from .models.contract import Model, masking_of
from .models.encoded import Shown, beside
from .models.generation_config import Asked
from .models.heads.contract import DraftHead
from .models.heads.files import find_head
from .models.learnt import LearntClock
from .models.load import load
from .models.numbers import numbers_of
from .models.pictures import Pictures
from .models.prefixes import prefixes_of
from .models.vocabulary import require_fit
from .pace.contract import Pace
from .pace.patience import Patience
from .request import Request
from .scheduler import MOST_ROWS, Scheduler, Ticket
from .score import Scoring
from .spelling import constrained, tokens_of
from .text import Codec, Prompt, is_one, sequence
from .values import checked, plain

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .models.tokenizer import Tokenizer


class Engine(Scoring):
    """A model and its tokenizer, ready to answer."""

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer | None = None,
        *,
        clock: Clock | None = None,
        prefixes: int | None = None,
        rows: int = MOST_ROWS,
        pace: Pace = Patience(),
    ) -> None:
        """`prefixes`: bytes of prompts that are kept to be found again (`prefixes_of`); `rows`: that run at a time."""
        self.model = model
        masking = masking_of(model)
        self._prefixes = prefixes_of(model, prefixes)
        self.codec = Codec(model.name, tokenizer, () if masking is None else (masking.mask,))
        self.clock = clock or LearntClock(model)
        self.end_tokens: frozenset[int] = frozenset()
        self.asked = Asked()  # by the checkpoint's generation_config.json
        self.image_token: int | None = None  # stands in prompts where pictures are
        self.sight: Any = None  # what makes pictures of the checkpoint's inputs (`models.sight`), if it has that
        self._told = False  # what of that is not taken
        self._drafts: dict[str, Model] = {}
        self._heads: dict[str, DraftHead | None] = {}
        self._memory = Memory()
        self._scheduler = Scheduler(self.context, rows, pace)

    @classmethod
    @checked
    def load(
        cls,
        name: str | Path,
        *,
        adapter: str | Path | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        weights: str = "auto",
        exact: str = "tokens",
        reproducible: bool = False,
        prefixes: int | None = None,
        rows: int = MOST_ROWS,
        pace: Pace = Patience(),
        store: str | None = None,
    ) -> Engine:
        """An engine for a local folder, a model of the zoo (`zoo/causal`) or a hub name; options as in `models.load`.

        `prefixes` bytes of prompts, at most, are kept so that they need not be read again (None: 256 MiB, but nothing
        where numbers round coarsely; 0: nothing), and so many `rows` run at a time, others read at a `pace`. `store` is
        the form of the cache. `dtype` and `device` may be torch's own. Raises ModelError where the checkpoint cannot be
        read, Unsupported where it cannot be driven, InvalidRequest for an option that there is not.
        """
        numbers: dict[str, Any] = {"dtype": dtype, "device": device, "weights": weights, "exact": exact}
        loaded = load(name, adapter=adapter, reproducible=reproducible, **numbers)
        engine = cls(stored(loaded.model, store), loaded.tokenizer, prefixes=prefixes, rows=rows, pace=pace)
        engine.end_tokens = loaded.end_tokens
        engine.asked, engine.sight, engine.image_token = loaded.asked, loaded.sight, loaded.image_token
        return engine

    def request(self, settings: Mapping[str, Any]) -> Request:
        """The request of these settings, with the checkpoint's own where `defaults="model"`.

        What the checkpoint asks for and does not get is said once, as a warning of the category `NotTaken`; never
        where `defaults="stretto"` is given. Raises InvalidRequest, or ModelError for a wrong generation_config.json.
        """
        request = Request.of(settings, self.asked.settings)
        taken = request.defaults == "model"
        asks = self.asked.settings or self.asked.foreign
        if asks and not self._told and (taken or "defaults" not in settings):
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

        A single prompt gives a Generation. A list of prompts, or `samples` > 1, gives a list: all samples of the first
        prompt, then of the second … In a list, a bad prompt gives a Generation with `error`, and the others complete.
        `watch` is told after each round how many answers have ended. Raises the typed errors of `stretto.errors` before
        any work is done.
        """
        alone = is_one(prompt)
        call = self._call(method, settings)
        prompts = cast(Sequence[Prompt], [prompt] if alone else plain(prompt))
        scheduler, placed = self._submit(prompts, call, strict=alone)
        tickets = [item for item in placed if isinstance(item, Ticket)]

        def ended() -> int:
            return sum(ticket.status == "ended" for ticket in tickets)

        try:
            told = None if watch is None else lambda: watch(ended())
            scheduler.run(lambda: ended() == len(tickets), tickets, told)
        except KeyboardInterrupt:
            if any(ticket.status != "ended" for ticket in tickets):
                raise
        return self._answers(call, placed, alone)

    def chat(
        self,
        messages: str | Sequence[Message] | Sequence[str | Sequence[Message]],
        method: str | Method | None = None,
        *,
        tools: Sequence[Any] | None = None,
        tool_choice: str = "auto",
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        allow_control_tokens: bool = False,
        **settings: Any,
    ) -> Generation | list[Generation]:
        """Answer messages through the model's chat template, or several conversations together, as `generate` does.

        A text is one message of the user; a list of texts or of lists is several conversations. An assistant's message
        at the end is continued. What messages hold is text, also where it spells control tokens, unless these are
        allowed. `tools` and `template_options` go to the template, of several `template` names one; `tool_choice`
        'required', or a tool's name, asks for a call. To stream, give `generate` and `stream` a `Conversation`.
        """

        def conversation(said: str | Sequence[Message]) -> Conversation:
            return Conversation(said, tools, template, template_options or {}, allow_control_tokens)

        if tool_choice != "auto":
            from .constrain.tools import Toolbox

            settings["tools"] = Toolbox.of(tools, tool_choice, self.codec.chats.template(conversation("-")))
        if is_one(messages):
            return self.generate(conversation(cast(Sequence[Message], messages)), method, **settings)
        return self.generate([conversation(each) for each in cast(Sequence[Any], messages)], method, **settings)

    def stream(self, prompt: Prompt, method: str | Method | None = None, **settings: Any) -> Handle:
        """Answer one prompt piece by piece, one piece a round; the prompt is read at once."""
        call = self._call(method, settings)
        if call.request.samples != 1:
            raise InvalidRequest("a stream is of one sample", hint="use generate() or submit() for several")
        _, (handle,) = self._handles([prompt], call)
        handle.begin()
        return handle

    @overload
    def submit(self, prompt: Prompt, method: str | Method | None = ..., **settings: Any) -> Handle: ...
    @overload
    def submit(self, prompt: Sequence[Prompt], method: str | Method | None = ..., **settings: Any) -> list[Handle]: ...
    def submit(
        self, prompt: Prompt | Sequence[Prompt], method: str | Method | None = None, **settings: Any
    ) -> Handle | list[Handle]:
        """Let prompts be answered beside all others that are on their way, each as if it were alone.

        Returns at once, and a thread of its own sees to it; any thread or event loop may submit. A `Handle` is
        iterated, awaited, waited for (`result()`) or called off (`cancel()`); where `generate` gives a list of answers,
        this gives one of handles. What fails later fails alone, and is raised where the answer is waited for. Raises
        the typed errors of `stretto.errors` before any work is done.
        """
        alone = is_one(prompt)
        call = self._call(method, settings)
        scheduler, handles = self._handles(cast(Sequence[Prompt], [prompt] if alone else plain(prompt)), call)
        scheduler.attend()
        return handles[0] if alone and call.request.samples == 1 else handles

    async def agenerate(
        self, prompt: Prompt | Sequence[Prompt], method: str | Method | None = None, **settings: Any
    ) -> Generation | list[Generation]:
        """What `generate` returns, for those who await it; where the waiting is cancelled, so are the answers."""
        alone = is_one(prompt)
        call = self._call(method, settings)
        prompts = cast(Sequence[Prompt], [prompt] if alone else plain(prompt))
        scheduler, placed = self._submit(prompts, call, strict=alone)
        handles = [Handle(scheduler, item, call) for item in placed if isinstance(item, Ticket)]
        await asyncio.gather(*(handle.ended() for handle in handles))
        return self._answers(call, placed, alone)

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
        given = [holes_or_fault(each, self.model, self.codec) for each in texts]
        found = self.generate(cast(Sequence[Prompt], given), method, **settings)
        alone = isinstance(text, str) and len(found) == 1
        if alone and found[0].error is not None:
            raise found[0].error
        return found[0] if alone else found

    def encode_holes(self, text: str) -> list[int]:
        """Token ids of a text with holes; `<|5|>` stands for five masks.

        Raises Unsupported where the model fills no masks, InvalidRequest where there is no text, or no hole in it.
        """
        return encode_holes(text, self.model, self.codec)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt. Raises InvalidRequest where it is empty, has no tokenizer, or does not fit."""
        return self._encoded(prompt)[0]

    def _encoded(self, prompt: Prompt, method: Method | None = None) -> tuple[list[int], Pictures]:
        """The same, and the pictures or source in it. Raises Unsupported where model or method take none."""
        if hasattr(self.model, "reader") or isinstance(prompt, Shown):
            tokens, pictures = beside(prompt, self.model, self.codec, self.image_token, method)
        else:
            tokens, pictures = self.codec.encode(prompt), ()
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
        return tokens, pictures

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return self.codec.decode(tokens)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The checkpoint's tokenizer as transformers has it, if there is one."""
        return self.codec.whole()

    def _method(self, method: str | Method | None) -> Method:
        return methods.parse(methods.default(self.model) if method is None else method)

    # -- beginning a decode ---------------------------------------------------------------------

    def _call(self, method: str | Method | None, settings: Mapping[str, Any]) -> Call:
        """Settings and method, checked against the model."""
        request = self.request(settings)
        ends = self.end_tokens if request.end_tokens is None else frozenset(request.end_tokens)
        chosen = methods.complete(methods.obeying(self._method(method), request.obeys), self.model)
        pipeline = request.pipeline(ends, chosen.steers)
        methods.check(chosen, self.model, pipeline, request.samples)
        request.check(self.model.vocabulary)
        if (constraint := methods.along_paths(chosen)) is not None:
            tokens = tokens_of(self.codec, self.context(), ends)
            pipeline = constrained(pipeline, constraint, tokens, self.model.max_positions)
        return Call(self.model, self.codec, request, chosen, ends, pipeline)

    def _submit(
        self, prompts: Sequence[Prompt], call: Call, *, strict: bool
    ) -> tuple[Scheduler, list[Ticket | StrettoError]]:
        """Encode the prompts and submit them: a ticket or an error for each and each of its samples, in order."""
        if not prompts:
            raise InvalidRequest("there is no prompt", hint="give at least one")
        encoded: list[tuple[list[int], Pictures] | StrettoError] = []
        for prompt in prompts:
            try:
                encoded.append(prompt if isinstance(prompt, StrettoError) else self._encoded(prompt, call.method))
            except (InvalidRequest, Unsupported) as error:
                if strict:
                    raise
                encoded.append(error)
        call.require_memory([len(read[0]) for read in encoded if not isinstance(read, StrettoError)])
        scheduler = Scheduler(self.context) if self._scheduler.inside else self._scheduler
        placed: list[Ticket | StrettoError] = []
        for read in encoded:
            if isinstance(read, StrettoError):
                placed.extend([read] * call.request.samples)
            else:
                group = call.tickets(*read)
                scheduler.submit(group)
                placed.extend(group)
        return scheduler, placed

    @staticmethod
    def _answers(call: Call, placed: Sequence[Ticket | StrettoError], alone: bool) -> Generation | list[Generation]:
        """What is handed back once all tickets have ended. Raises what made a prompt fail that was given by itself."""
        error = next((item.error for item in placed if isinstance(item, Ticket) and item.error is not None), None)
        if alone and error is not None:
            raise error
        answers = [call.answer(item) for item in placed]
        return answers[0] if alone and call.request.samples == 1 else answers

    def _handles(self, prompts: Sequence[Prompt], call: Call) -> tuple[Scheduler, list[Handle]]:
        """A handle on each answer to each prompt, and who sees to them."""
        scheduler, placed = self._submit(prompts, call, strict=True)
        return scheduler, [Handle(scheduler, ticket, call) for ticket in placed if isinstance(ticket, Ticket)]

    def context(self) -> Context:
        """What the parts of a method may use."""
        own, codec = (self.model, self.clock, self._load_draft, self._memory, self._find_head), self.codec
        return Context(
            *own, prefixes=self._prefixes, tokenizer=codec.fingerprint, encode=codec.encode_piece, decode=codec.decode
        )

    def _find_head(self, name: str) -> DraftHead | None:
        """The head of that name, looked for once; None where it names a model."""
        if name not in self._heads:
            self._heads[name] = None if name in self._drafts else find_head(name)
        return self._heads[name]

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


__all__ = ["Engine", "Handle", "Piece", "Prompt"]
