"""The server as it runs: at its stop the answers on their way have some time to end, and are told where they don't."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from .service import Service

LAST = 5  # seconds after the grace, for what is called off to be told


class Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's, which takes no new connection once it stops, and ends with the last answer."""

    def __init__(self, app: Any, service: Service, *, grace: int, access_log: bool = False) -> None:
        """`grace`: seconds for answers to end once it stops."""
        self._service, self._grace = service, grace
        config = uvicorn.Config(
            app,
            log_level="info" if access_log else "warning",
            access_log=access_log,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=grace + LAST,
            lifespan="off",
        )
        super().__init__(config)

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Let answers end, then call off those that have not: each says so to its client, status 503 or an event."""
        late = asyncio.get_running_loop().call_later(self._grace, self._service.call_off)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
            self._service.close()
