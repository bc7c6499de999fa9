"""Trains heads over the rows of a model from its own judged answers: values of beginnings, rewards, next tokens.

answers = list(judged(engine, ("sorting", "list_edit"), 1000))       # minutes: a thousand questions, four answers each
seen = observed(engine, answers)
head = value_head(seen)                                              # then: best-of(8,value(head)), or guided, puct …

`value_head` learns what a beginning comes to in the end (FUDGE, arXiv 2104.05218; CD-FUDGE in 2310.17022),
`process_head` whether there is no mistake so far, `reward_head` which of two whole answers is right (pairs, as in
2504.09643), and `next_head` the value of each token that may follow, by Bellman's equation (CD-Q in 2310.17022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InvalidRequest
from ..models.contract import Want
from ..models.head import Head
from ..models.window import Window
from .judged import Judged

if TYPE_CHECKING:
    from ..engine import Engine

AT_ONCE = 48  # texts that are read side by side
LIKELY = 8  # next tokens that Bellman's expectation is taken over
BATCH = 512  # examples of a step
RATE, DECAY = 1e-3, 1e-2
Say = Callable[[Tensor], Tensor]  # numbers of rows [n] -> what the head says of them [n, A]


@dataclass(slots=True)
class Seen:
    """Rows at all places of judged answers, N together: from the prompt's last token to the answer's, one by one."""

    layers: tuple[int, ...]
    rows: Tensor  # [N, C] float16, those of the layers side by side
    question: Tensor  # [N], which prompt
    reward: Tensor  # [N], of the whole answer
    sound: Tensor  # [N], 1 where a right answer begins so
    following: Tensor  # [N], the next token; -1 where the answer has ended
    likely: Tensor  # [N, 8], the likeliest next tokens
    odds: Tensor  # [N, 8], how likely each is among them
    vocabulary: int

    @property
    def last(self) -> Tensor:
        """[N], whether the answer has ended."""
        return self.following < 0


def observed(engine: Engine, answers: Sequence[Judged], layers: Sequence[int] | None = None) -> Seen:
    """What the model's rows are like over judged answers; None: of its last layer and of the one two thirds up.

    An answer counts as sound up to a place where a right answer to the prompt, of those that are given, begins so.
    Raises InvalidRequest where there are no answers.
    """
    if not answers:
        raise InvalidRequest("there are no answers to learn from", hint="judge some: train.judged")
    model = engine.model
    chosen = (2 * model.layers // 3, model.layers) if layers is None else tuple(layers)
    prompts = {prompt: at for at, prompt in enumerate(dict.fromkeys(each.prompt for each in answers))}
    right = {(each.prompt, each.tokens) for each in answers if each.reward == 1}
    sound = {(prompt, tokens[:end]) for prompt, tokens in right for end in range(len(tokens) + 1)}
    ordered = sorted(answers, key=lambda answer: len(answer.prompt) + len(answer.tokens))
    rows, facts, likely, odds = list[Tensor](), list[tuple[float, ...]](), list[Tensor](), list[Tensor]()
    with torch.inference_mode():
        for start in range(0, len(ordered), AT_ONCE):
            some = ordered[start : start + AT_ONCE]
            cache = model.new_cache(len(some))
            texts = [(*answer.prompt, *answer.tokens) for answer in some]
            window = Window.chain([cache.open() for _ in some], texts, [0] * len(some), model.device)
            evaluation = model.evaluate(window, cache, Want(hidden=chosen))
            assert evaluation.logits is not None
            for line, answer in enumerate(some):
                places = slice(len(answer.prompt) - 1, len(answer.prompt) + len(answer.tokens))
                top = evaluation.logits[line, places].float().softmax(-1).topk(LIKELY)
                rows.append(torch.cat([evaluation.hidden[layer][line, places] for layer in chosen], -1).half())
                likely.append(top.indices)
                odds.append(top.values / top.values.sum(-1, keepdim=True))
                for end, token in enumerate((*answer.tokens, -1)):
                    begins = (answer.prompt, answer.tokens[:end]) in sound
                    facts.append((prompts[answer.prompt], answer.reward, begins, token))
    question, reward, begins_right, following = torch.tensor(facts).T
    gathered, tops, among = (torch.cat(each).cpu().clone() for each in (rows, likely, odds))
    return Seen(
        chosen, gathered, question.long(), reward, begins_right, following.long(), tops, among, model.vocabulary
    )


def value_head(seen: Seen, hidden: int = 128, passes: int = 6, seed: int = 0) -> Head:
    """How likely an answer that begins so will be right, at every place: the logarithm of the odds."""

    def lost(say: Say, some: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(say(some)[:, 0], seen.reward[some])

    return _fitted(seen, torch.arange(len(seen.rows)), lost, "value", hidden=hidden, passes=passes, seed=seed)


def process_head(seen: Seen, hidden: int = 128, passes: int = 6, seed: int = 0) -> Head:
    """How likely there is no mistake so far, learnt where a right answer to the prompt was seen."""
    answered = torch.zeros(int(seen.question.max()) + 1).index_add_(0, seen.question, seen.reward) > 0

    def lost(say: Say, some: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(say(some)[:, 0], seen.sound[some])

    return _fitted(
        seen, answered[seen.question].nonzero()[:, 0], lost, "process", hidden=hidden, passes=passes, seed=seed
    )


def reward_head(seen: Seen, earlier: Head | None = None, hidden: int = 128, passes: int = 40, seed: int = 0) -> Head:
    """Which of two whole answers to a prompt is right: -log sigmoid(r(right) - r(wrong)) of pairs.

    `earlier`: one whose mistakes are counted again: pairs in which it prefers the wrong answer stand there twice.
    Raises InvalidRequest where no prompt has both.
    """
    pairs = _pairs(seen)
    if earlier is not None:
        good, bad = (_said(earlier, seen, part) for part in pairs.T)
        pairs = torch.cat([pairs, pairs[bad >= good]])

    def lost(say: Say, some: Tensor) -> Tensor:
        good, bad = pairs[some].T
        return -F.logsigmoid(say(good)[:, 0] - say(bad)[:, 0]).mean()

    return _fitted(seen, torch.arange(len(pairs)), lost, "reward", hidden=hidden, passes=passes, seed=seed)


def next_head(seen: Seen, hidden: int = 32, passes: int = 6, seed: int = 0) -> Head:
    """What each next token comes to, by Bellman's equation: the reward where it ends the answer, else what follows it
    is worth on average, over the 8 likeliest tokens, to the head as it was before the pass."""
    moves = (~seen.last).nonzero()[:, 0]
    before: list[Tensor] = []  # of each place, what it was worth

    def lost(say: Say, some: Tensor) -> Tensor:
        after = some + 1
        target = torch.where(seen.last[after], seen.reward[after], before[-1][after])
        return (say(some).gather(1, seen.following[some, None])[:, 0] - target).square().mean()

    def begun(say: Say) -> None:
        with torch.no_grad():
            every = torch.arange(len(seen.rows)).split(BATCH)  # type: ignore[no-untyped-call]
            before.append(
                torch.cat([(say(some).gather(1, seen.likely[some]) * seen.odds[some]).sum(1) for some in every])
            )

    return _fitted(
        seen, moves, lost, "next", hidden=hidden, passes=passes, seed=seed, outputs=seen.vocabulary, begun=begun
    )


def _pairs(seen: Seen) -> Tensor:
    """Places where a right and a wrong answer to one prompt have ended: [P, 2]."""
    ends = sorted(seen.last.nonzero()[:, 0].tolist(), key=lambda place: int(seen.question[place]))
    pairs = []
    for _, group in groupby(ends, key=lambda place: int(seen.question[place])):
        mine = list(group)
        pairs += [(good, bad) for good in mine for bad in mine if seen.reward[good] > seen.reward[bad]]
    if not pairs:
        raise InvalidRequest("no prompt has both a right and a wrong answer", hint="judge more answers")
    return torch.tensor(pairs)


def _said(head: Head, seen: Seen, places: Tensor) -> Tensor:
    """What a head of one output says at places [n]: [n]."""
    split = torch.split(seen.rows[places].float(), seen.rows.shape[1] // len(seen.layers), -1)
    return head(dict(zip(seen.layers, split, strict=True)))[:, 0]


def _fitted(
    seen: Seen,
    examples: Tensor,
    lost: Callable[[Say, Tensor], Tensor],
    name: str,
    *,
    hidden: int,
    passes: int,
    seed: int,
    outputs: int = 1,
    begun: Callable[[Say], None] = lambda say: None,
) -> Head:
    """A head by AdamW over the examples, in passes, each of which is `begun`; rows are scaled to unit variance."""
    generator = torch.Generator().manual_seed(seed)
    middle, scale = seen.rows.float().mean(0), seen.rows.float().std(0).clamp(min=1e-3)
    with torch.inference_mode(False), torch.enable_grad():
        enter = torch.randn(hidden, len(middle), generator=generator) / len(middle) ** 0.5
        leave = torch.zeros(outputs, hidden)  # tokens that were never taken come to nothing
        parts = [each.requires_grad_() for each in (enter, torch.zeros(hidden), leave, torch.zeros(outputs))]

        def say(some: Tensor) -> Tensor:
            return F.linear(F.linear((seen.rows[some].float() - middle) / scale, *parts[:2]).relu(), *parts[2:])

        adam = torch.optim.AdamW(parts, lr=RATE, weight_decay=DECAY)
        for _ in range(passes):
            begun(say)
            for some in torch.split(examples[torch.randperm(len(examples), generator=generator)], BATCH):
                loss = lost(say, some)
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
        enter, bias, leave, level = (part.detach() for part in parts)
        enter = enter / scale
        bias = bias - enter @ middle
    layers = torch.tensor(seen.layers)
    return Head({"layers": layers, "enter": enter, "bias": bias, "leave": leave, "level": level}, name)
