# SPDX-License-Identifier: Apache-2.0
"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vla_infoentropy_ros.session import StepResult

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_PREFIX = "vla_infoentropy"


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = self.registry
        self.clients = Gauge(f"{_PREFIX}_clients", "clients that are served now", registry=own)
        self.episodes = Counter(f"{_PREFIX}_episodes", "episodes that had a step", registry=own)
        self.refused = Counter(f"{_PREFIX}_refused", "requests answered by an error", registry=own)
        self._tokens = Counter(f"{_PREFIX}_visual_tokens", "visual tokens, by what became of them",
                               ["fate"], registry=own)
        self._step = Histogram(f"{_PREFIX}_step_seconds", "time of one step of the policy",
                               buckets=_SECONDS, registry=own)

    def stepped(self, result: StepResult) -> None:
        """Count one step, and the episode that it begins."""
        if result.t == 0:
            self.episodes.inc()
        self._step.observe(result.latency_ms / 1e3)
        report = result.report
        for fate in ("fresh", "reused", "pruned"):
            self._tokens.labels(fate).inc(getattr(report, fate))

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return bytes(generate_latest(self.registry))
