"""The routes, who may ask, and how what fails is told."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..method import default
from ..models.contract import masking_of
from ..page import page, policy
from .answered import Answered, Message, Receive, Send
from .errors import Refused
from .fields import PATHS, parsed
from .openapi import document
from .service import Service

SLOWEST_BODY = 60.0  # seconds
OPEN = ("/health", "/")  # to everybody
SHOWN = {
    "Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
HERE = ("localhost", "127.0.0.1", "[::1]")


def application(service: Service, *, keys: tuple[str, ...] = (), local: bool = True) -> Starlette:
    """The server as an ASGI application.

    With `keys` one of them must come with every request but those for `/health` and `/`, the page, which asks for it;
    `local`: only names of this machine are answered to, so that no web page can make a browser ask under another one.
    """

    def answering(endpoint: str) -> Callable[[Any], Awaitable[Answered]]:
        async def answer(request: Request) -> Answered:
            begun = perf_counter()
            body = await body_of(request, service.limits.body)
            asked = await service.apart(lambda: service.read(parsed(body), endpoint))
            return Answered(service, asked, begun)

        return answer

    async def tokenize(request: Request) -> Response:
        body = await body_of(request, service.limits.body)
        return JSONResponse(await service.apart(lambda: service.tokenized(parsed(body))))

    async def embeddings(request: Request) -> Response:
        raise Refused(400, "embeddings are not served", "this server decodes: see docs/serve.md")

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        service.require_model(request.path_params["name"])
        return JSONResponse(model)

    async def start(request: Request) -> Response:
        return HTMLResponse(form, headers=SHOWN)

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(service.page(), media_type="text/plain; version=0.0.4")

    model = {"id": service.name, "object": "model", "created": int(time.time()), "owned_by": "stretto"}
    model["max_model_len"] = service.engine.model.max_positions
    form = page([], asking(service))
    routes = [
        Route("/", start),
        *(Route(path, answering(endpoint), methods=["POST"]) for path, endpoint in PATHS.items()),
        Route("/v1/tokenize", tokenize, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", one_model),
        Route("/openapi.json", openapi),
        Route("/health", health),
        Route("/metrics", metrics),
    ]
    guard = Middleware(Guard, service=service, keys=keys, local=local, paths={route.path for route in routes})
    return Starlette(routes=routes, middleware=[guard], exception_handlers={HTTPException: _unrouted})


def asking(service: Service) -> dict[str, Any]:
    """What the form of the page says at first: the usual method, and plain decoding beside it."""
    engine = service.engine
    usual = service.limits.method or default(engine.model)
    methods = [usual, "plain" if masking_of(engine.model) is None else ""]
    return {"methods": methods, "chat": engine.codec.has_template}


async def _unrouted(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path} is not served"
    return JSONResponse(Refused(error.status_code, message, "see docs/serve.md").object, error.status_code)


# -- reading ------------------------------------------------------------------------------------------


async def body_of(request: Request, most: int) -> bytes:
    """The body. Raises Refused where it is none of JSON, too long or too slow."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "the body's content type is not application/json", "Content-Type: application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise Refused(413, f"the body has more than {most} bytes", "send less at once")
    except TimeoutError:
        raise Refused(408, f"the body did not come within {SLOWEST_BODY:.0f} seconds") from None
    return bytes(body)


# -- who may ask, and what fails ----------------------------------------------------------------------


class Guard:
    """Stands before all routes: lets in who may ask, tells what fails, and counts."""

    def __init__(self, app: Any, *, service: Service, keys: tuple[str, ...], local: bool, paths: set[str]) -> None:
        self._app, self._service, self._paths = app, service, paths
        self._keys, self._local = [key.encode() for key in keys], local

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._require(scope)
            await self._app(scope, receive, counted)
        except Exception as error:
            refused = self._service.refusal(error)
            if status:  # the answer has begun, and breaks off
                raise ConnectionError("an answer broke off") from None
            await JSONResponse(refused.object, refused.status, refused.headers)(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._service.metrics.requests[path, status] += 1

    def _require(self, scope: Message) -> None:
        """Raise Refused for who may not ask."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._local and host.rpartition(":")[0] not in HERE and host not in HERE:
            raise Refused(403, "this server answers to the names of its own machine only", "http://127.0.0.1:PORT")
        if not self._keys or scope["path"] in OPEN:
            return
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        fits = [secrets.compare_digest(key.strip(), each) for each in self._keys]
        if kind.lower() != b"bearer" or not any(fits):
            raise Refused(401, "the key is missing or wrong", "Authorization: Bearer KEY", code="invalid_api_key")
