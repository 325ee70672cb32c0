"""Speed, memory and alignment on JamendoLyrics' songs with audio: `python benchmarks/jamendo.py --corpus FOLDER`.

The folder may be named by the environment variable LYRICS_ASR_JAMENDO instead.

The alignment stands beside the even spread of the words over the song. Every word of the lyrics must come back as
written, in order and inside the song. Peak memory is that of the whole process, model and libraries included.
"""

import argparse
import os
import resource
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from lyrics_asr.corpora.manifest import Song
from lyrics_asr.evaluation.aggregation import METRICS, STAGES, aggregate
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.predictions import Prediction, kept_prediction
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import Evaluation, evaluate, load_songs
from lyrics_asr.lyrics.text import parse_corpus_lyrics

_ERRORS = ("mean_over_songs", "median_pooled", "within_0.3")


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
    with tempfile.TemporaryDirectory() as output:
        config = EvaluationConfig(
            corpus="jamendo", folder=options.corpus, model=options.model, device=options.device, output=Path(output)
        )
        songs = load_songs(config)
        evaluation = evaluate(songs, config)
        done = {song.id for song in evaluation.songs}
        for song in songs:
            if song.id in done:
                _check_words(song, kept_prediction(song, config.output))
    _report(evaluation)
    return 1 if evaluation.failed else 0


def _check_words(song: Song, prediction: Prediction) -> None:
    words = [word for line in prediction.lines or () for word in line.words]
    assert [word.text for word in words] == [
        word for line in parse_corpus_lyrics(song.lyrics).lines for word in line.words
    ]
    assert all(a.start_seconds <= b.start_seconds for a, b in pairwise(words)), song.id
    duration_seconds = prediction.duration_seconds or 0.0
    assert all(0 <= word.start_seconds <= word.end_seconds <= duration_seconds for word in words), song.id


def _report(evaluation: Evaluation) -> None:
    print(f"{'song':34} {'words':>5}  {'alignment: mean':>15} {'median':>8} {'<=0.3 s':>8}  "
          f"{'even spread: mean':>17} {'median':>8} {'<=0.3 s':>8}")  # fmt: skip
    for song in evaluation.songs:
        found = {key: aggregate(METRICS[key], [each]) or 0.0 for key, each in song.statistics.items()}
        print(
            f"{song.id[:34]:34} {len(song.words):5}  {_errors(found, 'words', 15)}  {_errors(found, 'even_words', 17)}"
        )
    metrics = {key: each.value or 0.0 for key, each in estimates(evaluation.songs).items()}
    print(f"mean of song means: alignment {metrics['words_mean_over_songs']:.3f} s, "
          f"even spread {metrics['even_words_mean_over_songs']:.3f} s")  # fmt: skip
    seconds = sum(song.duration_seconds or 0.0 for song in evaluation.songs)
    print(f"{len(evaluation.songs)} songs, {seconds:.0f} s; real-time factors:")
    for stage in STAGES:
        print(f"  {stage.replace('_', ' '):12} {metrics[f'rtf_{stage}']:.4f}")
    print(f"  {'total':12} {metrics['rtf']:.4f}")
    print(f"peak memory {_peak_memory_bytes() / 2**20:.0f} MiB")
    for failure in evaluation.failed:
        print(f"failed: {failure.id}: {failure.reason}", file=sys.stderr)


def _errors(metrics: dict[str, float], key: str, width: int) -> str:
    mean, median, share = (metrics[f"{key}_{kind}"] for kind in _ERRORS)
    return f"{mean:{width - 2}.3f} s {median:6.3f} s {share:8.1%}"


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
