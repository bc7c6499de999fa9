"""`stretto serve`: answers over HTTP, as OpenAI's API does."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from ..errors import InvalidRequest
from .arguments import MODEL, add_method, add_model, load_engine, read_method

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ..engine import Engine
    from ..serve.cluster import Replicas
    from ..serve.service import Service

T = TypeVar("T")
KEY = "STRETTO_API_KEY"  # in the environment, where other users do not see it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("named", nargs="?", metavar="MODEL", help=f"a folder, a shipped model or a hub name ({MODEL})")
    where = parser.add_argument_group("where, and for whom")
    where.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1: this machine alone)")
    where.add_argument("--port", type=int, default=8000, metavar="N", help="0 takes a free one (8000)")
    where.add_argument(
        "--api-key", action="append", default=[], metavar="KEY", help=f"that requests must bring; better ${KEY}"
    )
    where.add_argument("--no-auth", action="store_true", help="listen at another address without a key")
    most = parser.add_argument_group("how much")
    most.add_argument(
        "--max-waiting", type=int, default=128, metavar="N", help="answers that wait: more are refused (128)"
    )
    most.add_argument(
        "--round-tokens",
        type=int,
        metavar="N",
        help="of answers and prompts in a round: prompts get what answers leave (as much as costs eight tokens apart)",
    )
    most.add_argument("--max-body", type=int, default=4 << 20, metavar="BYTES", help="of a request (4 MiB)")
    most.add_argument(
        "--grace", type=int, default=30, metavar="S", help="seconds for answers to end once it stops (30)"
    )
    add_answering(parser)
    parser.add_argument("--access-log", action="store_true", help="a line for each request: no texts, no keys")
    add_replicas(parser)
    add_model(parser)


def add_replicas(parser: argparse.ArgumentParser) -> None:
    """--ray and what belongs to it: what `read_replicas` reads."""
    group = parser.add_argument_group("on several cores or machines")
    group.add_argument(
        "--ray", action="store_true", help="replicas through Ray, here or in the cluster that $RAY_ADDRESS names"
    )
    group.add_argument("--replicas", metavar="N", help="so many, or as the load asks for: 1-4 (1)")
    group.add_argument("--cpus", type=float, metavar="N", help="cores of each (1)")
    group.add_argument("--gpus", type=float, metavar="N", help="GPUs of each (0)")


def read_replicas(given: argparse.Namespace) -> Replicas | None:
    """The replicas that are asked for; None: this process answers. Raises InvalidRequest."""
    from ..serve.cluster import Replicas

    named = [name for name in ("replicas", "cpus", "gpus") if getattr(given, name) is not None]
    if not given.ray:
        if named:
            raise InvalidRequest(f"--{named[0]} is of replicas, which run through Ray", hint="--ray")
        return None
    given.reproducible = True  # so that it does not matter which of them answers
    return Replicas.of(given.replicas or "1", *(1 if given.cpus is None else given.cpus, given.gpus or 0))


def add_answering(parser: argparse.ArgumentParser) -> None:
    """How requests are answered: what `service_of` reads."""
    how = parser.add_argument_group("how requests are answered")
    how.add_argument("--name", help="what they call the model (its name, or its folder's)")
    add_method(how)  # type: ignore[arg-type]
    how.add_argument(
        "--allow-method",
        action="append",
        default=[],
        metavar="METHOD",
        help="that requests may name though it names a file or a model, such as 'draft(model=FOLDER)'",
    )
    how.add_argument(
        "--defaults", choices=["stretto", "model"], default="stretto", help="model: generation_config.json's settings"
    )
    how.add_argument("--max-rows", type=int, default=32, metavar="N", help="answers that run at a time (32)")
    how.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="of an answer (as many as the model has positions)"
    )


def run(given: argparse.Namespace) -> int:
    """Serve until interrupted."""
    keys = tuple(filter(None, (*given.api_key, os.environ.get(KEY))))
    check(given, keys)
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise InvalidRequest(f"the server needs {name}, which is not there", hint="pip install 'stretto[serve]'")
    replicas = read_replicas(given)
    listening = listen(given.host, given.port)
    if replicas is not None:
        serve_replicas(given, keys, replicas, listening)
        return 0
    app = application_of(given, keys)
    from ..serve.running import Server

    listening.listen()  # who is told that it serves may ask
    say(given, *listening.getsockname()[:2])
    Server(app, app.state.service, grace=given.grace, access_log=given.access_log).run(sockets=[listening])
    return 0


def serve_replicas(
    given: argparse.Namespace, keys: tuple[str, ...], replicas: Replicas, listening: socket.socket
) -> None:
    """The same by Ray, until it is interrupted or told to end."""
    from ..serve.cluster import cluster
    from ..serve.replicas import deployed
    from ..serve.service import Limits

    host, port = listening.getsockname()[:2]
    listening.close()  # Ray's proxy takes it
    limits = Limits(rows=given.max_rows, waiting=given.max_waiting)
    where = {"host": host, "port": port, "grace": given.grace, "access_log": given.access_log}
    stopped = Event()
    make = partial(in_replica, given, partial(application_of, keys=keys))
    with cluster(replicas), deployed(make, limits, replicas, **where):
        for sent in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sent, lambda *_: stopped.set())
        say(given, host, port)
        stopped.wait()


def in_replica(given: argparse.Namespace, make: Callable[[argparse.Namespace], T]) -> T:
    """What is made of the options, in another process, which has taken in no plug-ins yet."""
    from ..catalogue import plug_in

    for file in given.plugin:
        plug_in(file)
    return make(given)


def application_of(given: argparse.Namespace, keys: tuple[str, ...]) -> Starlette:
    """The server as an ASGI application, with a service of its own as its `state.service`."""
    from ..pace.patience import Patience
    from ..pace.sarathi import Sarathi

    pace = Patience() if given.round_tokens is None else Sarathi(given.round_tokens)
    engine = load_engine(given, rows=given.max_rows, pace=pace)
    service = service_of(given, engine, waiting=given.max_waiting, body=given.max_body)
    from ..serve.app import application

    app = application(service, keys=keys, local=is_local(given.host) and not keys)
    app.state.service = service
    return app


def say(given: argparse.Namespace, host: str, port: int) -> None:
    """Tell who starts it where it is."""
    address = f"[{host}]" if ":" in host else host
    print(f"serving {name_of(given)} at http://{address}:{port}/v1", file=sys.stderr, flush=True)


def check(given: argparse.Namespace, keys: tuple[str, ...]) -> None:
    """Raise InvalidRequest for options that cannot be meant, before anything is loaded."""
    if given.named and given.model != MODEL:
        raise InvalidRequest(f"two models are named, {given.named} and {given.model}", hint="name one")
    given.model = given.named or given.model
    if not is_local(given.host) and not keys and not given.no_auth:
        hint = f"set {KEY}, or --no-auth where everybody who reaches it may ask"
        raise InvalidRequest(f"{given.host} is an address of others, and there is no key", hint=hint)
    require_least(given, max_waiting=0, max_body=1, grace=0, port=0)
    if given.round_tokens is not None:
        require_least(given, round_tokens=1)
    check_answering(given)


def check_answering(given: argparse.Namespace) -> None:
    """The same for the options of `add_answering`."""
    require_least(given, max_rows=1)
    for text in filter(None, (given.method, *given.allow_method)):
        if (rows := read_method(text).rows(1)) > given.max_rows:
            raise InvalidRequest(f"{text!r} takes {rows} rows, and there are {given.max_rows}", f"--max-rows {rows}")


def require_least(given: argparse.Namespace, **least: int) -> None:
    """Raise InvalidRequest for an option that is smaller."""
    for name, value in least.items():
        if getattr(given, name) < value:
            raise InvalidRequest(f"--{name.replace('_', '-')} is {getattr(given, name)}", hint=f"{value} or more")


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound. Raises InvalidRequest where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        raise InvalidRequest(f"cannot listen at {host}:{port}: {error}", hint="--port 0 takes a free one") from error
    return made


def service_of(given: argparse.Namespace, engine: Engine, **limits: int) -> Service:
    """What answers requests as the options say. Raises InvalidRequest for a method that the model has not."""
    from .. import method
    from ..serve.service import Limits, Service

    for text in filter(None, (given.method, *given.allow_method)):
        method.check(read_method(text), engine.model)
    limits["new_tokens"] = engine.model.max_positions if given.max_new_tokens is None else given.max_new_tokens
    methods = tuple(given.allow_method)
    told = Limits(rows=given.max_rows, method=given.method, methods=methods, defaults=given.defaults, **limits)
    return Service(engine, name_of(given), told)


def name_of(given: argparse.Namespace) -> str:
    """What requests call the model."""
    folder = Path(given.model)
    return given.name or (folder.name if folder.exists() else given.model)
