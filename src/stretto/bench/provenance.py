"""Where a figure comes from: command, versions, commit, machine, seed, date."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from .. import __version__

WIDE = (  # what kernels for few bits ask for
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve"),
)


def provenance(**settings: Any) -> dict[str, Any]:
    """A record to stand in every result file; `settings` are the run's own."""
    return {
        "command": shlex.join(["stretto", *sys.argv[1:]]),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {
            "stretto": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": {
            "cpu": cpu(),
            "instructions": instructions(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # before: was it quiet?
        },
        "settings": settings,
    }


def commit() -> str:
    """The commit of the source tree, with `+` where files were changed; empty outside of a repository."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu() -> str:
    """The processor's model."""
    return _told("model name") or platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Those of `WIDE` that the processor has; none where that is not known."""
    flags = set((_told("flags") or _told("Features")).split())
    return [name for name in WIDE if name in flags]


def _told(name: str) -> str:
    """What Linux says of the first processor under this name; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
    except OSError:
        return ""


def machine_line(record: dict[str, Any]) -> str:
    """A provenance record's machine in words."""
    threads = record["machine"]["threads"]
    return f"{threads} thread{'s' * (threads != 1)} of {record['machine']['cpu']}"
