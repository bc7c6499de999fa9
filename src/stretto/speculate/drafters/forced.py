"""Tokens that are known in advance: those that the request's constraint forces, or those of a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...row import Row
from ...tree import Tree
from ..contract import Drafter, Drafting, DraftSession, Room
from ..script import HOLE, Script, ScriptState, Template

ENTRY = Entry(
    name="forced-tokens",
    family="speculate",
    source="arXiv 2312.07104 (jumping over what a grammar forces); here the jump is a guess that is verified",
    parts="template",
    guarantee=Guarantee.EXACT,
    summary="drafts the fixed parts of an answer whose form is known, such as the keys of a JSON object",
    generation="constraint",
)


@dataclass(frozen=True, slots=True)
class Forced(Drafter):
    """Draft what must follow under the request's constraint, or what `script` says. Guesses only, which are verified.

    Without either it drafts nothing.
    """

    script: Script | None = None  # such as a template; None: the request's constraint

    name: ClassVar[str] = "forced"

    def begin(self, context: Context) -> Drafting:
        def session(row: Row) -> DraftSession:
            return HeldSession(row) if self.script is None else ForcedSession(self.name, self.script.open(), row)

        return Drafting(self, session)


@dataclass(frozen=True, slots=True)
class FromTemplate(Drafter):
    """Draft the fixed parts of a template: token ids, and -1 for a hole of any tokens."""

    pattern: tuple[int, ...] = ()  # a hole ends with the first token after it

    name: ClassVar[str] = "template"

    def __post_init__(self) -> None:
        if not all(token >= HOLE for token in self.pattern):
            raise InvalidRequest("the template holds something else than token ids", hint="template(5,17,-1,3)")
        if any(a == b == HOLE for a, b in zip(self.pattern, self.pattern[1:], strict=False)):
            raise InvalidRequest("the template has two holes in a row", hint="one hole takes any number of tokens")

    def begin(self, context: Context) -> Drafting:
        if max(self.pattern, default=0) >= context.vocabulary:
            raise Unsupported(
                f"the template holds token {max(self.pattern)}, the target has {context.vocabulary}",
                hint="give token ids of the target's own tokenizer",
            )
        template = Template(self.pattern)
        return Drafting(self, lambda row: ForcedSession(self.name, template.open(), row))


class HeldSession(DraftSession):
    """What the row's own constraint forces. The row moves its state."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def propose(self, room: Room) -> Tree:
        forced = () if self.row.held is None else self.row.held.forced(self.row.history.tokens)
        return Tree.chain(forced[: min(room.depth, room.nodes)], source=Forced.name, score=1.0)

    def fork(self, row: Row) -> DraftSession:
        return HeldSession(row)


class ForcedSession(DraftSession):
    """The state of what is forced, kept up with the row's answer."""

    def __init__(self, source: str, state: ScriptState, row: Row, read: int | None = None) -> None:
        self.source = source
        self.state = state
        self.tokens = row.history.tokens
        self._read = row.history.prompt_length if read is None else read  # tokens that the state has taken

    def propose(self, room: Room) -> Tree:
        for token in self.tokens[self._read :]:
            self.state.advance(token)
        self._read = len(self.tokens)
        return Tree.chain(self.state.forced()[: min(room.depth, room.nodes)], source=self.source, score=1.0)

    def fork(self, row: Row) -> DraftSession:
        return ForcedSession(self.source, self.state.fork(), row, self._read)
