"""The songs of `benchmarks/separators.py`, and their cuts: with true stems, and with stems from mined pairs."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import scipy.signal
import torch

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.synthesis.corpus import generate
from lyrics_asr.synthesis.options import SyntheticOptions
from lyrics_asr.training.data.options import ChunkOptions
from lyrics_asr.training.data.prepare_manifest import CUTS_FILE, cut_songs
from lyrics_asr.training.data.prepare_pairs import prepare_pairs

SOLO = ("vocals", "accompaniment", "mixtures")
"""Sets of songs of which adversarial objectives see only that."""


def prepare(
    folder: Path, with_stems: int, unpaired: int, test_songs: int, lines: int
) -> tuple[Sequence[Song], dict[str, Path]]:
    """The test songs, and files of cuts by their names; what is there is kept.

    Args:
        folder: for songs and cuts.
        with_stems: number of songs of "few".
        unpaired: number of further training songs. "all" has the stems of all training songs; "subtracted" and "max
            rule" have the same chunks, with stems that `lyrics-asr data pairs` made from the songs and copies of their
            instrumentals. Each of `SOLO` has a third of the unpaired songs.
        test_songs: number of held-out songs, of "test".
        lines: of a training song.
    """
    songs, cut_folder = folder / "songs", folder / "cuts"
    options = SyntheticOptions(songs=with_stems + unpaired, seed=11, lines=lines)
    training = generate(songs / "training", options)
    tests = generate(songs / "held_out", SyntheticOptions(split="held_out", songs=test_songs, seed=12))
    cuts = {}
    sets = {"all": training, "few": training[:with_stems], "test": tests}
    sets |= {name: training[with_stems + number :: len(SOLO)] for number, name in enumerate(SOLO)}
    for name, suffix in (("subtracted", ".mp3"), ("max rule", ".flac")):
        sets[name] = _with_mined_stems(training, _catalog(songs, name, suffix, training), songs / "pairs" / name)
    for name, own in sets.items():
        cuts[name] = cut_folder / name / CUTS_FILE
        if not cuts[name].exists():
            manifest = songs / f"{name}.jsonl"
            write_manifest(manifest, own)
            cut_songs(manifest, cut_folder / name, ChunkOptions(chunk_seconds=4.0))
    return tests, cuts


def _with_mined_stems(songs: Sequence[Song], catalog: Path, output: Path) -> list[Song]:
    """The songs whose pairs pass the checks, with the stems that `lyrics-asr data pairs` makes.

    Its own cuts would not do: they have pauses too, which those of songs with words leave out.
    """
    pairs = prepare_pairs(catalog, output, ChunkOptions()).pairs
    stems = {Path(pair.mix): output / "stems" / pair.id for pair in pairs if pair.dropped is None}
    return [
        replace(song, vocals=stems[song.audio] / "vocals.flac", accompaniment=stems[song.audio] / "accompaniment.flac")
        for song in songs
        if song.audio in stems
    ]


def _catalog(folder: Path, name: str, suffix: str, songs: Sequence[Song]) -> Path:
    """A catalogue of the mixes, and of their instrumentals: as an MP3, or mastered with 4 dB more treble."""
    rows = [("path", "artist", "title")]
    for song in songs:
        assert song.accompaniment is not None
        copy, band = folder / "instrumentals" / f"{song.id}{suffix}", read_audio(song.accompaniment)
        if suffix == ".flac":
            highpass = scipy.signal.butter(1, 300, "highpass", fs=band.sample_rate_hz)
            brighter = band.samples.numpy() + 0.6 * scipy.signal.lfilter(*highpass, band.samples.numpy())
            band = Audio(torch.from_numpy(brighter / 1.6).float(), band.sample_rate_hz)
        if not copy.exists():
            write_audio(copy, band)
        for path, title in ((song.audio, "Song"), (copy, "Song (Instrumental)")):
            rows.append((path.relative_to(folder).as_posix(), song.id, title))
    catalog = folder / f"{name}.csv"
    with catalog.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return catalog
