"""Searching a catalogue for pairs, and stems of pairs against the true ones: `python benchmarks/pairs.py CORPUS`.

Three parts:
- precision and recall of pairs by their titles, in made catalogues of 2,000 songs with confusions;
- the time to read the tags of many files and to search them: hard links to MP3 files of three minutes;
- SDR of the vocals from subtraction and from the max rule, for copies of the instrumentals of a corpus that `lyrics-asr
  data synth` wrote, beside what the checks by sound made of each pair.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.signal
import soxr
import torch
from torch.nn.functional import pad

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.corpora.catalogs import Track, read_catalog
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.corpora.pairs import TrackPair, find_pairs
from lyrics_asr.training.data import pair_stems
from tests.corpora.made_catalog import make_catalog


def main() -> None:
    """Run the parts and print their results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder that `lyrics-asr data synth` wrote")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--songs", type=int, default=8)
    options = parser.parse_args()
    search_made_catalogues()
    with tempfile.TemporaryDirectory() as name:
        read_many(Path(name), options.files)
    with tempfile.TemporaryDirectory() as name:
        compare_targets(Path(name), options.corpus, options.songs)


def search_made_catalogues() -> None:
    for seed in range(5):
        made = make_catalog(2000, seed)
        found = {(pair.mix.path, pair.stem.path) for pair in find_pairs(made.tracks).pairs}
        right = len(found & made.pairs)
        print(
            f"catalogue {seed}: {len(made.tracks)} tracks, {len(made.pairs)} pairs, "
            f"precision {right / len(found):.4f}, recall {right / len(made.pairs):.4f}"
        )


def read_many(folder: Path, count: int) -> None:
    sound = Audio(0.1 * torch.randn(2, 180 * 44_100), 44_100)
    for number in range(count):
        source = folder / f"source_{number // 50_000}.mp3"  # file systems limit the links to a file
        if not source.exists():
            write_audio(source, sound)
        path = folder / "music" / f"{number // 1000:03}" / f"{number:06}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, path)
    for name in ("first", "second"):
        wall, cpu = time.perf_counter(), time.process_time()
        tracks = read_catalog(folder / "music", folder / "tags.jsonl")
        print(
            f"{len(tracks)} files, {name} time: {time.perf_counter() - wall:.0f} s, "
            f"{time.process_time() - cpu:.0f} s of processor time"
        )
    many = [
        Track(Path(f"{number}/{track.path}"), track.artist, track.title, track.duration_seconds)
        for number in range(max(1, count // 6000))
        for track in make_catalog(2000, number).tracks
    ]
    cpu = time.process_time()
    found = find_pairs(many)
    print(f"search of {len(many)} tracks: {time.process_time() - cpu:.1f} s, {len(found.pairs)} pairs")


def compare_targets(folder: Path, corpus: Path, songs: int) -> None:
    print("                   chosen                         median SDR of the vocals (dB)")
    print(f"{'copy':<12}{'pairs':>6}{'subtracted':>12}{'max rule':>10}{'dropped':>9}{'subtracted':>16}{'max rule':>10}")
    rows: dict[str, list[tuple[str, float, float]]] = {}
    for song in read_manifest(corpus / "manifest.jsonl")[:songs]:
        assert song.vocals is not None
        assert song.accompaniment is not None
        vocals = read_audio(song.vocals).samples
        for name, suffix, copy in copies(read_audio(song.accompaniment)):
            path = folder / f"copy{suffix}"
            write_audio(path, copy)
            mix, stem = (Track(each, "", "", 60.0) for each in (song.audio, path))
            result: dict[str, str] = {}
            sdr: dict[str, float] = {}
            for target, most_db in (("chosen", pair_stems._MAX_EXACT_DB), ("subtracted", 0.0), ("max rule", -999.0)):
                before, pair_stems._MAX_EXACT_DB = pair_stems._MAX_EXACT_DB, most_db
                stems = pair_stems.make_stems(TrackPair(mix, stem, "instrumental"))
                pair_stems._MAX_EXACT_DB = before
                if isinstance(stems, str):
                    result[target], sdr[target] = "dropped", float("nan")
                else:
                    result[target] = stems.target
                    sdr[target] = sdr_db(stems, vocals) if stems.target == target else float("nan")
            rows.setdefault(name, []).append((result["chosen"], sdr["subtracted"], sdr["max rule"]))
    for name, results in rows.items():
        chosen = [each[0] for each in results]
        print(
            f"{name:<12}{len(results):>6}{chosen.count('subtracted'):>12}{chosen.count('max rule'):>10}"
            f"{chosen.count('dropped'):>9}{_median([each[1] for each in results]):>12}"
            f"{_median([each[2] for each in results]):>10}"
        )


def _median(values: list[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.median(known):.1f}" if known else "-"


def copies(audio: Audio) -> Iterator[tuple[str, str, Audio]]:
    """Name, suffix and sound of what is found of an instrumental."""
    rate, late = audio.sample_rate_hz, Audio(pad(audio.samples, (300, 0)), audio.sample_rate_hz)
    yield "FLAC", ".flac", late
    yield "inverted", ".flac", Audio(-0.8 * late.samples, rate)
    for suffix in (".mp3", ".m4a", ".opus"):
        yield suffix[1:], suffix, late
    samples = audio.samples.numpy()
    for ppm in (0.5, 20):
        faster = soxr.resample(samples.T, rate, rate * (1 + ppm * 1e-6), quality="HQ").T
        yield f"{ppm} ppm", ".flac", Audio(torch.from_numpy(faster.copy()), rate)
    b, a = scipy.signal.butter(1, 300, "highpass", fs=rate)
    for gain in (0.1, 0.4):
        bright = samples + gain * scipy.signal.lfilter(b, a, samples)
        yield f"treble {20 * np.log10(1 + gain):.0f} dB", ".flac", Audio(torch.from_numpy(bright).float(), rate)
    loud = torch.tanh(3 * audio.samples / audio.samples.abs().max()) / 3
    yield "limited", ".flac", Audio(loud, rate)


def sdr_db(stems: pair_stems.PairStems, vocals: torch.Tensor) -> float:
    error = stems.vocals.samples - vocals
    return float(10 * torch.log10(vocals.square().sum() / error.square().sum()))


if __name__ == "__main__":
    main()
