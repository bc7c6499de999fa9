"""Counts and times, in the text form that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)  # seconds


class Histogram:
    """How many times were at most as long as each bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """One more time."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def lines(self, name: str) -> Iterable[str]:
        """The bounds with how many times were within each."""
        total = 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum}"
        yield f"{name}_count {total}"


class Metrics:
    """What a server has done since it began."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by path and status
        self.gone: int = 0  # clients that went away before their answer was whole
        self.tokens: Counter[str] = Counter()
        self.first = Histogram()  # from the request to its first token
        self.each = Histogram()  # between the tokens of an answer, on average over it

    def text(self, now: Mapping[str, float], rows: Mapping[str, int]) -> str:
        """The page. `now` are gauges by name, `rows` the answers on their way by their status."""
        lines = _counter("stretto_requests_total", "Requests that were answered or refused.")
        lines += [
            f'stretto_requests_total{{path="{at}",status="{status}"}} {n}' for (at, status), n in self.requests.items()
        ]
        lines += _counter("stretto_clients_gone_total", "Clients that went away before their answer was whole.")
        lines += [f"stretto_clients_gone_total {self.gone}"]
        for name, told in TOKENS.items():
            lines += [*_counter(f"stretto_{name}_total", told), f"stretto_{name}_total {self.tokens[name]}"]
        lines += ["# HELP stretto_rows Answers on their way.", "# TYPE stretto_rows gauge"]
        lines += [f'stretto_rows{{status="{status}"}} {count}' for status, count in rows.items()]
        for name, value in now.items():
            lines += [f"# TYPE stretto_{name} gauge", f"stretto_{name} {value}"]
        for name, told, times in (
            ("stretto_first_token_seconds", "From a request to its first token.", self.first),
            ("stretto_token_seconds", "Between the tokens of an answer, on average over it.", self.each),
        ):
            lines += [f"# HELP {name} {told}", f"# TYPE {name} histogram", *times.lines(name)]
        return "\n".join(lines) + "\n"


TOKENS = {
    "prompt_tokens": "Tokens of prompts.",
    "new_tokens": "Tokens of answers.",
    "drafted_tokens": "Tokens that were drafted and verified.",
    "accepted_tokens": "Of those, tokens that were accepted.",
    "rounds": "Rounds that rows took part in.",
}


def _counter(name: str, told: str) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} counter"]
