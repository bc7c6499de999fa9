"""`stretto batch`: answer the requests of a file, in the form of OpenAI's batch files."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from ..errors import InvalidRequest
from ..files import require_writable
from .arguments import MODEL, add_model, load_engine
from .serve import add_answering, check_answering, service_of

ABOUT = ("model", "name", "adapter", "dtype", "weights", "exact", "method", "defaults", "max_new_tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("source", metavar="IN.jsonl", type=Path, help="a request in each line")
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
    add_model(parser)


def run(given: argparse.Namespace) -> int:
    """Answer all lines. Status 1 where one failed, now or before."""
    if given.model != MODEL:
        raise InvalidRequest(f"two models are named, {given.named} and {given.model}", hint="name one")
    given.model = given.named
    check_answering(given)
    if not given.source.is_file():
        raise InvalidRequest(f"there is no file {given.source}", hint="name one with a request in each line")
    require_writable(given.out)
    if given.out.exists() and given.out.samefile(given.source):
        raise InvalidRequest("requests and answers are one file", hint="name another with -o")
    from tqdm import tqdm

    from ..serve.batch import Batch, journal

    service = service_of(given, load_engine(given, rows=given.max_rows))
    try:
        with journal(given.out) as out:
            about = json.dumps([getattr(given, name) for name in ABOUT])
            batch = Batch(service, given.source, out, about=about)
            with tqdm(total=batch.total, initial=len(out.done), unit="request", disable=None, leave=False) as bar:
                asyncio.run(batch.run(bar.update))
    finally:
        service.close()
    told = f"{given.out}: {len(out.done) - out.failed} answered"
    print(f"{told}, {out.failed} failed" if out.failed else told, file=sys.stderr)
    return 1 if out.failed else 0
