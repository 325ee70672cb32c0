"""Synthetic songs with exact word times: original lyrics, sung by `singing`, accompanied by `backing`.

A corpus is a folder with `manifest.jsonl` (see `datasets.manifest`) and one folder a song:

    mixture.flac vocals.flac accompaniment.flac   stereo, 44.1 kHz, 16 bit; mixture = vocals + accompaniment
    lyrics.txt                                    the lines that are sung
    sounds.json                                   the sounds of each word: name, start and end in seconds
    dali.json                                     the annotations as DALI's JSON export has them

Splits: see `load_lyrics`. Song number i of seed s is drawn from its own generator, so that neither the number of songs
    nor of processes changes it.
"""

import argparse
import json
import re
import sys
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.config import SyntheticOptions
from lyrics_asr.datasets import backing, singing
from lyrics_asr.datasets.manifest import Song, Sound, write_manifest
from lyrics_asr.files import write_text
from lyrics_asr.text import parse_lyrics
from lyrics_asr.types import TimedWord

LYRICS_FOLDER = Path("data/lyrics")
SPLIT_LISTS = {
    "development": "development.txt",
    "held_out": "held_out.txt",
}  # names of songs; the others are for training

# espeak-ng's voice variants that training songs draw from
_WOMEN = """
f1 f2 f3 f5 Alicia Andrea Annie anika aunty belinda grandma linda shelby steph steph2 steph3
"""
_MEN = """
m1 m2 m3 m4 m5 m6 m8 Alex Andy adam announcer antonio benjamin boris caleb david ed edward Gene Henrique Hugo Jacky
Lee Mario Michael Mike Reed RicishayMax grandpa gustave ian iven john klatt2 klatt3 marcelo max michel miguel
norbert pablo paul pedro quincy rob robert sandro travis victor zac
"""
_ACCENTS = {
    "en-us": 0.35,
    "en": 0.25,
    "en-gb-x-rp": 0.1,
    "en-us-nyc": 0.1,
    "en-029": 0.05,
    "en-gb-scotland": 0.05,
    "en-gb-x-gbclan": 0.05,
    "en-gb-x-gbcwmd": 0.05,
}
HELD_OUT_VOICES = (  # variants that no training song uses
    singing.Voice("en-us+f4", 1.0, 66.0, 0.3, 5.6, 0.03),
    singing.Voice("en+m7", 1.0, 54.0, 0.3, 5.2, 0.03),
)
_PARTS_OF_A_LYRIC = 3

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Rendition:
    """A song as the generator made it; the stems have the same length and add up to the mixture."""

    vocals: Samples
    accompaniment: Samples
    lines: tuple[tuple[TimedWord, ...], ...]
    sounds: tuple[tuple[Sound, ...], ...]
    pitches_hz: tuple[float, ...]


def load_lyrics(folder: Path, split: str, language: str = "en") -> dict[str, list[list[str]]]:
    """The stanzas (lists of lines) of every lyric of a split, by name.

    Raises:
        ValueError: there are no lyrics in that language.
        FileNotFoundError: the folder holds no lyrics of that split, or the lists of songs are missing.
    """
    if language != "en":
        raise ValueError(f"there are no lyrics in the language {language!r}; there are in en")
    lists = {name: set((folder / file).read_text("utf-8").split()) for name, file in SPLIT_LISTS.items()}
    reserved = set().union(*lists.values())
    songs = {}
    for path in sorted(folder.glob("*.txt")):
        belongs = path.stem in lists[split] if split in lists else path.stem not in reserved
        if belongs and path.name not in SPLIT_LISTS.values():
            stanzas = [
                [line.text for line in parse_lyrics(block).lines]
                for block in re.split(r"\n\s*\n", path.read_text("utf-8"))
                if block.strip()
            ]
            songs[path.stem] = [stanza for stanza in stanzas if stanza]
    if not songs:
        raise FileNotFoundError(
            f"{folder}: no lyrics of the split {split!r}; run this in the project's folder or give --lyrics"
        )
    return songs


def generate(out: Path, options: SyntheticOptions, lyrics: Path = LYRICS_FOLDER) -> list[Song]:
    """Make a corpus; songs that are already complete in `out` are kept.

    Raises:
        FileNotFoundError: no lyrics.
        ValueError: `out` holds a corpus of other options or lyrics.
        OutputError: a file cannot be written.
    """
    songs = load_lyrics(lyrics, options.split)
    _claim(out, options, songs)
    vocabulary = words_of(songs)
    jobs = [draw_job(songs, vocabulary, options, number) for number in range(options.songs)]
    # A single process is one of its own too: espeak-ng draws from C's `rand`, which threads of other libraries move on.
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(partial(_make_song, out), jobs))
    write_manifest(out / "manifest.jsonl", made)
    return made


