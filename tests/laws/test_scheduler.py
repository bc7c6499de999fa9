"""Whoever comes, goes, is called off, loses its cache or fails: the others answer as they would alone."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, ClassVar

import pytest

from laws.test_diffusion import WORLDS
from route.pairs import LARGE, ROUTES
from stretto import scheduler as scheduling
from stretto.context import Context
from stretto.engine import Engine
from stretto.errors import InvalidRequest, OutOfMemory, Unsupported
from stretto.generation import Generation
from stretto.method import Method
from stretto.models.clock import SimulatedClock
from stretto.models.table import TableModel
from stretto.route.loop import Routed
from stretto.row import Row
from stretto.scheduler import Ticket
from stretto.speculate.acceptors.exact import Exact
from stretto.speculate.acceptors.rejection import Rejection
from stretto.speculate.contract import Drafter, Drafting, DraftSession, Room, Tree
from stretto.speculate.drafters.sampled import Sampled
from stretto.speculate.loop import Speculate
from stretto.speculate.planners.fixed import Fixed

V = 6
MODEL = TableModel.random(V, seed=4)
SAMPLED = Speculate(Sampled(TableModel.random(V, seed=5)), Rejection(), Fixed(3))
FAMILIES: dict[str, tuple[Any, list[str | Method]]] = {
    "speculate": (MODEL, ["plain", "lookup+fixed(4)", "suffix", "jacobi", SAMPLED, "recycle+typical"]),
    "route": (LARGE, [Routed(route) for route in ROUTES.values() if route.name != "ambedkar"]),
    "search": (
        MODEL,
        [
            "superposed(alpha=0,kept=6)",
            "superposed(alpha=0,kept=4,sharpness=0.5)",
            "beam(3)",
            "beam(2)+lookup+fixed(3)",
            "best-of(3)+suffix",
            "guided(4,2,segmenter=every(3))+lookup",
        ],
    ),
    "diffuse": (
        WORLDS["bidirectional"],
        ["threshold(0.6)+blocks(4)", "low-confidence+blocks(3)+dual-cache", "threshold+prefix-cache"],
    ),
}


def engine(family: str = "speculate") -> Engine:
    return Engine(FAMILIES[family][0], clock=SimulatedClock())


def drawn(family: str, rng: random.Random) -> tuple[list[int], str | Method, dict[str, Any]]:
    """A prompt, a method and settings."""
    model, methods = FAMILIES[family]
    prompt = [rng.randrange(model.vocabulary - 2) for _ in range(rng.randint(1, 40))]
    settings = {"max_new_tokens": rng.randint(1, 12), "seed": rng.randrange(9), "end_tokens": ()}
    method = rng.choice(methods)
    chance = family != "search" or str(method).startswith(("best-of", "guided"))
    if chance and (family == "search" or rng.random() < 0.5):
        settings["temperature"] = rng.choice([0.7, 1.0])
    if family == "speculate" and rng.random() < 0.5:
        settings |= {"log_probabilities": 1, "repetition_penalty": 1.2, "samples": rng.randint(1, 3)}
    return prompt, method, settings


def begin(served: Engine, prompt: Any, method: str | Method, settings: dict[str, Any]) -> list[Ticket]:
    return list(served._submit([prompt], served._call(method, settings), strict=True)[1])


def one_round(served: Engine) -> None:
    rounds = iter([False] * 3)  # asked before the round, and within it
    served._scheduler.run(lambda: next(rounds, True))


def said(answer: Generation) -> tuple[Any, ...]:
    reports = None if answer.log_probabilities is None else [each.token for each in answer.log_probabilities]
    return answer.tokens, answer.finish, reports


def alone(family: str, prompt: Any, method: str | Method, settings: dict[str, Any]) -> list[tuple[Any, ...]]:
    answers = engine(family).generate([prompt], method, **settings)
    return [said(answer) for answer in answers]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(20))
def test_rows_that_come_go_and_are_preempted_answer_as_alone(family: str, seed: int) -> None:
    rng, served = random.Random(seed), engine(family)
    begun: list[tuple[list[Ticket], Any]] = []
    off: set[int] = set()
    preempted = 0
    for _ in range(400):
        if len(begun) < 6 and rng.random() < 0.5:
            asked = drawn(family, rng)
            begun.append((begin(served, *asked), asked))
        live = [ticket for tickets, _ in begun for ticket in tickets if ticket.status != "ended"]
        if live and (not preempted or rng.random() < 0.15):
            chosen = rng.choice(live)
            preempted += chosen.status == "running"
            served._scheduler.preempt(chosen)
        if live and rng.random() < 0.04:
            chosen = rng.choice(live)
            off.add(id(chosen))
            served._scheduler.cancel([chosen])
            assert chosen.status == "ended"
        if live:
            one_round(served)
        elif len(begun) == 6:
            break
    assert preempted and not served._scheduler._tickets and not served._scheduler._loops
    for tickets, asked in begun:
        for ticket, expected in zip(tickets, alone(family, *asked), strict=True):
            answer = ticket.call.answer(ticket)
            if id(ticket) not in off:
                assert said(answer) == expected, asked
            elif family == "speculate":
                assert answer.tokens == expected[0][: len(answer.tokens)]


def test_what_ends_gives_everything_back() -> None:
    served = engine()
    first, second = begin(served, [1, 2, 3] * 9, "plain", {"max_new_tokens": 30, "samples": 2})
    other = begin(served, [2, 2], "lookup+fixed(4)", {"max_new_tokens": 40})[0]
    for _ in range(4):
        one_round(served)
    loop = other.loop
    assert loop is not None and len(loop.rows) == 3 and len(loop._begun) == 2
    served._scheduler.cancel([first, second])
    assert loop.rows == [other.row] and len(loop.cache.rows) == 1
    gc.collect()
    assert [known for known, work in loop._begun if work() is not None] == [other.method]
    served._scheduler.cancel([other])
    assert not loop.rows and not loop.cache.rows and not served._scheduler._loops


@dataclass(frozen=True, slots=True)
class Faulty(Drafter):
    """Fails for rows that begin with a certain token, once they have some tokens; else a chain of the last one."""

    name: ClassVar[str] = "faulty"
    token: int = 3
    length: int = 6  # of the text at which it fails

    def begin(self, context: Context) -> Drafting:
        return Drafting(self, lambda row: FaultySession(self, row))


class FaultySession(DraftSession):
    def __init__(self, settings: Faulty, row: Row) -> None:
        self.settings, self.row = settings, row

    def propose(self, room: Room) -> Tree:
        tokens = self.row.history.tokens
        if tokens[0] == self.settings.token and len(tokens) >= self.settings.length:
            raise ZeroDivisionError("no such share")
        return Tree.chain(tokens[-1:] * room.depth)

    def fork(self, row: Row) -> FaultySession:
        return FaultySession(self.settings, row)


def test_a_row_that_fails_fails_alone() -> None:
    prompts, faulty = [[1, 2], [3, 2], [2, 2, 1], [3, 1, 1]], Speculate(Faulty(), Exact(), Fixed(3))
    expected = engine().generate(prompts, "plain", max_new_tokens=9)
    found = engine().generate(prompts, faulty, max_new_tokens=9)
    for answer, plain, prompt in zip(found, expected, prompts, strict=True):
        if prompt[0] == 3:
            assert answer.finish == "error" and "ZeroDivisionError: no such share" in str(answer.error)
            assert 0 < len(answer.tokens) < 9 and answer.tokens == plain.tokens[: len(answer.tokens)]
        else:
            assert answer.tokens == plain.tokens and answer.error is None
    with pytest.raises(ZeroDivisionError):
        engine().generate(prompts[1], faulty, max_new_tokens=9)
    served = engine()
    handle = served.submit(prompts[1], faulty, max_new_tokens=9)
    other = served.submit(prompts[0], "plain", max_new_tokens=9)
    assert other.result().tokens == expected[0].tokens
    with pytest.raises(ZeroDivisionError):
        handle.result()


class Hopeless(BaseException):
    """Ends a test that would run for ever."""


def test_samples_that_fail_at_once_end_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share one reading of the prompt; where none has a token yet, they may not be brought together again."""
    rounds: list[int] = []

    def failing(self: FaultySession, room: Room) -> Tree:
        rounds.append(room.nodes)
        if len(rounds) > 40:
            raise Hopeless
        raise ValueError("broken")

    monkeypatch.setattr(FaultySession, "propose", failing)
    engine = Engine(TableModel.random(5, seed=1))
    method = Speculate(Faulty(), Exact(), Fixed(2))
    with pytest.raises(ValueError, match="broken"):
        engine.generate([1, 2], method, samples=3, temperature=1.0, max_new_tokens=4)
    assert len(rounds) <= 8
    assert len(engine.generate([1, 2], "plain", max_new_tokens=4).tokens) == 4


