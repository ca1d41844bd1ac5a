"""What the service counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from sojourn.service.live import Streams


class Metrics:
    """Requests by route, method and status, their durations, and the streams that are open."""

    def __init__(self, streams: Streams) -> None:
        self._registry = CollectorRegistry()
        names = ("route", "method", "status")
        self._requests = Counter("sojourn_requests", "Requests that were answered.", names, registry=self._registry)
        self._seconds = Histogram(
            "sojourn_request_seconds", "From the request to the head of its answer.", ("route",), registry=self._registry
        )
        streaming = Gauge("sojourn_event_streams", "Event streams that are open.", registry=self._registry)
        streaming.set_function(lambda: streams.open)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> Response:
        """``/metrics``."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
