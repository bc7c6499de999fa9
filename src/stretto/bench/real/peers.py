"""The engines that people use today, each by its best ways and in an environment of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...generation import Counters
from ..contestants import GREEDILY, Answer, Case, Draw
from ..rounds import Round
from .worker import SCRIPT, Worker

FIRST = Round(slots=1, accepted=0, refused=False, committed=1, seconds=0.0)  # all that is known: one token comes first


@dataclass(frozen=True, slots=True)
class Other:
    """An engine that answers through `serve.py`."""

    name: str  # there, and the option that gives its interpreter
    package: str  # which wheel has it
    ways: Mapping[str, str]  # how the contestant is called -> what `serve.py` calls the way; the first one is plain
    tells: bool  # the probability of every token

    def command(self, python: str) -> list[str]:
        """What begins its process."""
        return [python, str(SCRIPT), self.name]

    @property
    def missing(self) -> str:
        """What to do where nobody says where it is."""
        return f"python -m venv ENV; ENV/bin/pip install {self.package}; then --{self.name} ENV/bin/python"


OTHERS = (
    Other("llamacpp", "xllamacpp", {"llama.cpp": "", "llama.cpp lookup": "ngram-simple"}, tells=True),
    Other("openvino", "openvino-genai", {"OpenVINO": "", "OpenVINO lookup": "lookup"}, tells=False),
)


class Peer:
    """One way of such an engine. Prompt and decoding seconds are its own."""

    ours = False
    learns = False

    def __init__(self, name: str, worker: Worker, max_new_tokens: int) -> None:
        self.name = name
        self._worker = worker
        self._max_new_tokens = max_new_tokens
        self._draw = GREEDILY

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """Take the draw."""
        self._draw = draw

    def answer(self, cases: Sequence[Case]) -> Answer:
        """One question for the whole group. Raises ModelError where it fails."""
        found = self._worker.ask(
            prompts=[case.prompt for case in cases],
            limit=self._max_new_tokens,
            temperature=self._draw.temperature,
            seed=1009 * self._draw.seed + self._draw.repeat,
        )
        tokens: list[list[int]] = found["tokens"]
        counters = Counters(
            rounds=found["rounds"],
            row_forwards=found["rounds"],
            drafted=found["drafted"],
            accepted=found["accepted"],
            prompt_tokens=sum(len(case.prompt) for case in cases),
            new_tokens=sum(map(len, tokens)),
            prompt_seconds=found["first_seconds"],
            seconds=found["seconds"] - found["first_seconds"],
        )
        return Answer(tokens, counters, lambda: [[FIRST] for _ in tokens])

    def bound(self, case: Case, draw: Draw) -> bool:
        """Its arithmetic is its own."""
        return False