def test_a_row_that_fails_leaves_nothing_to_those_that_still_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, faulty = [[1, 2], [3, 2], [2, 2, 1], [1, 1, 1], [3, 1], [0]], Speculate(Faulty(), Exact(), Fixed(3))
    expected = engine().generate(prompts, "plain", max_new_tokens=9)
    served = engine()
    monkeypatch.setattr(served._scheduler, "_most", 2)
    found = served.generate(prompts, faulty, max_new_tokens=9)
    assert [answer.tokens for answer in found if answer.error is None] == [
        plain.tokens for plain, prompt in zip(expected, prompts, strict=True) if prompt[0] != 3
    ]
    assert [answer.finish == "error" for answer in found] == [prompt[0] == 3 for prompt in prompts]


class Narrow(TableModel):
    """Runs out of memory where more than two rows are evaluated together."""

    def evaluate(self, window: Any, *rest: Any, **more: Any) -> Any:
        if len(window.rows) > 2:
            raise OutOfMemory("too many rows", hint="fewer")
        return super().evaluate(window, *rest, **more)


def test_where_memory_runs_out_fewer_rows_go_on_at_a_time() -> None:
    prompts = [[1, 2], [0, 2], [2, 2, 1], [4, 1, 1], [5]]
    found = Engine(Narrow(V, MODEL.rule), clock=SimulatedClock()).generate(prompts, "lookup", max_new_tokens=9)
    assert [said(each) for each in found] == [
        said(each) for each in engine().generate(prompts, "plain", max_new_tokens=9)
    ]


