"""Ray, for as long as a command needs it: on this machine, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from ..errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many engines there are, each a process of its own, and what each has for itself."""

    least: int = 1
    most: int = 1  # more than `least`: as many as the load asks for
    cpus: float = 1  # cores
    gpus: float = 0

    @classmethod
    def of(cls, text: str, cpus: float = 1, gpus: float = 0) -> Replicas:
        """From "2", or "1-4". Raises InvalidRequest.

        >>> Replicas.of("1-4")
        Replicas(least=1, most=4, cpus=1, gpus=0)
        """
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= least <= most:
            raise InvalidRequest(f"--replicas is {text!r}", hint="a number, such as 2, or a range, such as 1-4")
        if cpus < 0 or gpus < 0:
            raise InvalidRequest(f"a replica has {cpus:g} cores and {gpus:g} GPUs", hint="0 or more")
        return cls(least, most, cpus, gpus)


@contextmanager
def cluster(replicas: Replicas) -> Iterator[None]:
    """Ray while the block runs; what was started for it, and its files, are gone afterwards.

    It tells nobody about its use, and takes orders from this process alone. Raises InvalidRequest where Ray is not
    there, or the replicas have no room.
    """
    if find_spec("ray") is None:
        raise InvalidRequest("Ray is not there", hint="pip install 'stretto[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    elsewhere = "RAY_ADDRESS" in os.environ
    if not elsewhere and "ray" not in sys.modules:  # which reads it once
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    with TemporaryDirectory(prefix="stretto-ray-", ignore_cleanup_errors=True) as folder:
        here = {"address": "local", "include_dashboard": False, "_temp_dir": folder}
        ray.init(**({} if elsewhere else here), logging_level="ERROR")
        try:
            require_room(replicas, ray.cluster_resources())
            yield
        finally:
            ray.shutdown()


def require_room(replicas: Replicas, there: dict[str, float]) -> None:
    """Raise InvalidRequest where the replicas would wait for ever for their cores."""
    for kind, each in (("CPU", replicas.cpus), ("GPU", replicas.gpus)):
        if (wanted := each * replicas.most) > there.get(kind, 0):
            what = f"{replicas.most} replicas take {wanted:g} {kind}s, and there are {there.get(kind, 0):g}"
            raise InvalidRequest(what, hint=f"fewer --replicas, or a smaller --{kind.lower()}s of each")
