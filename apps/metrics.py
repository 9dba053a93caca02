"""What Prometheus may ask at /metrics. Labels are route templates and names of bundles, never what a client sent, so they stay few."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from apps.engine import Engine

disable_created_metrics()  # a series more for each of ours, that says when the process began

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Metrics:
    """One server's figures in a registry of their own, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(namespace="kerasdl", registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("kerasdl_requests", "Answers by route.", ("route", "method", "status"), registry=registry)
        self.seconds = Histogram(
            "kerasdl_request_seconds", "Seconds from a request's head to its answer's end.", ("route",), buckets=SECONDS, registry=registry
        )
        self.rejected = Counter("kerasdl_rejected", "Requests refused before or instead of work.", ("reason",), registry=registry)
        self.inference_seconds = Histogram(
            "kerasdl_inference_seconds", "Seconds in onnxruntime.", ("model",), buckets=SECONDS, registry=registry
        )
        self.waiting = Gauge("kerasdl_queue_waiting", "Requests that wait for a worker.", registry=registry)
        self.running = Gauge("kerasdl_queue_running", "Requests that a worker is on.", registry=registry)
        self.model_loaded = Gauge("kerasdl_model_loaded", "1 while the bundle serves.", ("model",), registry=registry)
        self.model_load_seconds = Gauge(
            "kerasdl_model_load_seconds", "Seconds its last load took, warm-up included.", ("model",), registry=registry
        )
        self.reloads = Counter("kerasdl_reloads", "Bundles looked at by a reload, by what became of them.", ("result",), registry=registry)

    def watch(self, engine: Engine) -> None:
        """Read the queue's length whenever somebody asks."""
        self.waiting.set_function(lambda: engine.waiting)
        self.running.set_function(lambda: engine.running)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        return generate_latest(self.registry)


__all__ = ["Metrics"]
