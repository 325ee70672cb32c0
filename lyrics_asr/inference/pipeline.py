"""For Python users: one song at a time by `transcribe`, `align` and `separate`, many songs by `process`.

The first three run the stages of `tasks` in this process and return results. `process` does what the command line does:
several devices, results in files, interrupted runs resume.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from lyrics_asr.audio import Audio, probe
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.requests import AlignRequest, SeparateRequest, TranscribeRequest
from lyrics_asr.inference.run import run
from lyrics_asr.inference.runner import Song
from lyrics_asr.inference.tasks import (
    AlignTask,
    SeparateTask,
    TranscribeTask,
    align_emissions,
    compute_emissions,
    decode_transcript,
    options_for,
    read_mixture,
    read_song,
)
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import DecodingOptions, InferenceOptions
from lyrics_asr.types import AudioInfo, Emissions, Transcript, Vocabulary

Progress = Callable[[float], None]


def transcribe(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    greedy: bool = False,
    hot_words: str = "",
    language: str = "en",
    progress: Progress | None = None,
) -> Transcript:
    """Transcribe a song: lyrics with the time of every word.

    Args:
        path: an audio or video file.
        model: what `load_model` gives.
        options: those of the model when None.
        greedy: take the likeliest symbol of each frame, with neither beam nor language model.
        hot_words: text whose words are likely to be sung: artist and title, or lyrics that are nearly right. Greedy
            decoding cannot use them.
        language: in which numbers and symbols among them are read out, e.g. "en".
        progress: called with the share of the separation that is done, in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
    """
    options = options or options_for(model)
    audio, emissions = _emissions_of(Path(path), model, options, progress)
    search = None if greedy else _beam_search(emissions.vocabulary, model.language_model_path, options.decoding)
    return decode_transcript(
        audio,
        emissions,
        model,
        options,
        decode=None if search is None else search.decode,
        hot_words=hot_words,
        language=language,
    )


def align(
    path: str | Path,
    lyrics: Lyrics,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    language: str = "en",
    progress: Progress | None = None,
) -> Transcript:
    """Align given lyrics with a song: the time of every word.

    Args:
        path: an audio or video file.
        lyrics: what `read_lyrics` or `parse_lyrics` gives.
        model: what `load_model` gives.
        options: those of the model when None.
        language: in which numbers and symbols are read out, e.g. "en".
        progress: called with the share of the separation that is done, in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
        AlignmentError: the lyrics cannot fit the song.
    """
    audio, emissions = _emissions_of(Path(path), model, options or options_for(model), progress)
    return align_emissions(audio, emissions, lyrics, model, language=language)


def process(
    request: TranscribeRequest | AlignRequest | SeparateRequest,
    jobs: Sequence[Job],
    *,
    on_result: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Process many songs as the command line does.

    Worker processes are started, so that a script needs `if __name__ == "__main__":`.

    Args:
        request: what to do.
        jobs: what `find_jobs` gives; for alignment, with their lyrics.
        on_result: called with each outcome as soon as it is there, one at a time, in any thread.

    Returns:
        What became of every job; one that fails does not stop the others.

    Raises:
        LayoutError: results would overwrite an input, somebody's text or each other.
        OutputError: the output folder cannot be written.
        ModelNotFoundError: the model is out of reach.
        ValueError: an unknown device or option.
    """
    if isinstance(request, TranscribeRequest):
        return run(request, jobs, TranscribeTask, on_result=on_result)
    if isinstance(request, AlignRequest):
        return run(request, jobs, AlignTask, on_result=on_result)
    return run(request, jobs, SeparateTask, on_result=on_result)


def emissions_of(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    cache: EmissionCache | None = None,
    progress: Progress | None = None,
) -> Emissions:
    """The acoustic model's log-probabilities over a song, from which decoding and alignment start.

    Args:
        path: an audio or video file.
        model: what `load_model` gives.
        options: those of the model when None.
        cache: of this model and these options; looked up first, and filled.
        progress: called with the share of the separation that is done, in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
    """
    found = None if cache is None else cache.load(Path(path))
    if found is not None:
        return found
    _, emissions = _emissions_of(Path(path), model, options or options_for(model), progress)
    if cache is not None:
        cache.save(Path(path), emissions)
    return emissions


def separate(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    progress: Progress | None = None,
) -> Audio:
    """The vocals of a song, at the separator's rate and with its channels.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
    """
    options = options or options_for(model)
    return model.vocals([read_mixture(Path(path), model)], options.separation, progress)[0].cpu()


def _emissions_of(
    path: Path, model: LyricsModel, options: InferenceOptions, progress: Progress | None
) -> tuple[AudioInfo, Emissions]:
    audio = probe(path)
    (emissions,) = compute_emissions(
        [read_song(Song(Job(path, Path(path.stem)), audio), model)], model, options, progress
    )
    return replace(audio, duration_seconds=emissions.duration_seconds), emissions


@lru_cache(maxsize=1)
def _beam_search(vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> BeamSearch:
    """Kept between songs: reading a language model takes seconds."""
    return BeamSearch(vocabulary, language_model_path, options)
