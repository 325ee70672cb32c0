"""The library: songs, their jobs and the queue, in SQLite.

Conventions
- A song is one upload with its lyrics and options, and the job that processes it. `key` is a hash of all three, so that
  equal uploads are found.
- Every change is committed (WAL, full synchronization) before it is answered, so a killed server loses nothing that a
  client was told. Songs that were running then are queued again at the next start.
- Progress is held in memory only. `revision` grows with every change, and a callback tells watchers.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
MAX_ATTEMPTS = 3
"""A song whose worker died this often is not tried again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS songs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    task TEXT NOT NULL,
    language TEXT NOT NULL,
    hot_words TEXT NOT NULL,
    client TEXT NOT NULL,
    duration_seconds REAL NOT NULL,
    sample_rate_hz INTEGER NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    finished REAL,
    stages TEXT NOT NULL DEFAULT '{}',
    offset_seconds REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS queue ON songs (status, number);
"""


@dataclass(frozen=True)
class NewSong:
    """A song to add.

    Args:
        id: random name of its folder and in addresses.
        key: hash of content, lyrics and options.
        name: name for people, from the uploaded file.
        task: "transcribe", "align" or "separate".
        language: language of the lyrics, such as "en".
        hot_words: text whose words are likely to be sung.
        client: who asks for it, for limits.
        duration_seconds: duration of the audio.
        sample_rate_hz: sample rate of the file.
    """

    id: str
    key: str
    name: str
    task: str
    language: str
    hot_words: str
    client: str
    duration_seconds: float
    sample_rate_hz: int


@dataclass(frozen=True)
class StoredSong:
    """A song of the library, as it was when it was read.

    Args:
        song: what was added.
        status: QUEUED, RUNNING, DONE, FAILED or CANCELLED.
        error: why it failed.
        attempts: how many workers died with it.
        created: time stamp, seconds since 1970.
        finished: time stamp of the end; None before.
        stages: seconds of each stage.
        offset_seconds: shift of the words against the audio that a person has set.
    """

    song: NewSong
    status: str
    error: str | None
    attempts: int
    created: float
    finished: float | None
    stages: Mapping[str, float]
    offset_seconds: float


@dataclass(frozen=True)
class Progress:
    """The progress of a running song: its stage, and the fraction of it that is done."""

    stage: str
    fraction: float


class Library:
    """Songs and queue; methods may be called from any thread.

    Args:
        path: the database file, created if missing.
        on_change: called after each change, in the thread that made it.
    """

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._lock, self._on_change = RLock(), on_change
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self._progress: dict[str, Progress] = {}
        self.revision = 0
        self._change("UPDATE songs SET status = ? WHERE status = ?", QUEUED, RUNNING)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def add(self, song: NewSong) -> bool:
        """Add a song to the queue; False if there is one with this key."""
        columns = {**song.__dict__, "status": QUEUED, "created": time.time()}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        return bool(self._change(f"INSERT OR IGNORE INTO songs ({names}) VALUES ({marks})", *columns.values()))

    def get(self, song_id: str) -> StoredSong | None:
        """The song with this id."""
        return self._one("SELECT * FROM songs WHERE id = ?", song_id)

    def find(self, key: str) -> StoredSong | None:
        """The song with this key."""
        return self._one("SELECT * FROM songs WHERE key = ?", key)

    def all(self) -> list[StoredSong]:
        """All songs, the newest first."""
        with self._lock:
            return [_song(row) for row in self._database.execute("SELECT * FROM songs ORDER BY number DESC")]

    def claim(self) -> StoredSong | None:
        """Take the first queued song, which is running from now on; None if none is queued."""
        with self._lock:
            first = self._one("SELECT * FROM songs WHERE status = ? ORDER BY number LIMIT 1", QUEUED)
            if first is not None:
                self._change("UPDATE songs SET status = ? WHERE id = ?", RUNNING, first.song.id)
            return first

    def count(self, *statuses: str, client: str | None = None) -> int:
        """Number of songs with one of these statuses; of one client, or of all."""
        marks = ", ".join("?" * len(statuses))
        query = f"SELECT COUNT(*) FROM songs WHERE status IN ({marks}) AND (? IS NULL OR client = ?)"
        with self._lock:
            return int(self._database.execute(query, (*statuses, client, client)).fetchone()[0])

    def finish(self, song_id: str, stages: Mapping[str, float]) -> None:
        """A running song is done; its files are complete."""
        self._end(song_id, DONE, None, stages)

    def fail(self, song_id: str, error: str) -> None:
        """A running song has failed."""
        self._end(song_id, FAILED, error, {})

    def requeue(self, song_id: str) -> None:
        """A running song waits again, because the server stops."""
        self._change("UPDATE songs SET status = ? WHERE id = ? AND status = ?", QUEUED, song_id, RUNNING)

    def lose_worker(self, song_id: str, cause: str) -> None:
        """A running song waits again because its worker died, or fails after MAX_ATTEMPTS."""
        with self._lock:
            self._change("UPDATE songs SET attempts = attempts + 1 WHERE id = ?", song_id)
            song = self.get(song_id)
            if song is None or song.attempts < MAX_ATTEMPTS:
                self.requeue(song_id)
            else:
                self.fail(song_id, f"the worker died {MAX_ATTEMPTS} times with this song ({cause}); convert it to FLAC")

    def cancel(self, song_id: str) -> bool:
        """Cancel a song that waits or runs; False if it does neither."""
        query = "UPDATE songs SET status = ?, finished = ? WHERE id = ? AND status IN (?, ?)"
        return bool(self._change(query, CANCELLED, time.time(), song_id, QUEUED, RUNNING))

    def retry(self, song_id: str) -> bool:
        """Queue a song again that failed or was cancelled; False if it did neither."""
        query = (
            "UPDATE songs SET status = ?, error = NULL, attempts = 0, finished = NULL WHERE id = ? AND status IN (?, ?)"
        )
        return bool(self._change(query, QUEUED, song_id, FAILED, CANCELLED))

    def delete(self, song_id: str) -> bool:
        """Remove a song; False if there is none."""
        return bool(self._change("DELETE FROM songs WHERE id = ?", song_id))

    def rename(self, song_id: str, name: str) -> None:
        """Set the name of a song."""
        self._change("UPDATE songs SET name = ? WHERE id = ?", name, song_id)

    def set_offset(self, song_id: str, seconds: float) -> None:
        """Set the shift of the words of a song."""
        self._change("UPDATE songs SET offset_seconds = ? WHERE id = ?", seconds, song_id)

    def touch(self) -> None:
        """Tell watchers that a song or its files have changed."""
        self.revision += 1
        self._on_change()

    def set_progress(self, song_id: str, progress: Progress | None) -> None:
        """Set the progress of a running song; None at its end."""
        if progress is None:
            self._progress.pop(song_id, None)
        else:
            self._progress[song_id] = progress
        self.touch()

    def progress(self, song_id: str) -> Progress | None:
        """The progress of a song, if it is running."""
        return self._progress.get(song_id)

    def queue(self) -> list[tuple[str, float]]:
        """Id and duration in seconds of the songs that run and wait, in their order."""
        query = "SELECT id, duration_seconds FROM songs WHERE status IN (?, ?) ORDER BY status = ?, number"
        with self._lock:
            return [(row[0], row[1]) for row in self._database.execute(query, (QUEUED, RUNNING, QUEUED))]

    def real_time_factor(self) -> float | None:
        """Seconds of work per second of audio, over the last 20 songs; None before the first."""
        query = "SELECT stages, duration_seconds FROM songs WHERE status = ? ORDER BY finished DESC LIMIT 20"
        with self._lock:
            rows = self._database.execute(query, (DONE,)).fetchall()
        audio_seconds = sum(row[1] for row in rows)
        worked_seconds: float = sum(sum(json.loads(row[0]).values()) for row in rows)
        return worked_seconds / audio_seconds if audio_seconds else None

    def _end(self, song_id: str, status: str, error: str | None, stages: Mapping[str, float]) -> None:
        query = "UPDATE songs SET status = ?, error = ?, stages = ?, finished = ? WHERE id = ? AND status = ?"
        self._change(query, status, error, json.dumps(dict(stages)), time.time(), song_id, RUNNING)

    def _one(self, query: str, *values: Any) -> StoredSong | None:
        with self._lock:
            row = self._database.execute(query, values).fetchone()
        return None if row is None else _song(row)

    def _change(self, query: str, *values: Any) -> int:
        with self._lock:
            changed = self._database.execute(query, values).rowcount
            if changed:
                self.touch()
            return changed


def _song(row: sqlite3.Row) -> StoredSong:
    new = NewSong(**{name: row[name] for name in NewSong.__dataclass_fields__})
    stages = json.loads(row["stages"])
    return StoredSong(
        new,
        row["status"],
        row["error"],
        row["attempts"],
        row["created"],
        row["finished"],
        stages,
        row["offset_seconds"],
    )