def test_rows_wait_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    served = engine()
    tickets = [begin(served, [n], "plain", {"max_new_tokens": 5 + n})[0] for n in range(5)]
    monkeypatch.setattr(scheduling, "free_bytes", lambda device: 2 * tickets[0].needs + 100)
    most = 0
    while any(ticket.status != "ended" for ticket in tickets):
        one_round(served)
        most = max(most, sum(ticket.status in ("reading", "running") for ticket in tickets))
    assert most == 2
    assert [ticket.row.new_tokens for ticket in tickets] == [
        engine().generate([n], "plain", max_new_tokens=5 + n).tokens for n in range(5)
    ]


class Watched(TableModel):
    """Writes down the lengths of the windows."""

    def evaluate(self, window: Any, *rest: Any, **more: Any) -> Any:
        self.__dict__.setdefault("seen", []).append(list(window.lengths))
        return super().evaluate(window, *rest, **more)


def test_prompts_are_read_between_rounds_and_the_short_one_need_not_wait() -> None:
    model = Watched(V, MODEL.rule)
    model.max_positions = 4096
    served = Engine(model, clock=SimulatedClock(1.0, 0.1))  # 8 windows of a token cost as much as one of 71
    (running,) = begin(served, [1, 2], "plain", {"max_new_tokens": 200})
    one_round(served)
    (long,) = begin(served, [n % V for n in range(1000)], "plain", {"max_new_tokens": 3})
    one_round(served)
    one_round(served)
    (short,) = begin(served, [5, 1, 2], "plain", {"max_new_tokens": 3})
    rounds = 0
    while not short.row.settled:
        one_round(served)
        rounds += 1
    assert rounds <= 3 and long.status == "reading"
    while long.status == "reading":
        one_round(served)
    read, waits = 0, []  # tokens of prompts between two steps of the row that runs
    for lengths in model.seen[1:]:  # type: ignore[attr-defined]
        read = 0 if max(lengths) == 1 else read + sum(lengths)
        waits.append(read)
    assert max(waits) == 64 and waits.count(0) > len(waits) // 3
    assert running.row.settled >= 16


