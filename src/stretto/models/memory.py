"""Whether what is asked for fits into the memory that is left."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from ..errors import OutOfMemory

CONTROLLED = {  # what a container's limits are called, by the version of control groups
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
UNLIMITED = 2**60  # bytes; version 1 writes some such number where there is no limit


def require_memory(needed: int, device: torch.device) -> None:
    """Raise OutOfMemory where `needed` bytes do not fit; silent where nobody can tell."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise OutOfMemory(
            f"the cache takes {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            hint="ask for fewer new tokens, samples or prompts at a time",
        )


def free_bytes(device: torch.device, root: Path = Path("/")) -> int | None:
    """Memory that can still be taken on a device; None where it cannot be told. `root`: where the system's files are.

    On a CPU it is what the machine has left, or less where this process lives in a container with a limit.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    machine = _number(root / "proc/meminfo", "MemAvailable:")
    left = [] if machine is None else [machine * 1024]
    for group, (limit, used, unused) in _groups(root):
        most = _number(group / limit) or UNLIMITED
        read_only = _number(group / "memory.stat", unused) or 0  # files in memory: given back when it is asked for
        left.append(max(0, most - (_number(group / used) or 0) + read_only))
    return min(left, default=None)


@cache
def _groups(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The control groups with a limit that this process is in, and what their files are called; looked up once.

    A group's limit holds for those below it. Of a path that is not to be seen from within a container, its root is.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        version = 2 if controllers == "" else 1 if "memory" in controllers.split(",") else None
        if version is not None:
            top = root / "sys/fs/cgroup" / ("memory" if version == 1 else "")
            place = top / path.strip("/")
            for group in (place, *place.parents[: len(place.parts) - len(top.parts)]):
                if (_number(group / CONTROLLED[version][0]) or UNLIMITED) < UNLIMITED:
                    found.append((group, CONTROLLED[version]))
    return found


def _number(file: Path, name: str | None = None) -> int | None:
    """The number in a file of the system's, or in its line of that name; None where there is none, such as `max`."""
    try:
        lines = [line.split() for line in file.read_bytes().splitlines()]
        words = next(words for words in lines if name is None or words[:1] == [name.encode()])
        return int(words[0 if name is None else 1])
    except (OSError, StopIteration, ValueError, IndexError):
        return None
