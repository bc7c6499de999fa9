"""Companions of rows: other readings of the same output, whose caches move in step with the target's.

A row of the target that a steer wants read otherwise has a row in another cache: of another model, or of the same one
after another prompt. It is read when the row joins, evaluates the same trees in the same round, keeps what the row
keeps, forks and goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..context import Context
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Want
from ..models.edits import Edit, edit
from ..models.pictures import Pictures, viewed
from ..models.reading import skip
from ..models.vocabulary import NEVER, in_vocabulary, readable
from ..models.window import Window
from ..row import Row
from ..steer.contract import Companion
from ..tree import NodeKind, Tree, slot_of

if TYPE_CHECKING:
    from torch import Tensor


class Companions:
    """Those of all rows of one decode. Rows without any cost nothing."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._readings: dict[Companion, Reading] = {}

    def add(self, row: Row) -> None:
        """Read the row's prompt as each of its companions does.

        Raises Unsupported where one cannot serve, InvalidRequest where one has nothing to read.
        """
        for companion in row.rule.pipeline.companions:
            if companion not in self._readings:
                self._readings[companion] = Reading(self._context, companion)
            self._readings[companion].add(row)

    def fork(self, row: Row, copy: Row) -> None:
        """A copy has what the row has."""
        for companion in row.rule.pipeline.companions:
            self._readings[companion].fork(row, copy)

    def evaluate(self, rows: Sequence[Row], trees: Sequence[Tree]) -> dict[Companion, Tensor]:
        """What each companion says after the roots and nodes: [B, 1 + D, V], zeros for rows that are not its own."""
        return {
            companion: reading.evaluate(rows, trees)
            for companion, reading in self._readings.items()
            if any(row in reading.places for row in rows)
        }

    def keep(self, row: Row, nodes: Sequence[int]) -> None:
        """Of the last window, keep the root and these nodes of the row's tree."""
        for companion in row.rule.pipeline.companions:
            self._readings[companion].keep(row, nodes)

    def remove(self, row: Row) -> None:
        """The row has left."""
        for reading in self._readings.values():
            reading.remove(row)


@dataclass(slots=True)
class Place:
    """Where one row stands in a companion's cache."""

    cache_row: int
    prompt: list[int]  # what the companion read in the place of the row's prompt
    edits: tuple[Edit, ...]  # of its rows
    start: int = 0  # the root's slot in the last window
    slots: dict[int, int] | None = None  # node -> its slot in that window, where riders were left out

    def slot(self, node: int) -> int:
        """Where a node stood in the last window."""
        return slot_of(node) if self.slots is None else self.slots[node]


