"""Generate corpora of synthetic songs with exact word times, from original lyrics.

A corpus is a folder with `manifest.jsonl` (see `corpora.manifest`) and one folder per song:

    mixture.flac vocals.flac accompaniment.flac   stereo, 44.1 kHz, 16 bit; mixture = vocals + accompaniment
    lyrics.txt                                    the sung lines, with repetitions
    f0.npy                                        fundamental frequency of the lead, see `corpora.manifest.Song`
    phones.json                                   the phones of each word: name, start and end in seconds
    dali.json                                     annotations in the layout of DALI's JSON export

Splits are described in `lyrics.load_lyrics`. Each song has its own random generator, seeded by the corpus seed and the
song's number, so songs do not depend on the number of songs or processes.
"""

import json
import multiprocessing
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.corpora.manifest import Song, TimedPhone, write_manifest
from lyrics_asr.files import atomic_path, write_text
from lyrics_asr.synthesis import singing
from lyrics_asr.synthesis.instruments import SAMPLE_RATE_HZ
from lyrics_asr.synthesis.lyrics import Stanzas, draw_song, load_lyrics, part_of_lyric
from lyrics_asr.synthesis.options import LANGUAGE_NAMES, LYRICS_FOLDER, SyntheticOptions
from lyrics_asr.synthesis.singers import HELD_OUT_VOICES, draw_natural_voice, draw_voice
from lyrics_asr.synthesis.song import Rendition, render
from lyrics_asr.synthesis.tts import reset
from lyrics_asr.synthesis.vocoder import FRAME_SECONDS
from lyrics_asr.types import TimedWord

_LINES_OF_A_STANZA = 4


@dataclass(frozen=True)
class SongJob:
    """A song to generate, with the random generator for everything that is not decided yet."""

    name: str
    title: str
    language: str
    stanzas: Stanzas
    voice: singing.Voice
    a_cappella: bool
    rng: np.random.Generator


def generate(out: Path, options: SyntheticOptions, lyrics: Path = LYRICS_FOLDER) -> list[Song]:
    """Generate a corpus; songs that are already complete in `out` are kept.

    Args:
        out: folder of the corpus; created if missing.
        options: options of the corpus.
        lyrics: folder of lyrics, see `synthesis.lyrics`.

    Raises:
        FileNotFoundError: there are no lyrics.
        ValueError: `out` contains a corpus with other options or lyrics.
        OutputError: a file cannot be written.
    """
    songs = load_lyrics(lyrics, options.split, options.language)
    _claim(out, options, songs)
    jobs = [draw_job(songs, options, number) for number in range(options.songs)]
    # Even a single process is a separate one: espeak-ng uses C's `rand`, which other libraries' threads may advance.
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = list(pool.map(partial(make_song, out), jobs))
    write_manifest(out / "manifest.jsonl", made)
    return made


