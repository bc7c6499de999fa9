"""Kinds of real work, by name: which tasks of the benchmark they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import tasks
from ..tasks import BenchTask
from ..tasks.questions import CHAT

KINDS: Mapping[str, tuple[str, ...]] = {  # the first six are Spec-Bench's; first turns only
    "conversation": tuple(f"spec:{category}" for category in CHAT),
    "translation": ("spec:translation",),
    "summaries": ("spec:summarization",),
    "questions": ("spec:qa",),
    "mathematics": ("spec:math_reasoning",),
    "retrieval": ("spec:rag",),
    "mt-bench": ("mt",),
    "gsm8k": ("gsm8k",),
    "humaneval": ("humaneval",),
    "mbpp": ("replay:mbpp",),
    "edits": ("replay:correction",),
}


def kinds(names: Sequence[str], data: Path | None) -> dict[str, list[BenchTask]]:
    """The tasks of each kind; a name is a kind, or a task's. All kinds without any. Raises UnknownName."""
    return {name: tasks.select(KINDS.get(name, (name,)), data) for name in names or KINDS}
