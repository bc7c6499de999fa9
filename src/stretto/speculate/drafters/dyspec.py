"""DySpec: a tree of drawn tokens that grows where a further one is likeliest to be accepted."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest
from ...models.contract import Ability, Model
from ...models.heads.contract import DraftHead
from ...tree import ROOT, NodeKind, Siblings, Tree
from ..chance import KeyedChance, Vector
from ..contract import Drafter, Drafting, Room
from ..drafted import Drafted, source_of
from ..growth import Growing, Growth, Urn, add_taken
from ..inside.contract import Layers

ENTRY = Entry(
    name="dyspec",
    family="speculate",
    source="arXiv 2410.11744",
    parts="dyspec+recursive",
    guarantee=Guarantee.DISTRIBUTION,
    number=247,
    needs=("draft model", "tree windows"),
    summary="a tree of drawn tokens that grows where a further one is likeliest to be accepted, judged recursively",
)


@dataclass(slots=True)
class Slot:
    """A place for one more child of a node."""

    value: float  # the estimated probability that the child's parent is accepted and its earlier siblings are not
    node: int  # of the tree
    place: int  # of the draft
    urn: Urn | None = None  # what the child is taken from; None: not evaluated yet


@dataclass(frozen=True, slots=True)
class DySpec(Drafter):
    """Always fill the slot of greatest value: one more sibling here, or a first child there.

    A slot's value is the draft probability that verification gets there; a token y drawn from what is left of q there
    takes its share of it, the rest is the next sibling's. The heap proper evaluates the small model once for every
    node that gets children. `layered`, the published form for batches, evaluates once per level: it fills all slots of
    a level whose value exceeds `threshold`. Siblings are drawn without replacement and stand in that order. At
    temperature 0 the likeliest token takes the place of the draw. Score: the small model's probability of the token.
    """

    layered: bool = True
    threshold: float = 0.0  # [0, 1), of a layered tree; 0: one over the room's nodes
    model: str | Model | DraftHead | Layers = "zoo/draft"  # a name or folder, or what is loaded already

    name: ClassVar[str] = "dyspec"
    proposals: ClassVar[frozenset[NodeKind]] = frozenset({NodeKind.SAMPLED, NodeKind.POINT})

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InvalidRequest(f"dyspec(threshold={self.threshold})", hint="0 <= threshold < 1")

    @property
    def needs(self) -> Ability:
        return Ability.TREE | getattr(self.model, "needs", Ability.NONE)

    @property
    def siblings(self) -> Siblings:
        return Siblings.DISTINCT

    def begin(self, context: Context) -> Drafting:
        return Growing(self, source_of(context, self.model, Ability.TREE), self.grow)

    def grow(self, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        """Fill slots until the room is full or none is left."""
        tree = Tree()
        start = Slot(1.0, ROOT, ROOT)
        if self.layered:
            yield from self._by_layers(tree, [start], draft, room, chance)
        else:
            yield from self._by_value(tree, start, draft, room, chance)
        return tree

    def _by_layers(
        self, tree: Tree, layer: list[Slot], draft: Drafted, room: Room, chance: KeyedChance | None
    ) -> Growth:
        least = self.threshold or 1 / room.nodes
        while layer:
            lines = yield [slot.place for slot in layer]
            heap = Heap()
            for first, line in zip(layer, lines, strict=True):
                first.urn = self._urn(line, first.node, tree, chance)
                heap.push(first)
            layer = []
            while len(tree) < room.nodes and (slot := heap.pop()) is not None:
                for further in self._fill(tree, slot, draft, room):
                    if further.value > least:
                        layer.append(further) if further.urn is None else heap.push(further)
            if not layer or len(tree) == room.nodes or (room.more is not None and not room.more(tree)):
                break
        return tree

    def _by_value(self, tree: Tree, start: Slot, draft: Drafted, room: Room, chance: KeyedChance | None) -> Growth:
        heap = Heap()
        heap.push(start)
        deepest, grown = 0, False
        while len(tree) < room.nodes and (slot := heap.pop()) is not None:
            if slot.urn is None:
                depth = 1 if slot.node == ROOT else tree.depths[slot.node] + 1
                if depth > deepest:  # a level that the tree does not have yet
                    grown = grown or (deepest > 0 and room.more is not None and not room.more(tree))
                    if grown:
                        continue
                    deepest = depth
                (line,) = yield [slot.place]
                slot.urn = self._urn(line, slot.node, tree, chance)
            for further in self._fill(tree, slot, draft, room):
                heap.push(further)
        return tree

    def _urn(self, line: Vector, node: int, tree: Tree, chance: KeyedChance | None) -> Urn:
        """What the children of a node are taken from."""
        depth = 1 if node == ROOT else tree.depths[node] + 1
        return Urn(line, None if chance is None else chance.at(depth, depth, node - ROOT))

    def _fill(self, tree: Tree, slot: Slot, draft: Drafted, room: Room) -> list[Slot]:
        """Put a child into the slot; the slots that this opens: the next sibling's, and the child's own first."""
        assert slot.urn is not None
        mass = slot.urn.left.sum()
        token = slot.urn.take()
        if token is None:
            return []
        share = float(slot.urn.score / mass)
        node = add_taken(tree, token, slot.node, slot.urn, self.name)
        opened = [Slot(slot.value * (1 - share), slot.node, slot.place, slot.urn)]
        if tree.depths[node] < room.depth and not draft.ends(token):
            opened.append(Slot(slot.value * share, node, draft.node(token, slot.place)))
        return opened


class Heap:
    """Slots, the most valuable first; of equals the one that was opened first."""

    def __init__(self) -> None:
        self._slots: list[tuple[float, int, Slot]] = []
        self._opened = 0

    def push(self, slot: Slot) -> None:
        if slot.value > 0:  # beyond all that may follow
            heappush(self._slots, (-slot.value, self._opened, slot))
            self._opened += 1

    def pop(self) -> Slot | None:
        return heappop(self._slots)[2] if self._slots else None
