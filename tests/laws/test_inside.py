"""What every steer must obey that looks inside of a model or edits its rows, tried on each and its examples."""

from __future__ import annotations

import pytest

from stretto import catalogue
from stretto.laws import inside, steering
from stretto.steer.contract import Steer
from wide import WIDE

STEERS = {
    name: part
    for name, part in catalogue.parts().items()
    if part.kind == "steer" and any(map(inside.looks_inside, part.examples()))
}
EXAMPLES: list[Steer] = [example for steer in STEERS.values() for example in steer.examples()]
CASES = [pytest.param(step, id=repr(step)) for step in EXAMPLES]
ACTIVE = [step for step in EXAMPLES if not step.idle]


def test_every_one_has_neutral_and_reshaping_examples() -> None:
    assert STEERS
    for steer in STEERS.values():
        steering.it_has_neutral_and_reshaping_examples(steer)


@pytest.mark.parametrize("driven", inside.DRIVEN)
@pytest.mark.parametrize("step", CASES)
def test_neutral_is_bit_identical_and_the_rest_reshapes(step: Steer, driven: str) -> None:
    if inside.served(step, driven):
        inside.neutral_is_bit_identical_and_the_rest_reshapes(step, driven)
    else:
        inside.it_is_refused(step, driven)


@pytest.mark.parametrize("kind", range(len(inside.DRIVEN)), ids=lambda kind: inside.DRIVEN[kind])
@pytest.mark.parametrize("at", range(len(ACTIVE)), ids=lambda at: repr(ACTIVE[at]))
def test_drafts_and_batches_change_no_token(at: int, kind: int) -> None:
    """Greedy or seeded, and who drafts, by turns: each steer meets all of them on one model or another."""
    if not inside.served(ACTIVE[at], inside.DRIVEN[kind]):
        return
    others = [ACTIVE[(at + 1) % len(ACTIVE)], ACTIVE[at - 1]]
    for temperature in (0.0, 1.0) if WIDE else (float((at + kind) % 2),):
        ways = inside.WAYS if WIDE else [inside.WAYS[(at + kind) % len(inside.WAYS)]]
        inside.drafts_and_batches_change_no_token(ACTIVE[at], inside.DRIVEN[kind], others, temperature, ways)
