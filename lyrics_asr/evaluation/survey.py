"""A listening test as a folder that opens in a browser: excerpts of songs, and what several systems made of them.

The folder holds index.html with its script and style, survey.json, and audio/, whose names say nothing. Which file is
of which system is in a key outside of the folder. For each excerpt there are
- the mix, which is not rated;
- a sample for each system, in random order;
- the hidden reference: the true stem. Raters who find faults in it are left out of the report;
- the anchor: the mix below 3.5 kHz, as the low anchor of ITU-R BS.1534-3, section 5.1. It is bad on both scales.

All files of an excerpt are equally loud by ITU-R BS.1770 (pyloudnorm). Excerpts are the loudest parts of the reference.
"""

import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
import scipy.signal
import torch
from torch import Tensor

from lyrics_asr.audio import AUDIO_SUFFIXES, Audio, read_audio, read_header, write_audio
from lyrics_asr.files import require_writable_folder, write_text
from lyrics_asr.inference.jobs import find_jobs
from lyrics_asr.options import check_range

SURVEY_SCHEMA, KEY_SCHEMA = "lyrics-asr/survey/1", "lyrics-asr/survey-key/1"
REFERENCE, ANCHOR = "hidden reference", "anchor"
PAGE = Path(__file__).parent / "survey_page"

_RATE_HZ = 44_100
_LOUDNESS_LUFS = -23.0  # EBU R 128
_PEAK = 0.98
_ANCHOR_HZ = 3500.0
_FADE_SECONDS = 0.02
_MOST_SAMPLES = 12  # BS.1534-3, section 5.2: more are tiring

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SurveyOptions:
    """What a listening test has.

    Args:
        excerpts: how many songs, drawn at random.
        seconds: length of an excerpt.
        stem: "vocals" or "accompaniment": what the systems separated, for the wording.
        seed: of the choice of songs.
    """

    excerpts: int = 8
    seconds: float = 8.0
    stem: str = "vocals"
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("excerpts", self.excerpts, self.excerpts >= 1, "at least 1")
        check_range("seconds", self.seconds, 2 <= self.seconds <= 30, "2 to 30")
        if self.stem not in ("vocals", "accompaniment"):
            raise ValueError(f"stem must be vocals or accompaniment, not {self.stem!r}")


def make_survey(
    systems: Sequence[Path], mixtures: Path, references: Path, output: Path, key: Path, options: SurveyOptions
) -> int:
    """Write a listening test and its key.

    Args:
        systems: a folder of separated stems each; the name of the folder is that of the system.
        mixtures: folder of the mixes.
        references: folder of the true stems. Files of a song have the same name in all folders, but for their suffix.
        output: folder of the test; must not have one yet.
        key: file of the key; must be outside of `output`.
        options: see `SurveyOptions`.

    Returns:
        How many excerpts the test has.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two systems of one name, no common song, older files in the way, or a key that raters would get.
        AudioError: a file cannot be read, or is too short.
        OutputError: a file cannot be written.
    """
    names = [system.resolve().name for system in systems]
    if len(set(names)) < len(names) or {REFERENCE, ANCHOR} & set(names):
        raise ValueError(f"systems are told apart by the names of their folders: {', '.join(names)}; rename one")
    if len(names) > _MOST_SAMPLES - 2:
        raise ValueError(f"{len(names)} systems are too many to compare; give at most {_MOST_SAMPLES - 2}")
    if (output / "survey.json").exists() or key.exists():
        raise ValueError(f"{output}: there is a survey or a key already; remove them or choose another folder")
    if key.resolve().is_relative_to(output.resolve()):
        raise ValueError(f"{key}: raters would see the key; put it outside of {output}")
    folders = dict(zip(["", REFERENCE, *names], [mixtures, references, *systems], strict=True))
    for folder in folders.values():
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; check the path")
    files = {name: _files(folder) for name, folder in folders.items()}
    songs = sorted(set.intersection(*(set(each) for each in files.values())))
    if not songs:
        raise ValueError(f"{mixtures}: no song has a file of the same name in {', '.join(map(str, folders.values()))}")
    if left_out := len(files[""]) - len(songs):
        _logger.info("%d songs are left out: not every folder has them", left_out)
    rng = np.random.default_rng(options.seed)
    chosen = sorted(rng.permutation(songs)[: options.excerpts].tolist())
    require_writable_folder(output / "audio")
    entries, excerpts = {}, []
    for song in chosen:
        sounds, start_seconds = _excerpt(song, files, options.seconds)
        tokens = {name: secrets.token_hex(8) for name in sounds}
        for name, sound in sounds.items():
            write_audio(output / "audio" / f"{tokens[name]}.flac", sound)
            if name:
                entries[f"audio/{tokens[name]}.flac"] = {
                    "song": song,
                    "start_seconds": start_seconds,
                    "system": name,
                }
        samples = sorted(f"audio/{token}.flac" for name, token in tokens.items() if name)  # tokens are random
        excerpts.append({"mixture": f"audio/{tokens['']}.flac", "samples": samples})
    survey = {
        "schema": SURVEY_SCHEMA,
        "id": secrets.token_hex(8),
        "stem": options.stem,
        "seconds": options.seconds,
        "excerpts": excerpts,
    }
    key_text = {"schema": KEY_SCHEMA, "survey": survey["id"], "samples": entries}
    write_text(key, json.dumps(key_text, indent=1) + "\n")
    for name in ("survey.css", "survey.js"):
        write_text(output / name, (PAGE / name).read_text(encoding="utf-8"))
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    embedded = json.dumps(survey).replace("<", "\\u003c")
    write_text(output / "index.html", page.replace('id="survey">{}<', f'id="survey">{embedded}<'))
    write_text(output / "survey.json", json.dumps(survey, indent=1) + "\n")
    return len(excerpts)


