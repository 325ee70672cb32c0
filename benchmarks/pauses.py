"""The effect of the pause penalty on alignment.

    lyrics-asr data synth data/prepared/development_es --songs 3 --split development --language es   # and so on
    python benchmarks/pauses.py data/prepared/development_{en,es,fr,de}/manifest.jsonl
    python benchmarks/pauses.py JAMENDOLYRICS

The emissions of each song are computed once and aligned with its lyrics several times: without pause penalty and
without smoothing of the probabilities, as in plain CTC; with one of the two; with both, as in
`align --keep-all`; and with other mean pause lengths. Errors are of word onsets: mean over songs,
median of all words, and fraction within 0.3 s as a mean over songs.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.pipeline import emissions_of
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import AlignmentOptions

_DEFAULTS = AlignmentOptions()
OURS = (_DEFAULTS.letter_pause_seconds, _DEFAULTS.word_pause_seconds, _DEFAULTS.anything)
NEVER, FREE = 1e-9, math.inf
VARIANTS = {
    "plain CTC": (FREE, FREE, NEVER),
    "mistaken networks": (FREE, FREE, OURS[2]),
    "pauses": (*OURS[:2], NEVER),
    "both (the default)": OURS,
    "letters 0.05 s": (0.05, *OURS[1:]),
    "letters 0.2 s": (0.2, *OURS[1:]),
    "words 0.1 s": (OURS[0], 0.1, OURS[2]),
    "words 0.4 s": (OURS[0], 0.4, OURS[2]),
    "mistaken 0.3 %": (*OURS[:2], 0.003),
    "mistaken 3 %": (*OURS[:2], 0.03),
}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpora", nargs="+", type=Path, help="manifests, or folders of JamendoLyrics")
    parser.add_argument("--model", default="embedded", help="name or folder of a model (%(default)s)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        model = load_model(options.model, device=options.device)
        songs = [song for corpus in options.corpora for song in _songs(corpus)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    emissions_by_song = [emissions_of(song.audio, model) for song in songs]
    print(f"{len(songs)} songs, {sum(len(song.words) for song in songs)} words")
    print(f"{'':<20} {'mean':>9} {'median':>9} {'in 0.3 s':>9}")
    for name, (letters, words, anything) in VARIANTS.items():
        prices = AlignmentOptions(letter_pause_seconds=letters, word_pause_seconds=words, anything=anything)
        errors = [_errors(song, emissions, prices) for song, emissions in zip(songs, emissions_by_song, strict=True)]
        of_songs = mean(mean(each) for each in errors)
        within = mean(mean(error <= 0.3 for error in each) for each in errors)
        middle = median(error for each in errors for error in each)
        print(f"{name:<20} {of_songs:>7.3f} s {middle:>7.3f} s {within:>9.1%}", flush=True)
    return 0


def _songs(corpus: Path) -> Sequence[Song]:
    songs = read_jamendo(corpus) if corpus.is_dir() else read_manifest(corpus)
    return [song for song in songs if song.words and song.audio.exists()]


def _errors(song: Song, emissions: Emissions, options: AlignmentOptions) -> list[float]:
    lyrics = parse_corpus_lyrics(song.lyrics)
    found = align_lyrics(emissions, lyrics, language=song.language, options=options, keep_all=True)
    words = (word for line in found.lines for word in line.words)
    return [abs(ours.start_seconds - theirs.start_seconds) for ours, theirs in zip(words, song.words, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
