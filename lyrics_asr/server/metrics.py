"""Metrics for Prometheus: the queue, seconds per stage, the real-time factor and failures."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lyrics_asr.server.library import QUEUED, RUNNING, Library

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)
_FACTORS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The metrics of a server."""

    def __init__(self, library: Library) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Queue(library))
        self._songs = Counter("lyrics_asr_songs", "Songs by outcome", ["outcome"], registry=self._registry)
        self._audio = Counter("lyrics_asr_audio_seconds", "Seconds of audio of finished songs", registry=self._registry)
        self._stages = Histogram(
            "lyrics_asr_stage_seconds", "Seconds per song", ["stage"], buckets=_SECONDS, registry=self._registry
        )
        self._factor = Histogram(
            "lyrics_asr_real_time_factor", "Work per audio", buckets=_FACTORS, registry=self._registry
        )

    def song(self, audio_seconds: float, stages: Mapping[str, float]) -> None:
        """Count a finished song."""
        self.count("done")
        self._audio.inc(audio_seconds)
        for stage, seconds in stages.items():
            self._stages.labels(stage).observe(seconds)
        if audio_seconds:
            self._factor.observe(sum(stages.values()) / audio_seconds)

    def count(self, outcome: str) -> None:
        """Count an outcome: "done", "failed" or "worker died"."""
        self._songs.labels(outcome).inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Queue(Collector):
    def __init__(self, library: Library) -> None:
        self._library = library

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily("lyrics_asr_queue", "Songs in the queue", labels=["status"])
        for status in (QUEUED, RUNNING):
            gauge.add_metric([status], self._library.count(status))
        yield gauge
