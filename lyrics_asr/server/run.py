"""Run the application with uvicorn, on a data folder that no other server uses."""

import fcntl
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import uvicorn

from lyrics_asr.audio import AUDIO_SUFFIXES
from lyrics_asr.console import UsageError, say
from lyrics_asr.inference.jobs import find_jobs, with_lyrics
from lyrics_asr.lyrics.languages import AUTO
from lyrics_asr.server.app import create_app
from lyrics_asr.server.decoder import FORK_SERVER_MODULES
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.settings import ServerSettings
from lyrics_asr.server.state import ServerState, Upload


def run_server(settings: ServerSettings, songs: Path | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; songs in progress are queued for the next start.

    Args:
        settings: settings of the server.
        songs: folder of songs to add at the start.

    Raises:
        UsageError: another server uses the data folder.
    """
    multiprocessing.set_forkserver_preload(list(FORK_SERVER_MODULES))
    with _locked(settings.data):
        app = create_app(settings)
        server = _Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=3,
            ),
            songs,
        )
        with suppress(KeyboardInterrupt):
            server.run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, songs: Path | None) -> None:
        super().__init__(config)
        self._songs = songs

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start, then add the songs."""
        await super().startup(sockets)
        if self._songs is not None and self.started:
            await add_songs(self.config.app.state.server, self._songs)  # type: ignore[union-attr]


async def add_songs(state: ServerState, folder: Path) -> None:
    """Add the songs of a folder, with the lyrics beside them; those that are there already are found."""
    for job in with_lyrics(find_jobs([folder], AUDIO_SUFFIXES, None)):
        lyrics = job.lyrics.read_bytes() if job.lyrics is not None and job.lyrics.is_file() else None
        task = "transcribe" if lyrics is None else "align"
        with job.source.open("rb") as file:
            try:
                await state.add(Upload(file, job.source.name, lyrics, task, AUTO, "", "start"))
            except ApiError as error:
                say(f"{job.source}: not added: {error.message}")


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Keep a second server out of the data folder; a killed one leaves no lock."""
    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{data}: another server uses this folder; end it, or choose another --data") from error
        yield
