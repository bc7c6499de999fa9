"""Replay sources: real texts that a network is made to write, from files of real benchmarks."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract import Exercise

Reader = Callable[[str], Iterable[Exercise]]

OPENING = 120  # characters of a running text that serve as its prompt, about
PASSAGE = 1200  # characters of it that are replayed, at most


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """One source: a file below the data folder, and how exercises are read out of its text."""

    source: str
    file: Path
    read: Reader

    @property
    def name(self) -> str:
        """As the benchmark calls it."""
        return f"replay:{self.source}"

    @property
    def absent(self) -> str:
        """Which file is missing; empty where it is there."""
        return "" if self.file.exists() else f"no file {self.file}"

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """All exercises of the file, shuffled."""
        found = list(self.read(gzip.decompress(self.file.read_bytes()).decode("utf-8")))
        random.Random(f"{self.source}/{seed}").shuffle(found)
        yield from found


def _records(text: str) -> Iterator[dict[str, Any]]:
    """Lines of JSON; split at newlines only, since strings may hold other line ends."""
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)


def _gsm8k(text: str) -> Iterator[Exercise]:
    for record in _records(text):
        solution = re.sub(r"<<.*?>>", "", record["answer"])  # annotations for a calculator
        yield Exercise(record["question"], reference=solution)


def _humaneval(text: str) -> Iterator[Exercise]:
    for record in _records(text):
        yield Exercise(record["prompt"], chat=False, reference=record["canonical_solution"])


def _mbpp(text: str) -> Iterator[Exercise]:
    for record in _records(text):
        yield Exercise(record["text"], reference=record["code"].replace("\r\n", "\n"))


def _translation(text: str) -> Iterator[Exercise]:
    for record in _records(text):
        yield Exercise(f"Translate into German: {record['en']}", reference=record["de"])


def _stories(text: str) -> Iterator[Exercise]:
    for record in _records(text):
        yield from _continued(record["text"])


def _articles(text: str) -> Iterator[Exercise]:
    for paragraph in text.split("\n"):
        if not paragraph.strip().startswith("="):  # headings
            yield from _continued(paragraph.strip())


def _continued(text: str) -> Iterator[Exercise]:
    """The text's opening as the prompt, what follows as the reference; nothing of a short text."""
    end = text.find(" ", OPENING)
    if end > 0 and len(text) - end > OPENING:
        yield Exercise(text[:end], chat=False, reference=text[end:PASSAGE])


# name -> file below the data folder, reader
SOURCES: dict[str, tuple[str, Reader]] = {
    "gsm8k": ("bench/gsm8k/test.jsonl.gz", _gsm8k),
    "humaneval": ("bench/humaneval/HumanEval.jsonl.gz", _humaneval),
    "mbpp": ("bench/mbpp/mbpp.jsonl.gz", _mbpp),
    "stories": ("corpora/tinystories/tinystories_2mb.jsonl.gz", _stories),
    "translation": ("corpora/multi30k/test_2016_flickr.jsonl.gz", _translation),
    "wikitext": ("corpora/wikitext2/wiki.test.raw.gz", _articles),
}


def replay_tasks(data: Path | None) -> list[ReplayTask]:
    """Every source, there or not."""
    return [ReplayTask(name, (data or Path("data")) / file, read) for name, (file, read) in SOURCES.items()]