def _files(folder: Path) -> dict[str, Path]:
    """The audio files of a folder, by their names below it without suffix."""
    return {str(job.stem): job.source for job in find_jobs([folder], AUDIO_SUFFIXES, None)}


def _excerpt(song: str, files: Mapping[str, Mapping[str, Path]], seconds: float) -> tuple[dict[str, Audio], float]:
    """The mix (named ""), the samples and the anchor, equally loud, with the time where they start."""
    paths = {name: each[song] for name, each in files.items()}
    shortest_seconds = min(read_header(path).duration_seconds for path in paths.values())
    if shortest_seconds < seconds:
        raise ValueError(f"{song}: a file has {shortest_seconds:.1f} s, less than an excerpt; choose fewer --seconds")
    start_seconds = _loudest(read_audio(paths[REFERENCE], channels=1), seconds, shortest_seconds)
    sounds = {
        name: read_audio(
            path, sample_rate_hz=_RATE_HZ, channels=2, start_seconds=start_seconds, duration_seconds=seconds
        )
        for name, path in paths.items()
    }
    sounds[ANCHOR] = _low_passed(sounds[""])
    leveled = {name: _leveled(_faded(sound)) for name, sound in sounds.items()}
    peak = max(float(sound.abs().max()) for sound in leveled.values())
    scale = min(1.0, _PEAK / max(peak, 1e-9))
    return {name: Audio(scale * sound, _RATE_HZ) for name, sound in leveled.items()}, start_seconds


def _loudest(audio: Audio, seconds: float, shortest_seconds: float) -> float:
    """Where the window of the highest energy starts, in whole seconds."""
    rate = audio.sample_rate_hz
    energy = torch.cat([torch.zeros(1, dtype=torch.float64), audio.samples[0].double().square().cumsum(0)])
    starts = range(math.floor(shortest_seconds - seconds) + 1)
    ends = [min(round((start + seconds) * rate), len(energy) - 1) for start in starts]
    return float(max(starts, key=lambda start: float(energy[ends[start]] - energy[start * rate])))


def _low_passed(audio: Audio) -> Audio:
    sections = scipy.signal.butter(10, _ANCHOR_HZ, fs=audio.sample_rate_hz, output="sos")
    filtered = scipy.signal.sosfiltfilt(sections, audio.samples.numpy())
    return Audio(torch.from_numpy(filtered.astype(np.float32)), audio.sample_rate_hz)


def _faded(audio: Audio) -> Audio:
    count = round(_FADE_SECONDS * audio.sample_rate_hz)
    ramp = torch.ones(audio.samples.shape[1])
    ramp[:count], ramp[-count:] = torch.linspace(0, 1, count), torch.linspace(1, 0, count)
    return Audio(audio.samples * ramp, audio.sample_rate_hz)


def _leveled(audio: Audio) -> Tensor:
    """At the common loudness; silence stays silent."""
    loudness = pyloudnorm.Meter(audio.sample_rate_hz).integrated_loudness(audio.samples.T.double().numpy())
    if not math.isfinite(loudness):
        return audio.samples
    gain = float(10 ** ((_LOUDNESS_LUFS - loudness) / 20))
    return audio.samples * gain
