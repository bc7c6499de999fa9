"""A smaller model drafts: own cache, own catch-up, the row's own noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from ...context import Context
from ...entry import Entry, Guarantee
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...models.machine import stopwatch
from ...row import Row
from ...steer.choice import Choices, choose
from ...steer.nodes import Nodes
from ...steer.path import Path
from ...tree import ROOT, Tree
from ..contract import Drafter, Drafting, DraftSession, Outcome, Room
from ..drafted import Drafted, DraftedSession, DraftSource, source_of
from ..inside.contract import Layers

MOST_MISSED = 32  # tokens of which it is told

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

    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "draft"

    @property
    def needs(self) -> Ability:
        return getattr(self.model, "needs", Ability.NONE)

    def begin(self, context: Context) -> Drafting:
        return ModelDrafting(self, source_of(context, self.model, Ability.NONE))


class ModelDrafting(Drafting):
    """All rows are drafted together, one depth at a time."""

    free = False
    watched = True

    def __init__(self, settings: DraftModel, small: DraftSource) -> None:
        super().__init__(settings, lambda row: ModelSession(self, small.open(row)))
        self.small = small
        self.want, self.of_prompt = small.want, small.of_prompt
        self._now = stopwatch(small.device)

    def propose(self, sessions: Sequence[DraftSession], rooms: Sequence[Room]) -> list[Tree]:
        if not any(room.nodes for room in rooms):
            return [Tree() for _ in rooms]
        chains = [Chain(cast(ModelSession, session), room) for session, room in zip(sessions, rooms, strict=True)]
        growing = [chain for chain in chains if chain.depth > 0]
        ends = [self._now()]
        while growing:
            wanted = [chain.wanted() for chain in growing]
            logits = self.small.read([chain.draft for chain in growing], wanted)
            paths = [path for chain, nodes in zip(growing, wanted, strict=True) for path in chain.paths(nodes)]
            rules = [chain.draft.row.rule.guessing for chain, nodes in zip(growing, wanted, strict=True) for _ in nodes]
            choices = choose(Nodes(paths, logits), rules)
            asked = any(chain.room.more is not None for chain in growing)
            scores = _probabilities(choices) if asked else [0.5] * len(rules)  # nobody asks: save the sum
            guesses = zip(choices.tokens, scores, strict=True)
            growing = [
                chain
                for chain, nodes in zip(growing, wanted, strict=True)
                if chain.goes_on(list(itertools.islice(guesses, len(nodes))))
            ]
            ends.append(self._now())
        self.time_levels(ends)
        return [chain.tree for chain in chains]


class ModelSession(DraftedSession):
    """Also tells what the model would have guessed while it was not asked; it must read those tokens anyway."""

    judged: Sequence[tuple[float, bool]] = ()

    def __init__(self, drafting: Drafting, draft: Drafted) -> None:
        super().__init__(drafting, draft)
        self.asked = False  # in this round
        self._since = draft.row.history.prompt_length  # tokens when the last round ended in which it was

    @property
    def unasked(self) -> int:
        """Tokens committed in rounds since then."""
        return len(self.draft.row.history.tokens) - self._since

    def advance(self, outcome: Outcome) -> None:
        if self.asked:
            self._since = len(self.draft.row.history.tokens)
        self.asked = False
        super().advance(outcome)

    def missed(self) -> Sequence[tuple[float, bool]]:
        judged, self.judged = self.judged, ()
        return judged

    def fork(self, row: Row) -> DraftSession:
        copy = ModelSession(self.drafting, self.draft.fork(row))
        copy._since = self._since
        return copy


class Chain:
    """One row's draft while it grows."""

    def __init__(self, session: ModelSession, room: Room) -> None:
        self.session = session
        self.draft = session.draft
        self.room = room
        self.depth = min(room.depth, room.nodes, self.draft.begin())
        self.node = ROOT  # the newest, of the draft
        self.tree = Tree()
        session.asked = self.depth > 0

    def wanted(self) -> list[int]:
        """The nodes after which a guess is wanted: the newest, and once those that nobody asked for in time."""
        late = 0
        if self.node == ROOT and self.room.more is not None:
            late = max(0, min(self.session.unasked, self.draft.unread - 1, MOST_MISSED))
        return [*range(ROOT - late, ROOT), self.node]

    def paths(self, nodes: Sequence[int]) -> Iterator[Path]:
        """The path to each; the history only grows, so that an earlier one is made anew."""
        if len(nodes) > 1:
            tokens, start = self.draft.row.history.tokens, len(self.draft.row.history.tokens) - len(nodes) + 1
            before = self.draft.row.history.before(start)
            yield from (Path(before, tuple(tokens[start : start + late])) for late in range(len(nodes) - 1))
        yield self.draft.path(nodes[-1])

    def goes_on(self, guesses: Sequence[tuple[int, float]]) -> bool:
        """Judge the late guesses and append the newest; whether another one is wanted."""
        *late, (token, score) = guesses
        if late:
            meant = self.draft.row.history.tokens[-len(late) :]
            self.session.judged = [(sure, guess == right) for (guess, sure), right in zip(late, meant, strict=True)]
        self.tree.add(token, len(self.tree) - 1, source=DraftModel.name, score=score)
        if len(self.tree) == self.depth or self.draft.ends(token):
            return False
        self.node = self.draft.node(token, self.node)
        return self.room.more is None or self.room.more(self.tree)


def _probabilities(choices: Choices) -> list[float]:
    """The probability of each chosen token among the log-weights it was chosen from, noise left out."""
    chosen = torch.tensor(choices.tokens, device=choices.steered.device)[:, None]
    values: list[float] = (choices.steered.gather(-1, chosen)[:, 0] - choices.steered.logsumexp(-1)).exp().tolist()
    return values
