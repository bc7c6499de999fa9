"""Which laws a part is put to, by its kind, and with which settings: the trials of `stretto laws FILE.py`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from .. import catalogue, method
from ..entry import Guarantee
from ..errors import InvalidRequest
from ..parts import describe_part
from ..speculate.planners.cheapest import Cheapest
from ..speculate.planners.fixed import Fixed
from . import decoding, drafting, filling, inside, layers, steering
from .worlds import adversaries

Trials = dict[str, Callable[[], None]]  # by what is tried, for people
BESIDE = ("", "+blocks(2)", "+blocks(3)+prefix-cache", "+blocks(3)+block-cache", "+cut-at-end")  # an order
SEARCHING = {"search": "{}", "scorer": "best-of(4,scorer={})", "segmenter": "guided(4,2,segmenter={})"}  # by kind
BEFORE = ("threshold(0.5)", "low-confidence(steps=4)", "ascending(growth=1)")  # what else fills canvases


def trials(file: str) -> Trials:
    """All trials of the parts that a file defines, which join the package's own.

    Raises InvalidRequest where it holds none, or a part that no settings are known for.
    """
    before = set(catalogue.parts())
    catalogue.plug_in(file)
    found: Trials = {}
    for name in catalogue.parts():
        if name not in before:
            part = catalogue.part(name)
            for example in examples(part):
                found |= {f"{describe_part(example)}: {law}": run for law, run in laws(example)}
            if part.kind == "steer" and part.examples():
                found[f"{name}: examples"] = partial(steering.it_has_neutral_and_reshaping_examples, part)
    if not found:
        raise InvalidRequest(f"{file} defines no part that is new", hint="each part has a name of its own")
    return found


def examples(part: Any) -> list[Any]:
    """Settings to try: a steer's own, those in the EXAMPLES of the file, or the defaults."""
    if part.kind == "steer" and part.examples():
        return list(part.examples())
    named = [each for each in getattr(sys.modules[part.__module__], "EXAMPLES", ()) if type(each) is part]
    try:
        return named or [part()]
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{part.name!r} has no defaults to be tried with ({error.message})",
            hint="name some in the file: EXAMPLES = (…,)",
        ) from error


