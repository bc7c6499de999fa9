"""Answers to chats and completions as the API writes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..engine import Handle, Piece
from ..generation import Generation, LogProbability
from .fields import Asked
from .reply import Reply, Spoken
from .responses import Response
from .service import Service


class Choices(Reply):
    """An answer of several choices."""

    whole_name: ClassVar[str]
    chunk_name: ClassVar[str]

    def whole(self, answers: Sequence[Generation]) -> dict[str, Any]:
        choices = [{"index": index, **self.choice(index, answer)} for index, answer in enumerate(answers)]
        return {**self._head, "object": self.whole_name, "choices": choices, "usage": self.usage(answers)}

    @abstractmethod
    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        """A whole choice."""

    def chunk(self, index: int, **choice: Any) -> dict[str, Any]:
        """What is new of a choice."""
        made = {**self._head, "object": self.chunk_name, "choices": [{"index": index, **choice}]}
        return {**made, "usage": None} if self.asked.usage else made

    def last(self, answers: Sequence[Generation]) -> Iterator[dict[str, Any]]:
        """The chunk that tells the usage, where it was asked for."""
        if self.asked.usage:
            yield {**self._head, "object": self.chunk_name, "choices": [], "usage": self.usage(answers)}


class Chat(Choices):
    """Of `/v1/chat/completions`."""

    prefix, whole_name, chunk_name = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, service: Service, asked: Asked) -> None:
        super().__init__(service, asked)
        self._spoken: dict[int, Spoken] = {}  # by choice

    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        spoken = self.spoken(answer.prompt_tokens)
        thought, text = spoken.feed(answer.text)
        more, rest, calls = spoken.end()
        message: dict[str, Any] = {"role": "assistant", "content": text + rest, "refusal": None}
        if thought or more:
            message |= {"reasoning_content": thought + more}
        if calls:
            message |= {"content": text + rest or None, "tool_calls": calls}
        return {
            "message": message,
            "logprobs": self._logprobs(answer.log_probabilities),
            "finish_reason": "tool_calls" if calls else self.finish(answer),
            "stretto": self.told(answer),
        }

    def begin(self, index: int, prompt: Sequence[int]) -> Iterator[dict[str, Any]]:
        self._spoken[index] = self.spoken(prompt)
        yield self._delta(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        delta = _delta(*self._spoken[index].feed(piece.text))
        if delta or (self.asked.log_probabilities and piece.tokens):
            yield self._delta(index, delta or {"content": ""}, logprobs=self._logprobs(piece.log_probabilities))

    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        thought, text, calls = self._spoken[index].end()
        if delta := _delta(thought, text):
            yield self._delta(index, delta)
        for at, call in enumerate(calls):
            yield self._delta(index, {"tool_calls": [{"index": at, **call}]})
        finish = "tool_calls" if calls else self.finish(answer)
        yield self._delta(index, {}, finish_reason=finish, stretto=self.told(answer))

    def _delta(self, index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.chunk(index, delta=delta, **{"logprobs": None, "finish_reason": None, **more})

    def _logprobs(self, entries: Sequence[LogProbability] | None) -> dict[str, Any] | None:
        return self.spelling.of_chat(entries or ()) if self.asked.log_probabilities else None


def _delta(thought: str, text: str) -> dict[str, str]:
    return ({"reasoning_content": thought} if thought else {}) | ({"content": text} if text else {})


class Completion(Choices):
    """Of `/v1/completions`."""

    prefix, whole_name, chunk_name = "cmpl", "text_completion", "text_completion"

    def __init__(self, service: Service, asked: Asked) -> None:
        super().__init__(service, asked)
        self._written = [0] * (asked.prompts * asked.samples)  # characters of the tokens that came
        self._prompts: list[list[LogProbability]] = []  # of each prompt, where they are told

    def submit(self) -> list[Handle]:
        handles = super().submit()
        if self.asked.echo and self.asked.log_probabilities:
            self._prompts = self._scored([handle.prompt for handle in handles[:: self.asked.samples]])
        return handles

    def _scored(self, prompts: Sequence[list[int]]) -> list[list[LogProbability]]:
        """What the model thinks of the tokens of each prompt; nothing of the first, which nothing precedes."""
        long = [prompt for prompt in prompts if len(prompt) > 1]
        top = self.asked.settings["log_probabilities"]
        scores = iter(self.service.engine.score([each[:1] for each in long], [each[1:] for each in long], top=top))
        found = []
        for prompt in prompts:
            entries = [LogProbability(prompt[0], 0.0, 0.0)]
            if len(prompt) > 1:
                score = next(scores)
                if score.error is not None:
                    raise score.error
                told = zip(score.tokens, score.log_probabilities, score.top, strict=True)
                entries += [LogProbability(token, value, value, top) for token, value, top in told]
            found.append(entries)
        return found

    def choice(self, index: int, answer: Generation) -> dict[str, Any]:
        text, logprobs = self._echo(index, answer.prompt_tokens)
        more = self._logprobs(index, answer.log_probabilities)
        both = more if logprobs is None or more is None else {name: logprobs[name] + more[name] for name in more}
        said = {"text": text + answer.text, "logprobs": both}
        return {**said, "finish_reason": self.finish(answer), "stretto": self.told(answer)}

    def begin(self, index: int, prompt: Sequence[int]) -> Iterator[dict[str, Any]]:
        if self.asked.echo:
            text, logprobs = self._echo(index, prompt)
            yield self.chunk(index, text=text, logprobs=logprobs, finish_reason=None)

    def piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.text or (self.asked.log_probabilities and piece.tokens):
            logprobs = self._logprobs(index, piece.log_probabilities)
            yield self.chunk(index, text=piece.text, logprobs=logprobs, finish_reason=None)

    def end(self, index: int, answer: Generation) -> Iterator[dict[str, Any]]:
        yield self.chunk(index, text="", logprobs=None, finish_reason=self.finish(answer), stretto=self.told(answer))

    def _echo(self, index: int, prompt: Sequence[int]) -> tuple[str, dict[str, Any] | None]:
        """The prompt of a choice, and what the model thinks of its tokens; nothing where it is not asked for."""
        if not self.asked.echo:
            return "", None
        given, at = self.asked.body["prompt"], index // self.asked.samples
        text = given if isinstance(given, str) else given[at] if isinstance(given[0], str) else None
        logprobs = self._logprobs(index, self._prompts[at] if self._prompts else None)
        if logprobs is not None:
            logprobs["token_logprobs"][0] = logprobs["top_logprobs"][0] = None
        return self.service.engine.decode(prompt) if text is None else text, logprobs

    def _logprobs(self, index: int, entries: Sequence[LogProbability] | None) -> dict[str, Any] | None:
        if not self.asked.log_probabilities:
            return None
        made = self.spelling.of_completion(entries or (), self._written[index])
        self._written[index] += sum(map(len, made["tokens"]))
        return made


REPLIES: dict[str, type[Reply]] = {"chat": Chat, "completions": Completion, "responses": Response}
