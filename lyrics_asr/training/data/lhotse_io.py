"""Lhotse's manifests: recordings, cuts with the times of their words and phones, Shar; and Lhotse's reading of audio.

Lhotse's own readers cannot decode m4a or video files without further packages. `our_decoder` makes it use
`lyrics_asr.audio`, which also makes the samples independent of who reads a file.
"""

import hashlib
import json
import os
import random
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet, Recording
from lhotse.audio import AudioSource
from lhotse.audio.backend import LibsndfileBackend, get_current_audio_backend, set_current_audio_backend
from lhotse.serialization import open_best
from numpy.typing import NDArray

from lyrics_asr.audio import AudioError, AudioHeader, read_audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.files import atomic_path, file_fingerprint, open_packed
from lyrics_asr.training.data.finite_audio import require_finite
from lyrics_asr.training.data.object_storage import CutsPath, is_url, let_lhotse_open_urls, list_folder
from lyrics_asr.training.data.segmentation import Chunk

_SHARD_CUTS = 1000
_SHARD = re.compile(r"(?:^|/)([\w-]+)\.\d+\.(?:tar|jsonl)(?:\.gz)?$")
_TOLERANCE_SECONDS = 0.1  # headers of lossy formats are off by a packet; Lhotse pads what lacks


def make_recording(song_id: str, path: Path, header: AudioHeader) -> dict[str, Any]:
    """The `lhotse.Recording` of a file as Lhotse writes it, by its absolute path; the file is not opened."""
    samples = round(header.duration_seconds * header.sample_rate_hz)
    channels = list(range(header.channels))
    recording: dict[str, Any] = Recording(
        id=song_id,
        sources=[AudioSource(type="file", channels=channels, source=os.path.abspath(path))],
        sampling_rate=header.sample_rate_hz,
        num_samples=samples,
        duration=samples / header.sample_rate_hz,
        channel_ids=channels,
    ).to_dict()
    return recording


def render_cut(
    song: Song,
    recording: Mapping[str, Any],
    number: int,
    chunk: Chunk,
    custom: Mapping[str, Any] | None = None,
) -> str:
    """A chunk of a song as a Lhotse cut, one line of JSON; a chunk without words has no supervision.

    Lhotse's own `Cut.to_dict` copies every word several times; it took a third of the time of `data dali`.

    Args:
        song: with the words and, if known, their phones.
        recording: of the song.
        number: of the chunk in the song.
        chunk: the window and the indices of its words.
        custom: the cut's custom fields: "vocals" and "accompaniment", recordings that are aligned with the song, and
            "f0".
    """
    cut_id = f"{song.id}-{number:03}"
    duration_seconds = chunk.end_seconds - chunk.start_seconds
    words = [song.words[i] for i in chunk.words]
    channels = recording["channel_ids"]
    channel = 0 if len(channels) == 1 else channels

    def item(symbol: str, start_seconds: float, end_seconds: float) -> tuple[str, float, float, None]:
        return (symbol, start_seconds - chunk.start_seconds, end_seconds - start_seconds, None)  # the last is a score

    alignment = {"word": [item(word.text, word.start_seconds, word.end_seconds) for word in words]}
    if song.phones:
        phones = [phone for i in chunk.words for phone in song.phones[i]]
        alignment["phone"] = [item(phone.name, phone.start_seconds, phone.end_seconds) for phone in phones]
    supervision = {
        "id": cut_id,
        "recording_id": song.id,
        "start": 0.0,
        "duration": duration_seconds,
        "channel": channel,
        "text": " ".join(word.text for word in words),
        "language": song.language,
        "alignment": alignment,
    }
    cut = {
        "id": cut_id,
        "start": chunk.start_seconds,
        "duration": duration_seconds,
        "channel": channel,
        "supervisions": [supervision] if words else [],
        "recording": recording,
        **({"custom": custom} if custom else {}),
        "type": "MonoCut" if len(channels) == 1 else "MultiCut",  # as `Recording.to_cut` has it
    }
    return json.dumps(cut)


def render_wordless_cut(
    recording: Mapping[str, Any],
    number: int,
    start_seconds: float,
    duration_seconds: float,
    stems: Mapping[str, Mapping[str, Any]],
) -> str:
    """A window of a song whose words are unknown, as a line of JSON: its supervision has no text."""
    channels = recording["channel_ids"]
    channel = 0 if len(channels) == 1 else channels
    cut_id = f"{recording['id']}-{number:03}"
    supervision = {
        "id": cut_id,
        "recording_id": recording["id"],
        "start": 0.0,
        "duration": duration_seconds,
        "channel": channel,
    }
    cut = {
        "id": cut_id,
        "start": start_seconds,
        "duration": duration_seconds,
        "channel": channel,
        "supervisions": [supervision],
        "recording": recording,
        "custom": stems,
        "type": "MonoCut" if len(channels) == 1 else "MultiCut",
    }
    return json.dumps(cut)


