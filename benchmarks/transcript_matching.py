"""Alignment against matching the lyrics with a transcript, for right and for damaged lyrics.

    lyrics-asr data synth build/held_out --songs 8 --split held_out
    python benchmarks/transcript_matching.py build/held_out/manifest.jsonl JAMENDOLYRICS

The baseline is what tools without alignment do: transcribe the song with word times, match the words of the lyrics with
those of the transcript (the longest common blocks of difflib), take the times of equal words, and interpolate between
them. Lines without an equal word count as not found. It has the transcript of our own model. `keep_all` is forced
alignment of all lines in order. All three share the emissions of a song.
"""

import argparse
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import probe
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.aggregation import METRICS, aggregate
from lyrics_asr.evaluation.damage import Damage, damage, damage_statistics
from lyrics_asr.inference.mixtures import read_mixture
from lyrics_asr.inference.stages import compute_texts, decode_transcript, options_for, run_networks
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import Lyrics, parse_corpus_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.types import TimedLine, TimedWord

DAMAGES: tuple[Damage, ...] = ("none", "dropped", "added", "reordered")
_METRICS = ("damaged_words_within", "not_found_precision", "not_found_recall")


def main() -> None:
    """Print a table for each corpus."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpora", nargs="+", type=Path, help="manifests, or folders of JamendoLyrics")
    parser.add_argument("--model", default="embedded", help="name or folder of a model (%(default)s)")
    parser.add_argument("--share", type=float, default=0.3, help="share of damaged lines (%(default)s)")
    args = parser.parse_args()
    model = load_model(args.model, device="cpu")
    for corpus in args.corpora:
        songs = read_jamendo(corpus) if corpus.is_dir() else read_manifest(corpus)
        present = [song for song in songs if song.audio.is_file()]
        found: dict[tuple[Damage, str], list[dict[str, tuple[float, ...]]]] = {}
        for song in present:
            emissions, transcript = networks(song, model)
            for kind in DAMAGES:
                damaged = damage(song, kind, args.share, songs)
                lyrics = parse_corpus_lyrics(damaged.text)
                aligned = align_lyrics(emissions, lyrics, language=song.language)
                forced = align_lyrics(emissions, lyrics, language=song.language, keep_all=True)
                matched, missing = match(lyrics, transcript, emissions.duration_seconds, song.language)
                for name, lines in (("aligned", aligned.lines), ("keep_all", forced.lines), ("matched", matched)):
                    found.setdefault((kind, name), []).append(damage_statistics(song, damaged, lines))
                # All of its lines have times; which ones it would leave out is another question.
                kept = [line for line in matched if line.number not in missing]
                of_kept = damage_statistics(song, damaged, kept)
                found[kind, "matched"][-1] |= {key: of_kept[key] for key in _METRICS[1:]}
        print(f"\n{corpus}: {len(present)} songs, {sum(len(song.words) for song in present)} words")
        print(f"{'':22} {'within 0.3 s':>13} {'not found: precision':>21} {'recall':>8}")
        for (kind, name), statistics in found.items():
            values = [aggregate(METRICS[key], [each[key] for each in statistics]) for key in _METRICS]
            shown = ["-" if value is None else f"{value:.1%}" for value in values]
            print(f"{kind:12} {name:9} {shown[0]:>13} {shown[1]:>21} {shown[2]:>8}", flush=True)


def networks(song: Song, model: LyricsModel) -> tuple[Emissions, list[TimedWord]]:
    """The emissions of a song, and the words of its transcript."""
    options = options_for(model)
    voices, (emissions,) = run_networks([read_mixture(song.audio, model)], model, options)
    (text,) = compute_texts(voices, model, options, [song.language], [""])
    transcript = decode_transcript(probe(song.audio), emissions, model, options, text=text)
    return emissions, [word for line in transcript.lines for word in line.words]


def match(
    lyrics: Lyrics, transcript: Sequence[TimedWord], duration_seconds: float, language: str
) -> tuple[list[TimedLine], set[int]]:
    """Times from equal words of a transcript; also the numbers of the lines without such words."""
    written = [word for line in lyrics.lines for word in line.words]
    ours, theirs = ([normalize(each, language) for each in words] for words in (written, [w.text for w in transcript]))
    places, onsets = [-1], [0.0]
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        places += range(block.a, block.a + block.size)
        onsets += [word.start_seconds for word in transcript[block.b : block.b + block.size]]
    seconds = np.interp(np.arange(len(written) + 1), [*places, len(written)], [*onsets, duration_seconds]).tolist()
    lines, missing, first = list[TimedLine](), set[int](), 0
    for number, line in enumerate(lyrics.lines):
        last = first + len(line.words)
        words = tuple(TimedWord(w, seconds[i], seconds[i + 1], 1.0) for i, w in enumerate(line.words, first))
        lines.append(TimedLine(line.text, seconds[first], seconds[last], 1.0, words, number=number))
        if not any(first <= place < last for place in places):
            missing.add(number)
        first = last
    return lines, missing


if __name__ == "__main__":
    main()
