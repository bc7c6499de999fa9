"""Entities and relations of a text from scores: the best of all answers that obey the rules, found exactly.

A scorer says of each span and type, and of each pair of spans and relation, how much more likely it is than none: 0.
Taken one by one (`taken_alone`), what is above 0 contradicts itself: spans overlap, relations join what is no entity.
`joint` maximises the sum of all scores under the rules; `entities_first` chooses the entities by their own scores, and
then the relations between them. It is no token decoding: scores may come from any model.

>>> scores = Scores({(0, 1): {"person": 1.0, "place": 1.2}, (3, 4): {"place": 2.0}}, {((0, 1), (3, 4)): {"lives": 0.5}})
>>> rules = Rules(admitted=(("person", "lives", "place"),))
>>> entities_first(scores, rules)
Structure(entities={(0, 1): 'place', (3, 4): 'place'}, relations=())
>>> joint(scores, rules)
Structure(entities={(0, 1): 'person', (3, 4): 'place'}, relations=(((0, 1), 'lives', (3, 4)),))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..values import Checked

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 200_000  # beginnings of structures that are looked at, beyond which it gives up
SLACK = 1e-9  # what a bound may be off by, of rounding

Span = tuple[int, int]  # of tokens or characters, the end left out
Related = tuple[Span, str, Span]  # head, relation, tail
_Way = tuple[float, int, list[int], "NDArray[Any]", float]  # bound, number, items, spans that are left, worth

ENTRY = Entry(
    name="enrico",
    number=160,
    family="constraint",
    source="arXiv 2404.12493 (EnriCo)",
    parts="",
    guarantee=Guarantee.DEFINED,
    confirmed=False,  # how the published one solves it; here by branch and bound
    training="head",
    summary="entities and relations of a text that obey its rules together: the best of all such, exactly",
    command="stretto bench claims enrico",
)


@dataclass(frozen=True, slots=True)
class Rules(metaclass=Checked):
    """What an answer obeys, beside: a span has one type, and relations stand between entities."""

    overlap: Literal["none", "nested", "free"] = "none"  # of entities; nested: one may lie in another
    admitted: tuple[tuple[str, str, str], ...] | None = None  # type, relation, type; None: all
    single: bool = False  # at most one relation from one entity to another

    def apart(self, one: Span, other: Span) -> bool:
        """Whether two spans may both be entities."""
        (low, end), (high, other_end) = sorted((one, other))
        clear = end <= high
        if self.overlap == "nested":
            return clear or low == high or other_end <= end
        return clear or self.overlap == "free"

    def between(self, head: str, tail: str, scores: Mapping[str, float]) -> list[str]:
        """The relations that are worth it from an entity of one type to one of another."""
        every = self.admitted
        good = [r for r, score in scores.items() if score > 0 and (every is None or (head, r, tail) in every)]
        return sorted(good, key=lambda relation: -scores[relation])[: 1 if self.single else None]


@dataclass(frozen=True)
class Scores:
    """Logarithms of odds against none, of what a text may hold. Raises InvalidRequest for what is none."""

    entities: Mapping[Span, Mapping[str, float]]
    relations: Mapping[tuple[Span, Span], Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := next((span for span in self.entities if not 0 <= span[0] < span[1]), None):
            raise InvalidRequest(f"{wrong} is no span", hint="a span is (start, end), the end left out")
        for pair in self.relations:
            if pair[0] == pair[1]:
                raise InvalidRequest(f"a relation joins {pair[0]} with itself", hint="give two spans")
            if lost := next((span for span in pair if span not in self.entities), None):
                raise InvalidRequest(f"{lost} has a relation and no type", hint="give it a score as an entity")
        every = [*self.entities.values(), *self.relations.values()]
        if not all(np.isfinite(score) for named in every for score in named.values()):
            raise InvalidRequest("a score is no finite number", hint="leave out what is impossible")


@dataclass(frozen=True)
class Structure:
    """What a text holds."""

    entities: dict[Span, str]  # by their places
    relations: tuple[Related, ...]

    def worth(self, scores: Scores) -> float:
        """The sum of its scores."""
        entities = (scores.entities[span][kind] for span, kind in self.entities.items())
        return sum(entities) + sum(scores.relations[head, tail][name] for head, name, tail in self.relations)


def taken_alone(scores: Scores) -> Structure:
    """Everything that is likelier than not, each span with its best type, whatever the rules say."""
    best = {span: max(named, key=lambda kind: named[kind]) for span, named in scores.entities.items() if named}
    entities = {span: kind for span, kind in sorted(best.items()) if scores.entities[span][kind] > 0}
    related = [
        (head, name, tail)
        for (head, tail), named in sorted(scores.relations.items())
        for name, score in named.items()
        if score > 0
    ]
    return Structure(entities, tuple(related))


def entities_first(scores: Scores, rules: Rules = Rules()) -> Structure:
    """The best entities for themselves, and the relations that may stand between these."""
    return _related(joint(Scores(scores.entities), rules).entities, scores, rules)


def joint(scores: Scores, rules: Rules = Rules()) -> Structure:
    """The structure of the greatest worth that obeys the rules.

    Raises Unsupported where that takes more than 200,000 steps: they may double with each span.
    """
    return _related(_Search(scores, rules).best(), scores, rules)


def _related(entities: Mapping[Span, str], scores: Scores, rules: Rules) -> Structure:
    """These entities with all relations that are worth it."""
    found = [
        (head, name, tail)
        for (head, tail), named in sorted(scores.relations.items())
        if head in entities and tail in entities
        for name in rules.between(entities[head], entities[tail], named)
    ]
    return Structure(dict(sorted(entities.items())), tuple(found))


class _Search:
    """Branch and bound: span by span, each way on by the most that it may still come to."""

    def __init__(self, scores: Scores, rules: Rules) -> None:
        self.spans = sorted(scores.entities, key=lambda span: (span[1], span))
        self.items = [(at, kind) for at, span in enumerate(self.spans) for kind in scores.entities[span]]
        self.owner = np.array([at for at, _ in self.items], int)  # [M], the span of each item
        self.own = np.array([scores.entities[self.spans[at]][kind] for at, kind in self.items], float)  # [M]
        self.apart = np.array([[rules.apart(one, other) for other in self.spans] for one in self.spans], bool)
        self.flat = rules.overlap == "none"
        self.before = [bisect_right([end for _, end in self.spans], start) for start, _ in self.spans]
        self.gain = np.zeros((len(self.items),) * 2)  # [M, M], of all relations between two items
        places = {span: at for at, span in enumerate(self.spans)}
        for (head, tail), named in scores.relations.items():
            for one in np.flatnonzero(self.owner == places[head]) if self.apart[places[head], places[tail]] else ():
                for other in np.flatnonzero(self.owner == places[tail]):
                    good = rules.between(self.items[one][1], self.items[other][1], named)
                    self.gain[one, other] += sum(named[relation] for relation in good)
        self.gain += self.gain.T.copy()
        most = [self.gain[:, self.owner == at].max(1, initial=0.0) for at in range(len(self.spans))]
        self.most = np.array(most).T.reshape(len(self.items), len(self.spans))  # [M, S], with any type of each span

    def best(self) -> dict[Span, str]:
        """The entities of the best structure. What may come to most goes on first."""
        found, worth, numbers = list[int](), 0.0, count(1)
        every = np.ones(len(self.spans), bool)
        ways: list[_Way] = [(-self._bound(self._hopes([], every)), 0, [], every, 0.0)]
        while ways and -ways[0][0] > worth + SLACK:
            _, _, taken, left, so_far = heappop(ways)
            hopes = self._hopes(taken, left)
            at = int(hopes.argmax())
            left = left.copy()
            left[at] = False
            further = [(taken, left, so_far)]
            for item in np.flatnonzero(self.owner == at):
                gained = so_far + float(self.own[item] + self.gain[item, taken].sum())
                further.append(([*taken, int(item)], left & self.apart[at], gained))
            for items, open_, gained in further:
                if gained > worth + SLACK:
                    found, worth = items, gained
                if (most := gained + self._bound(self._hopes(items, open_))) > worth + SLACK:
                    heappush(ways, (-most, -(number := next(numbers)), items, open_, gained))
                    if number > MOST:
                        raise Unsupported(
                            f"{len(self.spans)} spans have too many structures", hint="leave out spans of low scores"
                        )
        return {self.spans[self.owner[item]]: self.items[item][1] for item in found}

    def _hopes(self, taken: Sequence[int], left: NDArray[Any]) -> NDArray[Any]:
        """What each span that is left may add at most [S]: of a relation between two of them each has one half."""
        values = self.own + self.gain[:, taken].sum(1) + self.most[:, left].sum(1) / 2  # [M]
        hopes = np.zeros(len(self.spans))
        np.maximum.at(hopes, self.owner, values)
        return np.where(left, hopes, 0.0)

    def _bound(self, hopes: NDArray[Any]) -> float:
        """The most that spans may add together; where none overlap, by weighted intervals."""
        if not self.flat:
            return float(hopes.sum())
        best = [0.0]
        for at, hope in enumerate(hopes.tolist()):
            best.append(max(best[at], best[self.before[at]] + hope))
        return best[-1]
