"""The Python API: `transcribe`, `align` and `separate` for one song, `process` for many.

The first three run the `stages` in this process and return results. `process` works like the command line:
several devices, results in files, interrupted runs resume.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from lyrics_asr.audio import Audio, probe
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.melody import MelodyTask
from lyrics_asr.inference.mixtures import read_mixture, read_song
from lyrics_asr.inference.requests import AlignRequest, SeparateRequest, TranscribeRequest
from lyrics_asr.inference.run import run
from lyrics_asr.inference.runner import Song
from lyrics_asr.inference.stages import (
    align_emissions,
    compute_emissions,
    compute_texts,
    decode_transcript,
    options_for,
    run_networks,
)
from lyrics_asr.inference.tasks import AlignTask, SeparateTask
from lyrics_asr.inference.transcribe import TranscribeTask
from lyrics_asr.lyrics.languages import AUTO, resolve_language
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import DecodingOptions, InferenceOptions
from lyrics_asr.types import AudioInfo, Transcript, Vocabulary

Progress = Callable[[float], None]


def transcribe(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    greedy: bool = False,
    hot_words: str = "",
    language: str = AUTO,
    progress: Progress | None = None,
) -> Transcript:
    """Transcribe a song into lyrics with the time of every word.

    Args:
        path: an audio or video file.
        model: model from `load_model`.
        options: options of all stages; None for those of the model.
        greedy: take the most likely token of each frame, without beam search and language model.
        hot_words: text whose words are likely to be sung: artist and title, or lyrics that are nearly right. Greedy
            decoding cannot use them.
        language: language of the lyrics, e.g. "en"; "auto" for the one that the model hears, or that the hot words are
            in.
        progress: progress callback for the separation, with a fraction in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
    """
    options = options or options_for(model)
    text, decode = None, None
    if greedy or model.transcriber is None:
        audio, emissions = _emissions_of(Path(path), model, options, progress)
        if not greedy:
            decode = _beam_search(emissions.vocabulary, model.language_model_path, options.decoding).decode
    else:
        audio, mixture = _read(Path(path), model)
        voices, (emissions,) = run_networks([mixture], model, options, progress)
        audio = replace(audio, duration_seconds=emissions.duration_seconds)
        (text,) = compute_texts(voices, model, options, [language], [hot_words])
    return decode_transcript(
        audio,
        emissions,
        model,
        options,
        decode=decode,
        text=text,
        hot_words=hot_words,
        language=resolve_language(language, hot_words),
    )


def align(
    path: str | Path,
    lyrics: Lyrics,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    language: str = "en",
    keep_all: bool = False,
    use_times: bool = False,
    progress: Progress | None = None,
) -> Transcript:
    """Align lyrics with a song, to find the time of every word.

    Args:
        path: an audio or video file.
        lyrics: lyrics from `read_lyrics` or `parse_lyrics`.
        model: model from `load_model`.
        options: options of all stages; None for those of the model.
        language: language of the lyrics, to verbalize digits and symbols, e.g. "en"; "auto" to guess it.
        keep_all: whether every line was sung, once and in order.
        use_times: whether the times of the lyrics guide the alignment.
        progress: progress callback for the separation, with a fraction in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
        AlignmentError: the song has too few frames for the lyrics, or no word can be spelled.
    """
    options = options or options_for(model)
    audio, emissions = _emissions_of(Path(path), model, options, progress)
    language = resolve_language(language, "\n".join(line.text for line in lyrics.lines))
    return align_emissions(
        audio, emissions, lyrics, model, options, language=language, keep_all=keep_all, use_times=use_times
    )


def process(
    request: TranscribeRequest | AlignRequest | SeparateRequest,
    jobs: Sequence[Job],
    *,
    on_result: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Process many songs like the command line.

    It starts worker processes, so scripts need `if __name__ == "__main__":`.

    Args:
        request: what to do.
        jobs: jobs from `find_jobs`; for alignment, with lyrics.
        on_result: called with each outcome as it arrives, one at a time, in any thread.

    Returns:
        The outcome of every job; a failing song does not stop the others.

    Raises:
        LayoutError: results would overwrite an input or each other.
        OutputError: the output folder cannot be written.
        ModelNotFoundError: the model is not on this computer and cannot be downloaded.
        ValueError: unknown device or option.
    """
    if isinstance(request, TranscribeRequest):
        return run(request, jobs, TranscribeTask, on_result=on_result)
    if isinstance(request, AlignRequest):
        return run(request, jobs, MelodyTask if request.melody else AlignTask, on_result=on_result)
    return run(request, jobs, SeparateTask, on_result=on_result)


def emissions_of(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    cache: EmissionCache | None = None,
    progress: Progress | None = None,
) -> Emissions:
    """Compute the log-probabilities of a song, the input of decoding and alignment.

    Args:
        path: an audio or video file.
        model: model from `load_model`.
        options: options of all stages; None for those of the model.
        cache: cache for this model and these options.
        progress: progress callback for the separation, with a fraction in 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
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
    """Separate the vocals of a song, at the sample rate and with the channels of the separator.

    Raises:
        FileNotFoundError: no such file.
        AudioError: the file has no audio, or is silent.
    """
    options = options or options_for(model)
    return model.vocals([read_mixture(Path(path), model)], options.separation, progress)[0].cpu()


def _emissions_of(
    path: Path, model: LyricsModel, options: InferenceOptions, progress: Progress | None
) -> tuple[AudioInfo, Emissions]:
    audio, mixture = _read(path, model)
    (emissions,) = compute_emissions([mixture], model, options, progress)
    return replace(audio, duration_seconds=emissions.duration_seconds), emissions


def _read(path: Path, model: LyricsModel) -> tuple[AudioInfo, Audio | AudioFile]:
    audio = probe(path)
    return audio, read_song(Song(Job(path, Path(path.stem)), audio), model)


@lru_cache(maxsize=1)
def _beam_search(vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> BeamSearch:
    """A cached beam search: reading a language model takes seconds."""
    return BeamSearch(vocabulary, language_model_path, options)
