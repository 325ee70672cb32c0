"""Many clients, and kills of the server and its workers at random moments: small as a test, large as a benchmark."""

import os
import random
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from lyrics_asr.files import write_text
from lyrics_asr.server import decoder, processing
from lyrics_asr.server.run import run_server
from lyrics_asr.server.settings import Limits, ServerSettings
from tests import fork_server
from tests.fake_model import FakeModel


class CountingModel(FakeModel):
    """A slow model that counts the songs of all processes in a file."""

    def __init__(self, log, seconds):
        super().__init__()
        self.log, self.seconds = log, seconds

    def vocals(self, songs, options, progress=None):
        with self.log.open("ab", buffering=0) as file:
            file.write(b".")
        time.sleep(self.seconds)
        return super().vocals(songs, options, progress)


def load_counting(folder, seconds, device):
    """The model of a worker, whose process id is noted."""
    write_text(folder / "worker", str(os.getpid()))
    return CountingModel(folder / "runs", seconds)


def serve(folder, port, song_seconds):
    """The server's process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    load = partial(load_counting, folder, song_seconds)
    limits = Limits(queued_jobs=50, client_jobs=1000)  # some are told to come again
    with fork_server.forked(decoder, processing):
        run_server(ServerSettings(data=folder, model="fake", load=load, port=port, limits=limits))


@dataclass(frozen=True)
class StressResult:
    """What became of the jobs.

    Args:
        ids: the id of each job that its client was told, by its number.
        statuses: the status of each job of the library, by id.
        runs: how many songs models have begun.
        repeats: requests that were sent again, because the server was away or its queue was full.
        exit_code: of the server after SIGTERM at the end.
    """

    ids: dict[int, str]
    statuses: dict[str, str]
    runs: int
    repeats: int
    exit_code: int | None


class Stress:
    """A server that is killed and started again while clients send jobs.

    Args:
        folder: data folder.
        song: bytes of an audio file with the words of the fake model.
        song_seconds: how long the model takes for a song.
    """

    def __init__(self, folder: Path, song: bytes, song_seconds: float) -> None:
        self.folder, self.song, self.song_seconds = folder, song, song_seconds
        self.repeats = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def run(self, *, clients: int, jobs: int, kills: int, pause_seconds: float, seed: int = 0) -> StressResult:
        """Send jobs from several clients; kill server and worker in turn, with pauses up to `pause_seconds`."""
        choices = random.Random(seed)
        with fork_server.forked() as context, ThreadPoolExecutor(clients) as pool:
            server = self.start(context)
            ids = {number: pool.submit(self.send, number) for number in range(jobs)}
            for kill in range(kills):
                time.sleep(choices.uniform(0.0, pause_seconds))
                if kill % 2:
                    with suppress(FileNotFoundError, ProcessLookupError):  # it has not begun, or has ended
                        os.kill(int((self.folder / "worker").read_text()), signal.SIGKILL)
                else:
                    os.kill(server.pid, signal.SIGKILL)
                    server.join()
                    server = self.start(context)
            told = {number: sent.result() for number, sent in ids.items()}
            again = choices.sample(sorted(told), min(20, jobs))
            assert [self.send(number) for number in again] == [told[number] for number in again]
            statuses = self.ended()
            os.kill(server.pid, signal.SIGTERM)
            server.join(20)
        runs = (self.folder / "runs").stat().st_size
        return StressResult(told, statuses, runs, self.repeats, server.exitcode)

    def start(self, context):
        """Start the server; until the worker of a killed one has ended, the folder is locked."""
        deadline = time.monotonic() + 120
        process = None
        while time.monotonic() < deadline:
            if process is None or not process.is_alive():
                process = context.Process(target=serve, args=(self.folder, self.port, self.song_seconds))
                process.start()
            try:
                self.client.get("/healthz")
                return process
            except httpx.TransportError:
                time.sleep(0.02)
        raise TimeoutError("the server does not start")

    def send(self, number: int) -> str:
        """Send a job until it is taken, and return its id."""
        while True:
            try:
                form = {"lyrics": "sun\nmoon rain", "prompt": f"song {number}"}
                answer = self.client.post("/v1/jobs", files={"file": (f"{number}.flac", self.song)}, data=form)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                if answer.status_code != 429:
                    return answer.json()["id"]
                time.sleep(int(answer.headers["retry-after"]))
            self.repeats += 1

    def ended(self) -> dict[str, str]:
        """The status of each job, once none waits or runs."""
        while True:
            jobs = self.client.get("/v1/jobs").json()["data"]
            if not any(job["status"] in ("queued", "running") for job in jobs):
                return {job["id"]: job["status"] for job in jobs}
            time.sleep(0.1)