class Reading:
    """One companion at work: its cache, and where the rows stand in it."""

    def __init__(self, context: Context, companion: Companion) -> None:
        self.companion = companion
        self.model = context.second(companion.model) if companion.model else context.target
        if Ability.TREE in context.target.abilities & ~self.model.abilities:
            raise Unsupported(
                f"the companion {self.model.name} cannot evaluate trees", hint="use another model, or none: the target"
            )
        self.vocabulary = context.vocabulary
        self.cache = self.model.new_cache()
        self.places: dict[Row, Place] = {}
        self._before = _before(context, companion)

    def add(self, row: Row) -> None:
        """Read what stands before the output, all but its last token."""
        history, newest = row.history, self.companion.newest
        prompt = history.tokens[: history.prompt_length]
        first = 0 if newest is None else len(prompt) - min(newest, len(prompt))
        view, mute = self.companion.view, self.companion.mute
        rest, pictures = viewed(prompt, history.pictures, view, first, len(self._before), mute=mute)
        if self.companion.view is not None and not pictures:
            raise InvalidRequest("a steer looks at pictures, and the prompt has none", hint="leave the steer out")
        if pictures and self.companion.model:
            raise Unsupported(
                f"the companion {self.model.name} has no eyes for pictures of another model",
                hint="let the target be its own companion, or ask without pictures",
            )
        read = [*self._before, *rest]
        if not read:
            raise InvalidRequest("a companion has no token to begin with", hint="let it see a token of the prompt")
        if len(read) + row.limits.new_tokens > self.model.max_positions:
            raise Unsupported(
                f"the companion {self.model.name} has {self.model.max_positions} positions for {len(read)} tokens "
                f"and an answer of {row.limits.new_tokens}",
                hint="ask for a shorter answer",
            )
        edits = self._edits(row, pictures, len(read))
        place = self.places[row] = Place(self.cache.open(), read, edits)
        tokens = [*read, *history.tokens[history.prompt_length :]]
        text = readable(tokens[:-1], self.model.vocabulary)
        skip(self.model, self.cache, place.cache_row, text, edits=place.edits, pictures=pictures)

    def fork(self, row: Row, copy: Row) -> None:
        mine = self.places[row]
        self.places[copy] = Place(self.cache.fork(mine.cache_row)[0], mine.prompt, mine.edits)

    def evaluate(self, rows: Sequence[Row], trees: Sequence[Tree]) -> Tensor:
        """One window for all rows that are read here: [B, 1 + D, V]."""
        mine = [at for at, row in enumerate(rows) if row in self.places]
        places = [self.places[rows[at]] for at in mine]
        bare = [_without_riders(trees[at], place) for at, place in zip(mine, places, strict=True)]
        roots = []
        for at, place in zip(mine, places, strict=True):
            output = rows[at].new_tokens
            place.start = len(place.prompt) + len(output) - 1
            roots.append(output[-1] if output else place.prompt[-1])
        window = Window.forest(
            [place.cache_row for place in places],
            readable(roots, self.model.vocabulary),
            [_readable(tree, self.model.vocabulary) for tree in bare],
            [place.start for place in places],
            self.model.device,
        )
        edits = [place.edits for place in places]
        if any(edits):
            edit(window, edits)
        said = self.model.evaluate(window, self.cache, Want()).logits
        assert said is not None
        said = in_vocabulary(said, self.vocabulary, NEVER)
        size = 1 + max(map(len, trees))
        if len(mine) == len(rows) and said.shape[1] == size:
            return said
        found = said.new_zeros(len(rows), size, self.vocabulary)
        for line, (at, place) in enumerate(zip(mine, places, strict=True)):
            nodes = range(len(trees[at])) if place.slots is None else place.slots
            found[at, [0, *map(slot_of, nodes)]] = said[line, [0, *map(place.slot, nodes)]]
        return found

    def _edits(self, row: Row, pictures: Pictures, prompt: int) -> tuple[Edit, ...]:
        """What edits a row here: what edits the target, unless this is another model; and the companion's own."""
        own = () if self.companion.model else row.rule.pipeline.edits
        return tuple(each.at(pictures, prompt) for each in (*own, *self.companion.edits))

    def keep(self, row: Row, nodes: Sequence[int]) -> None:
        place = self.places[row]
        slots = [0, *map(place.slot, nodes)]
        self.cache.keep(place.cache_row, place.start, [place.start + slot for slot in slots])

    def remove(self, row: Row) -> None:
        if row in self.places:  # it may have failed before it was read here
            self.cache.free(self.places.pop(row).cache_row)


def _before(context: Context, companion: Companion) -> list[int]:
    """The tokens that stand before what a companion sees of the prompt."""
    before = companion.before
    if isinstance(before, str):
        if before and context.encode is None:
            raise InvalidRequest(f"the target has no tokenizer to read {before!r} by", hint="give token ids")
        return context.encode(before) if before and context.encode else []
    wrong = next((token for token in before if not 0 <= token < context.vocabulary), None)
    if wrong is not None:
        raise InvalidRequest(f"token {wrong} of a companion is outside of the vocabulary", hint="give a smaller id")
    return list(before)


def _without_riders(tree: Tree, place: Place) -> Tree:
    """The nodes that may be committed; the place notes where each stands in the window."""
    place.slots = None
    if NodeKind.RIDER not in tree.proposals:
        return tree
    kept = [node for node, proposal in enumerate(tree.proposals) if proposal is not NodeKind.RIDER]
    place.slots = {node: slot_of(at) for at, node in enumerate(kept)}
    return tree.prune(kept)


def _readable(tree: Tree, vocabulary: int) -> Tree:
    """The same tree in tokens that the companion can read."""
    if max(tree.tokens, default=0) < vocabulary:
        return tree
    return Tree(tokens=readable(tree.tokens, vocabulary), parents=tree.parents, proposals=tree.proposals)
