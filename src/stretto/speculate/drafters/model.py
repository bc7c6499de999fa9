"""A smaller model drafts: own cache, own catch-up, the row's own noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from ...entry import Entry, Guarantee
from ...errors import Unsupported
from ...models.contract import NOTHING, Model, Want
from ...models.window import Window
from ...row import Row
from ...steer.choice import choose
from ...steer.path import Path
from ...tree import Proposal, Tree
from ..contract import Context, Drafter, Drafting, Outcome, Room, Session

CHUNK = 256  # pending tokens per evaluation of the draft model: bounds the memory of activations

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
    """

    model: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already

    name: ClassVar[str] = "draft"

    def begin(self, context: Context) -> Drafting:
        model = context.load(self.model) if isinstance(self.model, str) else self.model
        smaller, larger = sorted((model.vocabulary, context.target.vocabulary))
        if larger - smaller > 0.01 * larger:  # padding of the embedding differs between sizes of one family
            raise Unsupported(
                f"the draft model has {model.vocabulary} tokens, the target {context.target.vocabulary}",
                hint="draft with a model of the same tokenizer, or with 'lookup', which needs none",
            )
        return ModelDrafting(self, model, context.target.vocabulary)


class ModelDrafting(Drafting):
    """All rows are drafted together, one depth at a time."""

    free = False

    def __init__(self, settings: DraftModel, model: Model, vocabulary: int) -> None:
        super().__init__(settings, self._open_session)
        self.model = model
        self.vocabulary = vocabulary  # the target's
        self.cache = model.new_cache()

    def _open_session(self, row: Row) -> Session:
        return ModelSession(self, row, self.cache.open())

    def propose(self, sessions: Sequence[Session], rooms: Sequence[Room]) -> list[Tree]:
        mine = cast(Sequence[ModelSession], sessions)
        depths = [session.prepare(room) for session, room in zip(mine, rooms, strict=True)]
        active = [session for session, depth in zip(mine, depths, strict=True) if depth > 0]
        depth_of = dict(zip(mine, depths, strict=True))
        pending = [session.pending() for session in active]
        while active:
            tokens = self._next(active, pending)
            for session, token in zip(active, tokens, strict=True):
                session.drafted.append(token)
            active = [s for s in active if len(s.drafted) < depth_of[s] and not s.ended()]
            pending = [[session.drafted[-1]] for session in active]
        return [Tree.chain(session.drafted, source=DraftModel.name, proposal=Proposal.POINT) for session in mine]

    def _next(self, sessions: Sequence[ModelSession], pending: Sequence[Sequence[int]]) -> list[int]:
        """Evaluate each row's pending tokens and choose what follows."""
        pending = [self._catch_up(session, tokens) for session, tokens in zip(sessions, pending, strict=True)]
        rows = [session.cache_row for session in sessions]
        starts = [self.cache.length(row) for row in rows]
        window = Window.chain(rows, pending, starts, self.model.device)
        last = torch.tensor([[length - 1] for length in window.lengths], device=self.model.device)  # [B, 1]
        evaluation = self.model.evaluate(window, self.cache, Want(logits=last))
        assert evaluation.logits is not None
        paths = [Path(session.row.history, tuple(session.drafted)) for session in sessions]
        rules = [session.row.rule for session in sessions]
        return choose(self._as_target(evaluation.logits[:, 0]), paths, rules).tokens

    def _catch_up(self, session: ModelSession, tokens: Sequence[int]) -> Sequence[int]:
        """Evaluate all but the last of many pending tokens, such as a prompt's; what is left is short."""
        while len(tokens) > CHUNK:
            start = self.cache.length(session.cache_row)
            window = Window.chain([session.cache_row], [tokens[:CHUNK]], [start], self.model.device)
            self.model.evaluate(window, self.cache, NOTHING)
            tokens = tokens[CHUNK:]
        return tokens

    def _as_target(self, logits: Tensor) -> Tensor:
        """Logits over the target's vocabulary: surplus columns cut, missing ones excluded."""
        missing = self.vocabulary - logits.shape[-1]
        if missing > 0:
            return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        return logits[..., : self.vocabulary] if missing < 0 else logits


class ModelSession(Session):
    """One row in the draft model's cache, which runs behind the committed tokens and catches up."""

    def __init__(self, drafting: ModelDrafting, row: Row, cache_row: int) -> None:
        self.drafting = drafting
        self.row = row
        self.cache_row = cache_row
        self.drafted: list[int] = []

    def prepare(self, room: Room) -> int:
        """Forget a draft that was not used; how deep to go within `room` and the draft model's positions."""
        if self.drafted:
            self.drafting.cache.truncate(self.cache_row, len(self.row.history.tokens) - 1)
            self.drafted = []
        free = self.drafting.model.max_positions - len(self.row.history.tokens) + 1
        return max(0, min(room.depth, room.nodes, free))

    def pending(self) -> list[int]:
        """Committed tokens that the draft model has not evaluated; the newest is always among them."""
        return self.row.history.tokens[self.drafting.cache.length(self.cache_row) :]

    def ended(self) -> bool:
        return self.drafted[-1] in self.row.limits.ends

    def propose(self, room: Room) -> Tree:
        return self.drafting.propose([self], [room])[0]

    def advance(self, outcome: Outcome) -> None:
        """Keep what was evaluated of the draft as far as it was committed."""
        tokens = self.row.history.tokens
        before = len(tokens) - len(outcome.committed)
        agreed = 0
        for drafted, committed in zip(self.drafted, outcome.committed, strict=False):
            if drafted != committed:
                break
            agreed += 1
        self.drafting.cache.truncate(self.cache_row, min(before + agreed, len(tokens) - 1))
        self.drafted = []

    def fork(self, row: Row) -> Session:
        return ModelSession(self.drafting, row, self.drafting.cache.fork(self.cache_row)[0])

    def close(self) -> None:
        self.drafting.cache.free(self.cache_row)
