"""The training songs as the separator hands them on, computed once for the stages that leave it as it is.

The acoustic model then learns from what it will hear, at several times the speed of running the separator in every
step. Every song is there twice, in its own mixture and over another song's accompaniment.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lyrics_asr.audio import Audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.files import atomic_path
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import SeparationOptions
from lyrics_asr.training.config import MixOptions
from lyrics_asr.training.data.stem_chunks import INT16_SCALE, accompanied, at_some_level, to_int16


@dataclass(frozen=True)
class SeparatedSongs:
    """Songs, each twice, and the files of their separated vocals as `chunks.ChunkBatches` takes them."""

    songs: list[Song]
    stems: list[Path]


def separate_songs(
    model: LyricsModel, songs: Sequence[Song], stems: Sequence[Path], folder: Path, seed: int, mix: MixOptions
) -> SeparatedSongs:
    """The separated vocals of every song, mono and at the acoustic model's rate, beside an accompaniment of silence.

    Args:
        model: its separator is used.
        songs: songs with stems, as many as `stems`.
        stems: files that `chunks.prepare_stems` made at the separator's rate.
        folder: where the files go, in a folder named by the separator's weights, the songs and the seed; files that
            are there are kept, so that a run that is started again goes on.
        seed: of the choice of accompaniments and levels.
        mix: has the range of the levels.
    """
    folder = folder / _key(model, songs, seed, mix)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = [np.load(path, mmap_mode="r") for path in stems]
    with_accompaniment = accompanied(arrays)
    files = []
    for index, array in enumerate(arrays):
        for variant in range(2):
            path = folder / f"{index:06d}_{variant}.npy"
            files.append(path)
            if path.exists():
                continue
            vocals, own = (torch.from_numpy(stem / np.float32(INT16_SCALE)) for stem in array)
            accompaniment = own
            if with_accompaniment and (variant or index not in with_accompaniment):
                rng = np.random.default_rng([seed, index, variant])
                other = arrays[with_accompaniment[int(rng.integers(len(with_accompaniment)))]][1]
                span = np.arange(vocals.shape[1]) + rng.integers(other.shape[1])
                another = torch.from_numpy(other.take(span, axis=1, mode="wrap") / np.float32(INT16_SCALE))
                accompaniment = at_some_level(another, vocals, rng, mix.lowest_level_db, mix.highest_level_db)
            mixture = Audio(vocals + accompaniment, model.separator.sample_rate_hz)
            (separated,) = model.vocals([mixture], SeparationOptions())
            samples = to_int16(model.voice(separated).cpu().samples.numpy())
            with atomic_path(path) as temporary:
                np.save(temporary, np.stack([samples, np.zeros_like(samples)]))
    return SeparatedSongs([song for song in songs for _ in range(2)], files)


def _key(model: LyricsModel, songs: Sequence[Song], seed: int, mix: MixOptions) -> str:
    levels_db = [mix.lowest_level_db, mix.highest_level_db]
    digest = hashlib.sha256(json.dumps([seed, levels_db, [str(song.audio) for song in songs]]).encode())
    for name, tensor in model.separator.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
