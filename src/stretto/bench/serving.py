"""What a server adds to its engine, and how many requests it answers in time, together and one at a time.

The server is a process of its own, asked over HTTP by this one. Requests come at random moments (a Poisson process) at
rates that double. One is *in time* if its first token comes within `FIRST` times, and each further one within `EACH`
times, what they take where nobody else asks; the goodput is that of the highest rate with `SHARE` of them in time.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPConnection
from statistics import median
from threading import Lock
from time import perf_counter
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ..engine import Engine
from ..errors import ModelError
from .provenance import machine_line
from .results import Spread
from .stored import Stored

Progress = Callable[[], object]

FIRST, EACH, SHARE = 5, 2, 0.9
RATES = (0.5, 1, 2, 4, 8, 16)  # times that at which one at a time would keep up
SHORTEST = 8  # tokens of an answer
WARM = 3  # requests that are not counted


@dataclass(frozen=True, slots=True)
class Wish:
    """One request, the same for whoever answers it."""

    prompt: list[int]
    limit: int
    seed: int

    @property
    def body(self) -> dict[str, Any]:
        """As the API has it."""
        said: dict[str, Any] = {"prompt": self.prompt, "max_tokens": self.limit, "seed": self.seed, "temperature": 1.0}
        return {**said, "stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class Told:
    """How one was answered, in seconds from the moment at which it came."""

    text: str
    tokens: int
    first: float
    last: float

    @property
    def each(self) -> float:
        """Between its tokens, on average."""
        return (self.last - self.first) / max(1, self.tokens - 1)


@dataclass(slots=True)
class Load:
    """Requests at one rate."""

    rate: float  # requests a second that came
    inside: float  # share of them that were answered in time
    good: float  # requests a second that were answered in time
    first: Spread  # seconds
    each: Spread


@dataclass(slots=True)
class Way:
    """How requests were handed to a server, at all rates up to the first at which too few were in time."""

    name: str
    loads: list[list[Load]] = field(default_factory=list)  # by repeat

    @property
    def goodputs(self) -> list[float]:
        """Of each repeat, requests a second; 0 where no rate would do."""
        return [max((load.good for load in loads if load.inside >= SHARE), default=0.0) for loads in self.loads]


@dataclass(slots=True)
class Served(Stored):
    """All figures of a run."""

    COMMAND: ClassVar[str] = "stretto bench serve"
    ENTRY: ClassVar[str] = "added"

    added: Spread  # milliseconds to the first token, beyond the engine in this process
    first: float  # milliseconds where nobody else asks
    each: float
    different: int  # answers that are not the engine's alone
    asked: int
    ways: list[Way] = field(default_factory=list)


@contextmanager
def server(model: str, threads: int | None = None) -> Iterator[str]:
    """The address of `stretto serve` in a process of its own. Raises ModelError where it does not begin."""
    command = [sys.executable, "-m", "stretto.cli", "serve", model, "--port", "0", "--max-waiting", "4096"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        try:
            if found is None:
                raise ModelError(f"the server did not begin: {line.strip()}", hint="see `stretto serve`")
            yield found[0]
        finally:
            process.terminate()


def ask(address: str, wish: Wish, came: float | None = None) -> Told:
    """One answer, as a stream. Raises ModelError where there is none."""
    came = perf_counter() if came is None else came
    url = urlsplit(address)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=600)
    connection.request("POST", f"{url.path}/completions", json.dumps(wish.body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise ModelError(f"the server answered {answer.status}: {answer.read()[:200]!r}", hint="see its log")
    text, tokens, first, last = "", 0, 0.0, 0.0
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[len(b"data: ") :])
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
        for choice in event.get("choices", ()):
            last = perf_counter() - came
            first = first or last
            text += choice.get("text") or ""
    connection.close()
    return Told(text, tokens, first, last)


def wishes(prompts: Sequence[list[int]], count: int, most: int, seed: int) -> list[Wish]:
    """Requests of unequal lengths; prompts in turn."""
    rng = random.Random(seed)
    return [Wish(prompts[at % len(prompts)], rng.randint(SHORTEST, most), rng.randrange(2**31)) for at in range(count)]


def alone(engine: Engine, address: str, asked: Sequence[Wish], *, progress: Progress = lambda: None) -> Served:
    """One at a time, in turn by the engine in this process and by the server."""
    added, told, different = [], [], 0
    for at, wish in enumerate(asked):
        settings: dict[str, Any] = {"max_new_tokens": wish.limit, "seed": wish.seed, "temperature": 1.0}
        begun = perf_counter()
        handle = engine.stream(wish.prompt, **settings)
        next(handle)
        first = perf_counter() - begun
        found, answer = handle.result(), ask(address, wish)
        different += found.text != answer.text
        if at >= WARM:
            added.append(1000 * (answer.first - first))
            told.append(answer)
        progress()
    first, each = (1000 * median(getattr(answer, name) for answer in told) for name in ("first", "each"))
    return Served({}, Spread.of(added), first, each, different, len(asked))


def load(address: str, asked: Sequence[Wish], rate: float, found: Served, *, one: bool, seed: int) -> Load:
    """Requests at a rate, `one` at a time or all together."""
    rng, turn = random.Random(seed), Lock() if one else nullcontext()
    moments, now = [], perf_counter() + 0.1
    for _ in asked:
        moments.append(now)
        now += rng.expovariate(rate)

    def answer(at: int) -> Told:
        time.sleep(max(0.0, moments[at] - perf_counter()))
        with turn:
            return ask(address, asked[at], moments[at])

    with ThreadPoolExecutor(len(asked)) as clients:
        told = list(clients.map(answer, range(len(asked))))
    took = max(moment + each.last for moment, each in zip(moments, told, strict=True)) - moments[0]
    inside = sum(each.first <= FIRST * found.first / 1000 and each.each <= EACH * found.each / 1000 for each in told)
    spreads = (Spread.of([getattr(each, name) for each in told]) for name in ("first", "each"))
    return Load(rate, inside / len(told), inside / took, *spreads)


def ways(
    addresses: dict[str, str], asked: Sequence[Wish], found: Served, repeats: int, *, progress: Progress = lambda: None
) -> list[Way]:
    """Every server together, and the first one also one at a time; their turns alternate."""
    first = next(iter(addresses))
    plan = [(f"{name}, together", address, False) for name, address in addresses.items()]
    plan.insert(1, (f"{first}, one at a time", addresses[first], True))
    made = {name: Way(name) for name, _, _ in plan}
    usual = 1000 / (found.first + found.each * (median(wish.limit for wish in asked) - 1))  # requests a second
    for repeat in range(repeats):
        for name, address, one in plan if repeat % 2 == 0 else reversed(plan):
            loads: list[Load] = []
            for times in RATES:
                loads.append(load(address, asked, times * usual, found, one=one, seed=repeat))
                progress()
                if loads[-1].inside < SHARE:
                    break
            made[name].loads.append(loads)
    return list(made.values())


def table(found: Served) -> str:
    """The figures as text."""
    settings = found.provenance["settings"]
    lines = [
        f"{settings['model']}, {machine_line(found.provenance)}; medians (quartiles)",
        f"first token: {found.added:.2f} ms after the engine's in this process; {found.first:.1f} ms in all",
        f"{found.different} of {found.asked} answers differ from the engine's alone",
        f"in time: first token within {FIRST * found.first:.0f} ms, each further one within {EACH * found.each:.1f} ms",
    ]
    base = found.ways[1].goodputs if found.ways else []
    for way in found.ways:
        ratios = [good / least for good, least in zip(way.goodputs, base, strict=True) if least]
        beside = f", {Spread.of(ratios):.2f} x one at a time" if ratios else ""
        lines.append(f"  {way.name:28}{Spread.of(way.goodputs):.2f} requests a second in time{beside}")
    return "\n".join(lines)
