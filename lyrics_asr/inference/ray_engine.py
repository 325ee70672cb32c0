"""Many machines: workers as actors of a Ray cluster, to which Ray Data gives the songs.

Ray Data starts an actor again that dies, and does its songs again, as often as it takes: a song that kills every actor
would never end. A ledger beside the actors knows which songs were begun and not ended, by which the second actor takes
such a song up when it has no other, and the third lets it go.

Conventions
- Songs and results lie on storage that all machines share, under the same paths; relative paths are from the folder in
  which the command was started.
- `RAY_ADDRESS` names the cluster, as for all of Ray; where there is none, Ray is started on this machine, for the run.
"""

import logging
import math
import os
import pickle
import queue
import signal
import socket
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from threading import Condition, Thread, current_thread, main_thread
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext

from lyrics_asr.console import BatchProgress, quiet
from lyrics_asr.inference.jobs import Outcome
from lyrics_asr.inference.runner import Song
from lyrics_asr.inference.workers import PackedError, WorkerConfig, WorkerResult, is_device_failure, lost_song, serve

_SONGS_IN_FLIGHT = {"cpu": 3, "cuda": 8}
"""Songs that an actor has at a time: some before the networks, some in them together, others behind them."""

_PATIENCE_SECONDS = 0.1
"""How long a song that has been read waits for another one to go through the networks with it."""


@dataclass(frozen=True)
class Layout:
    """How workers are laid out over a cluster."""

    workers: int
    device: str
    cpus_each: int


def work(
    songs: Sequence[Song], config: WorkerConfig, progress: BatchProgress, on_result: Callable[[Outcome], None]
) -> None:
    """Work on songs with the machines of a Ray cluster.

    Args:
        songs: given out in about this order.
        config: what to do; an error in loading it is raised.
        progress: of the songs.
        on_result: called with each outcome as soon as it is there, in this thread.

    Raises:
        ValueError: a device that the cluster does not have, or that Ray does not give out.
    """
    with _connected(config.debug):
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        layout = lay_out([node["Resources"] for node in nodes if node["Alive"]], config.request.device, len(songs))
        ledger = ray.remote(num_cpus=0)(Ledger).remote()
        rows = [{"song": pickle.dumps(song)} for song in songs]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(pickle.dumps(config), layout, os.getcwd(), ledger),
            batch_size=1,
            compute=ActorPoolStrategy(
                size=layout.workers,
                max_tasks_in_flight_per_actor=_SONGS_IN_FLIGHT[layout.device],
                max_concurrent_calls_per_actor=_SONGS_IN_FLIGHT[layout.device],
                enable_true_multi_threading=True,
            ),
            num_cpus=layout.cpus_each,
            num_gpus=0 if layout.device == "cpu" else 1,
        )
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            for packed in batch["result"]:
                result = pickle.loads(packed)
                if isinstance(result, PackedError):
                    raise result.unpacked()
                outcome = result.unpacked()
                on_result(outcome)
                if not outcome.is_kept:
                    progress.show(outcome.job.source.name, outcome.audio_seconds, 1.0)
                    progress.show(outcome.job.source.name, outcome.audio_seconds, None)


def lay_out(nodes: Sequence[Mapping[str, float]], device: str, songs: int) -> Layout:
    """How many workers there are, where, and with how many processor cores each.

    Args:
        nodes: the resources of each machine, as Ray names them.
        device: "auto" for every GPU of the cluster, or one worker a machine where there are none; else "cuda" or "cpu",
            as often as there are to be workers, with commas between.
        songs: there are no more workers than songs.

    Raises:
        ValueError: a device that the cluster does not have, or that Ray does not give out.
    """
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    hosts = [node for node in nodes if node.get("CPU")]
    names = [name.strip() for name in device.split(",")]
    if device == "auto":
        names = ["cuda"] * gpus or ["cpu"] * len(hosts)
    if set(names) not in ({"cpu"}, {"cuda"}):
        raise ValueError(
            f"--device {device}: Ray gives the GPUs out by itself; use auto for all, or cuda,cuda for two workers"
        )
    if names[0] == "cuda" and len(names) > gpus:
        raise ValueError(f"--device {device}: the cluster has {gpus} GPUs; use auto for all of them")
    workers = min(len(names), songs)
    if names[0] == "cuda":
        shares = [node["CPU"] / node["GPU"] for node in hosts if node.get("GPU")]
    else:
        shares = [node["CPU"] / math.ceil(workers / len(hosts)) for node in hosts]
    return Layout(workers, names[0], max(1, int(min(shares))))


class Ledger:
    """Which songs were begun how often without an end; an actor of its own."""

    def __init__(self) -> None:
        self._begun: Multiset[str] = Multiset()

    def deaths(self, stem: str) -> int:
        """How many actors did not live to the end of a song."""
        return self._begun[stem]

    def begin(self, stem: str) -> None:
        """An actor begins a song."""
        self._begun[stem] += 1

    def end(self, stem: str) -> None:
        """The song is over."""
        del self._begun[stem]


