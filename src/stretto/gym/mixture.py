"""What the zoo's models are trained on: gym chats, worked problems, and real prose and code."""

from __future__ import annotations

import gzip
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stretto.gym import tasks, written

SYSTEM_LINES = (
    "You are stretto, a small and careful assistant.",
    "You are a helpful assistant.",
    "Answer exactly and keep to the format.",
)
SYSTEM_SHARE = 0.04
LATE = {
    "list_edit": 6.0,
    "copy_edit": 3.0,
    "json_edit": 2.5,
    "arithmetic": 3.0,
    "worked_arithmetic": 2.0,
    "sorting": 1.5,
    "counting": 1.5,
    "python_rename": 1.5,
    "reformat": 1.5,
}  # by how much these kinds are drawn more late in training: what a small model learns last
PROBLEM_SHARE = 0.03
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3", "pydoc_data"}


@dataclass(frozen=True, slots=True)
class Chat:
    """One exchange: what is asked, what is answered, and a kind for the log."""

    kind: str
    prompt: str
    answer: str
    system: str = ""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The sources of training documents. Problems and prose may be empty; code must not."""

    problems: tuple[tuple[str, str], ...]
    prose: tuple[str, ...]
    code: tuple[str, ...]

    def chats(self, key: str, late: bool = False) -> Iterator[Chat]:
        """An endless stream of training chats; the same arguments give the same stream."""
        rng = random.Random(key)
        kinds = tasks()
        names = list(kinds)
        shares = [task.share * (LATE.get(name, 1.0) if late else 1.0) for name, task in kinds.items()]
        index = 0
        while True:
            index += 1
            system = rng.choice(SYSTEM_LINES) if rng.random() < SYSTEM_SHARE else ""
            if self.problems and rng.random() < PROBLEM_SHARE:
                question, answer = rng.choice(self.problems)
                yield Chat("gsm8k", question, answer, system)
            else:
                kind = rng.choices(names, shares)[0]
                made = written(kind, "train", f"{key}/{index}")
                yield Chat(kind, made.prompt, made.answer, system)


def load_mixture(data: Path | None = None) -> Mixture:
    """The gym, the standard library's own source, and what the folder `data` holds of GSM8K (train) and old books."""
    problems: list[tuple[str, str]] = []
    prose: list[str] = []
    if data is not None:
        for line in _unzipped(data / "bench/gsm8k/train.jsonl.gz").split("\n"):
            if line:
                record = json.loads(line)
                problems.append((record["question"], re.sub(r"<<.*?>>", "", record["answer"])))
        prose = [_unzipped(path) for path in sorted((data / "corpora/books").glob("*.gz"))]
    return Mixture(tuple(problems), tuple(prose), tuple(standard_library()))


def standard_library() -> Iterator[str]:
    """The source files of this Python's standard library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts[:-1]):
            try:
                yield path.read_text("utf-8")
            except UnicodeDecodeError:  # a handful of old encodings: not worth guessing
                continue


def _unzipped(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8") if path.exists() else ""