def laws(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """The laws of one part with its settings, each with what it says. Raises InvalidRequest for a kind without any."""
    by_kind = {"drafter": _drafter, "acceptor": _acceptor, "planner": _planner, "steer": _steer, "order": _order}
    if part.kind in by_kind:
        yield from by_kind[part.kind](part)
    elif part.kind == "layers":
        yield from _layers(part)
    elif part.kind == "route":
        yield from _method(describe_part(part))
    elif part.kind in SEARCHING:
        yield from _search(SEARCHING[part.kind].format(describe_part(part)))
    elif part.kind in ("blocks", "refresh", "stop", "guidance", "guesser", "adjustment", "constraint"):
        yield from _filling([f"{order}+{describe_part(part)}" for order in BEFORE])
    else:
        raise InvalidRequest(f"there are no laws for the kind {part.kind!r}", hint="see stretto.laws")


def _drafter(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    missing = part.needs & ~drafting.TARGET.abilities
    assert not missing, f"{part.name!r} needs {missing}, which the tables here cannot do"
    for name, pipeline in drafting.PIPELINES.items():
        yield f"no token changes, {name}", partial(drafting.drafting_never_changes_the_tokens, part, pipeline)
    for planner in (Fixed(3), Cheapest()):
        law = partial(drafting.planning_never_changes_the_tokens, part, planner)
        yield f"no token changes, planned by {planner.name}", law
    for each in (
        drafting.proposals_keep_to_their_room_and_have_distinct_siblings,
        drafting.the_cache_equals_a_fresh_prefill_after_every_round,
        drafting.rows_end_at_the_first_end_token_and_at_their_limit,
        drafting.a_fork_goes_on_like_its_source,
    ):
        yield _said(each), partial(each, part)


def _acceptor(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    if part.guarantee is Guarantee.EXACT:
        for shape in range(6):
            law = partial(drafting.the_joint_distribution_is_exact, part, shape)
            yield f"the joint distribution is exact, trees {shape}", law
    yield from _method(f"lookup+{describe_part(part)}")


def _planner(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    for name, drafter in adversaries(drafting.V).items():
        yield f"no token changes, {name}", partial(drafting.planning_never_changes_the_tokens, drafter, part)


def _steer(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    if inside.looks_inside(part):
        for driven in inside.DRIVEN:
            neutral = partial(inside.neutral_is_bit_identical_and_the_rest_reshapes, part, driven)
            yield f"neutral is bit identical and the rest reshapes, {driven}", neutral
            for temperature in (0.0, 1.0):
                drafted = partial(inside.drafts_and_batches_change_no_token, part, driven, [part], temperature)
                yield f"drafts and batches change no token, {driven}, {temperature}", drafted
        return
    yield (
        _said(steering.neutral_is_bit_identical_and_the_rest_reshapes),
        partial(steering.neutral_is_bit_identical_and_the_rest_reshapes, part),
    )
    for dtype in (torch.float32, torch.float64):
        yield f"a steer is pure, {dtype}", partial(steering.a_steer_is_pure, part, dtype)
    if not part.idle:
        law = steering.pointwise_steers_do_not_look_at_the_path
        yield _said(law), partial(law, part)
    chance = random.Random(0)

    def tokens(least: int, most: int) -> list[int]:
        return [chance.randrange(steering.VOCABULARY) for _ in range(chance.randint(least, most))]

    for seed in range(20):
        tails = [tuple(tokens(0, 4)) for _ in range(chance.randint(1, 8))]
        law = partial(steering.a_tree_equals_its_paths, part, tokens(1, 6), tokens(0, 6), tails, seed)
        yield f"a tree equals its paths, {seed}", law
        rounds = [([tuple(tokens(0, 4)) for _ in range(3)], tokens(1, 3)) for _ in range(chance.randint(0, 4))]
        law = partial(steering.rejected_drafts_leave_no_trace, part, rounds, bool(seed % 2))
        yield f"rejected drafts leave no trace, {seed}", law


def _order(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    yield from _filling([describe_part(part) + rest for rest in BESIDE])


def _filling(texts: Sequence[str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each method in the worlds that it fits; none may be without."""
    served = False
    for text in texts:
        chosen: Any = method.parse(text)
        for turn, (world, model) in enumerate(filling.WORLDS.items()):
            if filling.fits(chosen, model):
                served = True
                law = partial(filling.every_step_is_lawful, chosen, model, turn)
                yield f"every step is lawful, {text} in the {world} world", law
    if not served:
        raise InvalidRequest(f"{texts[0]!r} fits no model here", hint="see what its `check` refuses")


def _search(text: str) -> Iterator[tuple[str, Callable[[], None]]]:
    yield from _method(text)
    chosen: Any = method.parse(text)
    if chosen.search.forks:
        for name in decoding.SETTINGS:
            law = partial(decoding.both_answer_alike, chosen, method.parse(f"{text}+lookup"), name)
            yield f"drafts for its branches change nothing, {name}", law


def _layers(part: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    for driven in inside.DRIVEN:
        alone = layers.they_say_what_they_say_alone
        yield f"{_said(alone)}, {driven}", partial(alone, part, inside.engine(driven).model)
    for way in layers.WAYS:
        for temperature in (0.0, 1.0):
            law = partial(layers.it_changes_no_token, part, way, temperature=temperature, seed=3)
            yield f"no token changes, {way.format(describe_part(part))}, {temperature}", law


def _method(text: str) -> Iterator[tuple[str, Callable[[], None]]]:
    chosen = method.parse(text)
    yield _said(decoding.some_request_is_served), partial(decoding.some_request_is_served, chosen)
    yield _said(decoding.the_text_form_gives_it_again), partial(decoding.the_text_form_gives_it_again, chosen)
    for name in decoding.SETTINGS:
        law = partial(decoding.an_answer_is_the_same_alone_together_again_and_as_a_stream, chosen, name)
        yield f"an answer is the same alone, together, again and as a stream, {name}", law


def _said(law: Callable[..., None]) -> str:
    """What a law says, by its name."""
    return law.__name__.replace("_", " ")