class Actor:
    """A worker, as Ray Data wants it: called with songs, in several threads, and let go at the end; see `Service`."""

    def __init__(self, config: bytes, layout: Layout, folder: str, ledger: Any) -> None:
        self._service = Service(config, layout, folder, ledger)

    def __call__(self, batch: dict[str, NDArray[np.object_]]) -> dict[str, list[bytes]]:
        """Process songs; gives their outcomes, or the error with which the task could not be loaded."""
        return {"result": [pickle.dumps(self._service.do(pickle.loads(each))) for each in batch["song"]]}

    def __del__(self) -> None:
        self._service.end()


class Service:
    """What an actor does, with a thread of its own, which would keep the process from its end.

    Args:
        config: what to do, pickled.
        layout: what it may use.
        folder: what relative paths are relative to.
        ledger: shared by all actors.
    """

    def __init__(self, config: bytes, layout: Layout, folder: str, ledger: Any) -> None:
        self._ledger = ledger
        self._queue: queue.SimpleQueue[Song | None] = queue.SimpleQueue()
        self._outcomes: dict[str, Future[WorkerResult | PackedError]] = {}
        self._failure: PackedError | None = None
        self._turn = Condition()
        self._guests, self._is_reserved = 0, False
        Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
        Thread(target=self._live, args=(config, layout, folder), daemon=True).start()

    def end(self) -> None:
        """There are no more songs."""
        self._queue.put(None)

    def do(self, song: Song) -> WorkerResult | PackedError:
        """The outcome of a song, or the error with which the task could not be loaded."""
        stem = song.job.stem.as_posix()
        deaths = ray.get(self._ledger.deaths.remote(stem))
        if deaths > 1:
            ray.get(self._ledger.end.remote(stem))
            return WorkerResult.of(lost_song(song, "Ray's log tells more"))
        with self._place(alone=deaths > 0):
            ray.get(self._ledger.begin.remote(stem))
            result = self._outcome(song)
        ray.get(self._ledger.end.remote(stem))
        return result

    @contextmanager
    def _place(self, *, alone: bool) -> Iterator[None]:
        """Wait until there is no other song, or none that has to be alone."""
        with self._turn:
            self._turn.wait_for(lambda: not self._is_reserved and not (alone and self._guests))
            self._guests += 1
            self._is_reserved = alone
        try:
            yield
        finally:
            with self._turn:
                self._guests -= 1
                self._is_reserved = False
                self._turn.notify_all()

    def _outcome(self, song: Song) -> WorkerResult | PackedError:
        with self._turn:
            if self._failure is not None:
                return self._failure
            coming = self._outcomes[song.job.stem.as_posix()] = Future()
        self._queue.put(song)
        return coming.result()

    def _songs(self) -> Iterator[Song | None]:
        patience: float | None = None
        while True:
            try:
                song = self._queue.get(timeout=patience)
            except queue.Empty:
                patience = None
                yield None
            else:
                if song is None:
                    return
                patience = _PATIENCE_SECONDS
                yield song

    def _live(self, config: bytes, layout: Layout, folder: str) -> None:
        def on_result(outcome: Outcome) -> None:
            if is_device_failure(outcome.error):
                logging.getLogger(__name__).error("the device failed", exc_info=outcome.error)
                os._exit(1)  # Ray starts another actor
            self._outcomes.pop(outcome.job.stem.as_posix()).set_result(WorkerResult.of(outcome))

        try:
            if not os.path.isdir(folder):
                raise FileNotFoundError(
                    f"{folder}: no such folder on {socket.gethostname()}; start the command in one that all share"
                )
            os.chdir(folder)
            unpacked: WorkerConfig = pickle.loads(config)
            with quiet(unpacked.debug):
                serve(
                    self._songs(),
                    unpacked,
                    layout.device,
                    layout.cpus_each,
                    BatchProgress(lambda *share: None),
                    on_result,
                )
        except Exception as error:
            with self._turn:
                self._failure = PackedError.of(error)
                waiting = list(self._outcomes.values())
            for coming in waiting:
                coming.set_result(self._failure)


def _end_with_parent(parent: int) -> None:
    """Wait for the end of a parent that Ray started, then end this process."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


@contextmanager
def _connected(debug: bool) -> Iterator[None]:
    """Be connected to the cluster, and keep Ray's remarks off the terminal."""
    was_connected, terminate = ray.is_initialized(), signal.getsignal(signal.SIGTERM)
    if not was_connected:
        level = logging.WARNING if debug else logging.CRITICAL
        ray.init(include_dashboard=False, log_to_driver=debug, logging_level=level)
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, terminate)  # Ray's own handler ends the process with another exit code
    context = DataContext.get_current()
    context.enable_progress_bars = context.enable_operator_progress_bars = debug
    if not debug:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as null, nullcontext() if debug else redirect_stdout(null):
            yield  # Ray tells of actors that die on stdout
    finally:
        if not was_connected:
            ray.shutdown()
