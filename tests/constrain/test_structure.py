"""Structures against enumeration: every choice of entities and relations that obeys the rules, and the best of them."""

from __future__ import annotations

import doctest
import itertools
import random
from collections.abc import Iterator

import pytest

from stretto.constrain import structure
from stretto.constrain.structure import Rules, Scores, Structure, entities_first, joint, taken_alone
from stretto.errors import InvalidRequest, Unsupported

TYPES, RELATIONS = ("person", "place", "toy"), ("has", "in", "near")
ADMITTED = (("person", "has", "toy"), ("toy", "in", "place"), ("person", "in", "place"), ("place", "near", "place"))


def drawn(rng: random.Random, spans: int, types: int = 3, length: int = 7) -> Scores:
    every = [(start, end) for start in range(length) for end in range(start + 1, length + 1) if end - start < 4]
    chosen = rng.sample(every, spans)
    entities = {span: {kind: rng.gauss(-0.3, 1) for kind in TYPES[:types]} for span in chosen}
    pairs = [pair for pair in itertools.permutations(chosen, 2) if rng.random() < 0.6]
    return Scores(entities, {pair: {name: rng.gauss(-0.3, 1) for name in RELATIONS} for pair in pairs})


def obeys(one: tuple[int, int], other: tuple[int, int], overlap: str) -> bool:
    """By the places that each covers."""
    first, second = set(range(*one)), set(range(*other))
    return overlap == "free" or not first & second or (overlap == "nested" and (first <= second or second <= first))


def selections(scores: Scores, overlap: str) -> Iterator[dict[tuple[int, int], str]]:
    for kinds in itertools.product(*([None, *named] for named in scores.entities.values())):
        chosen = {span: kind for span, kind in zip(scores.entities, kinds, strict=True) if kind}
        if all(obeys(*pair, overlap) for pair in itertools.combinations(chosen, 2)):
            yield chosen


def slowly(scores: Scores, rules: Rules) -> float:
    """The greatest worth: each set of relations of each pair is tried."""
    best = 0.0
    for chosen in selections(scores, rules.overlap):
        worth = sum(scores.entities[span][kind] for span, kind in chosen.items())
        for (head, tail), named in scores.relations.items():
            if head in chosen and tail in chosen:
                sets = itertools.chain.from_iterable(
                    itertools.combinations(named, size) for size in range(2 if rules.single else len(named) + 1)
                )
                admitted = [
                    each
                    for each in sets
                    if rules.admitted is None or all((chosen[head], r, chosen[tail]) in rules.admitted for r in each)
                ]
                worth += max(sum(named[r] for r in each) for each in admitted)
        best = max(best, worth)
    return best


def require(found: Structure, rules: Rules) -> None:
    assert all(obeys(*pair, rules.overlap) for pair in itertools.combinations(found.entities, 2))
    for head, name, tail in found.relations:
        kinds = found.entities[head], name, found.entities[tail]
        assert rules.admitted is None or kinds in rules.admitted
    pairs = [(head, tail) for head, _, tail in found.relations]
    assert not rules.single or len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("overlap", ["none", "nested", "free"])
@pytest.mark.parametrize(("admitted", "single"), [(ADMITTED, False), (ADMITTED, True), (None, True)])
def test_the_joint_answer_is_the_best_of_all(overlap: str, admitted: object, single: bool) -> None:
    rules, rng = Rules(overlap, admitted, single), random.Random(f"{overlap} {admitted} {single}")
    gained = 0
    for _ in range(12):
        scores = drawn(rng, spans=4)
        found, first = joint(scores, rules), entities_first(scores, rules)
        require(found, rules)
        require(first, rules)
        assert found.worth(scores) == pytest.approx(slowly(scores, rules))
        gained += found.worth(scores) > first.worth(scores) + 0.01
    assert gained


@pytest.mark.parametrize("overlap", ["none", "nested"])
def test_entities_alone_are_the_best_of_all_for_twelve_spans(overlap: str) -> None:
    rng = random.Random(overlap)
    for _ in range(4):
        scores = Scores(drawn(rng, 12, types=1, length=9).entities)
        assert entities_first(scores, Rules(overlap)).worth(scores) == pytest.approx(slowly(scores, Rules(overlap)))


def test_without_rules_it_is_what_is_above_nothing() -> None:
    scores = Scores(
        {(0, 2): {"a": 1.0, "b": -1.0}, (1, 3): {"b": 2.0}, (4, 5): {"a": -0.5}, (4, 6): {}},
        {((0, 2), (1, 3)): {"r": 0.5, "s": 0.1, "t": -0.1}},
    )
    assert joint(scores, Rules("free")) == taken_alone(scores) == entities_first(scores, Rules("free"))
    assert joint(scores).entities == {(1, 3): "b"} and not joint(scores).relations
    assert joint(Scores({})) == Structure({}, ())


def test_a_relation_brings_in_an_entity_that_is_unlikely_by_itself() -> None:
    scores = Scores({(0, 1): {"a": 1.0}, (2, 3): {"a": -0.4}}, {((0, 1), (2, 3)): {"r": 0.5}})
    assert joint(scores).entities == {(0, 1): "a", (2, 3): "a"} and entities_first(scores).entities == {(0, 1): "a"}
    assert taken_alone(scores).relations and (2, 3) not in taken_alone(scores).entities  # contradicts itself


def test_a_hundred_spans_take_no_time_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    entities = {(at, at + 1 + at % 3): {kind: rng.gauss(-1, 1) for kind in TYPES} for at in range(100)}
    pairs = [((at, at + 1 + at % 3), (at + 4, at + 5 + (at + 4) % 3)) for at in range(0, 96, 3)]
    scores = Scores(entities, {pair: {"in": rng.gauss(0, 1)} for pair in pairs})
    found = joint(scores, Rules(admitted=ADMITTED))
    require(found, Rules(admitted=ADMITTED))
    assert found.worth(scores) > entities_first(scores, Rules(admitted=ADMITTED)).worth(scores)
    monkeypatch.setattr("stretto.constrain.structure.MOST", 3)
    with pytest.raises(Unsupported, match="too many structures"):
        joint(scores, Rules(admitted=ADMITTED))


@pytest.mark.parametrize(
    ("entities", "relations"),
    [
        ({(1, 1): {"a": 1.0}}, {}),
        ({(-1, 1): {"a": 1.0}}, {}),
        ({(0, 1): {"a": 1.0}}, {((0, 1), (0, 1)): {"r": 1.0}}),
        ({(0, 1): {"a": 1.0}}, {((0, 1), (2, 3)): {"r": 1.0}}),
        ({(0, 1): {"a": float("nan")}}, {}),
        ({(0, 1): {"a": float("-inf")}}, {}),
    ],
)
def test_scores_that_cannot_be_read_are_refused(entities: dict, relations: dict) -> None:
    with pytest.raises(InvalidRequest):
        Scores(entities, relations)


def test_what_the_module_shows_runs() -> None:
    shown = doctest.testmod(structure)
    assert shown.attempted and not shown.failed
