"""Synthetic songs with exact word times: original lyrics, sung over a band.

`arrangement` lays a song out, `singing` sings it, `backing` accompanies it, `production` mixes it.

A corpus is a folder with `manifest.jsonl` (see `datasets.manifest`) and one folder a song:

    mixture.flac vocals.flac accompaniment.flac   stereo, 44.1 kHz, 16 bit; mixture = vocals + accompaniment
    lyrics.txt                                    the lines that are sung, as often as they are
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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.config import SyntheticOptions
from lyrics_asr.datasets import arrangement, backing, instruments, production, singing
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

_LINES_OF_A_STANZA = 4
_FADED_SHARE = 0.25  # of the songs fade out

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Rendition:
    """A song as the generator made it; the stems have the same length and add up to the mixture."""

    vocals: Samples
    accompaniment: Samples
    lines: tuple[tuple[TimedWord, ...], ...]
    sounds: tuple[tuple[Sound, ...], ...]
    pitches_hz: tuple[float, ...]


def load_lyrics(folder: Path, split: str) -> dict[str, list[list[str]]]:
    """The stanzas (lists of lines) of every lyric of a split, by name.

    Raises:
        FileNotFoundError: the folder holds no lyrics of that split, or the lists of songs are missing.
    """
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
    jobs = _draw_jobs(out, options, songs)
    # A single process is one of its own too: espeak-ng draws from C's `rand`, which threads of other libraries move on.
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(_make_song, jobs))
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
    stanzas: Sequence[Sequence[str]], voice: singing.Voice, rng: np.random.Generator, *, a_cappella: bool = False
) -> Rendition:
    """Arrange, sing, accompany and produce a song.

    While somebody sings, the voice is 9 dB softer to 6 dB louder than the band (RMS); the mixture peaks at 0.9.
    """
    music = arrangement.compose(rng)
    words_per_minute = int(rng.integers(140, 200) if music.syllable_seconds > 0.16 else rng.integers(240, 340))
    speeches = {
        line: singing.speak(_speakable(line), voice.espeak_name, words_per_minute)
        for stanza in stanzas
        for line in stanza
    }
    lyrics = [[arrangement.Lyric(line, _least_seconds(speeches[line])) for line in stanza] for stanza in stanzas]
    score = arrangement.arrange(music, lyrics, voice.center_midi, rng)
    total_samples = round(score.duration_seconds * backing.SAMPLE_RATE_HZ)
    vocals, lines, sounds, pitches_hz = _sing(score, speeches, voice, total_samples, rng)
    wet = production.produce_voice(vocals, music.beat_seconds, rng)
    accompaniment = np.zeros_like(wet)
    if not a_cappella:
        accompaniment = production.produce_band(backing.play(music, score.sections, total_samples, rng), rng)
        level_db = rng.triangular(-9, -1, 6)
        accompaniment *= np.float32(10 ** (-level_db / 20) * _sung_rms(wet, lines) / _sung_rms(accompaniment, lines))
    if rng.random() < _FADED_SHARE:
        fade = _fade_out(score, lines[-1][-1].end_seconds, total_samples)
        wet, accompaniment = wet * fade, accompaniment * fade
    return Rendition(*production.master(wet, accompaniment, rng), lines, sounds, pitches_hz)


def _sing(
    score: arrangement.Score,
    speeches: dict[str, singing.Speech],
    voice: singing.Voice,
    total_samples: int,
    rng: np.random.Generator,
) -> tuple[Samples, tuple[tuple[TimedWord, ...], ...], tuple[tuple[Sound, ...], ...], tuple[float, ...]]:
    """The dry voice, mono; its lines, the sounds of each of their words, and the first pitch of each in hertz."""
    vocals = np.zeros(total_samples, dtype=np.float32)
    lines, sounds, pitches_hz = [], [], []
    end = 0.0
    for scored in score.lines:
        speech = speeches[scored.text]
        sung = singing.sing(speech, list(scored.notes_midi), list(scored.durations_seconds), voice)
        start = max(end, scored.start_seconds - sung.first_vowel_seconds)
        end = start + sung.words[-1].end_seconds
        samples = resample_poly(sung.samples, 2, 1) * 10 ** (rng.uniform(-3, 3) / 20)
        first = round(start * backing.SAMPLE_RATE_HZ)
        vocals[first : first + len(samples)] += samples[: total_samples - first].astype(np.float32)
        lines.append(
            tuple(
                TimedWord(written, start + word.start_seconds, start + word.end_seconds, 1.0)
                for written, word in zip(scored.text.split(), sung.words, strict=True)
            )
        )
        sounds += [
            tuple(Sound(each.name, start + each.start_seconds, start + each.end_seconds) for each in word.sounds)
            for word in sung.words
        ]
        first_notes = np.cumsum([0, *[singing.syllables(word) for word in speech.words[:-1]]])
        pitches_hz += [instruments.hertz(scored.notes_midi[i]) for i in first_notes]
    return vocals, tuple(lines), tuple(sounds), tuple(pitches_hz)


def _least_seconds(speech: singing.Speech) -> tuple[float, ...]:
    """The least time of each syllable: its consonants as they were spoken, and what `singing.sing` leaves a vowel."""
    least: list[float] = []
    for word in speech.words:
        has_vowel = any(phone.is_vowel for phone in word.phones)
        for i, phone in enumerate(word.phones):
            if phone.is_vowel or (i == 0 and not has_vowel):
                least.append(0.06)
            elif least:
                least[-1] += (phone.end_samples - phone.start_samples) / singing.SPEECH_SAMPLE_RATE_HZ
    return tuple(least)


def _sung_rms(stem: Samples, lines: Sequence[Sequence[TimedWord]]) -> float:
    """RMS of a stem while somebody sings."""
    rate = backing.SAMPLE_RATE_HZ
    spans = [stem[:, round(line[0].start_seconds * rate) : round(line[-1].end_seconds * rate)] for line in lines]
    power = sum(float(np.square(span).sum()) for span in spans) / max(1, sum(span.size for span in spans))
    return float(np.sqrt(max(power, 1e-12)))


def _fade_out(score: arrangement.Score, last_word_seconds: float, total_samples: int) -> Samples:
    """A gain that falls to nothing from the last word, or the outro if it begins later, to the end."""
    outro_seconds = score.sections[-1].first_bar * score.music.bar_seconds
    first = round(max(last_word_seconds, outro_seconds) * backing.SAMPLE_RATE_HZ)
    gain = np.ones(total_samples, dtype=np.float32)
    gain[first:] = np.linspace(1, 0, max(0, total_samples - first))
    return gain


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
class _Job:
    """A song to make, and the generator that draws the rest of it."""

    folder: Path
    title: str
    lines: list[str]
    voice: singing.Voice
    a_cappella: bool
    rng: np.random.Generator


def _draw_jobs(out: Path, options: SyntheticOptions, songs: dict[str, list[list[str]]]) -> list[_Job]:
    vocabulary = sorted({word for word in _words(songs) if word.isascii()})
    jobs = []
    for index in range(options.songs):
        rng = np.random.default_rng([options.seed, zlib.crc32(options.split.encode()), index])
        if options.split == "training":
            title, lines = _draw_lines(songs, vocabulary, options, rng)
        else:
            title, lines = part_of_lyric(songs, index)
        voice = (
            HELD_OUT_VOICES[(index + index // len(songs)) % len(HELD_OUT_VOICES)]
            if options.split == "held_out"
            else draw_voice(rng)
        )
        a_cappella = bool(rng.random() < options.a_cappella_share)
        folder = out / f"{options.split}_{options.seed}_{index:05d}"
        jobs.append(_Job(folder, title, lines, voice, a_cappella, rng))
    return jobs


def _make_song(job: _Job) -> Song:
    if not (job.folder / "sounds.json").exists():  # written last: its song is complete
        singing.reset()
        stanzas = [job.lines[i : i + _LINES_OF_A_STANZA] for i in range(0, len(job.lines), _LINES_OF_A_STANZA)]
        rendition = render(stanzas, job.voice, job.rng, a_cappella=job.a_cappella)
        _write_song(job.folder, job.title, rendition, job.voice)
    return _song_record(job.folder)


def _draw_lines(
    songs: dict[str, list[list[str]]], vocabulary: list[str], options: SyntheticOptions, rng: np.random.Generator
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


def _words(songs: dict[str, list[list[str]]]) -> list[str]:
    text = "\n".join(line for stanzas in songs.values() for stanza in stanzas for line in stanza)
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


def _speakable(line: str) -> str:
    """The line without punctuation, which espeak-ng would turn into pauses."""
    return " ".join(re.sub(r"[^\w']", "", word) or word for word in line.split())


def _write_song(folder: Path, title: str, rendition: Rendition, voice: singing.Voice) -> None:
    stems = {
        "mixture": rendition.vocals + rendition.accompaniment,
        "vocals": rendition.vocals,
        "accompaniment": rendition.accompaniment,
    }
    for stem, samples in stems.items():
        audio = Audio(torch.from_numpy(samples), backing.SAMPLE_RATE_HZ)
        write_audio(folder / f"{stem}.flac", audio)
    lines = (" ".join(word.text for word in line) for line in rendition.lines)
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


def _song_record(folder: Path) -> Song:
    annotations = json.loads((folder / "dali.json").read_text("utf-8"))
    sounds = json.loads((folder / "sounds.json").read_text("utf-8"))
    words = tuple(
        TimedWord(word["text"], word["time"][0], word["time"][1], 1.0)
        for word in annotations["annotations"]["annot"]["words"]
    )
    return Song(
        id=folder.name,
        audio=folder / "mixture.flac",
        lyrics=(folder / "lyrics.txt").read_text("utf-8").rstrip("\n"),
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