def draw_job(songs: dict[str, Stanzas], options: SyntheticOptions, number: int) -> SongJob:
    """Draw song `number` of the infinite corpus given by split, language and seed.

    Args:
        songs: lyrics of the split and language, see `lyrics.load_lyrics`.
        options: options of the corpus; `songs` is ignored.
        number: index of the song, from 0.
    """
    rng = np.random.default_rng([options.seed, zlib.crc32(f"{options.split} {options.language}".encode()), number])
    if options.split == "training":
        stanzas = draw_song(
            songs,
            options.language,
            rng,
            lines=options.lines,
            word_salad_share=options.word_salad_share,
            generated_share=options.generated_share,
        )
        title = stanzas[0][0]
    else:
        title, lines = part_of_lyric(songs, number)
        stanzas = [lines[i : i + _LINES_OF_A_STANZA] for i in range(0, len(lines), _LINES_OF_A_STANZA)]
    if options.split == "held_out":
        voices = HELD_OUT_VOICES[options.language]
        voice = voices[(number + number // len(songs)) % len(voices)]
    elif options.natural_voices and options.natural_voices_share and rng.random() < options.natural_voices_share:
        voice = draw_natural_voice(options.language, options.split, options.natural_voices, rng)
    else:
        voice = draw_voice(options.language, rng)
    a_cappella = bool(rng.random() < options.a_cappella_share)
    name = f"{options.language}_{options.split}_{options.seed}_{number:05d}"
    return SongJob(name, title, options.language, stanzas, voice, a_cappella, rng)


def make_song(out: Path, job: SongJob) -> Song:
    """Make the song of a job in a folder of its own in `out`; one that is complete there is kept.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = out / job.name
    if not _phones_file(folder).exists():  # written last: its song is complete
        _write_song(folder, job, perform_job(job))
    return _song_record(folder, job.language)


def perform_job(job: SongJob) -> Rendition:
    """Render the song of a job. Call it once per job, because it advances the job's generator."""
    reset()
    torch.set_flush_denormal(True)  # recursive filters that ring out in silence are 10 times slower on denormal numbers
    try:
        return render(job.stanzas, job.voice, job.rng, a_cappella=job.a_cappella)
    finally:
        torch.set_flush_denormal(False)


def _claim(out: Path, options: SyntheticOptions, songs: dict[str, Stanzas]) -> None:
    """Record the options and lyrics of the corpus, or check that they match the recorded ones."""
    apart = {"songs", "processes", "natural_voices"}
    if not options.natural_voices_share:  # corpora of earlier versions have no such entry
        apart.add("natural_voices_share")
    made_from = {key: value for key, value in asdict(options).items() if key not in apart}
    made_from["lyrics_crc32"] = zlib.crc32(json.dumps(songs, sort_keys=True).encode())
    path = out / "corpus.json"
    if not path.exists():
        write_text(path, json.dumps(made_from, indent=1) + "\n")
    elif json.loads(path.read_text("utf-8")) != made_from:
        raise ValueError(f"{out}: contains songs with other options or lyrics (see {path}); choose another folder")


def _write_song(folder: Path, job: SongJob, rendition: Rendition) -> None:
    stems = {
        "mixture": rendition.vocals + rendition.accompaniment,
        "vocals": rendition.vocals,
        "accompaniment": rendition.accompaniment,
    }
    for stem, samples in stems.items():
        audio = Audio(torch.from_numpy(samples), SAMPLE_RATE_HZ)
        write_audio(folder / f"{stem}.flac", audio)
    lines = (" ".join(word.text for word in line) for line in rendition.lines)
    write_text(folder / "lyrics.txt", "\n".join(lines) + "\n")
    annotations = dali_annotations(job.name, job.title, rendition, job.voice, job.language)
    write_text(folder / "dali.json", json.dumps(annotations, indent=1) + "\n")
    with atomic_path(folder / "f0.npy") as temporary, temporary.open("wb") as file:
        np.save(file, rendition.f0_hz)
    phones = [[list(vars(phone).values()) for phone in own] for own in rendition.phones]
    write_text(folder / "phones.json", json.dumps(phones))


def dali_annotations(
    song_id: str, title: str, rendition: Rendition, voice: singing.Voice, language: str = "en"
) -> dict[str, Any]:
    """Annotations in the horizontal layout of DALI's JSON export (Meseguer-Brocal et al. 2018).

    Every level has `text`, `time` in seconds, `freq` in hertz (lowest and highest) and `index`, its parent's number.
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
            "artist": voice.name,
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


def _phones_file(folder: Path) -> Path:
    """The phones of a song; corpora of older versions have them as sounds.json."""
    older = folder / "sounds.json"
    return older if older.exists() else folder / "phones.json"


def _song_record(folder: Path, language: str) -> Song:
    f0 = folder / "f0.npy"  # corpora of older versions have none
    annotations = json.loads((folder / "dali.json").read_text("utf-8"))
    phones = json.loads(_phones_file(folder).read_text("utf-8"))
    words = tuple(
        TimedWord(word["text"], word["time"][0], word["time"][1], 1.0)
        for word in annotations["annotations"]["annot"]["words"]
    )
    return Song(
        id=folder.name,
        audio=folder / "mixture.flac",
        lyrics=(folder / "lyrics.txt").read_text("utf-8").rstrip("\n"),
        words=words,
        language=language,
        vocals=folder / "vocals.flac",
        accompaniment=folder / "accompaniment.flac",
        phones=tuple(tuple(TimedPhone(*phone) for phone in own) for own in phones),
        f0=f0 if f0.exists() else None,
    )