def _claim(out: Path, options: SyntheticOptions, songs: dict[str, list[list[str]]]) -> None:
    """Write down what the corpus is made from, or make sure that it is the same as before."""
    made_from = {key: value for key, value in asdict(options).items() if key not in ("songs", "processes")}
    made_from["lyrics_crc32"] = zlib.crc32(json.dumps(songs, sort_keys=True).encode())
    path = out / "corpus.json"
    if not path.exists():
        write_text(path, json.dumps(made_from, indent=1) + "\n")
    elif json.loads(path.read_text("utf-8")) != made_from:
        raise ValueError(f"{out}: holds songs made with other options or lyrics (see {path}); choose another folder")


def render(
    lines: Sequence[str], voice: singing.Voice, rng: np.random.Generator, *, a_cappella: bool = False
) -> Rendition:
    """Sing `lines` over a band at most 6 dB louder or softer (RMS over the song); the mixture peaks at 0.9."""
    music = backing.compose(rng)
    bar_seconds = music.beats_per_bar * music.beat_seconds
    target_seconds = rng.uniform(0.14, 0.38)
    note_seconds = min(
        (music.beat_seconds * s for s in (0.25, 0.5, 1.0)), key=lambda s: abs(np.log(s / target_seconds))
    )
    words_per_minute = int(rng.integers(140, 200))

    cursor_seconds = bar_seconds * float(rng.choice([0.5, 1, 1, 2]))  # the singer enters after an intro
    placed: list[tuple[float, singing.SungLine]] = []
    pitches_hz: list[float] = []
    for text in lines:
        speech = singing.speak(_speakable(text), voice.espeak_name, words_per_minute)
        counts = [singing.syllables(word) for word in speech.words]
        notes = _melody(music, voice.center_midi, sum(counts), rng)
        sung = singing.sing(speech, notes, _rhythm(note_seconds, sum(counts), rng), voice)
        first_notes = np.cumsum([0, *counts[:-1]])
        pitches_hz += [float(440 * 2 ** ((notes[i] - 69) / 12)) for i in first_notes]
        start = max(0.0, cursor_seconds - sung.first_vowel_seconds)
        placed.append((start, sung))
        end = start + sung.words[-1].end_seconds + rng.uniform(0.15, 0.5)
        grid = music.beat_seconds * int(rng.choice([1, 1, 2, music.beats_per_bar]))
        cursor_seconds = float(np.ceil(end / grid) * grid) + (bar_seconds * 2 if rng.random() < 0.06 else 0)

    duration_seconds = cursor_seconds + rng.uniform(0.5, 1.0) * bar_seconds
    vocals = np.zeros(round(duration_seconds * backing.SAMPLE_RATE_HZ))
    timed = []
    sounds = []
    for (start, sung), text in zip(placed, lines, strict=True):
        samples = resample_poly(sung.samples, 2, 1) * 10 ** (rng.uniform(-3, 3) / 20)
        first = round(start * backing.SAMPLE_RATE_HZ)
        vocals[first : first + len(samples)] += samples[: len(vocals) - first]
        timed.append(
            tuple(
                TimedWord(written, start + word.start_seconds, start + word.end_seconds, 1.0)
                for written, word in zip(text.split(), sung.words, strict=True)
            )
        )
        sounds += [
            tuple(Sound(each.name, start + each.start_seconds, start + each.end_seconds) for each in word.sounds)
            for word in sung.words
        ]
    wet = backing.reverberate(np.tile(vocals, (2, 1)), rng.uniform(0.03, 0.25), rng.uniform(0.3, 1.5), rng)
    accompaniment = np.zeros_like(wet)
    if not a_cappella:
        accompaniment = backing.play(music, duration_seconds, rng)
        level = 10 ** (rng.uniform(-6, 6) / 20)
        accompaniment *= level * np.sqrt((wet**2).mean() / max((accompaniment**2).mean(), 1e-12))
    gain = 0.9 / np.abs(wet + accompaniment).max()
    return Rendition(wet * gain, accompaniment * gain, tuple(timed), tuple(sounds), tuple(pitches_hz))


def draw_voice(rng: np.random.Generator) -> singing.Voice:
    """Draw a training voice: accent, variant, vocal tract, range, vibrato and breath."""
    accent = str(rng.choice(list(_ACCENTS), p=list(_ACCENTS.values())))
    woman = rng.random() < 0.5
    variant = str(rng.choice((_WOMEN if woman else _MEN).split()))
    return singing.Voice(
        espeak_name=f"{accent}+{variant}",
        formant_ratio=float(rng.uniform(0.9, 1.12)),
        center_midi=float(rng.uniform(61, 71) if woman else rng.uniform(48, 60)),
        vibrato_semitones=float(rng.uniform(0, 0.6)),
        vibrato_hz=float(rng.uniform(4.5, 6.5)),
        breathiness=float(rng.uniform(0, 0.12)),
    )


