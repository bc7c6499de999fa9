"""Whether what is asked for fits into the memory that is left."""

from __future__ import annotations

import torch

from ..errors import OutOfMemory


def require_memory(needed: int, device: torch.device) -> None:
    """Raise OutOfMemory where a cache of `needed` bytes does not fit; silent where nobody can tell."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise OutOfMemory(
            f"the cache takes {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            hint="ask for fewer new tokens, samples or prompts at a time",
        )


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be taken on a device; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
