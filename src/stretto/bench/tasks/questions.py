"""Spec-Bench and MT-Bench: questions that a checkpoint answers by itself, turn by turn.

Spec-Bench: Xia et al., arXiv 2401.07851; MT-Bench: Zheng et al., arXiv 2306.05685. Any reply counts that does not
repeat itself, so these say something about checkpoints that can hold a conversation, and nothing about others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .contract import Exercise
from .files import read_text, records

CHAT = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")  # two turns each
CATEGORIES = {
    "spec": (*CHAT, "translation", "summarization", "qa", "math_reasoning", "rag"),
    "mt": CHAT,
}
PLACES = {  # below the data folder: as it is kept there, or as the benchmark's own repository has it
    "spec": ("bench/spec_bench/question.jsonl.gz", "spec_bench/question.jsonl"),
    "mt": ("bench/mt_bench/question.jsonl.gz", "mt_bench/question.jsonl"),
}


@dataclass(frozen=True, slots=True)
class QuestionTask:
    """One category of one set."""

    family: str  # spec or mt
    category: str
    places: tuple[Path, ...]

    @property
    def name(self) -> str:
        """As the benchmark calls it."""
        return f"{self.family}:{self.category}"

    @property
    def absent(self) -> str:
        """Which file is missing; empty where one of the places holds it."""
        return "" if self._file() else f"no file {self.places[0]}"

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """All questions of the category, shuffled."""
        file = self._file()
        assert file is not None, self.absent
        found = [record for record in records(read_text(file)) if record["category"] == self.category]
        random.Random(f"{self.name}/{seed}").shuffle(found)
        for record in found:
            first, *later = record["turns"]
            yield Exercise(first, later=tuple(later), question=record["question_id"], category=self.category)

    def _file(self) -> Path | None:
        return next((place for place in self.places if place.exists()), None)


def question_tasks(data: Path | None) -> list[QuestionTask]:
    """Every category of both sets, there or not."""
    root = data or Path("data")
    return [
        QuestionTask(family, category, tuple(root / place for place in PLACES[family]))
        for family, categories in CATEGORIES.items()
        for category in categories
    ]
