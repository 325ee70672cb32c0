"""Synthetic songs with exact word times: original lyrics, sung by `singing`, accompanied by `backing`.

A corpus is a folder with `manifest.jsonl` (see `datasets.manifest`) and one folder a song:

    mixture.flac vocals.flac accompaniment.flac   stereo, 44.1 kHz, 16 bit; mixture = vocals + accompaniment
    lyrics.txt                                    the lines that are sung
    sounds.json                                   the sounds of each word: name, start and end in seconds
    dali.json                                     the annotations as DALI's JSON export has them

Lyrics, their languages and splits: see `datasets.lyrics`. Song number i of a seed is drawn from its own generator, so
    that neither the number of songs nor of processes changes it.
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
from lyrics_asr.datasets import backing, singing
from lyrics_asr.datasets.delivery import draw_delivery, draw_melody
from lyrics_asr.datasets.lyrics import (
    LANGUAGE_NAMES,
    LYRICS_FOLDER,
    Stanzas,
    draw_song,
    load_lyrics,
    part_of_lyric,
)
from lyrics_asr.datasets.manifest import Song, Sound, write_manifest
from lyrics_asr.datasets.speech import reset, speak, syllables
from lyrics_asr.datasets.vocoder import FRAME_SECONDS
from lyrics_asr.datasets.voices import HELD_OUT_VOICES, draw_voice
from lyrics_asr.files import write_text
from lyrics_asr.types import TimedWord

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Rendition:
    """A song as the generator made it; the stems have the same length and add up to the mixture."""

    vocals: Samples
    accompaniment: Samples
    lines: tuple[tuple[TimedWord, ...], ...]
    sounds: tuple[tuple[Sound, ...], ...]
    pitches_hz: tuple[float, ...]


def generate(out: Path, options: SyntheticOptions, lyrics: Path = LYRICS_FOLDER) -> list[Song]:
    """Make a corpus; songs that are already complete in `out` are kept.

    Raises:
        FileNotFoundError: no lyrics.
        ValueError: `out` holds a corpus of other options or lyrics.
        OutputError: a file cannot be written.
    """
    songs = load_lyrics(lyrics, options.split, options.language)
    _claim(out, options, songs)
    jobs = _draw_jobs(out, options, songs)
    # A single process is one of its own too: espeak-ng draws from C's `rand`, which threads of other libraries move on.
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(_make_song, jobs))
    write_manifest(out / "manifest.jsonl", made)
    return made


def _claim(out: Path, options: SyntheticOptions, songs: dict[str, Stanzas]) -> None:
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
    scale_midi = [music.degree_midi(degree) for degree in range(-21, 35)]

    cursor_seconds = bar_seconds * float(rng.choice([0.5, 1, 1, 2]))  # the singer enters after an intro
    placed: list[tuple[float, singing.SungLine]] = []
    pitches_hz: list[float] = []
    for text in lines:
        delivery = draw_delivery(rng)
        speech = speak(_speakable(text), voice.espeak_name, delivery.words_per_minute)
        counts = [syllables(word) for word in speech.words]
        melody = draw_melody(
            counts, scale_midi, voice.center_midi, voice.range_semitones, music.beat_seconds, delivery, rng
        )
        sung = singing.sing(speech, melody, voice, rng, delivery)
        first_notes = np.cumsum([0, *counts[:-1]])
        pitches_hz += [float(440 * 2 ** ((melody.syllables[i][0].midi - 69) / 12)) for i in first_notes]
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


@dataclass(frozen=True)
class _Job:
    """A song to make, and the generator that draws the rest of it."""

    folder: Path
    title: str
    lines: list[str]
    language: str
    voice: singing.Voice
    a_cappella: bool
    rng: np.random.Generator


def _draw_jobs(out: Path, options: SyntheticOptions, songs: dict[str, Stanzas]) -> list[_Job]:
    jobs = []
    for index in range(options.songs):
        rng = np.random.default_rng([options.seed, zlib.crc32(f"{options.language} {options.split}".encode()), index])
        if options.split == "training":
            stanzas = draw_song(
                songs,
                options.language,
                rng,
                lines=options.lines,
                word_salad_share=options.word_salad_share,
                generated_share=options.generated_share,
            )
            lines = [line for stanza in stanzas for line in stanza]
            title = lines[0]
        else:
            title, lines = part_of_lyric(songs, index)
        voice = (
            HELD_OUT_VOICES[options.language][(index + index // len(songs)) % len(HELD_OUT_VOICES[options.language])]
            if options.split == "held_out"
            else draw_voice(options.language, rng)
        )
        a_cappella = bool(rng.random() < options.a_cappella_share)
        folder = out / f"{options.language}_{options.split}_{options.seed}_{index:05d}"
        jobs.append(_Job(folder, title, lines, options.language, voice, a_cappella, rng))
    return jobs


def _make_song(job: _Job) -> Song:
    if not (job.folder / "sounds.json").exists():  # written last: its song is complete
        reset()
        rendition = render(job.lines, job.voice, job.rng, a_cappella=job.a_cappella)
        _write_song(job, rendition)
    return _song_record(job)


def _speakable(line: str) -> str:
    """The line without punctuation, which espeak-ng would turn into pauses, but for what is inside words."""
    return " ".join(re.sub(r"[^\w'-]", "", word) or word for word in line.split())


def _write_song(job: _Job, rendition: Rendition) -> None:
    stems = {
        "mixture": rendition.vocals + rendition.accompaniment,
        "vocals": rendition.vocals,
        "accompaniment": rendition.accompaniment,
    }
    for stem, samples in stems.items():
        audio = Audio(torch.from_numpy(samples.astype(np.float32)), backing.SAMPLE_RATE_HZ)
        write_audio(job.folder / f"{stem}.flac", audio)
    write_text(job.folder / "lyrics.txt", "\n".join(job.lines) + "\n")
    annotations = dali_annotations(job.folder.name, job.title, rendition, job.voice, job.language)
    write_text(job.folder / "dali.json", json.dumps(annotations, indent=1) + "\n")
    write_text(
        job.folder / "sounds.json", json.dumps([[list(vars(s).values()) for s in own] for own in rendition.sounds])
    )


def dali_annotations(
    song_id: str, title: str, rendition: Rendition, voice: singing.Voice, language: str = "en"
) -> dict[str, Any]:
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
                "language": LANGUAGE_NAMES[language],
                "genres": ["synthetic"],
                "album": None,
                "release_date": None,
                "cover": None,
            },
        },
        "annotations": {
            "type": "horizontal",
            "annot": {"notes": notes, "words": words, "lines": lines, "paragraphs": [paragraph]},
            "annot_param": {"fr": 1 / FRAME_SECONDS, "offset": 0.0},
        },
    }


def _song_record(job: _Job) -> Song:
    annotations = json.loads((job.folder / "dali.json").read_text("utf-8"))
    sounds = json.loads((job.folder / "sounds.json").read_text("utf-8"))
    words = tuple(
        TimedWord(word["text"], word["time"][0], word["time"][1], 1.0)
        for word in annotations["annotations"]["annot"]["words"]
    )
    return Song(
        id=job.folder.name,
        audio=job.folder / "mixture.flac",
        lyrics="\n".join(job.lines),
        words=words,
        language=job.language,
        vocals=job.folder / "vocals.flac",
        accompaniment=job.folder / "accompaniment.flac",
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
    parser.add_argument(
        "--language", choices=tuple(LANGUAGE_NAMES), default=defaults.language, help="default: %(default)s"
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
        "--generated-share",
        type=float,
        default=defaults.generated_share,
        help="share of lines with generated words (default: %(default)s)",
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
        split=arguments.split,
        language=arguments.language,
        songs=arguments.songs,
        seed=arguments.seed,
        lines=arguments.lines,
        word_salad_share=arguments.word_salad_share,
        generated_share=arguments.generated_share,
        a_cappella_share=arguments.a_cappella_share,
        processes=arguments.processes,
    )
    songs = generate(arguments.out, options, arguments.lyrics)
    print(f"{len(songs)} songs in {arguments.out / 'manifest.jsonl'}", file=sys.stderr)
    return 0
