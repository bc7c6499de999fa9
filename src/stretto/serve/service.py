"""One engine for all requests: how many may be on their way, how each is handed over, and what was counted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from time import perf_counter
from typing import Any, TypeVar

from .. import __version__
from ..constrain.tools import Toolbox
from ..engine import Engine, Handle
from ..errors import InvalidRequest, StrettoError, UnknownName, Unsupported
from ..messages import Conversation
from ..method import check, default, parse
from ..models.numbers import numbers_of
from ..scheduler import Status
from .errors import Refused, place_of, refusal
from .fields import PROMPT, Asked, read
from .metrics import Metrics
from .thinking import CLOSE, OPEN, Thinking
from .tokens import Spelling

T = TypeVar("T")
LOG = logging.getLogger("stretto.serve")

END = 16  # tokens of a prompt, in which the marks of what is thought stand
LONGEST_WAIT = 60  # seconds, that one is told to
READERS = 4  # threads that read bodies and prompts, so that those that answer never wait for one
STATUSES: tuple[Status, ...] = ("waiting", "reading", "running", "preempted")


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may ask for."""

    rows: int = 32  # answers that run at a time; as many as the engine has
    waiting: int = 128  # answers that wait beside them, at most
    body: int = 4 << 20  # bytes
    new_tokens: int = 4096  # of an answer at most, and where a chat does not say
    method: str | None = None  # where a request names none; None: the model's usual one
    methods: tuple[str, ...] = ()  # that requests may name though they name files or models
    defaults: str = "stretto"  # or "model": generation_config.json's where a request does not say


