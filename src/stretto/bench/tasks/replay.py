"""Replay sources: real texts that a network is made to write, from files of real benchmarks."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract import Exercise
from .files import read_text, records

OPENING = 120  # characters of a running text that serve as its prompt, about
PASSAGE = 1200  # characters of it that are replayed, at most
EVIDENCE = 1500  # characters of a retrieved passage, at most: the positions of small models are few


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of text, the files below the data folder that it is in, and how exercises are read out of them."""

    kind: str  # mathematics, code, translation …
    files: tuple[str, ...]
    read: Callable[..., Iterable[Exercise]]  # takes the text of each file
    missing: str = ""  # why no such text can be had anywhere


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """One source as a task."""

    source: str
    kind: str
    files: tuple[Path, ...]
    read: Callable[..., Iterable[Exercise]]
    missing: str = ""

    @property
    def name(self) -> str:
        """As the benchmark calls it."""
        return f"replay:{self.source}"

    @property
    def absent(self) -> str:
        """Which file is missing, or why there is none; empty where all are there."""
        return self.missing or next((f"no file {file}" for file in self.files if not file.exists()), "")

    def exercises(self, seed: int) -> Iterator[Exercise]:
        """All exercises of the files, shuffled."""
        found = list(self.read(*map(read_text, self.files)))
        random.Random(f"{self.source}/{seed}").shuffle(found)
        yield from found


# -- mathematics and code ---------------------------------------------------------------------------


def _gsm8k(text: str) -> Iterator[Exercise]:
    for record in records(text):
        yield Exercise(record["question"], reference=uncalculated(record["answer"]))


def uncalculated(solution: str) -> str:
    """Without the annotations for a calculator."""
    return re.sub(r"<<.*?>>", "", solution)


def _math500(text: str) -> Iterator[Exercise]:
    for record in records(text):
        yield Exercise(record["problem"], reference=record["solution"])


def _humaneval(text: str) -> Iterator[Exercise]:
    for record in records(text):
        yield Exercise(record["prompt"], chat=False, reference=record["canonical_solution"])


def _mbpp(text: str) -> Iterator[Exercise]:
    for record in records(text):
        yield Exercise(record["text"], reference=record["code"].replace("\r\n", "\n"))


def _sql(questions: str, schemas: str) -> Iterator[Exercise]:
    """Each question under its database's tables and their columns."""
    tables = {schema["db_id"]: _tables(schema) for schema in json.loads(schemas)}
    for record in records(questions):
        prompt = f"Write a query in SQL.\n{tables[record['db_id']]}\n{record['question']}"
        yield Exercise(prompt, reference=record["query"])


def _tables(schema: dict[str, Any]) -> str:
    """`table(column, column)`, a line each."""
    columns: dict[int, list[str]] = {}
    for table, column in schema["column_names_original"]:
        columns.setdefault(table, []).append(column)
    return "\n".join(f"{name}({', '.join(columns[at])})" for at, name in enumerate(schema["table_names_original"]))


# -- language ---------------------------------------------------------------------------------------


def _translation(text: str) -> Iterator[Exercise]:
    for record in records(text):
        yield Exercise(f"Translate into German: {record['en']}", reference=record["de"])


def _referenced(category: str) -> Callable[[str], Iterator[Exercise]]:
    """Spec-Bench's questions of a category, with their first reference."""

    def read(text: str) -> Iterator[Exercise]:
        for record in records(text):
            if record["category"] == category:
                yield Exercise(record["turns"][0], reference=record["reference"][0])

    return read


def _retrieval(text: str) -> Iterator[Exercise]:
    """Passages and a question about them; the reference is all that counts as an answer."""
    for record in records(text):
        if record["category"] == "rag":
            passages, _, question = record["turns"][0].rpartition("\n")
            answers = record["reference"][0]
            answers = [answers] if isinstance(answers, str) else answers
            yield Exercise(f"{_around(passages, answers)}\n{question}", reference="; ".join(answers))


def _around(passages: str, answers: list[str]) -> str:
    """The stretch of the passages that holds the first answer to be found, about `EVIDENCE` characters."""
    places = [passages.find(answer) for answer in answers]
    at = min((place for place in places if place >= 0), default=0)
    start = max(0, min(at - EVIDENCE // 2, len(passages) - EVIDENCE))
    start = passages.rfind(" ", 0, start) + 1 if start else 0
    return passages[start : start + EVIDENCE]


def _correction(text: str) -> Iterator[Exercise]:
    """Sentences of learners and their correction; those that were right already are copied, as in life."""
    for record in records(text):
        yield Exercise(f"Correct the sentence: {record['source']}", reference=record["references"][0])


# -- running text -----------------------------------------------------------------------------------


def _stories(text: str) -> Iterator[Exercise]:
    for record in records(text):
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


SPEC_BENCH = "bench/spec_bench/question.jsonl.gz"
SPIDER = "corpora/text2sql/spider_dev"

SOURCES: dict[str, Source] = {
    "gsm8k": Source("mathematics", ("bench/gsm8k/test.jsonl.gz",), _gsm8k),
    "math500": Source("mathematics", ("bench/math500/math500.jsonl.gz",), _math500),
    "humaneval": Source("code", ("bench/humaneval/HumanEval.jsonl.gz",), _humaneval),
    "mbpp": Source("code", ("bench/mbpp/mbpp.jsonl.gz",), _mbpp),
    "translation": Source("translation", ("corpora/multi30k/test_2016_flickr.jsonl.gz",), _translation),
    "news": Source("translation", (SPEC_BENCH,), _referenced("translation")),
    "summaries": Source("summarisation", (SPEC_BENCH,), _referenced("summarization")),
    "retrieval": Source("retrieval", (SPEC_BENCH,), _retrieval),
    "correction": Source("correction", ("corpora/jfleg/test.jsonl.gz",), _correction),
    "sql": Source("text to SQL", (f"{SPIDER}/dev.jsonl.gz", f"{SPIDER}/tables.json.gz"), _sql),
    "stories": Source("stories", ("corpora/tinystories/tinystories_2mb.jsonl.gz",), _stories),
    "wikitext": Source("encyclopedia", ("corpora/wikitext2/wiki.test.raw.gz",), _articles),
    "qa": Source("questions", (), lambda: (), "Spec-Bench's questions have no references: measure spec:qa"),
}


def replay_tasks(data: Path | None) -> list[ReplayTask]:
    """Every source, there or not."""
    root = data or Path("data")
    return [
        ReplayTask(name, source.kind, tuple(root / file for file in source.files), source.read, source.missing)
        for name, source in SOURCES.items()
    ]
