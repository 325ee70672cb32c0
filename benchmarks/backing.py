"""Alignment of songs with backing vocals over the lead, written in parentheses.

`python benchmarks/backing.py data/synthetic/development/manifest.jsonl` takes synthetic songs, as `lyrics-asr data
synth` makes them. Words of the song's vocals are added 3 dB below it: after a line, its last two words, at most 0.2 s
before it ends ("echo"), or over a line, three words of another ("answer"). Some phrases are written, but not sung. The
scores are the share of the lead's words that start within 0.3 s, with the phrases as backing vocals, as words of the
lead, and without them; and of each kind of phrase, how many were found, and how many start within 0.3 s.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import Audio, read_audio
from lyrics_asr.corpora.manifest import Song, read_manifest
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.stages import compute_emissions
from lyrics_asr.lyrics.text import Lyrics, parse_corpus_lyrics, parse_lyrics
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import InferenceOptions
from lyrics_asr.types import Alignment, TimedWord

_RATE_HZ = 44_100
_GAIN = 10 ** (-3 / 20)
_MARGIN_SECONDS = 0.03
_TOLERANCE_SECONDS = 0.3
_MIN_WORDS = 4

Line = tuple[TimedWord, ...]


@dataclass(frozen=True)
class Phrase:
    """Words in parentheses after a line, and when they start."""

    kind: str
    words: Line
    start_seconds: float


def lines_of(song: Song) -> list[Line]:
    """The words of each line."""
    words = iter(song.words)
    return [tuple(next(words) for _ in line.words) for line in parse_corpus_lyrics(song.lyrics).lines]


def draw_phrase(line: Line, others: Sequence[Line], rng: random.Random) -> Phrase | None:
    """A phrase for a line; None for none."""
    kind = rng.choice(["none", "echo", "answer", "echo", "answer", "unsung"])
    texts = {word.text.lower() for word in line}
    foreign = [other for other in others if len(other) >= _MIN_WORDS and not texts & {w.text.lower() for w in other}]
    if kind == "none" or len(line) < _MIN_WORDS or not foreign:
        return None
    if kind == "echo":
        return Phrase(kind, line[-2:], line[-1].end_seconds + rng.uniform(-0.2, 0.4))
    other = rng.choice(foreign)
    first = rng.randrange(len(other) - 2)
    return Phrase(kind, other[first : first + 3], rng.uniform(line[1].start_seconds, line[-1].start_seconds))


def mixed(song: Song, phrases: Sequence[Phrase | None]) -> Audio:
    """The song with the phrases that are sung."""
    assert song.vocals is not None
    mixture, vocals = (read_audio(path, sample_rate_hz=_RATE_HZ, channels=2) for path in (song.audio, song.vocals))
    samples = mixture.samples.clone()
    for phrase in phrases:
        if phrase is None or phrase.kind == "unsung":
            continue
        first = max(0, round((phrase.words[0].start_seconds - _MARGIN_SECONDS) * _RATE_HZ))
        own = vocals.samples[:, first : round((phrase.words[-1].end_seconds + _MARGIN_SECONDS) * _RATE_HZ)]
        place = round((phrase.start_seconds - _MARGIN_SECONDS) * _RATE_HZ)
        own = own[:, : samples.shape[1] - place]
        samples[:, place : place + own.shape[1]] += _GAIN * own
    return Audio(samples, _RATE_HZ)


def right_words(found: Alignment, lead: Sequence[int], lines: Sequence[Line]) -> list[bool]:
    """Whether each word of the lead starts within the tolerance; `lead` has the numbers of its lines in the lyrics."""
    right = []
    for number, line in zip(lead, lines, strict=True):
        sung = [each.words for each in found.lines if each.number == number]
        for place, word in enumerate(line):
            starts = [words[place].start_seconds for words in sung]
            right.append(any(abs(start - word.start_seconds) <= _TOLERANCE_SECONDS for start in starts))
    return right


def main() -> None:
    """Print a row per way of alignment, and a row per kind of phrase."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--model", default="embedded")
    args = parser.parse_args()
    model = load_model(args.model, device="cpu")
    right: dict[str, list[bool]] = {}
    counts: dict[str, Counter[str]] = {}
    for song in (song for manifest in args.manifests for song in read_manifest(manifest)):
        rng = random.Random(song.id)
        lines = lines_of(song)
        phrases = [draw_phrase(line, lines, rng) for line in lines]
        (emissions,) = compute_emissions([mixed(song, phrases)], model, InferenceOptions())

        def aligned(lyrics: Lyrics, emissions: Emissions = emissions, language: str = song.language) -> Alignment:
            return align_lyrics(emissions, lyrics, language=language)

        plain = [" ".join(word.text for word in line) for line in lines]
        written = [
            text if phrase is None else f"{text} ({' '.join(word.text.strip(',.;:!?') for word in phrase.words)})"
            for text, phrase in zip(plain, phrases, strict=True)
        ]
        voices = parse_lyrics("\n".join(written))
        found = aligned(voices)
        lead = [number for number, line in enumerate(voices.lines) if line.voice == "lead"]
        alone = range(len(lines))
        right.setdefault("backing vocals", []).extend(right_words(found, lead, lines))
        one_voice = aligned(parse_corpus_lyrics("\n".join(written)))
        right.setdefault("words of the lead", []).extend(right_words(one_voice, alone, lines))
        without = aligned(parse_corpus_lyrics("\n".join(plain)))
        right.setdefault("left out", []).extend(right_words(without, alone, lines))
        for number, phrase in zip(lead, phrases, strict=True):
            if phrase is not None:
                starts = [line.start_seconds for line in found.lines if line.number == number + 1]
                count = counts.setdefault(phrase.kind, Counter())
                count["all"] += 1
                count["found"] += len(starts)
                count["right"] += sum(abs(start - phrase.start_seconds) <= _TOLERANCE_SECONDS for start in starts)
    for way, each in right.items():
        print(f"phrases as {way:<18} {sum(each) / len(each):.3f} of {len(each)} words of the lead")
    for kind, count in counts.items():
        print(f"{kind:<7} {count['found']} of {count['all']} found, {count['right']} of them at the right time")


if __name__ == "__main__":
    main()
