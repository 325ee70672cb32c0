"""`lyrics-asr render --format html`: results on disk as pages to sing along, the same as the server's shares."""

import hashlib
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lyrics_asr.audio import AUDIO_SUFFIXES, Audio, ChannelCorrection, read_audio, write_audio
from lyrics_asr.files import file_fingerprint
from lyrics_asr.formats import encode
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.render import RenderTask
from lyrics_asr.inference.results import write_transcript
from lyrics_asr.inference.runner import Song, Stopwatch
from lyrics_asr.server.share import display_name, share_html
from lyrics_asr.types import Transcript


class ShareTask(RenderTask):
    """`RenderTask` with the format html: pages with the vocals of `request.vocals`, or those beside the transcript."""

    def key(self, song: Song) -> str:
        """See `Task`."""
        fingerprints = [super().key(song), *map(file_fingerprint, self._stems(song.job))]
        return hashlib.sha256("".join(fingerprints).encode()).hexdigest()

    def finish(self, song: Song, inferred: Transcript, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        with stopwatch("writing"):
            return write_transcript(song.job, inferred, self.request, partial(self._encode, song.job))

    def _encode(self, job: Job, transcript: Transcript, format: str) -> bytes:
        if format != "html":
            return encode(transcript, format)
        vocals, *accompaniment = self._stems(job)
        with tempfile.TemporaryDirectory() as folder:
            stems = {"vocals": Path(folder, "vocals.mp3"), "accompaniment": Path(folder, "accompaniment.mp3")}
            voice = read_audio(vocals)
            write_audio(stems["vocals"], voice)
            band = read_audio(accompaniment[0]) if accompaniment else _without(voice, transcript, job)
            write_audio(stems["accompaniment"], band)
            return share_html(_title(transcript), transcript, stems).encode("utf-8")

    def _stems(self, job: Job) -> tuple[Path, ...]:
        """The vocals, and the accompaniment if it is beside them.

        Raises:
            FileNotFoundError: there are no vocals.
        """
        folder = self.request.vocals
        if folder is not None:
            vocals = _audio_file(folder / job.stem)
            if vocals is None:
                raise FileNotFoundError(
                    f"{job.source}: there are no vocals {folder / job.stem}.*; run lyrics-asr separate SONG -o {folder}"
                )
            return (vocals,)
        vocals, accompaniment = (_audio_file(job.source.parent / stem) for stem in ("vocals", "accompaniment"))
        if vocals is None or accompaniment is None:
            raise FileNotFoundError(
                f"{job.source}: a page to sing along needs the vocals; run lyrics-asr separate SONG -o vocals, "
                "then add --vocals vocals"
            )
        return (vocals, accompaniment)


def _audio_file(stem: Path) -> Path | None:
    """The audio file with this path without suffix, if there is one."""
    if not stem.parent.is_dir():
        return None
    files = sorted(each for each in stem.parent.iterdir() if each.suffix.lower() in AUDIO_SUFFIXES)
    return next((each for each in files if each.stem == stem.name), None)


def _without(vocals: Audio, transcript: Transcript, job: Job) -> Audio:
    """The song that a transcript names, without its vocals, as the server makes it."""
    song = Path(transcript.audio.path)
    if not song.is_file():
        raise FileNotFoundError(
            f"{job.source}: is of {song}, which does not exist; run this in the folder where the song was processed"
        )
    mixture = read_audio(song, sample_rate_hz=vocals.sample_rate_hz, channels=2)
    mixture = ChannelCorrection.measure(mixture, song).apply(mixture).to_channels(2)
    samples = mixture.samples.clone()
    count = min(samples.shape[1], vocals.samples.shape[1])  # codecs may add a frame at the end
    samples[:, :count] -= vocals.to_channels(2).samples[:, :count]
    return Audio(samples, vocals.sample_rate_hz)


def _title(transcript: Transcript) -> str:
    name = transcript.audio.path
    return display_name(name) if Path(name).suffix.lower() in AUDIO_SUFFIXES else name
