"""What is free: the machine's memory, or what a container's limits leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stretto.errors import OutOfMemory
from stretto.models.memory import free_bytes, require_memory

CPU = torch.device("cpu")
GIB = 2**30


def system(root: Path, group: str, files: dict[str, str]) -> Path:
    """A system's files below `root`: 8 GiB available, this process in `group`."""
    known = {
        "proc/meminfo": "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n",
        "proc/self/cgroup": f"{group}\n",
    }
    for name, text in (known | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


def two(folder: str, limit: str, current: int, cached: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/{folder}"
    stat = f"anon 5\ninactive_file {cached}\nactive_file 7\n"
    return {
        f"{folder}memory.max": limit + "\n",
        f"{folder}memory.current": f"{current}\n",
        f"{folder}memory.stat": stat,
    }


def one(folder: str, limit: int, current: int, cached: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory/{folder}"
    return {
        f"{folder}memory.limit_in_bytes": f"{limit}\n",
        f"{folder}memory.usage_in_bytes": f"{current}\n",
        f"{folder}memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}\n",
    }


UNLIMITED = 9223372036854771712  # how version 1 says that there is no limit


@pytest.mark.parametrize(
    ("group", "files", "left"),
    [
        ("0::/", {}, 8 * GIB),
        ("0::/", two("", str(3 * GIB), GIB), 2 * GIB),  # in a container, its own group is the root
        ("0::/", two("", str(3 * GIB), GIB, cached=GIB // 2), 2 * GIB + GIB // 2),
        ("0::/", two("", str(3 * GIB), 4 * GIB), 0),
        ("0::/", two("", str(64 * GIB), GIB), 8 * GIB),  # more than the machine has
        ("0::/a/b", two("a/b/", "max", GIB) | two("a/", str(2 * GIB), GIB), GIB),  # the limit of what it is in
        ("0::/a/b", two("a/b/", str(2 * GIB), GIB) | two("a/", str(9 * GIB), GIB), GIB),
        ("0::/unseen/b", two("", str(2 * GIB), GIB), GIB),
        ("4:memory:/a\n1:cpu:/", one("a/", 3 * GIB, GIB) | one("", UNLIMITED, GIB), 2 * GIB),
        ("4:cpu,memory:/docker/f\n0::/", one("", 3 * GIB, GIB, cached=GIB), 3 * GIB),  # seen from within
        ("4:memory:/a", one("a/", UNLIMITED, GIB), 8 * GIB),
        ("nonsense", {"sys/fs/cgroup/memory.max": "?"}, 8 * GIB),
    ],
)
def test_a_containers_limit_counts(group: str, files: dict[str, str], left: int, tmp_path: Path) -> None:
    assert free_bytes(CPU, system(tmp_path, group, files)) == left


def test_where_nobody_can_tell_nothing_is_refused(tmp_path: Path) -> None:
    assert free_bytes(CPU, tmp_path) is None
    free = free_bytes(CPU)
    assert free is None or 0 <= free < 2**50
    require_memory(0, CPU)
    if free is not None:
        with pytest.raises(OutOfMemory, match="GiB are free") as caught:
            require_memory(2**60, CPU)
        assert "samples" in caught.value.hint
