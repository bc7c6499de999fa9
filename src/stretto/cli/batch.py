"""`stretto batch`: answer the requests of a file, in the form of OpenAI's batch files."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from ..files import require_writable
from .arguments import MODEL, add_model, load_engine
from .serve import add_answering, add_replicas, check_answering, in_replica, read_replicas, service_of

if TYPE_CHECKING:
    from ..serve.batch import Batch
    from ..serve.service import Service

ABOUT = ("model", "name", "adapter", "dtype", "weights", "exact", "store", "method", "defaults", "max_new_tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument(
        "source", metavar="IN.jsonl", type=Path, help="a request in each line; or a table, or a folder of both"
    )
    parser.add_argument("named", metavar="MODEL", help="a folder, a shipped model or a hub name, such as zoo/causal")
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT.jsonl",
        type=Path,
        required=True,
        help="where answers are appended as they end; what has one there is not answered again",
    )
    add_answering(parser)
    add_replicas(parser)
    add_model(parser)


def run(given: argparse.Namespace) -> int:
    """Answer all lines. Status 1 where one failed, now or before."""
    if given.model != MODEL:
        raise InvalidRequest(f"two models are named, {given.named} and {given.model}", hint="name one")
    given.model = given.named
    check_answering(given)
    replicas = read_replicas(given)
    if not given.source.exists():
        raise InvalidRequest(f"there is no file {given.source}", hint="name one with a request in each line")
    require_writable(given.out)
    if given.out.exists() and given.out.samefile(given.source):
        raise InvalidRequest("requests and answers are one file", hint="name another with -o")
    if replicas is None:
        with closing(service_for(given)) as service:
            return write(given, lambda batch, told: asyncio.run(batch.run(service, told)))
    from ..serve import cluster, spread

    with cluster.cluster(replicas):
        make = partial(in_replica, given, service_for)
        return write(given, lambda batch, told: spread.run(batch, make, replicas, given.max_rows, told))


def write(given: argparse.Namespace, answer: Callable[[Batch, Callable[[int], object]], object]) -> int:
    """Have all lines answered that have no answer yet, and tell how many have; returns the exit status."""
    from tqdm import tqdm

    from ..serve.batch import Batch, journal

    with journal(given.out) as out:
        batch = Batch(given.source, out, about=json.dumps([getattr(given, name) for name in ABOUT]))
        with tqdm(total=batch.total, initial=len(out.done), unit="request", disable=None, leave=False) as bar:
            answer(batch, bar.update)
    told = f"{given.out}: {len(out.done) - out.failed} answered"
    print(f"{told}, {out.failed} failed" if out.failed else told, file=sys.stderr)
    return 1 if out.failed else 0


def service_for(given: argparse.Namespace) -> Service:
    """What answers."""
    return service_of(given, load_engine(given, rows=given.max_rows))
