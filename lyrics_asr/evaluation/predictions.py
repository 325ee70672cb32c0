"""What a model makes of each song, run here or read from files, kept so that a run that was stopped goes on.

Conventions
- Each network runs once for a song. Both decodings and the alignment read the same emissions, through the functions
  that `lyrics_asr.pipeline` calls.
- A prediction is kept in three files under the output folder: transcripts/ID.json and alignments/ID.json, as
  `lyrics-asr transcribe` and `align` write them, and songs/ID.json with the rest. It counts as done while the audio,
  the stem, the lyrics, the model and all options are the same.
- Stage times are wall-clock seconds. Those of emissions from a cache are the times of their reading.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lyrics_asr.audio import Audio, probe
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.evaluation.metrics import BssEval, bss_eval, si_sdr
from lyrics_asr.files import file_fingerprint, write_text
from lyrics_asr.formats import parse_json, render
from lyrics_asr.inference.emission_cache import EmissionCache, networks_fingerprint
from lyrics_asr.inference.pipeline import audio_info, read_mixture, time_lyrics, write_down
from lyrics_asr.inference.stopwatch import Stopwatch
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import InferenceOptions
from lyrics_asr.types import AudioInfo, Emissions, TimedLine, Transcript

SCHEMA = "lyrics-asr/evaluated-song/1"

# Encoders pad: a lossy stem may be longer or shorter than its mixture by this much and is then cut to it.
_STEM_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class SeparationScores:
    """A separated voice and, as the baseline, the mixture itself against the vocals' stem.

    Args:
        mixture_si_sdr_db: None for a song a cappella, whose mixture is the stem already.
        vocals_si_sdr_db: None likewise.
        mixture: BSS Eval; None where it was not asked for or is not defined.
        vocals: likewise.
    """

    mixture_si_sdr_db: float | None
    vocals_si_sdr_db: float | None
    mixture: BssEval | None
    vocals: BssEval | None


@dataclass(frozen=True)
class StageSeconds:
    """Wall-clock seconds of each stage."""

    reading: float
    separation: float
    acoustic: float
    greedy: float
    beam_search: float
    alignment: float


@dataclass(frozen=True)
class Prediction:
    """What is known of a song that was worked on; None for what is not.

    Args:
        duration_seconds: of the song.
        text: the transcript, with its line breaks.
        greedy: the words of the greedy decoding.
        lines: the song's lyrics with their estimated times.
        separation: where the song has a vocals' stem.
        seconds: what it took.
    """

    duration_seconds: float | None
    text: str | None
    greedy: str | None = None
    lines: tuple[TimedLine, ...] | None = None
    separation: SeparationScores | None = None
    seconds: StageSeconds | None = None


class Predictor:
    """Runs a model over songs, and does not repeat what is in `output` already.

    Args:
        output: where predictions are kept.
        bss_eval: whether stems are measured by BSS Eval too, which takes several times as long as all the rest.
        cache: where emissions are kept; None to keep none.
    """

    def __init__(
        self, model: LyricsModel, options: InferenceOptions, output: Path, *, bss_eval: bool, cache: Path | None
    ) -> None:
        self._model = model
        self.options = options
        self._output = output
        self._bss_eval = bss_eval
        self._cache = None if cache is None else EmissionCache(cache, model, options.separation, options.acoustic)
        self._beam_search = BeamSearch(model.acoustic.vocabulary, model.language_model_path, options.decoding)
        language_model = model.language_model_path
        self._networks = networks_fingerprint(model, options.separation, options.acoustic)
        self._decoding = json.dumps(
            [
                asdict(options.decoding),
                asdict(options.lines),
                None if language_model is None else file_fingerprint(language_model),
            ]
        )

    def predict(self, song: Song) -> Prediction:
        """The prediction of a song, made or found.

        Raises:
            ValueError: audio, stem or lyrics that cannot be worked with.
            OSError: a file that cannot be read or written.
        """
        networks = _digest(
            self._networks,
            file_fingerprint(song.audio),
            "" if song.vocals is None else file_fingerprint(song.vocals),
            str(self._bss_eval),
        )
        key = _digest(networks, self._decoding, song.lyrics, song.language)
        record = _read_record(_file(self._output / "songs", song.id))
        if record is not None and record.get("key") == key:
            with suppress(OSError, ValueError, KeyError, TypeError):  # a file was removed or changed: work again
                return _restored(record, self._output, song.id)
        prediction, transcript, alignment = self._work(song, record, networks)
        write_text(_file(self._output / "transcripts", song.id), render(transcript, "json"))
        write_text(_file(self._output / "alignments", song.id), render(alignment, "json"))
        kept = {
            "schema": SCHEMA,
            "key": key,
            "networks": networks,
            "duration_seconds": prediction.duration_seconds,
            "greedy": prediction.greedy,
            "separation": None if prediction.separation is None else asdict(prediction.separation),
            "seconds": None if prediction.seconds is None else asdict(prediction.seconds),
        }
        write_text(_file(self._output / "songs", song.id), json.dumps(kept, ensure_ascii=False, indent=1) + "\n")
        return prediction

    def _work(
        self, song: Song, record: dict[str, Any] | None, networks: str
    ) -> tuple[Prediction, Transcript, Transcript]:
        model, stopwatch = self._model, Stopwatch()
        with stopwatch("reading"):
            emissions = None if self._cache is None else self._cache.load(song.audio)
        # With a stem the networks' work is not all in the emissions; it is, when an earlier run has measured the rest.
        measured = record is not None and record.get("networks") == networks
        if emissions is not None and (measured or song.vocals is None):
            separation = None if record is None or not measured else _separation(record["separation"])
            info = audio_info(song.audio, emissions)
        else:
            with stopwatch("reading"):
                mixture = read_mixture(song.audio, model)
            with stopwatch("separation"):
                (vocals,) = model.vocals([mixture], self.options.separation)
            with stopwatch("acoustic"):
                (emissions,) = model.emissions([model.voice(vocals)], self.options.acoustic)
            separation = None
            if song.vocals is not None:
                stem = read_mixture(song.vocals, model)
                separation = separation_scores(song.vocals, stem, mixture, vocals.cpu(), with_bss_eval=self._bss_eval)
            if self._cache is not None:
                self._cache.save(song.audio, emissions)
            info = audio_info(song.audio, mixture)
        return self._decode(song, emissions, info, separation, stopwatch)

    def _decode(
        self,
        song: Song,
        emissions: Emissions,
        info: AudioInfo,
        separation: SeparationScores | None,
        stopwatch: Stopwatch,
    ) -> tuple[Prediction, Transcript, Transcript]:
        with stopwatch("greedy"):
            greedy = " ".join(word.text for word in greedy_search(emissions))
        with stopwatch("beam_search"):
            decode = self._beam_search.decode
            heard = write_down(
                info, emissions, self._model, self.options, decode=decode, hot_words="", language=song.language
            )
        with stopwatch("alignment"):
            lyrics = parse_lyrics(song.lyrics)
            timed = time_lyrics(info, emissions, lyrics, self._model, language=song.language)
        seconds = StageSeconds(**{"separation": 0.0, "acoustic": 0.0, **stopwatch})
        return Prediction(info.duration_seconds, heard.text, greedy, timed.lines, separation, seconds), heard, timed


def read_prediction(song: Song, transcripts: Path | None, alignments: Path | None) -> Prediction:
    """The prediction of a song from files of any system.

    Args:
        song: whose id names the files.
        transcripts: folder of ID.json, as `lyrics-asr transcribe` writes them, or ID.txt.
        alignments: folder of ID.json, as `lyrics-asr align` writes them, of the same lyrics.

    Raises:
        FileNotFoundError: no file for this song.
        ValueError: a file that is not what it should be.
    """
    duration_seconds = text = lines = None
    if transcripts is not None:
        path = next(
            (path for suffix in (".json", ".txt") if (path := _file(transcripts, song.id, suffix)).is_file()), None
        )
        if path is None:
            raise FileNotFoundError(f"{_file(transcripts, song.id)}: no transcript of this song, nor a .txt")
        if path.suffix == ".json":
            transcript = _read_transcript(path)
            duration_seconds, text = transcript.audio.duration_seconds, transcript.text
        else:
            text = _read(path)
    if alignments is not None:
        alignment = _read_transcript(_file(alignments, song.id))
        duration_seconds, lines = alignment.audio.duration_seconds, alignment.lines
    if duration_seconds is None and song.audio.is_file():
        duration_seconds = probe(song.audio).duration_seconds
    return Prediction(duration_seconds, text, lines=lines)


def separation_scores(
    stem_path: Path, stem: Audio, mixture: Audio, vocals: Audio, *, with_bss_eval: bool
) -> SeparationScores:
    """Separated vocals, and the mixture as it is, against the vocals' stem; SI-SDR of mean channels.

    Raises:
        ValueError: a stem of another length.
    """
    if abs(stem.duration_seconds - mixture.duration_seconds) > _STEM_TOLERANCE_SECONDS:
        raise ValueError(
            f"{stem_path}: the vocals last {stem.duration_seconds:.2f} s, the mixture {mixture.duration_seconds:.2f} s"
        )
    count = min(stem.samples.shape[1], mixture.samples.shape[1])
    reference, mixed, estimate = (each.samples[:, :count] for each in (stem, mixture, vocals))
    if (mixed - reference).abs().max() == 0:
        return SeparationScores(None, None, None, None)
    return SeparationScores(
        si_sdr(mixed.mean(0), reference.mean(0)),
        si_sdr(estimate.mean(0), reference.mean(0)),
        bss_eval(mixed, reference, mixed, mixture.sample_rate_hz) if with_bss_eval else None,
        bss_eval(estimate, reference, mixed, mixture.sample_rate_hz) if with_bss_eval else None,
    )


def _file(folder: Path, song_id: str, suffix: str = ".json") -> Path:
    """A song's file, in the tree that its id spells; an id never leads out of the folder."""
    parts = PurePosixPath(song_id).parts
    if not parts or song_id.startswith("/") or ".." in parts or "\\" in song_id or "\0" in song_id:
        raise ValueError(
            f"the song's id {song_id!r} cannot name a file; give it an id without '..', '\\' or a leading '/'"
        )
    return folder.joinpath(*parts[:-1], parts[-1] + suffix)


def _read_transcript(path: Path) -> Transcript:
    try:
        return parse_json(_read(path), str(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such prediction") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error


def _read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier run kept; None when there is nothing, or nothing whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def _restored(record: dict[str, Any], output: Path, song_id: str) -> Prediction:
    transcript = _read_transcript(_file(output / "transcripts", song_id))
    alignment = _read_transcript(_file(output / "alignments", song_id))
    return Prediction(
        record["duration_seconds"],
        transcript.text,
        record["greedy"],
        alignment.lines,
        _separation(record["separation"]),
        StageSeconds(**record["seconds"]),
    )


def _separation(kept: dict[str, Any] | None) -> SeparationScores | None:
    if kept is None:
        return None
    mixture, vocals = (None if kept[key] is None else BssEval(**kept[key]) for key in ("mixture", "vocals"))
    return SeparationScores(kept["mixture_si_sdr_db"], kept["vocals_si_sdr_db"], mixture, vocals)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
