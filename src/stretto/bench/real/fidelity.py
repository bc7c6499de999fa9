"""How near a form of the weights comes to the checkpoint's own numbers in float32, on running text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...models.contract import Model, Want
from ...models.reading import read
from ..tasks.files import read_text
from .results import Fidelity
from .worker import Worker

TEXT = "corpora/wikitext2/wiki.test.raw.gz"  # below the data folder
STRETCH = 512  # tokens that are read by themselves
PIECE = 128  # of them in one evaluation
FEW = 32  # positions at which another engine is asked for all its probabilities


def text_of(data: Path | None, characters: int) -> str:
    """The beginning of WikiText-2's test part; empty where the file is missing."""
    file = (data or Path("data")) / TEXT
    return read_text(file).strip()[:characters] if file.exists() else ""


def stretches(tokens: Sequence[int]) -> list[list[int]]:
    """The tokens in stretches; the last may be shorter, but holds two."""
    found = [list(tokens[at : at + STRETCH]) for at in range(0, len(tokens), STRETCH)]
    return [stretch for stretch in found if len(stretch) > 1]


@dataclass(slots=True)
class Sums:
    """What is known of one form so far."""

    positions: int = 0
    surprise: float = 0.0  # of the tokens that do follow, in nats
    kl: float = 0.0
    same: int = 0  # positions with float32's first choice

    def add(self, exact: Tensor, found: Tensor, follows: Tensor) -> None:
        """Log-probabilities [N, V] in float32 and of this form, and the tokens [N] int64 that do follow."""
        self.positions += len(follows)
        self.surprise -= float(found.gather(1, follows[:, None]).sum(dtype=torch.float64))
        self.kl += float((exact.exp() * (exact - found)).sum(dtype=torch.float64))
        self.same += int((exact.argmax(1) == found.argmax(1)).sum())

    def named(self, name: str) -> Fidelity:
        """The means; at least one position."""
        n = self.positions
        return Fidelity(name, n, math.exp(self.surprise / n), self.kl / n, self.same / n)


def fidelity(exact: Model, model: Model, tokens: Sequence[int], others: dict[str, Worker]) -> Iterator[Fidelity]:
    """Of the checkpoint in float32 and of our form at all tokens; then of others at a few positions, and ours there.

    An engine that tells no probabilities raises ModelError when it is asked.
    """
    float32, ours, few = Sums(), Sums(), Sums()
    parts = stretches(tokens)
    step = -(-len(parts[0]) // FEW)
    places = list(range(step - 1, len(parts[0]) - 1, step))
    asked: list[Tensor] = []
    for at, part in enumerate(parts):
        right, follows = log_probabilities(exact, part)[:-1], torch.tensor(part[1:])
        found = log_probabilities(model, part)[:-1]
        float32.add(right, right, follows)
        ours.add(right, found, follows)
        if at == 0:
            asked = [right[places], follows[places]]
            few.add(right[places], found[places], follows[places])
    yield float32.named("float32")
    yield ours.named("stretto")
    for name, worker in others.items():
        theirs = Sums()
        rows = [worker.ask(after=parts[0][: place + 1])["log_probabilities"] for place in places]
        theirs.add(asked[0], torch.tensor(rows), asked[1])
        yield theirs.named(name)
    if others:
        yield few.named("stretto, there")


@torch.inference_mode()
def log_probabilities(model: Model, tokens: Sequence[int]) -> Tensor:
    """What may follow each of the tokens: [N, V] float32, natural logarithms."""
    cache = model.new_cache(slots=len(tokens))
    found = []
    for evaluation, _ in read(model, cache, cache.open(), tokens, Want(), size=lambda: PIECE):
        assert evaluation.logits is not None
        found.append(evaluation.logits[0].float().log_softmax(-1).cpu())
    return torch.cat(found)
