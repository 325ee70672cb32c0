"""The stages of a song: functions that the tasks, the Python API and evaluation share.

mixtures.read_song -> compute_emissions (separator, acoustic model) -> decode_transcript or align_emissions
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.audio import (
    Audio,
    leveled,
    leveling_gain,
)
from lyrics_asr.config import load_config
from lyrics_asr.decoding.greedy import greedy as greedy_search
from lyrics_asr.decoding.lines import cut_lines
from lyrics_asr.emissions import Emissions
from lyrics_asr.inference.attention import timed_lines
from lyrics_asr.inference.long_audio import AudioFile, separate_in_blocks
from lyrics_asr.inference.runner import Stopwatch
from lyrics_asr.lyrics.languages import base_code
from lyrics_asr.lyrics.spelling import spellable_words
from lyrics_asr.lyrics.text import Lyrics
from lyrics_asr.models import memory
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import InferenceOptions, SeparationOptions
from lyrics_asr.types import AlignmentError, AudioInfo, SongText, TimedWord, Transcript

Progress = Callable[[float], None]
Decode = Callable[[Emissions, frozenset[str]], tuple[TimedWord, ...]]


def options_for(model: LyricsModel, overrides: Sequence[str] = ()) -> InferenceOptions:
    """The default options, overridden by those tuned for `model` and then by `key.sub=value` overrides.

    Raises:
        ValueError: an override has an unknown key or a wrong value.
    """
    if not overrides:
        return InferenceOptions(decoding=model.decoding)
    tuned = [f"decoding.{key}={value}" for key, value in asdict(model.decoding).items()]
    return load_config(InferenceOptions, overrides=[*tuned, *overrides])


def separate_to_16k_mono(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: SeparationOptions,
    progress: Progress | None = None,
) -> list[Audio]:
    """Separate the vocals of leveled songs, as input of the acoustic model; those of long songs are on the CPU.

    Args:
        mixtures: mixtures or files from `mixtures.read_song`.
        model: model with the separator.
        options: options of the separator.
        progress: progress callback, with a fraction in 0..1.

    Raises:
        MemoryError: memory runs out even with the shortest segments.
        AudioError: a long song is silent.
    """
    in_memory: list[Audio] = []
    for mixture in mixtures:
        if isinstance(mixture, Audio):
            in_memory.append(leveled(mixture))
    vocals = iter(model.vocals(in_memory, options, progress))
    voices = []
    for mixture in mixtures:
        if isinstance(mixture, Audio):
            voices.append(model.to_16k_mono(next(vocals)))
        else:
            voices.append(separate_in_blocks(mixture, model, options, progress))
    return voices


def separate_song(
    mixture: Audio, model: LyricsModel, options: SeparationOptions, progress: Progress | None = None
) -> tuple[Audio, Audio]:
    """Separate a leveled song in memory, for those who keep its vocals.

    Args:
        mixture: mixture from `mixtures.read_mixture`.
        model: model with the separator.
        options: options of the separator.
        progress: progress callback, with a fraction in 0..1.

    Returns:
        The vocals at the levels of the mixture, on the CPU, and what `separate_to_16k_mono` gives.
    """
    gain = leveling_gain(mixture)
    (raised,) = model.vocals([Audio(mixture.samples * gain, mixture.sample_rate_hz)], options, progress)
    return Audio(raised.samples.cpu() / gain, raised.sample_rate_hz), model.to_16k_mono(raised)


def acoustic_inputs(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: SeparationOptions,
    progress: Progress | None = None,
    voices: list[Audio] | None = None,
) -> list[Audio]:
    """What the acoustic model hears, mono at 16 kHz: vocals, or the leveled mixtures, as `model.acoustic_input` says.

    Args:
        mixtures: mixtures or files from `mixtures.read_song`.
        model: model from `load_model`.
        options: options of the separator.
        progress: progress callback for the separation, with a fraction in 0..1.
        voices: vocals from `separate_to_16k_mono`; None to separate them if they are needed.
    """
    if model.acoustic_input == "mixture":
        return separate_to_16k_mono(mixtures, model.unseparated, options)
    return separate_to_16k_mono(mixtures, model, options, progress) if voices is None else voices


def compute_emissions(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: InferenceOptions,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Emissions]:
    """The emissions of songs; the separator runs only if the acoustic model hears vocals. See `run_networks`."""
    stopwatch = Stopwatch() if stopwatch is None else stopwatch
    with stopwatch("separation"):
        inputs = acoustic_inputs(mixtures, model, options.separation, progress)
    with stopwatch("acoustic"):
        return model.emissions(inputs, options.acoustic)


def run_networks(
    mixtures: Sequence[Audio | AudioFile],
    model: LyricsModel,
    options: InferenceOptions,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> tuple[list[Audio], list[Emissions]]:
    """Run separator and acoustic model on songs.

    Args:
        mixtures: mixtures or files from `mixtures.read_song`. Songs in memory share batches.
        model: model from `load_model`.
        options: options of both networks.
        progress: progress callback for the separation, with a fraction in 0..1.
        stopwatch: times the stages "separation" and "acoustic".

    Returns:
        The vocals of each song, mono at 16 kHz, and its emissions.

    Raises:
        MemoryError: memory runs out even with the shortest segments and windows.
        AudioError: a long song is silent.
    """
    stopwatch = Stopwatch() if stopwatch is None else stopwatch
    with stopwatch("separation"):
        voices = separate_to_16k_mono(mixtures, model, options.separation, progress)
        inputs = acoustic_inputs(mixtures, model, options.separation, voices=voices)
    with stopwatch("acoustic"):
        return voices, model.emissions(inputs, options.acoustic)


def compute_texts(
    voices: Sequence[Audio],
    model: LyricsModel,
    options: InferenceOptions,
    languages: Sequence[str],
    hot_words: Sequence[str],
) -> list[SongText | None]:
    """Run the model's transcriber on vocals; None for each song if it has none.

    Args:
        voices: vocals from `separate_to_16k_mono`.
        model: model with the transcriber.
        options: options of the transcriber.
        languages: language of the lyrics of each song; "auto" for the one that it sounds like.
        hot_words: text whose words are likely to be sung, for each song.

    Raises:
        MemoryError: memory runs out even with one beam.
        ValueError: a language that the transcriber does not know.
    """
    if model.transcriber is None:
        return [None] * len(voices)
    beams = options.transcriber.beams or (1 if model.device.type == "cpu" else 5)
    songs = zip(voices, map(base_code, languages), hot_words, strict=True)
    return [_text_of(model, voice, language, expected, beams) for voice, language, expected in songs]


def _text_of(model: LyricsModel, voice: Audio, language: str, hot_words: str, beams: int) -> SongText:
    """The words of one song; where memory runs out, with fewer beams."""
    assert model.transcriber is not None
    while True:
        try:
            return model.transcriber.transcribe(voice.samples[0], language, hot_words=hot_words, beams=beams)
        except (MemoryError, RuntimeError) as error:
            beams = memory.fewer_beams(beams, error)


def decode_transcript(
    audio: AudioInfo,
    emissions: Emissions,
    model: LyricsModel,
    options: InferenceOptions,
    *,
    decode: Decode | None = None,
    text: SongText | None = None,
    hot_words: str = "",
    language: str = "en",
) -> Transcript:
    """Decode emissions to a transcript.

    Args:
        audio: audio of the song.
        emissions: emissions of `model`.
        model: model to name in the transcript.
        options: options for splitting words into lines.
        decode: beam search; None for greedy decoding.
        text: what the model's transcriber found, in place of a CTC decoding.
        hot_words: text whose words are likely to be sung; only for the beam search.
        language: language of the lyrics, to verbalize digits and symbols of the hot words.
    """
    if text is not None:
        lines, language = timed_lines(text, emissions, options.transcriber), text.language
        names = replace(model.info, language_model=None, transcriber=model.transcriber_name)
        written = "\n".join(line.text for line in lines)
        return Transcript("transcribe", audio, names, written, lines, language=language)
    if decode is None:
        words, names = greedy_search(emissions), replace(model.info, language_model=None)
    else:
        expected = frozenset(spellable_words(hot_words, emissions.vocabulary, language))
        words, names = decode(emissions, expected), model.info
    lines = cut_lines(words, options.lines)
    written = "\n".join(line.text for line in lines)
    return Transcript("transcribe", audio, names, written, lines, language=language)


def align_emissions(
    audio: AudioInfo,
    emissions: Emissions,
    lyrics: Lyrics,
    model: LyricsModel,
    options: InferenceOptions,
    *,
    language: str = "en",
    keep_all: bool = False,
    use_times: bool = False,
) -> Transcript:
    """Align lyrics with a song.

    Args:
        audio: audio of the song.
        emissions: emissions of `model`.
        lyrics: lyrics of the song.
        model: model to name in the transcript.
        options: options of the alignment.
        language: language of the lyrics, to verbalize digits and symbols.
        keep_all: whether every line was sung, once and in order.
        use_times: whether the times of the lyrics guide the alignment.

    Raises:
        AlignmentError: the lyrics do not fit the song; the message names it.
    """
    try:
        found = align_lyrics(
            emissions, lyrics, language=language, options=options.alignment, keep_all=keep_all, use_times=use_times
        )
    except AlignmentError as error:
        raise AlignmentError(f"{audio.path}: {error}") from error
    names = replace(model.info, language_model=None)
    return Transcript(
        "align", audio, names, lyrics.text, found.lines, found.not_found, found.uncovered, language, found.confidence
    )
