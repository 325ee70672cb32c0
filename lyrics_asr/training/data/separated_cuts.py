"""The vocals cache of a training run: what its present separator makes of the training songs, for `input: separated`.

The acoustic model then trains on the kind of input that it gets at inference, without running the separator in every
step. Songs with stems are there twice: in their own mixture, and remixed with the accompaniment of another song.

The cache folder has one entry per separator and cuts, named by a hash of both:

    KEY/audio/ID-N.flac   vocals of the recording ID, variant N, mono at the acoustic model's rate, 16 bit
    KEY/cuts-M.jsonl.gz   the cuts of file M, written last, see `vocals_cache`; with the suffix -N to their ids

Songs that cannot be read are logged, and their cuts are left out.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lyrics_asr.audio import Audio, AudioError, read_audio, read_header, write_audio
from lyrics_asr.inference.stages import separate_to_16k_mono
from lyrics_asr.models.fingerprint import weights_fingerprint
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training.data.cut_reader import STEMS, with_vocals_gain
from lyrics_asr.training.data.finite_audio import require_finite
from lyrics_asr.training.data.lhotse_io import cuts_file, cuts_fingerprint, make_recording, write_cuts
from lyrics_asr.training.data.object_storage import CutsPath
from lyrics_asr.training.data.options import AugmentationOptions
from lyrics_asr.training.data.vocals_cache import AUDIO_SUFFIX, read_cuts, render_separated, song_of

_logger = logging.getLogger(__name__)


class SeparatedCuts:
    """An entry of the cache.

    Args:
        model: its separator is run.
        cuts: files of cuts, whose songs are whole files.
        cache: folder of the cache.
        augmentation: levels of the remixed variant; there is none if `remix_prob` is 0.
        seed: of the remixes.

    Raises:
        FileNotFoundError: no such cuts.
        ValueError: not cuts, or cuts of something else than whole songs.
    """

    def __init__(
        self, model: LyricsModel, cuts: Sequence[CutsPath], cache: Path, *, augmentation: AugmentationOptions, seed: int
    ) -> None:
        self._model = model
        self._cuts = cuts
        self._augmentation = augmentation
        self._seed = seed
        self._songs = _find_songs(cuts)
        levels_db = [augmentation.min_vocals_gain_db, augmentation.max_vocals_gain_db]
        remixes = augmentation.remix_prob > 0 and any(song.stems for song in self._songs)
        self._variants = 2 if remixes else 1
        self._separator = {"name": model.separator.name, "fingerprint": weights_fingerprint(model.separator)}
        made_from = [self._separator["fingerprint"], cuts_fingerprint(cuts), self._variants, levels_db, seed]
        self._entry = cache / hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]

    @property
    def paths(self) -> list[Path]:
        """The files of cuts, one for each that was given."""
        return [self._entry / f"cuts-{number}.jsonl.gz" for number in range(len(self._cuts))]

    def separate(self, rank: int = 0, world_size: int = 1) -> None:
        """Separate every `world_size`-th song, starting with song `rank`; files that exist are kept.

        Raises:
            OutputError: the cache cannot be written.
        """
        if self.paths[-1].exists():
            return
        separator = self._model.separator
        was_training = separator.training
        separator.eval()
        for index in range(rank, len(self._songs), world_size):
            for variant in range(self._variants):
                path = self._audio(self._songs[index].id, variant)
                if path.exists():
                    continue
                try:
                    mixture = self._mixture(index, variant)
                except (AudioError, FileNotFoundError) as error:
                    _logger.warning("song %s is left out: %s", self._songs[index].id, error)
                    break
                (voice,) = separate_to_16k_mono([mixture], self._model, SeparationOptions())
                write_audio(path, voice.cpu())
        separator.train(was_training)

    def write_cuts(self, limit_gb: float) -> None:
        """Write the cuts once all songs are separated, and remove the oldest entries beyond the limit.

        Raises:
            OutputError: the cache cannot be written.
        """
        if not self.paths[-1].exists():
            for source, path in zip(self._cuts, self.paths, strict=True):
                write_cuts(path, self._lines(source))
        os.utime(self.paths[0])
        _trim(self._entry.parent, self._entry, limit_gb)

    def _lines(self, source: CutsPath) -> Iterator[str]:
        recordings: dict[Path, dict[str, Any]] = {}
        left_out = 0
        for cut in read_cuts(source):
            song_id, _ = song_of(source, cut)
            for variant in range(self._variants):
                audio = self._audio(song_id, variant)
                if not audio.exists():
                    left_out += 1
                    continue
                if audio not in recordings:
                    recordings[audio] = make_recording(f"{song_id}-{variant}", audio, read_header(audio))
                yield render_separated(cut, recordings[audio], self._separator, f"-{variant}")
        if left_out:
            _logger.warning("%s: %d cuts are left out, of songs that cannot be read", source, left_out)

    def _audio(self, song_id: str, variant: int) -> Path:
        return self._entry / "audio" / f"{song_id}-{variant}{AUDIO_SUFFIX}"

    def _mixture(self, index: int, variant: int) -> Audio:
        """The song itself, or a remix as variant 1 and where the accompaniment is silent."""
        song, rate_hz = self._songs[index], self._model.separator.sample_rate_hz
        if song.stems is None:
            return self._read(song.audio)
        vocals, accompaniment = (self._read(path).samples for path in song.stems)
        samples = min(vocals.shape[1], accompaniment.shape[1])
        vocals, accompaniment = vocals[:, :samples], accompaniment[:, :samples]
        if self._variants > 1 and (variant or not accompaniment.any()):
            rng = np.random.default_rng([self._seed, index, variant])
            other = self._another_accompaniment(index, rng)
            if other is not None:
                start = int(rng.integers(other.samples.shape[1]))
                looped = other.samples.roll(-start, 1).repeat(1, -(-samples // other.samples.shape[1]))[:, :samples]
                lowest_db, highest_db = self._augmentation.min_vocals_gain_db, self._augmentation.max_vocals_gain_db
                accompaniment = with_vocals_gain(looped, vocals, float(rng.uniform(lowest_db, highest_db)))
        return Audio(vocals + accompaniment, rate_hz)

    def _another_accompaniment(self, index: int, rng: np.random.Generator) -> Audio | None:
        """A random accompaniment that is not silent; that of the song itself where there is no other."""
        others = [song for i, song in enumerate(self._songs) if i != index and song.stems is not None]
        for number in rng.permutation(len(others)):
            stems = others[number].stems
            assert stems is not None
            with contextlib.suppress(AudioError, FileNotFoundError):  # which leave out the song that they belong to
                accompaniment = self._read(stems[1])
                if accompaniment.samples.any():
                    return accompaniment
        return None

    def _read(self, path: Path) -> Audio:
        audio = read_audio(
            path, sample_rate_hz=self._model.separator.sample_rate_hz, channels=self._model.mixture_channels
        )
        require_finite(str(path), audio.samples.numpy())
        return audio


@dataclass(frozen=True)
class _Song:
    id: str
    audio: Path
    stems: tuple[Path, Path] | None


def _find_songs(cuts: Sequence[CutsPath]) -> list[_Song]:
    songs: dict[str, _Song] = {}
    for path in cuts:
        for cut in read_cuts(cuts_file(path, "input: separated")):
            song_id, audio = song_of(path, cut)
            if song_id not in songs:
                custom = cut.get("custom") or {}
                paths = [Path(custom[name]["sources"][0]["source"]) for name in STEMS if name in custom]
                songs[song_id] = _Song(song_id, audio, (paths[0], paths[1]) if len(paths) == len(STEMS) else None)
            elif songs[song_id].audio != audio:
                raise ValueError(f"{path}: the recording {song_id!r} is two files; ids must differ")
    return list(songs.values())


def _trim(cache: Path, kept: Path, limit_gb: float) -> None:
    """Remove the oldest entries until the cache is within the limit; `kept` stays."""
    entries = sorted((entry for entry in cache.iterdir() if entry.is_dir()), key=_last_used)
    sizes = {entry: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file()) for entry in entries}
    total = sum(sizes.values())
    for entry in entries:
        if total <= limit_gb * 1e9:
            break
        if entry != kept:
            shutil.rmtree(entry)
            total -= sizes[entry]


def _last_used(entry: Path) -> float:
    cuts = entry / "cuts-0.jsonl.gz"
    return (cuts if cuts.exists() else entry).stat().st_mtime