def test_several_threads_share_an_engine() -> None:
    served, rng = engine(), random.Random(1)
    asked = [drawn("speculate", rng) for _ in range(12)]
    found: dict[int, list[tuple[Any, ...]]] = {}

    def answer(at: int) -> None:
        prompt, method, settings = asked[at]
        found[at] = [said(each) for each in served.generate([prompt], method, **settings)]

    threads = [Thread(target=answer, args=[at]) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[at] for at in range(12)] == [alone("speculate", *each) for each in asked]
    assert not served._scheduler._tickets


def test_what_another_thread_calls_off_in_the_last_round_leaves_as_well() -> None:
    served = engine()
    left = served.stream([1, 2], "plain", max_new_tokens=50)

    def watch(ended: int) -> None:
        if ended:  # the last round is over, and its thread still holds the baton
            thread = Thread(target=left.cancel)
            thread.start()
            thread.join()

    served.generate([2, 1], "plain", max_new_tokens=3, watch=watch)
    assert left.status == "ended" and not served._scheduler._tickets


def test_awaited_answers_and_streams() -> None:
    served, settings = engine(), {"max_new_tokens": 20, "temperature": 1.0, "end_tokens": ()}
    prompts = [[n, 1, 2] for n in range(5)]
    expected = [engine().generate(prompt, "plain", **settings).tokens for prompt in prompts]

    async def streamed(prompt: list[int]) -> list[int]:
        return [token async for piece in served.stream(prompt, "lookup", **settings) for token in piece.tokens]

    async def everything() -> list[Any]:
        called_off = served.submit(prompts[0], "plain", **settings | {"max_new_tokens": 100_000})
        whole = asyncio.gather(*(served.agenerate(prompt, "suffix", **settings) for prompt in prompts))
        pieces = await asyncio.gather(*map(streamed, prompts))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(called_off, 0.01)
        assert called_off.result().finish == "interrupt"
        several = await served.agenerate(prompts, "plain", samples=1, **settings)
        return [[each.tokens for each in await whole], pieces, [each.tokens for each in several]]

    assert asyncio.run(everything()) == [expected] * 3
    with pytest.raises(InvalidRequest):
        asyncio.run(served.agenerate([], "plain"))
    with pytest.raises(Unsupported):
        served.submit([1], "threshold")


def test_a_handle_gives_each_token_once_though_its_row_begins_again() -> None:
    settings = {"max_new_tokens": 12, "temperature": 1.0, "end_tokens": (), "log_probabilities": 0}
    expected = engine().generate([1, 2], SAMPLED, **settings)
    for leave in (False, True):
        served = engine()
        handle = served.stream([1, 2], SAMPLED, **settings)
        pieces = [next(handle), next(handle)]
        served._scheduler.preempt(handle._ticket)
        assert handle.status == "waiting" and not handle._ticket.row.new_tokens
        if leave:
            handle.cancel()
        pieces += handle
        tokens = [token for piece in pieces for token in piece.tokens]
        assert tokens == expected.tokens[: len(tokens)]
        assert leave or (len(tokens) == 12 and [e.token for piece in pieces for e in piece.log_probabilities] == tokens)


def test_a_handle_tells_where_its_answer_is_and_can_be_called_off() -> None:
    served = engine()
    expected = engine().generate([1, 2], "plain", max_new_tokens=8).tokens
    handle = served.stream([1, 2], "plain", max_new_tokens=8)
    assert handle.status == "running" and handle.generation.tokens == []
    assert next(handle).tokens == expected[:1] and handle.generation.tokens == expected[:1]
    handle.cancel()
    assert handle.status == "ended" and [piece.tokens for piece in handle] == [[]]
    assert handle.generation.finish == "interrupt" and handle.result().tokens == expected[:1]
    dropped = served.stream([1, 2], "plain", max_new_tokens=8)
    assert len(served._scheduler._tickets) == 1
    del dropped
    gc.collect()
    assert not served._scheduler._tickets


