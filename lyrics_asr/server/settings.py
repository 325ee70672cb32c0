"""Settings of the server, and the paths under its data folder."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lyrics_asr.console import UsageError

if TYPE_CHECKING:
    from lyrics_asr.models.lyrics_model import LyricsModel


@dataclass(frozen=True)
class Limits:
    """What clients may ask for; what exceeds it is refused with an error that names the limit.

    Args:
        upload_bytes: size of a request, with all its files.
        lyrics_bytes: size of lyrics.
        audio_seconds: duration of a song.
        queued_jobs: jobs that wait, of all clients.
        client_jobs: jobs of one client (key or address) that wait or run.
        body_wait_seconds: pause of a client in the middle of a request.
        decoding_seconds: time to decode a file.
        decoding_bytes: memory to decode a file.
    """

    upload_bytes: int = 500_000_000
    lyrics_bytes: int = 200_000
    audio_seconds: float = 1200.0
    queued_jobs: int = 200
    client_jobs: int = 50
    body_wait_seconds: float = 30.0
    decoding_seconds: float = 120.0
    decoding_bytes: int = 4_000_000_000


@dataclass(frozen=True)
class ServerSettings:
    """How the server runs.

    Args:
        data: folder of the database, uploads and results.
        model: model to name in answers, see `load_model`.
        load: loads the model on a device; picklable, because workers call it in their own process.
        overrides: `key.sub=value` of `InferenceOptions` for all songs.
        devices: a worker process runs on each.
        host: address to listen on.
        port: port to listen on.
        keys: accepted API keys; empty to accept everybody.
        allowed_hosts: further names in the Host header, such as that of a reverse proxy.
        limits: limits for clients.
        survey: folder of a listening test to show, with a place for its results; None for none.
    """

    data: Path
    model: str
    load: "Callable[[str], LyricsModel]"
    overrides: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    survey: Path | None = None

    @property
    def songs(self) -> Path:
        """Folder with a folder for each song."""
        return self.data / "songs"

    @property
    def uploads(self) -> Path:
        """Folder of uploads that are not complete."""
        return self.data / "uploads"

    def folder(self, song_id: str) -> Path:
        """The folder of a song."""
        return self.songs / song_id


def load_named(name: str, device: str) -> "LyricsModel":
    """`load_model` by position, for `ServerSettings.load`."""
    from lyrics_asr.models.registry import load_model

    return load_model(name, device=device)


def loader(name: str) -> "Callable[[str], LyricsModel]":
    """A picklable function that loads a model on a device."""
    return partial(load_named, name)


def is_address(host: str) -> bool:
    """Whether a host is given by its address, not by a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this computer's own."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_exposure(host: str, keys: tuple[str, ...], insecure: bool) -> None:
    """Refuse to listen on the network without a key.

    Raises:
        UsageError: other computers could use the server without a key.
    """
    if not is_loopback(host) and not keys and not insecure:
        raise UsageError(
            f"--host {host}: other computers could use the server without a key; add --api-key-file FILE, or --insecure"
        )


def read_keys(path: Path) -> tuple[str, ...]:
    """Read API keys, one per line; blank lines and lines that start with # are skipped.

    Raises:
        UsageError: no such file, no key in it, or a key of fewer than 16 characters.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); give a text file with a key per line") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise UsageError(f"{path}: has no key; write one of at least 16 characters on a line")
    for number, key in enumerate(keys, 1):
        if len(key) < 16:
            raise UsageError(f"{path}: key {number} has {len(key)} characters, which can be guessed; use at least 16")
    return keys
