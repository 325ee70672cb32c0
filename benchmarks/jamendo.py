"""Speed, memory and alignment on JamendoLyrics' songs with audio: `python benchmarks/jamendo.py --corpus FOLDER`.

The folder may be named by the environment variable LYRICS_ASR_JAMENDO instead.

The alignment stands beside the even spread of the words over the song. Every word of the lyrics must come back as
written, in order and inside the song. Peak memory is that of the whole process, model and libraries included.
"""

import argparse
import dataclasses
import os
import resource
import sys
from itertools import pairwise
from pathlib import Path

from lyrics_asr.datasets.manifest import Song
from lyrics_asr.evaluation import Evaluation, EvaluationConfig, SongResult, evaluate, load_songs
from lyrics_asr.metrics import TOLERANCES_SECONDS, AlignmentErrors
from lyrics_asr.model import load_model
from lyrics_asr.text import parse_lyrics


def main() -> int:
    """Run the benchmark; 1 when a song failed."""
    corpus = os.environ.get("LYRICS_ASR_JAMENDO")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=corpus,
        required=not corpus,
        metavar="FOLDER",
        help="folder of JamendoLyrics.csv (default: $LYRICS_ASR_JAMENDO)",
    )
    parser.add_argument("--model", default="embedded", help="name or folder of a model (%(default)s)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    config = EvaluationConfig(corpus="jamendo", folder=options.corpus, model=options.model, device=options.device)
    songs = load_songs(config)
    evaluation = evaluate(songs, load_model(options.model, device=options.device), config)
    by_id = {song.id: song for song in songs}
    for result in evaluation.songs:
        _check_words(by_id[result.id], result)
    _report(evaluation)
    return 1 if evaluation.failed else 0


def _check_words(song: Song, result: SongResult) -> None:
    words = result.aligned_words
    assert [word.text for word in words] == [word for line in parse_lyrics(song.lyrics).lines for word in line.words]
    assert all(a.start_seconds <= b.start_seconds for a, b in pairwise(words)), song.id
    assert all(0 <= word.start_seconds <= word.end_seconds <= result.duration_seconds for word in words), song.id


def _report(evaluation: Evaluation) -> None:
    pooled = evaluation.pooled
    print(f"{'song':34} {'words':>5}  {'alignment: mean':>15} {'median':>8} {'<=0.3 s':>8}  "
          f"{'even spread: mean':>17} {'median':>8} {'<=0.3 s':>8}")  # fmt: skip
    for song in evaluation.songs:
        count = len(song.aligned_words)
        print(f"{song.id[:34]:34} {count:5}  {_errors(song.alignment, 15)}  {_errors(song.even_spread, 17)}")
    mean, spread = pooled.alignment, pooled.even_spread
    print(f"mean of song means: alignment {mean.mean_of_song_means_seconds:.3f} s, "
          f"even spread {spread.mean_of_song_means_seconds:.3f} s")  # fmt: skip
    print(f"{len(evaluation.songs)} songs, {pooled.duration_seconds:.0f} s; real-time factors:")
    for stage, factor in dataclasses.asdict(pooled.real_time_factors).items():
        print(f"  {stage.replace('_', ' '):12} {factor:.4f}")
    print(f"  {'total':12} {pooled.real_time_factors.total:.4f}")
    print(f"peak memory {_peak_memory_bytes() / 2**20:.0f} MiB")
    for failure in evaluation.failed:
        print(f"failed: {failure.id}: {failure.reason}", file=sys.stderr)


def _errors(errors: AlignmentErrors, width: int) -> str:
    share = errors.shares[TOLERANCES_SECONDS.index(0.3)]
    return f"{errors.mean_seconds:{width - 2}.3f} s {errors.median_seconds:6.3f} s {share:8.1%}"


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