@dataclass(frozen=True)
class SongJob:
    """A song to make, and the generator that draws the rest of it."""

    name: str
    title: str
    lines: list[str]
    voice: singing.Voice
    a_cappella: bool
    rng: np.random.Generator


def draw_job(
    songs: dict[str, list[list[str]]], vocabulary: Sequence[str], options: SyntheticOptions, number: int
) -> SongJob:
    """Draw song `number` of the endless corpus that split and seed name.

    Args:
        songs: the split's lyrics, see `load_lyrics`.
        vocabulary: their words, see `words_of`.
        options: how many `songs` they ask for does not matter.
        number: from 0.
    """
    rng = np.random.default_rng([options.seed, zlib.crc32(options.split.encode()), number])
    if options.split == "training":
        title, lines = _draw_lines(songs, vocabulary, options, rng)
    else:
        title, lines = part_of_lyric(songs, number)
    voice = (
        HELD_OUT_VOICES[(number + number // len(songs)) % len(HELD_OUT_VOICES)]
        if options.split == "held_out"
        else draw_voice(rng)
    )
    a_cappella = bool(rng.random() < options.a_cappella_share)
    return SongJob(f"{options.split}_{options.seed}_{number:05d}", title, lines, voice, a_cappella, rng)


def perform_job(job: SongJob) -> Rendition:
    """Make the song of a job, once: its generator moves on."""
    singing.reset()
    return render(job.lines, job.voice, job.rng, a_cappella=job.a_cappella)


def words_of(songs: dict[str, list[list[str]]]) -> list[str]:
    """The different words of lyrics."""
    text = "\n".join(line for stanzas in songs.values() for stanza in stanzas for line in stanza)
    return sorted(set(re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())))


def _make_song(out: Path, job: SongJob) -> Song:
    folder = out / job.name
    if not (folder / "sounds.json").exists():  # written last: its song is complete
        _write_song(folder, job.title, job.lines, perform_job(job), job.voice)
    return _song_record(folder, job.lines)


def _draw_lines(
    songs: dict[str, list[list[str]]], vocabulary: Sequence[str], options: SyntheticOptions, rng: np.random.Generator
) -> tuple[str, list[str]]:
    """Consecutive lines of one training lyric, some of them replaced by words in random order."""
    name = sorted(songs)[int(rng.integers(len(songs)))]
    lines = [line for stanza in songs[name] for line in stanza]
    first = int(rng.integers(max(1, len(lines) - options.lines + 1)))
    chosen = lines[first : first + options.lines]
    return name, [
        " ".join(rng.choice(vocabulary, size=int(rng.integers(4, 8))))
        if rng.random() < options.word_salad_share
        else line
        for line in chosen
    ]


def part_of_lyric(songs: dict[str, list[list[str]]], index: int) -> tuple[str, list[str]]:
    """A third of a lyric: over `3 * len(songs)` songs every line of the split is sung once."""
    name = sorted(songs)[index % len(songs)]
    lines = [line for stanza in songs[name] for line in stanza]
    part = index // len(songs) % _PARTS_OF_A_LYRIC
    return name, lines[part * len(lines) // _PARTS_OF_A_LYRIC : (part + 1) * len(lines) // _PARTS_OF_A_LYRIC]


def _speakable(line: str) -> str:
    """The line without punctuation, which espeak-ng would turn into pauses."""
    return " ".join(re.sub(r"[^\w']", "", word) or word for word in line.split())


def _melody(music: backing.Music, center_midi: float, notes: int, rng: np.random.Generator) -> list[float]:
    """A random walk on the scale that stays within a fifth or so of the middle of the voice."""
    degrees = np.array([music.degree_midi(d) for d in range(-14, 28)], dtype=float)
    position = int(np.argmin(np.abs(degrees - center_midi))) + int(rng.integers(-2, 3))
    melody = []
    for _ in range(notes):
        melody.append(float(degrees[position]))
        step = int(rng.choice([-4, -2, -1, -1, 0, 0, 1, 1, 2, 4]))
        position += -step if abs(degrees[position + step] - center_midi) > 8 else step
    return melody


def _rhythm(note_seconds: float, notes: int, rng: np.random.Generator) -> list[float]:
    lengths = rng.choice([0.5, 1.0, 1.5, 2.0, 3.0], p=[0.05, 0.55, 0.12, 0.22, 0.06], size=notes)
    lengths[-1] = max(lengths[-1], 2.0)
    return [float(length * note_seconds) for length in lengths]


def _write_song(folder: Path, title: str, lines: Sequence[str], rendition: Rendition, voice: singing.Voice) -> None:
    stems = {
        "mixture": rendition.vocals + rendition.accompaniment,
        "vocals": rendition.vocals,
        "accompaniment": rendition.accompaniment,
    }
    for stem, samples in stems.items():
        audio = Audio(torch.from_numpy(samples.astype(np.float32)), backing.SAMPLE_RATE_HZ)
        write_audio(folder / f"{stem}.flac", audio)
    write_text(folder / "lyrics.txt", "\n".join(lines) + "\n")
    write_text(
        folder / "dali.json", json.dumps(dali_annotations(folder.name, title, rendition, voice), indent=1) + "\n"
    )
    write_text(folder / "sounds.json", json.dumps([[list(vars(s).values()) for s in own] for own in rendition.sounds]))


def dali_annotations(song_id: str, title: str, rendition: Rendition, voice: singing.Voice) -> dict[str, Any]:
    """The annotations as DALI's JSON export lays them out (Meseguer-Brocal et al. 2018), horizontal.

    Every level has `text`, `time` in seconds, `freq` in hertz (lowest and highest) and `index`, the entry above it.
    A word has one note, its first.
    """
    words: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    pitches = iter(rendition.pitches_hz)
    for number, line in enumerate(rendition.lines):
        own: list[dict[str, Any]] = []
        for word in line:
            pitch = next(pitches)
            time = [word.start_seconds, word.end_seconds]
            own.append({"text": word.text, "time": time, "freq": [pitch, pitch], "index": number})
        lines.append(
            {
                "text": " ".join(word.text for word in line),
                "time": [line[0].start_seconds, line[-1].end_seconds],
                "freq": [min(w["freq"][0] for w in own), max(w["freq"][1] for w in own)],
                "index": 0,
            }
        )
        words += own
    paragraph = {
        "text": "\n".join(line["text"] for line in lines),
        "time": [lines[0]["time"][0], lines[-1]["time"][1]],
        "freq": [min(line["freq"][0] for line in lines), max(line["freq"][1] for line in lines)],
        "index": 0,
    }
    notes = [{**word, "index": i} for i, word in enumerate(words)]
    return {
        "info": {
            "id": song_id,
            "artist": voice.espeak_name,
            "title": title,
            "dataset_version": 1.0,
            "ground-truth": True,
            "scores": {"NCC": 1.0, "manual": 0},
            "audio": {"url": None, "path": "mixture.flac", "working": True},
            "metadata": {
                "language": "english",
                "genres": ["synthetic"],
                "album": None,
                "release_date": None,
                "cover": None,
            },
        },
        "annotations": {
            "type": "horizontal",
            "annot": {"notes": notes, "words": words, "lines": lines, "paragraphs": [paragraph]},
            "annot_param": {"fr": 1 / singing.FRAME_SECONDS, "offset": 0.0},
        },
    }


def _song_record(folder: Path, lines: Sequence[str]) -> Song:
    annotations = json.loads((folder / "dali.json").read_text("utf-8"))
    sounds = json.loads((folder / "sounds.json").read_text("utf-8"))
    words = tuple(
        TimedWord(word["text"], word["time"][0], word["time"][1], 1.0)
        for word in annotations["annotations"]["annot"]["words"]
    )
    return Song(
        id=folder.name,
        audio=folder / "mixture.flac",
        lyrics="\n".join(lines),
        words=words,
        language="en",
        vocals=folder / "vocals.flac",
        accompaniment=folder / "accompaniment.flac",
        sounds=tuple(tuple(Sound(*sound) for sound in own) for own in sounds),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lyrics-asr data synth`."""
    defaults = SyntheticOptions()
    parser.add_argument("out", type=Path, help="folder of the corpus; songs that are complete there are kept")
    parser.add_argument(
        "--split",
        choices=("training", "development", "held_out"),
        default=defaults.split,
        help="lyrics and voices (default: %(default)s)",
    )
    parser.add_argument("--songs", type=int, default=defaults.songs, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    parser.add_argument(
        "--lines", type=int, default=defaults.lines, help="lines of a training song (default: %(default)s)"
    )
    parser.add_argument(
        "--word-salad-share",
        type=float,
        default=defaults.word_salad_share,
        help="share of lines with words in random order (default: %(default)s)",
    )
    parser.add_argument(
        "--a-cappella-share",
        type=float,
        default=defaults.a_cappella_share,
        help="share of songs with no band (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=defaults.processes, help="songs made at once (default: %(default)s)"
    )
    parser.add_argument("--lyrics", type=Path, default=LYRICS_FOLDER, help="folder of lyrics (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Carry out `lyrics-asr data synth`."""
    options = SyntheticOptions(
        arguments.split,
        arguments.songs,
        arguments.seed,
        arguments.lines,
        arguments.word_salad_share,
        arguments.a_cappella_share,
        arguments.processes,
    )
    songs = generate(arguments.out, options, arguments.lyrics)
    print(f"{len(songs)} songs in {arguments.out / 'manifest.jsonl'}", file=sys.stderr)
    return 0
