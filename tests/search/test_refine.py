"""Refining: what each round sees, whom critics send where, which answer counts, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from stretto.engine import Engine
from stretto.errors import InvalidRequest, Unsupported
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.search.critic import Advice, Attempt, Critic, Critique
from stretto.search.critics.again import Again
from stretto.search.critics.by_critic import ByCritic
from stretto.search.critics.doubt import Doubt
from stretto.search.loop import Searched
from stretto.search.refine import Refine
from stretto.search.scorers.by_function import ByFunction
from stretto.search.within import Within

MODEL = TableModel.random(6, seed=2, order=5)
PROMPT = [0, 1, 2]
END = 4
SETTINGS: dict[str, Any] = {"max_new_tokens": 6, "end_tokens": (END,)}
CHANCE = {**SETTINGS, "temperature": 1.0, "seed": 3}
HEARD: list[list[Attempt]] = []


def engine(model: TableModel = MODEL) -> Engine:
    return Engine(model, clock=SimulatedClock())


def refined(critic: Critic, settings: Any = SETTINGS, model: TableModel = MODEL, **more: Any) -> Any:
    return engine(model).generate(PROMPT, Searched(Refine(critic=critic, **more)), **settings)


def plainly(seen: Sequence[int]) -> list[int]:
    return engine().generate([*seen], "plain", **SETTINGS).tokens


def bare(tokens: Sequence[int]) -> list[int]:
    return [token for token in tokens if token != END]


@dataclass(frozen=True)
class Told(Critic):
    """Says what it was told to say, in turn, and keeps what it hears."""

    name: ClassVar[str] = "told"
    advice: tuple[Any, ...] = ()

    def begin(self, context: Any) -> Critique:
        HEARD.clear()
        return Telling(list(self.advice))


class Telling(Critique):
    def __init__(self, left: list[Advice]) -> None:
        self.left = left

    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        HEARD.append(list(attempts))
        return self.left.pop(0)


def on(*texts: str) -> Told:
    return Told(tuple(Advice("on", text) for text in texts))


def test_each_round_sees_the_question_and_all_answers_once_or_the_last_one() -> None:
    """And is plain decoding behind it."""
    answers, seen = [plainly(PROMPT)], [PROMPT]
    for text in ([3, 3], [5]):
        seen.append([*seen[-1], *bare(answers[-1]), *text])
        answers.append(plainly(seen[-1]))
    found = refined(on("3 3", "5"), keep="last")
    assert found.tokens == answers[-1] and len({*map(tuple, answers)}) == 3
    assert [attempts[-1].seen for attempts in HEARD] == [tuple(each) for each in seen[:-1]]
    assert [attempts[-1].draft.tokens for attempts in HEARD] == [tuple(each) for each in answers[:-1]]
    assert all(attempt.draft.prompt == tuple(PROMPT) for attempts in HEARD for attempt in attempts)
    short = plainly([*PROMPT, *bare(answers[1]), 5])
    assert refined(on("3 3", "5"), keep="last", show="last").tokens == short


def test_the_best_answer_and_then_the_worst_are_shown_each_with_what_was_said_to_it() -> None:
    """No more than two are seen, however many there were; of equal ones the newer is the better one."""
    said, answers, seen, unseen = [5, 3, 1, 2], list[list[int]](), [PROMPT], 0

    def worth(tokens: Sequence[int]) -> float:
        return sum(tokens) % 5

    for at in range(5):
        answers.append(plainly(seen[-1]))
        ranked = sorted(range(at + 1), key=lambda each: worth(answers[each]))
        shown = [ranked[-1], ranked[0]] if at else [0]
        unseen += at not in shown
        if at < 4:
            seen.append([*PROMPT, *(token for each in shown for token in (*bare(answers[each]), said[each]))])
    scorer = ByFunction(lambda text: worth([int(each) for each in text.split()]))
    found = refined(on(*map(str, said)), rounds=5, show="extremes", scorer=scorer)
    assert [attempts[-1].seen for attempts in HEARD] == [tuple(each) for each in seen[:4]]
    assert found.tokens == answers[ranked[-1]] and unseen


def test_an_answer_is_told_its_score_and_one_that_is_good_enough_is_the_last() -> None:
    told = refined(Again("{score} 3"), rounds=2, keep="last", scorer=ByFunction(lambda text: 5.0))
    assert told.tokens == plainly([*PROMPT, *bare(plainly(PROMPT)), 5, 3])
    values = [1.0, 2.0, 0.0]
    found = refined(Again("3", enough=2.0), rounds=3, scorer=ByFunction(lambda text: values.pop(0)))
    assert values == [0.0] and found.tokens == plainly([*PROMPT, *bare(plainly(PROMPT)), 3])


def test_a_critic_sends_back_afresh_or_stops() -> None:
    first = plainly(PROMPT)
    second = plainly([*PROMPT, *bare(first), 3])
    back = plainly([*PROMPT, *bare(first), 5, 5])  # the second answer is gone, and what led to it
    found = refined(Told((Advice("on", "3"), Advice("back", "5 5"))), keep="last")
    assert found.tokens == back != plainly([*PROMPT, *bare(first), 3, *bare(second), 5, 5])
    assert [len(attempts) for attempts in HEARD] == [1, 2]
    alone = refined(Told((Advice("back", "3"), Advice("stop"))), keep="last")  # there is nothing to go back to
    assert alone.tokens == second
    assert refined(Told((Advice("on", "3"), Advice("afresh", "5"))), keep="last").tokens == plainly([*PROMPT, 5])
    stopped = refined(Told((Advice("stop"),)))
    assert stopped.tokens == first and len(HEARD) == 1


def test_the_best_verified_answer_counts_and_the_later_of_equal_ones() -> None:
    answers: list[str] = []

    def verify(text: str) -> float:
        answers.append(text)
        return worth[len(answers) - 1]

    for worth, best in (([2.0, 1.0, 0.0], 0), ([1.0, 2.0, 2.0], 2), ([0.0, 3.0, 1.0], 1)):
        answers.clear()
        found = refined(on("3 3", "5"), scorer=ByFunction(verify))
        assert len({*answers}) == 3 and " ".join(map(str, found.tokens)) == answers[best]
        assert found.counters.scorer_calls == 3


def test_no_more_answers_than_rounds_on_paths_and_paths_are_samples_where_there_is_one_round() -> None:
    found = refined(Again("3"), {**CHANCE, "samples": 2}, rounds=3, paths=4)
    assert len(found) == 2 and found[0].counters.branches == 12 and found[0].counters.scorer_calls <= 12
    drawn = engine().generate([PROMPT], "plain", samples=3, **CHANCE)
    once = refined(Again("3"), {**CHANCE, "samples": 3}, rounds=1, scorer=ByFunction(lambda text: 0.0))
    assert [answer.tokens for answer in once] == [answer.tokens for answer in drawn]


def test_answers_that_are_looked_at_again_may_be_cut_and_nothing_is_handed_out_before_the_end() -> None:
    cut = plainly(PROMPT)[:2]
    assert END not in cut
    found = refined(on("3"), rounds=2, first=2, keep="last")
    assert found.tokens == plainly([*PROMPT, *cut, 3]) and HEARD[0][0].answer == tuple(cut)
    kept = refined(on("3"), rounds=2, first=2, scorer=ByFunction(lambda text: -len(text)))
    assert kept.tokens == cut and kept.finish == "budget"
    stream = engine().stream(PROMPT, Searched(Refine(critic=on("3 3", "5"), keep="last")), **SETTINGS)
    pieces = [piece.tokens for piece in stream if piece.tokens]
    assert pieces == [refined(on("3 3", "5"), keep="last").tokens]


def test_it_ends_where_the_model_has_no_positions_left() -> None:
    small = TableModel(6, MODEL.rule, max_positions=12)
    found = refined(Again("3 3 3 3"), {**SETTINGS, "end_tokens": ()}, small, rounds=5, keep="last")
    assert found.finish == "length" and len(found.tokens) == 6  # 3 and 6 and 4 are 13


def test_bounds_give_the_best_so_far() -> None:
    bounded = refined(Again("3"), rounds=5, within=Within(rounds=8), scorer=ByFunction(len))
    assert bounded.finish in ("budget", "end", "length") and bounded.counters.rounds <= 8
    assert bounded.tokens == plainly(PROMPT)


def test_text_is_told_with_the_question_in_it() -> None:
    found = refined(Again("5 {question} 3"), rounds=2, keep="last")
    assert found.tokens == plainly([*PROMPT, *bare(plainly(PROMPT)), 5, *PROMPT, 3])


def test_a_function_tells_differences_until_there_are_none() -> None:
    wanted = plainly([*PROMPT, *bare(plainly(PROMPT)), 5])
    said: list[str] = []

    def differs(text: str) -> str | None:
        said.append(text)
        return None if text == " ".join(map(str, wanted)) else "5"

    found = refined(ByCritic(differs), rounds=6, scorer=ByFunction(lambda text: -len(said)))
    assert found.tokens == plainly(PROMPT) and len(said) == 2  # it was scored higher, though it differs
    assert refined(ByCritic(lambda text: Advice("afresh", "3")), rounds=2, keep="last").tokens == plainly([*PROMPT, 3])


def test_doubt_is_the_odds_of_two_words_behind_the_question() -> None:
    answer = plainly(PROMPT)
    logits = torch.tensor(MODEL.rule((*PROMPT, *bare(answer), 0)), dtype=torch.float64)
    doubt = float(logits[[1, 2]].softmax(-1)[1])
    words = {"question": "0", "right": "1 5", "wrong": "2", "text": "3"}
    again = plainly([*PROMPT, *bare(answer), 3])
    for limit, expected in ((doubt - 1e-3, again), (doubt + 1e-3, answer), (0.0, again), (1.0, answer)):
        assert refined(Doubt(**words, limit=limit), rounds=2, keep="last").tokens == expected
    assert again != answer and not math.isclose(doubt, 0.5)


def test_what_cannot_be_done_is_refused() -> None:
    for wrong in ({"rounds": 0}, {"paths": 0}, {"first": -1}):
        with pytest.raises(InvalidRequest, match="at least"):
            Refine(**wrong)
    with pytest.raises(Unsupported, match="several paths"):
        refined(Again("3"), paths=2)
    with pytest.raises(InvalidRequest, match="no tokenizer"):
        refined(Again("think again"))
    with pytest.raises(InvalidRequest, match="0 to 1"):
        Doubt(limit=2.0)
    with pytest.raises(Unsupported, match="the same token"):
        refined(Doubt(question="0", right="1", wrong="1 2"))
