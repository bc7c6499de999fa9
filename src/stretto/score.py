"""How likely a model finds given texts: log-probabilities of continuations, each prompt evaluated once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, field
from operator import index
from typing import Any, cast, overload

import torch
from torch import Tensor

from .between import Between
from .errors import InvalidRequest, StrettoError, Unsupported
from .models.contract import NOTHING, Model, Want, masking_of
from .models.memory import free_bytes, require_memory
from .models.reading import CHUNK
from .models.store import Store
from .models.window import Window
from .text import Codec, Prompt, is_one

Continuation = str | Sequence[int]  # text or token ids
Pair = tuple[list[int], list[int]]  # token ids of a prompt and of what follows it
LOGITS = 2**25  # logits held at a time: 128 MiB in float32, however long the texts


@dataclass(frozen=True, slots=True)
class Score:
    """What a model says of one given text after a prompt: its own probabilities, nothing steered."""

    tokens: list[int]  # n, of the text
    log_probabilities: list[float]  # n natural logarithms
    ranks: list[int]  # n; how many tokens the model prefers to each: 0 is what greedy decoding would take
    unseen: int = 0  # the prompt's first tokens, for which there was no position
    error: StrettoError | None = None  # why there is no score, where others of the same call have theirs
    top: list[list[tuple[int, float]]] = field(default_factory=list)  # n; the likeliest tokens, as many as asked for

    @property
    def total(self) -> float:
        """The logarithm of the whole text's probability. Raises the error, where there is one."""
        if self.error is not None:
            raise self.error
        return sum(self.log_probabilities)

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would write this text. Raises the error, where there is one."""
        if self.error is not None:
            raise self.error
        return not any(self.ranks)


# -- texts to tokens ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores texts of one model; see `Engine.score` and `Engine.score_text`."""

    model: Model
    codec: Codec
    end_tokens: frozenset[int]
    batch: int  # rows of the cache in use at a time, ≥ 1
    top: int = 0  # tokens that are told beside each

    def score(self, prompt: object, continuations: object) -> Score | Sequence[Score | list[Score]]:
        """In the shape of `continuations`."""
        alone = _is_one(prompt) or not _size(prompt)  # an empty list is an empty prompt
        prompts, wanted = ([prompt], [continuations]) if alone else (cast(Sequence[object], prompt), continuations)
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or len(wanted) != len(prompts):
            raise InvalidRequest(
                f"{len(prompts)} prompts do not go with these continuations", hint="one, or a list, for each prompt"
            )
        single = [_is_one(each) for each in wanted]
        pairs: list[Pair | StrettoError] = []
        for before, each, one in zip(prompts, wanted, single, strict=True):
            for after in [each] if one else each:
                try:
                    pairs.append(self._pair(before, after))
                except StrettoError as error:
                    pairs.append(error)
        left = iter(score_pairs(self.model, pairs, self.batch, strict=alone, top=self.top))
        found = [next(left) if one else [next(left) for _ in each] for each, one in zip(wanted, single, strict=True)]
        return found[0] if alone else found

    def score_text(self, text: object, window: int | None, context: int) -> Score | list[Score]:
        """Window by window."""
        alone = _is_one(text)
        size = self.model.max_positions if window is None else window
        if not isinstance(size, int) or not 1 <= size <= self.model.max_positions:
            raise InvalidRequest(f"window is {window!r}", hint=f"1 to {self.model.max_positions} tokens")
        if not isinstance(context, int) or not 1 <= context <= size:
            raise InvalidRequest(f"context is {context!r}", hint=f"1 to {size} tokens: those of a window")
        pieces: list[Pair | StrettoError] = []
        counts = []  # of windows
        for each in [text] if alone else cast(Sequence[object], text):
            found: list[Pair | StrettoError]
            try:
                start, tokens = self._pair("", each)
                found = list(windows([*start, *tokens], size, context))
            except StrettoError as error:
                found = [error]
            pieces += found
            counts.append(len(found))
        left = iter(score_pairs(self.model, pieces, self.batch, strict=alone))
        scores = [_joined([next(left) for _ in range(count)]) for count in counts]
        return scores[0] if alone else scores

    def _pair(self, prompt: object, continuation: object) -> Pair:
        """Token ids of a prompt and of what follows; the second are those of the whole text beyond the prompt's own.

        White space at a prompt's end goes over to the continuation, with whose first word it makes a token. Where a
        token would lie across the border all the same, the continuation is encoded alone. Raises InvalidRequest where
        either is of another kind, or nothing follows.
        """
        for name, given in (("prompt", prompt), ("continuation", continuation)):
            if not _is_one(given) and _size(given):
                raise InvalidRequest(f"this {name} is neither text nor token ids", hint="a text, or a list of numbers")
        if not isinstance(continuation, str):
            tokens = list(cast(Sequence[int], continuation))
        elif isinstance(prompt, str):
            stem = prompt.rstrip()
            text = prompt[len(stem) :] + continuation
            before, whole = (self._encode(each) for each in (stem, stem + text))
            across = whole[: len(before)] != before or len(whole) == len(before)
            prompt, tokens = stem, self._encode(text) if across else whole[len(before) :]
        else:
            tokens = self._encode(continuation)
        if not tokens:
            raise InvalidRequest("there is nothing to score", hint="give a continuation of at least one token")
        if not _size(prompt):
            return [first_token(self.codec, self.end_tokens)], tokens
        return self.codec.encode(cast(Prompt, prompt)), tokens

    def _encode(self, text: str) -> list[int]:
        return self.codec.encode_piece(text) if text else []