class Service:
    """What the routes share."""

    def __init__(self, engine: Engine, name: str, limits: Limits) -> None:
        """`name` is the model's, as requests know it."""
        self.engine, self.name, self.limits = engine, name, limits
        self.metrics = Metrics()
        self.spelling = Spelling(engine)
        self.handles: set[Handle] = set()  # of answers on their way
        self._rows = 0  # that were admitted: as many answers, and those about to begin
        self._stay = 0.0  # seconds that a row keeps its place, on average over the last ones
        self._stopping = False
        self._readers = ThreadPoolExecutor(READERS, "stretto-reader")
        told = json.dumps([__version__, name, asdict(numbers_of(engine.model))], default=str)
        self.fingerprint = "fp_" + hashlib.sha256(told.encode()).hexdigest()[:12]

    async def apart(self, work: Callable[..., T], *given: Any) -> T:
        """Do something in another thread, so that nobody waits for it who did not ask."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *given)

    def require_model(self, name: Any) -> None:
        """Raise Refused where a request names another model."""
        if name != self.name:
            hint = f"this server has {self.name!r}"
            raise Refused(404, "there is no such model", hint, param="model", code="model_not_found")

    def read(self, body: Any, endpoint: str) -> Asked:
        """What the body of a request asks for. Raises Refused."""
        asked = read(body, endpoint, self.limits)
        self.require_model(asked.body.get("model", self.name))
        return asked

    @contextmanager
    def admitted(self, rows: int) -> Iterator[None]:
        """A place for so many answers. Raises Refused where too many are on their way, or the server stops."""
        most = self.limits.rows + self.limits.waiting
        if self._stopping:
            raise Refused(503, "the server stops", "ask again")
        if rows > most:
            raise Refused(400, f"{rows} answers are asked for at once", f"at most {most}: send several requests")
        if (over := self._rows + rows - most) > 0:
            wait = min(LONGEST_WAIT, max(1, ceil(over * self._stay / most)))  # as often as that, a place gets free
            message = f"{self._rows} answers are on their way"
            raise Refused(429, message, f"ask again in {wait} s", code="rate_limit_exceeded", wait=wait)
        self._rows += rows
        begun = perf_counter()
        try:
            yield
        finally:
            self._rows -= rows
            stay = perf_counter() - begun
            self._stay = 0.9 * self._stay + 0.1 * stay if self._stay else stay

    def submit(self, asked: Asked) -> list[Handle]:
        """Hand a request to the engine: one handle for each prompt and sample. Raises what is wrong with it."""
        settings = dict(asked.settings)
        prompt: Any = asked.body["prompt"] if asked.endpoint == "completions" else self.conversation(asked)
        if asked.tool_choice != "auto":
            template = self.engine.codec.chats.template(prompt)
            settings["tools"] = Toolbox.of(asked.tools, asked.tool_choice, template)
        if asked.log_probabilities:
            self.spelling.prepare()
        try:
            if asked.method is not None and (rows := parse(asked.method).rows(asked.samples)) > self.limits.rows:
                hint = f"there are {self.limits.rows}: --max-rows {rows} where this was started, or a smaller search"
                raise Refused(400, f"the method takes {rows} rows", hint, param="method")
            found: Any = self.engine.submit(prompt, asked.method, **settings)
        except (InvalidRequest, UnknownName, Unsupported) as error:
            raise refusal(error, self._blamed(error, asked, settings, prompt)) from error
        return found if isinstance(found, list) else [found]

    def _blamed(self, error: StrettoError, asked: Asked, settings: Mapping[str, Any], prompt: Any) -> str | None:
        """The field that fails by itself as all of them did together; None where it takes several."""

        def fails(work: Callable[[], Any]) -> bool:
            try:
                work()
            except StrettoError as alone:
                return alone.message == error.message
            return False

        model = self.engine.model

        def read(name: str) -> None:
            request = self.engine.request({name: settings[name]})
            check(parse(default(model)), model, request.pipeline(frozenset()))
            request.check(model.vocabulary)

        fields: dict[str, Callable[[], Any]] = {asked.said[name]: partial(read, name) for name in asked.said}
        if asked.method is not None:
            fields["method"] = partial(parse, asked.method)
        prompts = prompt if asked.prompts > 1 else [prompt]
        fields[PROMPT[asked.endpoint]] = lambda: [self.engine.encode(each) for each in prompts]
        return next((name for name, work in fields.items() if fails(work)), None)

    @staticmethod
    def conversation(asked: Asked) -> Conversation:
        """The messages of a request as chat templates know them."""
        options = asked.body.get("chat_template_kwargs", {})
        return Conversation(list(map(_message, asked.messages)), asked.tools or None, template_options=options)

    def thinking(self, asked: Asked, prompt: Sequence[int]) -> Thinking | None:
        """What tells apart what is thought before an answer; None where the chat template knows of no such thing."""
        if CLOSE not in self.engine.codec.chats.template(self.conversation(asked)):
            return None
        end = self.engine.decode(prompt[-END:])
        return Thinking(opened=end.rfind(OPEN) > end.rfind(CLOSE))

    def tokenized(self, body: Any) -> dict[str, Any]:
        """The token ids of a prompt, or of messages, as a request with them would have them."""
        given = body if isinstance(body, dict) else {}
        if not ("prompt" in given) ^ ("messages" in given):
            raise Refused(400, "there is no prompt to read", 'either "prompt" or "messages"')
        asked = read(body, "completions" if "prompt" in given else "chat", self.limits)
        prompt: Any = asked.body["prompt"] if "prompt" in given else self.conversation(asked)
        if isinstance(prompt, list) and not isinstance(prompt[0], int):
            raise Refused(400, "several prompts are given", "one: a text, or token ids", param="prompt")
        tokens = self.engine.encode(prompt)
        return {"tokens": tokens, "count": len(tokens), "max_model_len": self.engine.model.max_positions}

    def page(self) -> str:
        """The metrics as they are now."""
        rows = Counter(handle.status for handle in self.handles)
        prefixes = self.engine.context().prefixes
        now = {"rows_admitted": self._rows, "prefix_bytes": prefixes.bytes, "prefix_bytes_limit": prefixes.limit}
        return self.metrics.text(now, {status: rows[status] for status in STATUSES})

    def refusal(self, error: BaseException) -> Refused:
        """What to say of an error: the model is called as requests call it, and not by where it lies.

        Of one that nobody foresaw the kind and the place are logged, never its words: they may hold a prompt.
        """
        refused = refusal(error)
        if refused.status >= 500:
            LOG.error("%s: %s", type(error).__name__, place_of(error))
        refused.message = refused.message.replace(self.engine.model.name, self.name)
        return refused

    def call_off(self) -> None:
        """End all answers with what there is, which is told as an error; none begins any more."""
        self._stopping = True
        for handle in self.handles:
            handle.cancel()

    def close(self) -> None:
        """No request comes any more."""
        self._readers.shutdown(wait=False, cancel_futures=True)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates know it: who develops is the system, and the arguments of a call are an object."""
    made = dict(message)
    if made.get("role") == "developer":
        made["role"] = "system"
    if isinstance(calls := made.get("tool_calls"), list):
        made["tool_calls"] = [_called(each) for each in calls]
    return {name: value for name, value in made.items() if value is not None or name == "content"}


def _called(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except ValueError:
        return call  # as it stands, for the template to write