def write_cuts(path: Path, lines: Iterable[str]) -> None:
    """Write cuts as a compressed `lhotse.CutSet`, atomically; the same cuts give the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, open_packed(temporary, level=6) as compressed:
        compressed.writelines(f"{line}\n".encode() for line in lines)


def write_shar(cuts: Mapping[str, Path], folder: Path) -> None:
    """Write cuts with their sound as Lhotse Shar (FLAC), all of them or none.

    The order is random, so that a stream mixes the songs.

    Args:
        cuts: files of cuts by the name of their folder in `folder`.
        folder: where the shards go; must not exist.

    Raises:
        AudioError: a file is shorter than its header says, or cannot be decoded; the message names it.
        FileNotFoundError: an audio file is gone.
        OSError: the shards cannot be written.
    """
    temporary = folder.with_name(f".{secrets.token_hex(8)}")
    try:
        with our_decoder():
            for name, path in cuts.items():
                (temporary / name).mkdir(parents=True)
                shuffled = CutSet.from_jsonl_lazy(path).shuffle(random.Random(0))
                fields, on_terminal = {"recording": "flac"}, sys.stderr.isatty()
                shuffled.to_shar(temporary / name, fields=fields, shard_size=_SHARD_CUTS, verbose=on_terminal)
        temporary.rename(folder)
    except AudioError as error:
        raise AudioError(str(error).partition("\n[extra info]")[0]) from error  # Lhotse adds whole cuts
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def manifest_files(path: CutsPath) -> list[CutsPath]:
    """The files that list cuts: `path` itself, or those of a folder of Lhotse Shar.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not JSON Lines, or a folder that is not one of Shar.
        OSError: storage that cannot be reached.
    """
    if is_shar(path):
        return list(shar_fields(path)["cuts"])
    let_lhotse_open_urls()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such cuts; `lyrics-asr data dali` and `lyrics-asr data cuts` write them")
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise ValueError(f"{path}: cuts are read from .jsonl and .jsonl.gz; write them so with `CutSet.to_file`")
    return [path]


def is_shar(path: CutsPath) -> bool:
    """Whether a path is that of a folder of Lhotse Shar, rather than of a file of cuts."""
    return is_url(path) or Path(path).is_dir()


def cuts_file(path: CutsPath, reader: str) -> Path:
    """The path of a file of cuts, for what cannot read Shar.

    Args:
        path: of cuts.
        reader: what reads them, for the message.

    Raises:
        ValueError: a folder or a URL.
    """
    if is_shar(path):
        raise ValueError(f"{path}: is not a file on disk; {reader} needs files of cuts, such as train.jsonl.gz")
    return Path(path)


def shar_fields(folder: CutsPath) -> dict[str, list[str]]:
    """The shards of a folder of Lhotse Shar, by field: "cuts", "recording" and custom ones.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: not a folder of Shar, or one that lacks shards.
        OSError: storage that cannot be reached.
    """
    let_lhotse_open_urls()
    files = list_folder(folder) if is_url(folder) else sorted(map(str, Path(folder).iterdir()))
    fields: dict[str, list[str]] = {}
    for file in files:
        if found := _SHARD.search(file):
            fields.setdefault(found[1], []).append(file)
    if "cuts" not in fields:
        raise ValueError(
            f"{folder}: is not a folder of Lhotse Shar; name a file of cuts in it, such as train.jsonl.gz, or the "
            "folder of cuts.000000.jsonl.gz"
        )
    for name, shards in fields.items():
        if len(shards) != len(fields["cuts"]):
            raise ValueError(
                f"{folder}: has {len(fields['cuts'])} shards of cuts, but {len(shards)} of {name}; copy it again"
            )
    return fields


def cuts_fingerprint(paths: Sequence[CutsPath]) -> str:
    """A SHA-256 of the files that list the cuts; the sound is not looked at.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not cuts, by their name.
        OSError: storage that cannot be reached.
    """
    fingerprints = [_fingerprint(file) for path in paths for file in manifest_files(path)]
    return hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()


def _fingerprint(file: CutsPath) -> str:
    if not is_url(file):
        return file_fingerprint(Path(file))
    with open_best(file, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


@contextmanager
def our_decoder() -> Iterator[None]:
    """Let Lhotse read audio files, or windows of them, with `read_audio` inside the block.

    Sound that is in memory, as in Lhotse Shar, and whatever is written go through libsndfile. Samples that are NaN or
    infinite are an `AudioError`.
    """
    before = get_current_audio_backend()
    set_current_audio_backend(_FileBackend())
    try:
        yield
    finally:
        set_current_audio_backend(before)


class _FileBackend(LibsndfileBackend):  # type: ignore[misc]  # Lhotse has no types
    def read_audio(
        self,
        path_or_fd: Any,
        offset: int | float = 0.0,
        duration: int | float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[NDArray[np.float32], int]:
        if not isinstance(path_or_fd, str | Path):
            samples, sample_rate_hz = super().read_audio(path_or_fd, offset, duration, force_opus_sampling_rate)
            require_finite("sound in memory", samples)
            return samples, sample_rate_hz
        path, start_seconds = Path(path_or_fd), float(offset)
        duration_seconds = None if duration is None else float(duration)
        audio = read_audio(path, start_seconds=start_seconds, duration_seconds=duration_seconds)
        if duration_seconds is not None and audio.duration_seconds < duration_seconds - _TOLERANCE_SECONDS:
            ends_seconds = start_seconds + audio.duration_seconds
            raise AudioError(f"{path}: ends at {ends_seconds:.2f} s, before its header says; get the file again")
        require_finite(str(path), audio.samples.numpy())
        return audio.samples.numpy(), audio.sample_rate_hz