def first_token(codec: Codec, end_tokens: frozenset[int]) -> int:
    """What stands before a text that nothing precedes: the token that begins texts, else the one that ends them."""
    named = (getattr(codec.tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    found = next((token for token in (*named, *sorted(end_tokens)) if token is not None), None)
    if found is None:
        raise InvalidRequest(
            f"{codec.name} has no token with which a text begins", hint="give a prompt of at least one token"
        )
    return int(found)


class Scoring:
    """What an engine scores by; it has these four."""

    model: Model
    codec: Codec
    end_tokens: frozenset[int]
    _scheduler: Any  # `between.Rounds`

    @overload
    def score(  # type: ignore[overload-overlap]  # a text counts as a sequence of texts
        self, prompt: Prompt, continuations: Continuation, *, batch: int = ..., top: int = ...
    ) -> Score: ...
    @overload
    def score(
        self, prompt: Prompt, continuations: Sequence[Continuation], *, batch: int = ..., top: int = ...
    ) -> list[Score]: ...
    @overload
    def score(
        self, prompt: Sequence[Prompt], continuations: Sequence[Any], *, batch: int = ..., top: int = ...
    ) -> list[Any]: ...
    def score(self, prompt: Any, continuations: Any, *, batch: int = 16, top: int = 0) -> Any:
        """How likely the model finds given continuations of a prompt; the result has the shape of `continuations`.

        That is one of them (text or token ids), a list of them, or for several prompts one or a list for each. The
        probabilities are the model's own: no temperature, no penalty. Texts are encoded as lm-evaluation-harness does;
        an empty prompt is the token that begins texts; a prompt too long loses its beginning (`Score.unseen`). Each
        prompt is evaluated once, and at most `batch` rows stand side by side. `Score.top` has the `top` likeliest
        tokens at each place. With several prompts a bad one fails alone (`Score.error`). Other threads may use the
        engine meanwhile. Raises the typed errors of `stretto.errors` before any work is done.
        """
        return self._scorer(batch, top).score(prompt, continuations)

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
        return self._scorer(batch, 0).score_text(text, window, context)

    def _scorer(self, batch: int, top: int) -> Scorer:
        if not isinstance(top, int) or not 0 <= top <= self.model.vocabulary:
            raise InvalidRequest(f"top is {top!r}", hint=f"0 to {self.model.vocabulary} tokens")
        model = self.model if masking_of(self.model) is not None else Between(self.model, self._scheduler)
        return Scorer(model, self.codec, self.end_tokens, batch, top)


def _is_one(given: object) -> bool:
    """Whether this is one text or one list of token ids, not several. Raises InvalidRequest where it is neither."""
    return is_one(cast(Prompt, given))


def _size(given: object) -> int:
    return len(cast(Sized, given))


def _joined(scores: Sequence[Score]) -> Score:
    """Windows of one text as one score, with the first error among them."""
    return Score(
        [token for each in scores for token in each.tokens],
        [log for each in scores for log in each.log_probabilities],
        [rank for each in scores for rank in each.ranks],
        top=[top for each in scores for top in each.top],
        error=next((each.error for each in scores if each.error is not None), None),
    )


def windows(tokens: Sequence[int], size: int, context: int) -> Iterator[Pair]:
    """Windows of at most `size` evaluated tokens in which each token but the first is predicted once.

    The second and later ones begin with `context` tokens that were predicted before, the last with as many as fit.
    """
    done, room = 1, size
    while done < len(tokens):
        end = min(len(tokens), done + room)
        yield list(tokens[max(0, end - 1 - size) : done]), list(tokens[done:end])
        done, room = end, size - context + 1


# -- tokens to scores -----------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Item:
    """One continuation with what is known of it so far."""

    tokens: list[int]
    unseen: int
    most: int  # tokens that are told beside each
    log_probabilities: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)


_Group = tuple[tuple[int, ...], list[_Item]]  # a prompt and all that may follow it


@dataclass(slots=True, eq=False)
class _Text:
    """Tokens that a row of the cache is to read, and what is asked on the way."""

    row: int
    tokens: Sequence[int]
    asked: dict[int, list[tuple[_Item, int]]]  # after which of these tokens -> whose next token, counted from 0
    read: int = 0


def score_pairs(
    model: Model, pairs: Sequence[Pair | StrettoError], batch: int, *, strict: bool = False, top: int = 0
) -> list[Score]:
    """One score per pair of token ids, in order; an error stays the error of its own score, or is raised if `strict`.

    At most `batch` rows of the cache are in use at a time (two at least), fewer where memory holds fewer. Equal prompts
    are evaluated once. Of a prompt without room for all of its tokens the last ones are seen. Raises Unsupported for a
    model that fills masks, InvalidRequest for `batch`, OutOfMemory before anything is evaluated.
    """
    if masking_of(model) is not None:
        raise Unsupported(f"{model.name} fills masks, and has no probability of a text", hint="use a causal model")
    if not isinstance(batch, int) or batch < 1:
        raise InvalidRequest(f"batch is {batch!r}", hint="rows side by side: a whole number, 1 or more")
    groups: dict[tuple[int, ...], list[_Item]] = {}
    found: list[_Item | StrettoError] = []
    for pair in pairs:
        try:
            if isinstance(pair, StrettoError):
                raise pair
            prompt, tokens = _fitted(model, *pair)
            item = _Item(tokens, len(pair[0]) - len(prompt), top)
            groups.setdefault(tuple(prompt), []).append(item)
            found.append(item)
        except StrettoError as error:
            if strict:
                raise
            found.append(error)
    work = sorted(groups.items(), key=lambda group: -_slots(group))  # neighbours are about as long: little padding
    rows = _rows_for(model, work, batch)
    for part in _batches(work, rows):
        _evaluate(model, part, rows)
    return [
        Score([], [], [], error=each)
        if isinstance(each, StrettoError)
        else Score(each.tokens, each.log_probabilities, each.ranks, each.unseen, top=each.top)
        for each in found
    ]


def _fitted(model: Model, prompt: list[int], tokens: list[int]) -> Pair:
    """The pair with as much of the prompt as the model has positions for. Raises InvalidRequest."""
    try:
        prompt, tokens = ([index(token) for token in each] for each in (prompt, tokens))
    except TypeError as error:
        raise InvalidRequest(f"a token id is no whole number: {error}", hint="a text, or a list of numbers") from error
    wrong = next((token for token in (*prompt, *tokens) if not 0 <= token < model.vocabulary), None)
    if wrong is not None:
        raise InvalidRequest(
            f"token {wrong} is outside of the vocabulary", hint=f"ids run from 0 to {model.vocabulary - 1}"
        )
    room = model.max_positions - (len(tokens) - 1)  # the last token is predicted, and never read
    if room < 1:
        raise InvalidRequest(
            f"the continuation has {len(tokens)} tokens, the model {model.max_positions} positions",
            hint="score_text reads long texts window by window",
        )
    return prompt[-room:], tokens


def _slots(*groups: _Group) -> int:
    """How long a row of the cache becomes: padding may stand behind the longest prompt."""
    longest = max(len(item.tokens) for _, items in groups for item in items)
    return max(len(prompt) for prompt, _ in groups) + longest - 1


def _rows_of(group: _Group) -> int:
    """The prompt's own and a copy for each continuation that goes on behind its first token."""
    return 1 + sum(len(item.tokens) > 1 for item in group[1])


def _rows_for(model: Model, work: Sequence[_Group], batch: int) -> int:
    """How many rows are held at a time: a prompt and one copy at least. Raises OutOfMemory where not even these are."""
    if not work:
        return batch
    needed = model.new_cache(1, 1).needs(_slots(*work))
    require_memory(2 * needed, model.device)
    free = free_bytes(model.device)
    return max(2, batch if free is None else min(batch, free // (2 * needed)))  # half is left for everything else


def _batches(work: Sequence[_Group], rows: int) -> Iterator[list[_Group]]:
    """As many groups at a time as so many rows hold, one at least."""
    part: list[_Group] = []
    taken = 0
    for group in work:
        if part and taken + _rows_of(group) > rows:
            yield part
            part, taken = [], 0
        part.append(group)
        taken += _rows_of(group)
    if part:
        yield part


def _evaluate(model: Model, groups: Sequence[_Group], rows: int) -> None:
    """Prompts side by side, then their continuations on copies of them, as many at a time as there are rows for."""
    cache = model.new_cache(min(rows, sum(map(_rows_of, groups))), _slots(*groups))
    prompts = [
        _Text(cache.open(), prompt, {len(prompt) - 1: [(item, 0) for item in items]})
        for prompt, items in sorted(groups, key=lambda group: -len(group[0]))
    ]
    _read(model, cache, prompts, CHUNK)
    held = {text.tokens: text.row for text in prompts}
    rest = [(held[prompt], item) for prompt, items in groups for item in items if len(item.tokens) > 1]
    rest.sort(key=lambda each: -len(each[1].tokens))
    room = max(1, rows - len(prompts))
    for at in range(0, len(rest), room):
        texts = [
            _Text(
                cache.fork(row)[0], item.tokens[:-1], {slot: [(item, slot + 1)] for slot in range(len(item.tokens) - 1)}
            )
            for row, item in rest[at : at + room]
        ]
        _read(model, cache, texts, max(1, min(CHUNK, LOGITS // model.vocabulary)))
        for text in texts:
            cache.free(text.row)


def _read(model: Model, cache: Store, texts: Sequence[_Text], budget: int) -> None:
    """Evaluate texts side by side, about `budget` tokens at a time, and judge what is asked.

    They stand in the cache longest first: the rows that are left are those in front, and are read without copying.
    """
    left = list(texts)
    while left:
        size = max(1, budget // len(left))
        pieces = [text.tokens[text.read : text.read + size] for text in left]
        starts = [cache.following(text.row) for text in left]
        asked = [[slot for slot in range(size) if text.read + slot in text.asked] for text in left]
        most = max(map(len, asked))
        slots = torch.tensor([[*each, *[0] * (most - len(each))] for each in asked], device=model.device)  # [B, n]
        window = Window.chain([text.row for text in left], pieces, starts, model.device)
        evaluation = model.evaluate(window, cache, Want(logits=slots) if most else NOTHING)
        for r, text in enumerate(left):
            if evaluation.logits is not None:
                _judge(
                    evaluation.logits[r],
                    [(at, *ask) for at, slot in enumerate(asked[r]) for ask in text.asked[text.read + slot]],
                )
            text.read += len(pieces[r])
        left = [text for text in left if text.read < len(text.tokens)]


def _judge(logits: Tensor, asked: Sequence[tuple[int, _Item, int]]) -> None:
    """Note what the logits [n, V] say: in which row of them, of whose token, the how-manieth it is."""
    size = max(1, LOGITS // logits.shape[-1])
    for start in range(0, len(asked), size):
        part = asked[start : start + size]
        rows = logits[[at for at, _, _ in part]]  # [m, V]
        tokens = torch.tensor([[item.tokens[count]] for _, item, count in part], device=rows.device)  # [m, 1]
        picked = rows.gather(1, tokens)
        whole = rows.logsumexp(-1)
        logs = picked[:, 0] - whole
        earlier = torch.arange(rows.shape[-1], device=rows.device) < tokens  # of equal ones the first is taken
        ranks = ((rows > picked) | ((rows == picked) & earlier)).sum(-1)
        best, which = rows.topk(part[0][1].most)  # [m, top]
        tops = map(zip, which.tolist(), (best - whole[:, None]).tolist())
        for (_, item, _), log, rank, top in zip(part, logs.tolist(), ranks.tolist(), tops, strict=True):
            item.log_probabilities.append(log)
            item.ranks.append(rank)
            item.top.append(list(top))