def test_a_program_may_end_while_answers_are_on_their_way() -> None:
    script = """
from stretto.engine import Engine
from stretto.models.table import TableModel
handles = [Engine(TableModel.random(6, seed=4)).submit([n], "plain", max_new_tokens=10**5) for n in range(3)]
print(next(handles[0]).tokens != [])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")


def test_a_round_may_ask_its_own_engine() -> None:
    """A stopper, a steer or who watches may generate with the engine that is in the middle of a round."""
    served = engine()
    inner: list[list[int]] = []

    def watch(ended: int) -> None:
        inner.append(served.generate([2, 1], "plain", max_new_tokens=4).tokens)

    whole = served.generate([1, 2], "plain", max_new_tokens=6, watch=watch)
    assert whole.tokens == engine().generate([1, 2], "plain", max_new_tokens=6).tokens
    assert inner == [engine().generate([2, 1], "plain", max_new_tokens=4).tokens] * 6


def test_who_watches_may_wait_for_another_answer_and_a_part_may_not() -> None:
    served, inner = engine(), []
    other = served.stream([2, 1], "plain", max_new_tokens=4)
    expected = engine().generate([2, 1], "plain", max_new_tokens=4).tokens
    served.generate([1, 2], "plain", max_new_tokens=3, watch=lambda ended: inner.append(other.result().tokens))
    assert inner and all(tokens == expected for tokens in inner)


class Waiting(TableModel):
    """Waits for an answer of the engine whose round it serves."""

    def evaluate(self, *args: Any, **more: Any) -> Any:
        handle = self.__dict__.get("handle")
        if handle is not None:
            handle.result()
        return super().evaluate(*args, **more)


def test_an_answer_is_not_waited_for_in_its_own_round() -> None:
    model = Waiting(V, MODEL.rule)
    served = Engine(model, clock=SimulatedClock())
    handle = served.stream([2, 1], "plain", max_new_tokens=4)
    model.__dict__["handle"] = handle
    with pytest.raises(Unsupported, match="in the middle of a round"):
        handle.result()
    model.__dict__["handle"] = None
    assert served.generate([1, 2], "plain", max_new_tokens=3).tokens


def test_an_interrupt_as_the_baton_is_let_go_leaves_an_engine_that_answers() -> None:
    served = engine()
    expected = served.generate([1, 2], "plain", max_new_tokens=4).tokens
    baton = Lock()
    baton.acquire()
    assert served._scheduler._take(baton)  # and nobody lets it go
    assert served.generate([1, 2], "plain", max_new_tokens=4).tokens == expected
    assert not served._scheduler._baton.locked()


def test_masked_rows_of_unlike_settings_run_side_by_side() -> None:
    served = engine("diffuse")
    asked = [
        (
            [0, 1],
            "threshold(0.6)+blocks(4)",
            {"max_new_tokens": 8, "temperature": temperature, "seed": 2, "top_k": top_k},
        )
        for temperature, top_k in [(0.0, 0), (1.0, 0), (0.8, 2)]
    ]
    tickets = [begin(served, *each)[0] for each in asked]
    one_round(served)
    assert len({ticket.loop for ticket in tickets}) == 1
    while served._scheduler._tickets:
        one_round(served)
    assert [[said(ticket.call.answer(ticket))] for ticket in tickets] == [alone("diffuse", *each) for each in asked]


def test_the_samples_of_a_search_are_preempted_together() -> None:
    served, settings = engine("search"), {"max_new_tokens": 9, "samples": 1}
    (ticket,) = begin(served, [1, 2, 3], "superposed(alpha=0,kept=6)", settings)
    one_round(served)
    one_round(served)
    served._scheduler.preempt(ticket)
    assert ticket.status in ("waiting", "preempted") and ticket.loop is None
    while served._scheduler._tickets:
        one_round(served)
    assert [said(ticket.call.answer(ticket))] == alone("search", [1, 2, 3], "superposed(alpha=0,kept=6)", settings)
