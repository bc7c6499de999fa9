"""The slow reference for canvases: each as an automaton of its own, layer by layer from the left."""

from __future__ import annotations

from collections.abc import Sequence

from stretto.constrain.completion import ENDED, Completion, Gap
from stretto.constrain.emptiness import Automaton
from stretto.constrain.lexicon import Cut, Outcomes

Layer = set[Cut | str]  # the cuts that are possible where we stand


def slow_automaton(completion: Completion, canvas: Sequence[int], gap: Gap, more: bool) -> Automaton | None:
    """States are (place in the canvas, cut); None where a token has no text, or no cut is left."""
    end = next((at for at, token in enumerate(canvas) if token in completion.ends), len(canvas))
    runs = [*completion._runs(canvas[: end + 1]), *([("more", [])] if more and end == len(canvas) else [])]
    automaton = Automaton((0, None))
    layer: Layer = {None}
    place = 0
    for kind, tokens in runs:
        if kind == "hole" and gap is not Gap.ANY:
            for _ in tokens:
                layer = _one(completion, automaton, place, layer, gap)
                place += 1
            continue
        if kind in ("hole", "more"):
            layer = _many(completion, automaton, place, layer, ending=kind == "hole")
        elif kind == "end":
            layer = _end(automaton, place, layer)
        else:
            pieces = [completion.pieces[token] for token in tokens]
            if None in pieces:
                return None
            text = "".join(piece or "" for piece in pieces)
            outcomes = {cut: read_alone(completion, text, cut) for cut in layer if not isinstance(cut, str)}
            layer = _walk(automaton, place, set(outcomes), outcomes)
        place += 1
        if not layer:
            return None
    automaton.final = {(place, cut) for cut in layer if cut is None or cut == ENDED}
    return automaton


def read_alone(completion: Completion, text: str, cut: Cut) -> Outcomes:
    """What a text may do from a cut, character by character."""
    found: Outcomes = frozenset({((), cut)})
    for char in text:
        found = frozenset(after for ended, at in found for after in completion.language._step(char, ended, at))
    return found


def _any(completion: Completion, cut: Cut) -> Outcomes:
    texts = {piece for token, piece in enumerate(completion.pieces) if piece and token not in completion.ends}
    return frozenset().union(*(read_alone(completion, text, cut) for text in texts))


def _walk(automaton: Automaton, place: int, layer: Layer, outcomes: dict[Cut, Outcomes]) -> Layer:
    after: Layer = set()
    for cut, results in outcomes.items():
        for ended, reached in results:
            automaton.step((place, cut), ended, (place + 1, reached))
            after.add(reached)
    if ENDED in layer:
        automaton.step((place, ENDED), (), (place + 1, ENDED))
        after.add(ENDED)
    return after


def _one(completion: Completion, automaton: Automaton, place: int, layer: Layer, gap: Gap) -> Layer:
    cuts = [cut for cut in layer if not isinstance(cut, str)]
    after = _walk(automaton, place, layer, {cut: _any(completion, cut) for cut in cuts})
    if completion.ends:
        after |= _end(automaton, place, layer)
    if gap is Gap.AT_MOST:
        for cut in layer:
            automaton.step((place, cut), (), (place + 1, cut))
            after.add(cut)
    return after


def _many(completion: Completion, automaton: Automaton, place: int, layer: Layer, ending: bool) -> Layer:
    reached, left = layer.copy(), [cut for cut in layer if not isinstance(cut, str)]
    while left:
        cut = left.pop()
        for ended, after in _any(completion, cut):
            automaton.step((place, cut), ended, (place, after))
            if after not in reached:
                reached.add(after)
                left.append(after)
    if ending and completion.ends and None in reached:
        automaton.step((place, None), (), (place, ENDED))
        reached.add(ENDED)
    for each in reached:
        automaton.step((place, each), (), (place + 1, each))
    return reached


def _end(automaton: Automaton, place: int, layer: Layer) -> Layer:
    for cut in layer & {None, ENDED}:
        automaton.step((place, cut), (), (place + 1, ENDED))
    return {ENDED} if layer & {None, ENDED} else set()
