"""A server with a fake model, in this process; its workers and decoders are forked from the tests' server."""

import shutil
import time
from contextlib import contextmanager
from threading import Thread

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'lyrics-asr[serve]'")

import uvicorn
from fastapi.testclient import TestClient

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.server import decoder, processing
from lyrics_asr.server.app import create_app
from lyrics_asr.server.settings import Limits, ServerSettings
from tests import fork_server
from tests.fake_model import BACKING, RATE_HZ, VOICE, FakeModel

_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


def load_fake(device):
    return FakeModel()


@contextmanager
def running(folder, **options):
    """A client of a running server."""
    options.setdefault("limits", Limits())
    settings = ServerSettings(data=folder, model="fake", load=load_fake, **options)
    folder.mkdir(exist_ok=True)
    with (
        fork_server.forked(decoder, processing),
        TestClient(create_app(settings), base_url="http://localhost", client=("127.0.0.1", 1)) as client,
    ):
        yield client


@contextmanager
def listening(folder, **options):
    """The address of a server that listens on a port."""
    settings = ServerSettings(data=folder, model="fake", load=load_fake, port=0, **options)
    folder.mkdir(exist_ok=True)
    config = uvicorn.Config(create_app(settings), port=0, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    with fork_server.forked(decoder, processing):
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            (bound,) = server.servers
            yield f"http://localhost:{bound.sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra dev: pip install 'lyrics-asr[dev]'")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@contextmanager
def opened_page(browser, request):
    """A page of the size that the test is parametrized with, on which no error may occur."""
    width, height = getattr(request, "param", (1280, 800))
    page = browser.new_page(viewport={"width": width, "height": height})
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(30_000)
    yield page
    page.close()
    assert errors == []


@pytest.fixture(scope="session")
def song(tmp_path_factory):
    """The bytes of a song."""
    path = tmp_path_factory.mktemp("songs") / "song.flac"
    write_audio(path, Audio(VOICE + BACKING, RATE_HZ))
    return path.read_bytes()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server") / "data") as client:
        yield client


def finished(client, job):
    """The job at its end."""
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        for _ in response.iter_lines():
            pass
    return client.get(f"/v1/jobs/{job['id']}").json()
