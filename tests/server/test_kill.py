"""A server and workers that are killed at any moment, with real processes: nothing is lost, nothing is done twice."""

import multiprocessing
import os
import random
import signal
import socket
import time
from types import SimpleNamespace

import httpx
import psutil
import pytest

from lyrics_asr.formats import parse_json
from lyrics_asr.server import decoder, processing
from lyrics_asr.server.run import run_server
from lyrics_asr.server.settings import ServerSettings
from tests import fork_server
from tests.fake_model import FakeModel

WORDS = ("sun", "moon", "rain", "sun moon", "moon rain")


class SlowModel(FakeModel):
    def vocals(self, songs, options, progress=None):
        time.sleep(0.3)
        return super().vocals(songs, options, progress)


def load_slow(device):
    return SlowModel()


def serve(folder, port):
    """The server's process; its workers are forked from it, which has imported everything."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line does
    fork = SimpleNamespace(get_context=lambda method: multiprocessing.get_context("fork"))
    decoder.multiprocessing = processing.multiprocessing = fork
    run_server(ServerSettings(data=folder, model="fake", load=load_slow, port=port))


@pytest.mark.slow
def test_kills(song, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "data"
    folder.mkdir()
    choices = random.Random(0)
    told = {}
    with fork_server.forked() as context, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

        def start():
            process = context.Process(target=serve, args=(folder, port))
            process.start()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    client.get("/healthz")
                    return process
                except httpx.TransportError:
                    time.sleep(0.02)
                    if not process.is_alive():  # the lock of the killed one's worker
                        process = context.Process(target=serve, args=(folder, port))
                        process.start()
            raise TimeoutError("the server does not start")

        server = start()
        for number, word in enumerate(WORDS):
            answer = client.post("/v1/jobs", files={"file": ("song.flac", song)}, data={"lyrics": word})
            told[word] = answer.json()["id"]
            time.sleep(choices.uniform(0.0, 1.2))
            if number % 2:  # the worker, which is the oldest child; decoders live shortly
                min(psutil.Process(server.pid).children(), key=psutil.Process.create_time).kill()
            else:
                os.kill(server.pid, signal.SIGKILL)
                server.join()
                server = start()
        for word, job_id in told.items():
            answer = client.post("/v1/jobs", files={"file": ("song.flac", song)}, data={"lyrics": word})
            assert answer.json()["id"] == job_id
        deadline = time.monotonic() + 60
        while any(job["status"] != "done" for job in client.get("/v1/jobs").json()["data"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        jobs = client.get("/v1/jobs").json()["data"]
        assert sorted(job["id"] for job in jobs) == sorted(told.values())
        for word, job_id in told.items():
            transcript = client.get(f"/v1/jobs/{job_id}/results/transcript.json").text
            assert parse_json(transcript, word).text.strip() == word
        os.kill(server.pid, signal.SIGTERM)
        server.join(20)
        assert server.exitcode == 0
    assert sorted(path.name for path in (folder / "songs").iterdir()) == sorted(told.values())
