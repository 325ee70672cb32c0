"""One song through all the stages: read, separate, listen, then decode or align. No algorithms of its own."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import Audio, probe, read_audio, require_sound
from lyrics_asr.config import load_config
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.decoding.lines import cut_lines
from lyrics_asr.inference.emission_cache import EmissionCache
from lyrics_asr.inference.long_audio import LONG_SECONDS, separate_in_blocks
from lyrics_asr.inference.stopwatch import Stopwatch
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.spelling import WILDCARD, spell
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import has_bfloat16
from lyrics_asr.options import AcousticOptions, DecodingOptions, InferenceOptions, SeparationOptions
from lyrics_asr.types import AlignmentError, AudioInfo, Emissions, TimedWord, Transcript, Vocabulary

Progress = Callable[[float], None]
T = TypeVar("T")
NetworkOptions = TypeVar("NetworkOptions", SeparationOptions, AcousticOptions)

_logger = logging.getLogger(__name__)


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
    """The lyrics heard in a song, with the time of every word.

    Args:
        path: an audio or video file.
        model: what `load_model` gives.
        options: those of the model when None.
        greedy: take the likeliest symbol of each frame, with neither beam nor language model.
        hot_words: text whose words may well be sung: artist and title, or lyrics that are nearly right. Greedy decoding
            cannot use them.
        language: in which numbers and symbols among them are read out, e.g. "en".
        progress: told the share of the separation that is done, 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
    """
    options = options or options_for(model)
    mixture = open_mixture(Path(path), model)
    (emissions,) = hear([mixture], model, options, progress)
    search = None if greedy else _beam_search(emissions.vocabulary, model.language_model_path, options.decoding)
    return write_down(
        audio_info(Path(path), mixture if isinstance(mixture, Audio) else emissions),
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
    """Given lyrics with the time of every word in a song.

    Args:
        path: an audio or video file.
        lyrics: what `read_lyrics` or `parse_lyrics` gives.
        model: what `load_model` gives.
        options: those of the model when None.
        language: in which numbers and symbols are read out, e.g. "en".
        progress: told the share of the separation that is done, 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
        AlignmentError: the lyrics cannot fit the song.
    """
    options = options or options_for(model)
    mixture = open_mixture(Path(path), model)
    (emissions,) = hear([mixture], model, options, progress)
    info = audio_info(Path(path), mixture if isinstance(mixture, Audio) else emissions)
    return time_lyrics(info, emissions, lyrics, model, language=language)


def listen(
    path: str | Path,
    model: LyricsModel,
    *,
    options: InferenceOptions | None = None,
    cache: EmissionCache | None = None,
    progress: Progress | None = None,
) -> Emissions:
    """The acoustic model's log-probabilities over a song: what decoding and alignment start from.

    Args:
        path: an audio or video file.
        model: what `load_model` gives.
        options: those of the model when None.
        cache: of this model and these options; where they are looked for first, and kept.
        progress: told the share of the separation that is done, 0..1.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
    """
    found = None if cache is None else cache.load(Path(path))
    if found is not None:
        return found
    (emissions,) = hear([open_mixture(Path(path), model)], model, options or options_for(model), progress)
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
    return take_vocals([read_mixture(Path(path), model)], model, options, progress)[0]


def options_for(model: LyricsModel, overrides: list[str] | None = None) -> InferenceOptions:
    """The general options, with those that were tuned for `model`, with `key.sub=value` overrides, in this order.

    Raises:
        ValueError: an override with an unknown key or a wrong value.
    """
    tuned = [f"decoding.{key}={value}" for key, value in asdict(model.decoding).items()]
    return load_config(InferenceOptions, overrides=[*tuned, *(overrides or [])])


def read_mixture(path: Path, model: LyricsModel) -> Audio:
    """A song, or a stem of one, at the rate and with the channels that the separator of `model` takes.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
        ValueError: a separator of neither mono nor stereo.
    """
    audio = read_audio(path, sample_rate_hz=model.separator.sample_rate_hz, channels=model.mixture_channels)
    require_sound(audio, path)
    return audio


def open_mixture(path: Path, model: LyricsModel) -> Audio | Path:
    """What `hear` takes: what `read_mixture` gives, or the path of a song that is too long to be held in memory.

    Raises:
        FileNotFoundError: no such file.
        AudioError: no audio in it, or no sound.
        ValueError: a separator of neither mono nor stereo.
    """
    return path if probe(path).duration_seconds > LONG_SECONDS else read_mixture(path, model)


def largest_batch(options: InferenceOptions, device: torch.device) -> int:
    """How many stretches of sound go through one of the networks at once."""
    resolved = for_device(options, device)
    return max(each.batch_size or 1 for each in (resolved.separation, resolved.acoustic))


def for_device(options: InferenceOptions, device: torch.device) -> InferenceOptions:
    """The same options with "auto" precision and batch sizes of None replaced by what suits the device.

    Batches of 8 and, where it has that, bfloat16 on a GPU; batches of 1 in float32 on a CPU, so that all CPUs give the
    same result. On a CPU a batch is slower than one segment after the other: its activations leave the caches.

    Raises:
        ValueError: bfloat16 on a device without instructions for it, which would take 50 times as long.
    """
    native = has_bfloat16(device)
    precision = "bfloat16" if native and device.type != "cpu" else "float32"
    if "bfloat16" in (options.separation.precision, options.acoustic.precision) and not native:
        raise ValueError(
            f"precision bfloat16: {device} has no instructions for it, and would take 50 times as long; use float32"
        )

    def resolved(each: NetworkOptions) -> NetworkOptions:
        return replace(
            each,
            batch_size=each.batch_size or (1 if device.type == "cpu" else 8),
            precision=precision if each.precision == "auto" else each.precision,
        )

    return replace(options, separation=resolved(options.separation), acoustic=resolved(options.acoustic))


def audio_info(path: Path, decoded: Audio | Emissions) -> AudioInfo:
    """What a transcript says of its audio: the file's own rate, and the length that could be decoded.

    The header of a file that is cut off tells of more than can be decoded.
    """
    return replace(probe(path), duration_seconds=decoded.duration_seconds)


def take_vocals(
    mixtures: Sequence[Audio], model: LyricsModel, options: InferenceOptions, progress: Progress | None = None
) -> list[Audio]:
    """The vocals of some songs, on the CPU; one segment at a time where memory runs out.

    Args:
        mixtures: what `read_mixture` gives.
        model: what `load_model` gives.
        options: of the separation.
        progress: told the share that is done, 0..1.

    Raises:
        MemoryError: memory runs out all the same.
    """

    def work(smaller: InferenceOptions) -> list[Audio]:
        return [vocals.cpu() for vocals in model.vocals(mixtures, smaller.separation, progress)]

    return _in_less_memory(work, options, model.device)


def take_voices(
    mixtures: Sequence[Audio | Path], model: LyricsModel, options: InferenceOptions, progress: Progress | None = None
) -> list[Audio]:
    """The voices of some songs, mono at the acoustic model's rate; one segment at a time where memory runs out.

    They stay on the model's device, but for those of long songs.

    Args:
        mixtures: what `open_mixture` gives. Songs that are in memory share batches.
        model: what `load_model` gives.
        options: of the separation.
        progress: told the share that is done, 0..1.

    Raises:
        MemoryError: memory runs out all the same.
        AudioError: a long song that is silent.
    """
    in_memory = [mixture for mixture in mixtures if isinstance(mixture, Audio)]

    def voices_in_memory(smaller: InferenceOptions) -> list[Audio]:
        return [model.voice(vocals) for vocals in model.vocals(in_memory, smaller.separation, progress)]

    def voice_of(path: Path) -> Audio:
        return _in_less_memory(
            lambda smaller: separate_in_blocks(path, model, smaller.separation, progress), options, model.device
        )

    separated = iter(_in_less_memory(voices_in_memory, options, model.device))
    return [next(separated) if isinstance(mixture, Audio) else voice_of(mixture) for mixture in mixtures]


def hear(
    mixtures: Sequence[Audio | Path],
    model: LyricsModel,
    options: InferenceOptions,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Emissions]:
    """The acoustic model's log-probabilities over some songs; in smaller windows where memory runs out.

    Args:
        mixtures: what `open_mixture` gives. Songs that are in memory share batches.
        model: what `load_model` gives.
        options: of both networks.
        progress: told the share of the separation that is done, 0..1.
        stopwatch: times the stages "separation" and "acoustic".

    Raises:
        MemoryError: memory runs out all the same.
        AudioError: a long song that is silent.
    """
    stopwatch = Stopwatch() if stopwatch is None else stopwatch
    with stopwatch("separation"):
        voices = take_voices(mixtures, model, options, progress)
    with stopwatch("acoustic"):
        return _in_less_memory(lambda smaller: model.emissions(voices, smaller.acoustic), options, model.device)


def write_down(
    info: AudioInfo,
    emissions: Emissions,
    model: LyricsModel,
    options: InferenceOptions,
    *,
    decode: Callable[[Emissions, frozenset[str]], tuple[TimedWord, ...]] | None,
    hot_words: str,
    language: str,
) -> Transcript:
    """The transcript of what was heard.

    Args:
        info: of the song.
        emissions: of `model`.
        model: what heard them.
        options: of the lines.
        decode: the beam search; None for greedy decoding.
        hot_words: see `transcribe`.
        language: see `transcribe`.
    """
    if decode is None:
        words, names = greedy_search(emissions), replace(model.info, language_model=None)
    else:
        words = decode(emissions, _spellable_words(hot_words, emissions.vocabulary, language))
        names = model.info
    lines = cut_lines(words, options.lines)
    return Transcript("transcribe", info, names, "\n".join(line.text for line in lines), lines)


def time_lyrics(
    info: AudioInfo, emissions: Emissions, lyrics: Lyrics, model: LyricsModel, *, language: str
) -> Transcript:
    """Given lyrics on what was heard.

    Raises:
        AlignmentError: the lyrics cannot fit the song; the message names it.
    """
    try:
        lines = align_lyrics(emissions, lyrics, language=language)
    except AlignmentError as error:
        raise AlignmentError(f"{info.path}: {error}") from error
    return Transcript("align", info, replace(model.info, language_model=None), lyrics.text, lines)


def _in_less_memory(work: Callable[[InferenceOptions], T], options: InferenceOptions, device: torch.device) -> T:
    """Do it; where memory runs out, again with one segment or window at a time, and with ever shorter windows."""
    options = for_device(options, device)
    shortest_seconds = 4 * options.acoustic.context_seconds
    while True:
        try:
            return work(options)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            failure: Exception = error
        window_seconds = options.acoustic.window_seconds
        if largest_batch(options, device) == 1:
            window_seconds /= 2
        if window_seconds <= shortest_seconds:
            raise MemoryError(
                f"memory ran out, even with windows of {options.acoustic.window_seconds:g} s, one at a time; close "
                "other programs, or use --device cpu"
            ) from failure
        _logger.warning("memory ran out; trying again with one window of %g s at a time", window_seconds)
        options = replace(
            options,
            separation=replace(options.separation, batch_size=1),
            acoustic=replace(options.acoustic, batch_size=1, window_seconds=window_seconds),
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: PyTorch says so on the CPU with a plain RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _spellable_words(text: str, vocabulary: Vocabulary, language: str) -> frozenset[str]:
    """The words of a text in the letters of the vocabulary, without those that it cannot spell."""
    spellings = (spell(word, vocabulary, language) for word in normalize(text, language).split())
    return frozenset(
        "".join(vocabulary.tokens[column].lower() for column in spelling)
        for spelling in spellings
        if spelling and WILDCARD not in spelling
    )


@lru_cache(maxsize=1)
def _beam_search(vocabulary: Vocabulary, language_model_path: Path | None, options: DecodingOptions) -> BeamSearch:
    """Kept between songs: reading a language model takes seconds."""
    return BeamSearch(vocabulary, language_model_path, options)
