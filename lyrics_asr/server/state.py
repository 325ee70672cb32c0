"""The parts of a running server, and songs added to them from uploads."""

import asyncio
import hashlib
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.concurrency import run_in_threadpool

from lyrics_asr.audio import AudioError
from lyrics_asr.files import sync_file, sync_folder
from lyrics_asr.server import song_files
from lyrics_asr.server.decoder import Decoder, LyricsError, TooLongError
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.library import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Library, NewSong, StoredSong
from lyrics_asr.server.metrics import Metrics
from lyrics_asr.server.settings import ServerSettings
from lyrics_asr.server.share import display_name
from lyrics_asr.server.supervisor import Supervisor
from lyrics_asr.version import RESULTS_VERSION

_BLOCK_BYTES = 1 << 20
_SIMULTANEOUS = 4


@dataclass(frozen=True)
class Upload:
    """What a client wants done.

    Args:
        file: the audio or video file.
        filename: its name, for people only.
        lyrics: lyrics to align, in any format and encoding that `read_lyrics` recognizes; None without.
        task: "transcribe", "align" or "separate".
        language: language of the lyrics.
        hot_words: text whose words are likely to be sung.
        client: who asks.
    """

    file: BinaryIO
    filename: str
    lyrics: bytes | None
    task: str
    language: str
    hot_words: str
    client: str


