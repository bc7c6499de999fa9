"""The server as a deployment of Ray Serve: replicas, each with an engine of its own, behind one address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ModelError
from .cluster import Replicas
from .service import Limits

NAME = "stretto"
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
HOOK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "stretto.serve.affinity.middlewares"}


@contextmanager
def deployed(
    make: Callable[[], Any], limits: Limits, replicas: Replicas, *, host: str, port: int, grace: int, access_log: bool
) -> Iterator[None]:
    """Answers while the block runs, within a `cluster`. `make` gives the server's application, in each replica.

    A replica takes as many requests at a time as it has rows; what comes beyond goes to the next one, waits where all
    are full, and is refused where too many wait. One that dies is begun anew. Afterwards no request is taken, and
    those on their way have `grace` seconds. Raises ModelError where a replica cannot begin.
    """
    from ray import serve
    from ray.serve.config import AutoscalingConfig, BackpressureConfig, RequestRouterConfig

    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    def build() -> Any:  # Ray asks for a function
        return make()

    logs = {"log_level": "INFO" if access_log else "WARNING", "enable_access_log": access_log}
    scale = {"num_replicas": replicas.least}
    if replicas.most > replicas.least:
        sizes = {"min_replicas": replicas.least, "max_replicas": replicas.most}
        scale = {"autoscaling_config": AutoscalingConfig(target_ongoing_requests=limits.rows / 2, **sizes)}
    deployment = serve.deployment(
        serve.ingress(build)(),
        name=NAME,
        **scale,
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        max_ongoing_requests=limits.rows,
        max_queued_requests=max(1, limits.waiting),
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        request_router_config=RequestRouterConfig(
            request_router_class=ROUTER, request_router_kwargs={"num_fallback_replicas": replicas.most}
        ),
        max_constructor_retry_count=1,
        graceful_shutdown_timeout_s=grace,
        logging_config=logs,
    )
    serve.start(
        http_options={"host": host, "port": port},
        controller_options={"runtime_env": {"env_vars": HOOK}},
        logging_config={"log_level": "CRITICAL"},  # what goes wrong is told here
    )
    try:
        try:
            serve.run(deployment.bind(), name=NAME, route_prefix="/")
        except RuntimeError as error:  # which does not say why
            said = serve.status().applications[NAME].deployments[NAME].message.strip()
            raise ModelError(f"no replica could begin: {said.splitlines()[-1]}") from error
        yield
    finally:
        serve.delete(NAME)
