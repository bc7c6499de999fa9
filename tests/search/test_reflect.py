"""Self-reflection: what passes is plain decoding, what fails is gone, and what was not asked about stays back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from laws.test_constraints import Pairs
from models.test_lean import leans
from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.reflect import Reflect

ASK, GOOD, BAD, HARM, SORRY = 6, 7, 8, 3, 5
PROMPT = [0, 1, 2]
NAMED = f"question={ASK},good={GOOD},bad={BAD},lead={SORRY}"
SETTINGS: dict[str, Any] = {"max_new_tokens": 12, "end_tokens": (4,), "banned_tokens": (ASK, GOOD, BAD)}
DRAWN = {**SETTINGS, "temperature": 1.0}


def judged(path: Sequence[int]) -> list[float]:
    """Says whether there is harm where it is asked, and else something or other; no more harm after an apology."""
    if path[-1] == ASK:
        return [0.0] * 7 + ([0.0, 9.0] if HARM in path else [9.0, 0.0])
    chance = random.Random(str(list(path[-3:])))
    return [chance.gauss(0, 1.5) - 20 * (token == HARM and SORRY in path) - 1.5 * (token == 4) for token in range(9)]


MODEL = TableModel(9, judged)


def answers(method: str, model: Any = MODEL, **settings: Any) -> Any:
    return Engine(model, clock=SimulatedClock()).generate(PROMPT, method, **{**DRAWN, **settings})


def reflected(every: int, checks: int = 8, more: str = "", **settings: Any) -> Any:
    return answers(f"reflect({checks},{every},{NAMED}){more}", **settings)


def plain(**settings: Any) -> Any:
    return answers("plain", **settings)


@pytest.mark.parametrize("every", [1, 3, 50])
def test_harm_is_gone_and_what_passes_is_plain_decoding(every: int) -> None:
    harmful = 0
    for seed in range(30):
        alone, found = plain(seed=seed), reflected(every, 99, seed=seed)
        assert HARM not in found.tokens
        if HARM in alone.tokens:
            harmful += 1
            kept = alone.tokens.index(HARM) // every * every
            assert found.tokens[:kept] == alone.tokens[:kept] and found.tokens[kept] == SORRY
            assert len(found.tokens) <= 12 and found.steps[0].sources is not None
        else:
            assert (found.tokens, found.finish) == (alone.tokens, alone.finish)
    assert 5 < harmful < 30


def test_an_answer_that_fails_twice_at_a_place_ends_with_the_lead() -> None:
    """Harm comes from the fifth token on, whatever was put in: two tokens pass."""
    late = TableModel(9, _late)
    said = {
        checks: answers(f"reflect({checks},2,{NAMED})", late, temperature=0.0, log_probabilities=0)
        for checks in range(5)
    }
    assert said[0].tokens == said[1].tokens == [0] * 12
    assert said[2].tokens == [0, 0, SORRY, *[0] * 9] and said[2].finish == "length"
    for checks in (3, 4):
        assert (said[checks].tokens, said[checks].finish) == ([0, 0, SORRY, 4], "end")
        assert [each.token for each in said[checks].log_probabilities] == [0, 0, SORRY, 4]
    endless = answers(f"reflect(4,2,{NAMED})", late, temperature=0.0, end_tokens=())
    assert (endless.tokens, endless.finish) == ([0, 0, SORRY], "budget")


def _late(path: Sequence[int]) -> list[float]:
    """Harm from the fifth token of the answer on."""
    said = (BAD if len(path) > 3 + 2 + 1 else GOOD) if path[-1] == ASK else 0
    return [9.0 * (token == said) for token in range(9)]


def test_more_questions_leave_less_harm() -> None:
    left = [sum(HARM in reflected(2, checks, seed=seed).tokens for seed in range(30)) for checks in (0, 1, 2, 4, 9)]
    assert left == sorted(left, reverse=True) and left[0] > left[1] > left[-1] == 0


def test_drafts_samples_and_reports_change_nothing() -> None:
    for seed in range(6):
        alone = reflected(3, seed=seed, log_probabilities=0)
        drafted = reflected(3, more="+lookup", seed=seed, log_probabilities=0)
        assert drafted.tokens == alone.tokens == reflected(3, seed=seed).tokens
        assert [each.token for each in alone.log_probabilities] == alone.tokens
        assert [each.raw for each in drafted.log_probabilities] == [each.raw for each in alone.log_probabilities]
    several = Engine(MODEL, clock=SimulatedClock()).generate(
        [PROMPT], f"reflect(9,3,{NAMED})", samples=4, **DRAWN, seed=2
    )
    assert several[0].tokens == reflected(3, 9, seed=2).tokens
    assert all(HARM not in answer.tokens for answer in several) and len({tuple(a.tokens) for a in several}) > 1


def test_a_network_is_asked_in_a_copy_of_its_cache() -> None:
    settings = {"max_new_tokens": 16, "end_tokens": (), "banned_tokens": (), "temperature": 0.0}
    alone = answers("plain", leans("llama"), **settings).tokens
    for limit in (0.0, 1.0):
        found = answers(f"reflect(9,4,{NAMED},limit={limit})", leans("llama"), **settings)
        assert (found.tokens == alone) == (limit == 1.0)
        assert limit == 1.0 or found.tokens[0] == SORRY


def test_tokens_are_handed_out_once_they_have_passed() -> None:
    parts = list(Engine(MODEL, clock=SimulatedClock()).stream(PROMPT, f"reflect(9,4,{NAMED})", **DRAWN, seed=1))
    assert all(HARM not in part.tokens for part in parts)


def test_what_it_cannot_serve_is_refused() -> None:
    for wrong in ({"checks": -1}, {"every": 0}, {"limit": 1.5}):
        with pytest.raises(InvalidRequest, match="checks"):
            Reflect(**wrong)  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="same token"):
        answers("reflect(question=6,good=7,bad=7)")
    with pytest.raises(Unsupported, match="keeps an answer valid"):
        reflected(3, constraint=Pairs())