class ServerState:
    """Library, metrics and workers; made while the event loop runs.

    Args:
        settings: settings of the server.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        for folder in (settings.songs, settings.uploads):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(settings.uploads)  # of requests that a killed server did not finish
        settings.uploads.mkdir()
        self._loop, self._watchers = asyncio.get_running_loop(), set[asyncio.Event]()
        self.library = Library(settings.data / "library.sqlite3", self._tell_watchers)
        known = {stored.song.id for stored in self.library.all()}
        for folder in settings.songs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        self.metrics = Metrics(self.library)
        self.decoder = Decoder(settings.limits)
        self.supervisors: list[Supervisor] = []
        # Files whose header takes long, and stems that are converted, leave threads and memory for other requests.
        self.inspections, self.conversions = CapacityLimiter(_SIMULTANEOUS), CapacityLimiter(_SIMULTANEOUS)
        self.listing = (-1, "")
        """The list of all jobs as JSON and its revision, which all watchers share."""

    def start(self, cores: int) -> None:
        """Start a worker per device, with so many CPU cores together."""
        share = max(1, cores // max(1, len(self.settings.devices)))
        for device in self.settings.devices:
            supervisor = Supervisor(self.settings, self.library, self.metrics, self.decoder, device, share)
            self.supervisors.append(supervisor)
        for supervisor in self.supervisors:
            supervisor.start()

    def stop(self) -> None:
        """End all processes and close the database; songs in progress wait for the next start."""
        for supervisor in self.supervisors:
            supervisor.stop()
        self.decoder.close()
        self.library.close()

    def wake(self) -> None:
        """There may be a song for a worker."""
        for supervisor in self.supervisors:
            supervisor.wake.set()

    async def add(self, upload: Upload) -> StoredSong:
        """Store an upload and queue it, or find an equal one; one that failed is tried again.

        Raises:
            ApiError: a limit is exceeded, or the upload is not audio or has no lyrics.
        """
        scratch = self.settings.uploads / secrets.token_hex(8)
        try:
            key = await run_in_threadpool(self._store, upload, scratch)
            found = self.library.find(key)
            if found is None:
                found = await self._queue(upload, key, scratch)
            elif found.status in (FAILED, CANCELLED) and self.library.retry(found.song.id):
                found = self.get(found.song.id)
            self.wake()
            return found
        finally:
            await run_in_threadpool(shutil.rmtree, scratch, ignore_errors=True)

    async def _queue(self, upload: Upload, key: str, scratch: Path) -> StoredSong:
        self._check_queue(upload.client)  # before the work, and again after it
        lyrics = scratch / song_files.LYRICS
        try:
            audio = await run_sync(
                self.decoder.inspect,
                scratch / song_files.SOURCE,
                lyrics if lyrics.exists() else None,
                limiter=self.inspections,
            )
        except TooLongError as error:
            raise ApiError(413, str(error), "too_long", param="file") from error
        except LyricsError as error:
            message = str(error).replace(str(lyrics), "lyrics")
            raise ApiError(422, message, "no_lyrics", param="lyrics") from error
        except AudioError as error:
            message = str(error).replace(str(scratch / song_files.SOURCE), display_name(upload.filename))
            raise ApiError(415, message, "not_audio", param="file") from error
        await run_in_threadpool(_sync_files, scratch)  # only of what is kept: this takes long
        self._check_queue(upload.client)
        song_id = secrets.token_hex(8)
        new = NewSong(
            song_id,
            key,
            display_name(upload.filename),
            upload.task,
            upload.language,
            upload.hot_words,
            upload.client,
            audio.duration_seconds,
            audio.sample_rate_hz,
        )
        folder = self.settings.folder(song_id)
        scratch.rename(folder)
        sync_folder(folder.parent)
        if not self.library.add(new):  # an equal upload came first
            shutil.rmtree(folder, ignore_errors=True)
            song = self.library.find(key)
            assert song is not None
            return song
        return self.get(song_id)

    def _store(self, upload: Upload, scratch: Path) -> str:
        """Write the files of an upload to a folder, and return the key of the song."""
        scratch.mkdir()
        digest = hashlib.sha256()
        with (scratch / song_files.SOURCE).open("wb") as target:
            while block := upload.file.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
        if upload.lyrics is not None:
            (scratch / song_files.LYRICS).write_bytes(upload.lyrics)
        lyrics = None if upload.lyrics is None else hashlib.sha256(upload.lyrics).hexdigest()
        options = [upload.task, upload.language, upload.hot_words, self.settings.model, RESULTS_VERSION]
        return hashlib.sha256(json.dumps([digest.hexdigest(), lyrics, *options]).encode()).hexdigest()

    def _check_queue(self, client: str) -> None:
        limits, library = self.settings.limits, self.library
        waiting = library.count(QUEUED)
        if waiting >= limits.queued_jobs:
            raise self._busy(f"{waiting} jobs are waiting", "queue_full")
        if library.count(QUEUED, RUNNING, client=client) >= limits.client_jobs:
            raise self._busy(f"{limits.client_jobs} of your jobs are waiting", "too_many_jobs")

    def _busy(self, cause: str, code: str) -> ApiError:
        queue = self.library.queue()
        factor = self.library.real_time_factor() or 1.0
        seconds = max(1, round(factor * (queue[0][1] if queue else 1.0)))
        return ApiError(429, f"{cause}; try again in {seconds} s", code, headers={"Retry-After": str(seconds)})

    def get(self, song_id: str) -> StoredSong:
        """The song with this id.

        Raises:
            ApiError: there is none.
        """
        song = self.library.get(song_id)
        if song is None:
            raise ApiError(404, f"no job {song_id[:40]!r}; it may have been deleted", "not_found")
        return song

    async def delete(self, song_id: str) -> None:
        """Delete a song with its files; a worker that is busy with it is ended."""
        self.library.delete(song_id)
        await run_in_threadpool(shutil.rmtree, self.settings.folder(song_id), ignore_errors=True)

    async def changes(self, every_seconds: float = 0.0) -> AsyncIterator[None]:
        """Yields now, and after changes of the library, at most so often."""
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            while True:
                changed.clear()
                yield
                await asyncio.sleep(every_seconds)
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def _tell_watchers(self) -> None:
        def tell() -> None:
            for changed in self._watchers:
                changed.set()

        self._loop.call_soon_threadsafe(tell)

    def has_transcript(self, stored: StoredSong) -> bool:
        """Whether the words of a song have been found; its stems may not be there yet."""
        return (self.settings.folder(stored.song.id) / song_files.TRANSCRIPT).is_file()

    async def transcribed(self, song_id: str) -> StoredSong:
        """Wait until the words of a song have been found, and return it; see `finished`."""
        return await self._reached(song_id, self.has_transcript)

    async def finished(self, song_id: str) -> StoredSong:
        """Wait until a song is done, and return it.

        Raises:
            ApiError: the song has failed, was cancelled or deleted.
        """
        return await self._reached(song_id, lambda song: song.status == DONE)

    async def _reached(self, song_id: str, is_reached: Callable[[StoredSong], bool]) -> StoredSong:
        async for _ in self.changes():
            song = self.get(song_id)
            if is_reached(song):
                return song
            if song.status == FAILED:
                raise ApiError(422, song.error or "the song has failed", "processing_failed", param="file")
            if song.status == CANCELLED:
                raise ApiError(409, "the job was cancelled", "cancelled")
        raise AssertionError("changes never end")


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        sync_file(path)
