"""What this machine is, and what was measured on it: one small file for each question, in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..files import write_text


def user_cache() -> Path:
    """Where measurements are kept; removing the folder has them made anew."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stretto"


def facts(device: torch.device) -> dict[str, Any]:
    """What times depend on, whatever is timed: the processor, the threads, the version of torch."""
    return {"processor": _processor(device), "threads": torch.get_num_threads(), "torch": torch.__version__}


def place(kind: str, question: str, folder: Path | None = None) -> Path:
    """The file of a question, which need not be there yet; `folder` in place of the user's."""
    return (folder or user_cache()) / f"{kind}-{hashlib.sha256(question.encode()).hexdigest()[:16]}.json"


def recall(path: Path) -> Any:
    """What a file holds; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def remember(path: Path, found: Mapping[str, Any]) -> None:
    """Write what was found; where that is not allowed it is measured again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found))
    except OSError:
        return


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()} {torch.backends.cpu.get_cpu_capability()}"


def stopwatch(device: torch.device) -> Callable[[], float]:
    """Seconds by which costs are told: on a CPU this thread's own, so that what else the machine does counts not."""
    return time.thread_time if device.type == "cpu" else time.perf_counter
