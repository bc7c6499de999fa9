"""A smaller model drafts: own cache, own catch-up, the row's own noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from ...entry import Entry, Guarantee
from ...models.contract import Model
from ...steer.choice import Choices, choose
from ...tree import ROOT, Tree
from ..contract import Context, Drafter, Drafting, Room, Session
from ..second import Reader, ReaderSession, Second

ENTRY = Entry(
    name="draft-model",
    family="speculate",
    source="arXiv 2211.17192, arXiv 2302.01318 (speculative sampling with a small model)",
    parts="draft",
    guarantee=Guarantee.EXACT,
    needs=("draft model",),
    summary="a smaller model of the same vocabulary guesses a chain",
)


@dataclass(frozen=True, slots=True)
class DraftModel(Drafter):
    """Chains chosen by a small model with the target's own rule: same steers, same noise.

    Sharing the noise makes a sampled draft agree with the target's sample as often as the two
    distributions allow by this coupling (Gumbel coupling); at temperature 0 it is the small model's argmax.
    Score, where the planner watches the draft grow: the small model's probability of the token.
    """

    model: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already

    name: ClassVar[str] = "draft"

    def begin(self, context: Context) -> Drafting:
        return ModelDrafting(self, Second(context, self.model))


class ModelDrafting(Drafting):
    """All rows are drafted together, one depth at a time."""

    free = False

    def __init__(self, settings: DraftModel, second: Second) -> None:
        super().__init__(settings, lambda row: ReaderSession(self, second.open(row)))
        self.second = second

    def propose(self, sessions: Sequence[Session], rooms: Sequence[Room]) -> list[Tree]:
        chains = [
            Chain(cast(ReaderSession, session).reader, room) for session, room in zip(sessions, rooms, strict=True)
        ]
        growing = [chain for chain in chains if chain.depth > 0]
        while growing:
            logits = self.second.read([chain.reader for chain in growing], [[chain.node] for chain in growing])
            paths = [chain.reader.path(chain.node) for chain in growing]
            choices = choose(logits, paths, [chain.reader.row.rule for chain in growing])
            watched = any(chain.room.more is not None for chain in growing)
            scores = _probabilities(choices) if watched else [0.5] * len(growing)  # nobody asks: save the softmax
            going = zip(growing, choices.tokens, scores, strict=True)
            growing = [chain for chain, token, score in going if chain.goes_on(token, score)]
        return [chain.tree for chain in chains]


class Chain:
    """One row's draft while it grows."""

    def __init__(self, reader: Reader, room: Room) -> None:
        self.reader = reader
        self.room = room
        self.depth = min(room.depth, room.nodes, reader.begin())
        self.node = ROOT  # the newest, of the reader
        self.tree = Tree()

    def goes_on(self, token: int, score: float) -> bool:
        """Append a token; whether another one is wanted."""
        self.tree.add(token, len(self.tree) - 1, source=DraftModel.name, score=score)
        if len(self.tree) == self.depth or self.reader.ends(token):
            return False
        self.node = self.reader.node(token, self.node)
        return self.room.more is None or self.room.more(self.tree)


def _probabilities(choices: Choices) -> list[float]:
    """The probability of each chosen token among the log-weights it was chosen from, noise left out."""
    chosen = torch.tensor(choices.tokens, device=choices.steered.device)[:, None]
    values: list[float] = choices.steered.softmax(-1).gather(-1, chosen)[:, 0].tolist()
    return values
