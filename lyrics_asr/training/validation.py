"""Validation during training: development songs through the networks as inference runs them.

Conventions
- WER and CER are total errors over total words or characters. The greedy WER selects the best checkpoint: it needs no
  language model, whose weights are tuned after training.
- `si_sdr_to_initial_db` is the SI-SDR in dB of the separator's present vocals against those of the initial separator,
  as a mean over examples; `MAX_SI_SDR_DB` where both are equal. It falls as the separator moves away from its
  initial weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse import CutSet

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio, read_audio
from lyrics_asr.corpora.manifest import Song
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.evaluation.metrics import character_errors, si_sdr, word_errors
from lyrics_asr.inference.tasks import read_mixture
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separator import Separator
from lyrics_asr.options import AcousticOptions, SeparationOptions
from lyrics_asr.training.config import AugmentationOptions
from lyrics_asr.training.data.batch import Batch, SoundFormat
from lyrics_asr.training.data.cut_reader import SEPARATOR, has_words, read_row
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import manifest_files, our_decoder
from lyrics_asr.types import TimedWord

MAX_SI_SDR_DB = 100.0


@dataclass(frozen=True)
class Example:
    """Audio to transcribe and its reference.

    Args:
        id: name in messages and logs.
        reference: normalised lyrics.
        read: returns the mixture, or vocals.
        is_separated: whether `read` returns vocals, so that the separator is skipped.
        read_vocals: returns the reference vocals at the separator's rate, where they are known.
        language: ISO 639-1 code; empty if unknown.
    """

    id: str
    reference: str
    read: Callable[[], Audio]
    is_separated: bool = False
    read_vocals: Callable[[], Audio] | None = None
    language: str = ""


@dataclass(frozen=True)
class Hypothesis:
    """The transcript of an example and the quality of its separation.

    Args:
        id: of the example.
        reference: of the example.
        language: of the example.
        greedy: best-path transcript; None if the acoustic model was not run.
        beam: transcript of the beam search with the language model; None without a language model.
        gain_db: SI-SDR of the vocals minus that of the mixture, both against the reference vocals.
        si_sdr_to_initial_db: SI-SDR of the vocals against those of the initial separator.
        vocals: separated vocals, of the examples that keep them.
    """

    id: str
    reference: str
    language: str
    greedy: str | None
    beam: str | None
    gain_db: float | None
    si_sdr_to_initial_db: float | None
    vocals: Audio | None


@dataclass(frozen=True)
class ValidationMetrics:
    """Metrics over all examples; None where they do not apply."""

    cer: float | None
    wer: float | None
    lm_cer: float | None
    lm_wer: float | None
    si_sdr_improvement_db: float | None
    si_sdr_to_initial_db: float | None


def examples_of(songs: Sequence[Song], model: LyricsModel) -> list[Example]:
    """Whole songs."""
    rate_hz = model.separator.sample_rate_hz

    def example(song: Song) -> Example:
        vocals = song.vocals
        return Example(
            song.id,
            normalize(song.lyrics, song.language),
            lambda: read_mixture(song.audio, model),
            read_vocals=None if vocals is None else lambda: read_audio(vocals, sample_rate_hz=rate_hz, channels=2),
            language=song.language,
        )

    return [example(song) for song in songs]


def examples_of_cuts(path: Path, model: LyricsModel, most: int = 0) -> list[Example]:
    """The cuts of a file, read as in training but without augmentation.

    Args:
        path: of Lhotse cuts, not in Shar.
        model: its rates and vocabulary are used.
        most: only the first so many; 0 for all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not cuts.
    """
    sound = SoundFormat(model.separator.sample_rate_hz, model.mixture_channels)
    labeller, as_it_is = Labeller(model.acoustic.vocabulary), AugmentationOptions([1.0], 0.0, 0.0)

    def read(cut: Any) -> Audio:
        with our_decoder():
            row = read_row(cut, sound=sound, labeller=labeller, augmentation=as_it_is, seed=0, epoch=0)
        if row.mixture is not None:
            return Audio(row.mixture, sound.sample_rate_hz)
        assert row.vocals is not None
        return Audio(row.vocals, ACOUSTIC_SAMPLE_RATE_HZ)

    examples = []
    for cut in islice(filter(has_words, CutSet.from_jsonl_lazy(*manifest_files(path))), most or None):
        languages = [each.language or "en" for each in cut.supervisions]
        texts = [normalize(each.text, own) for each, own in zip(cut.supervisions, languages, strict=True)]
        is_separated = SEPARATOR in (cut.custom or {})
        examples.append(
            Example(cut.id, " ".join(texts), partial(read, cut), is_separated, language="".join(languages[:1]))
        )
    return examples


def examples_in(batch: Batch, model: LyricsModel, *, is_separated: bool) -> list[Example]:
    """The rows of a batch, with their labels as references.

    Args:
        batch: at the acoustic model's rate if its vocals are used, else at the separator's.
        model: its rates and vocabulary are used.
        is_separated: whether to use the batch's vocals instead of its mixture.
    """
    vocabulary = model.acoustic.vocabulary
    spaced = [token.lower() for token in vocabulary.tokens]
    if vocabulary.word_delimiter_id is not None:
        spaced[vocabulary.word_delimiter_id] = " "
    rate_hz = ACOUSTIC_SAMPLE_RATE_HZ if is_separated else model.separator.sample_rate_hz
    sound = batch.vocals if is_separated else batch.mixture
    assert sound is not None
    labels = torch.split(batch.labels, batch.label_lengths.tolist())
    return [
        Example(
            chunk_id,
            "".join(spaced[token] for token in row_labels.tolist()),
            partial(Audio, samples[:, :length].cpu(), rate_hz),
            is_separated,
        )
        for chunk_id, samples, length, row_labels in zip(
            batch.chunk_ids, sound, batch.lengths.tolist(), labels, strict=True
        )
    ]


@torch.inference_mode()
def measure(
    model: LyricsModel,
    examples: Sequence[Example],
    *,
    accelerator: Accelerator,
    start: Separator | None = None,
    with_text: bool = True,
    kept: int = 0,
) -> tuple[ValidationMetrics, tuple[Hypothesis, ...]]:
    """Separate and transcribe the examples, spread over the processes; leaves the model in evaluation mode.

    Args:
        model: to validate.
        examples: the same in every process.
        accelerator: of the run.
        start: the initial separator, for `si_sdr_to_initial_db`.
        with_text: whether to run the acoustic model.
        kept: number of examples of the main process that keep their vocals.

    Returns:
        The metrics, the same in every process, and the hypotheses in the order of the examples.
    """
    model.eval()
    search = None
    if with_text and model.language_model_path is not None:
        search = BeamSearch(model.acoustic.vocabulary, model.language_model_path, model.decoding)
    if start is not None:
        start.eval()
    own = examples[accelerator.process_index :: accelerator.num_processes]
    hypotheses = [
        _transcribe(model, example, start, search, with_text, keeps=accelerator.is_main_process and number < kept)
        for number, example in enumerate(own)
    ]
    accelerator.wait_for_everyone()  # the slowest process may take longer than a collective is allowed to
    everything: list[Hypothesis] = gather_object(hypotheses)
    order = {example.id: number for number, example in enumerate(examples)}
    everything.sort(key=lambda each: order[each.id])
    return _metrics(everything), tuple(everything)


def rates_by_language(hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
    """CER and WER of each language, named "cer fr" and so on; empty if there is one language or no text."""
    languages = sorted({each.language for each in hypotheses})
    rates = {}
    for language in languages if len(languages) > 1 else []:
        metrics = _metrics([each for each in hypotheses if each.language == language])
        for name, rate in (("cer", metrics.cer), ("wer", metrics.wer)):
            if rate is not None:
                rates[f"{name} {language}"] = rate
    return rates


def _transcribe(
    model: LyricsModel,
    example: Example,
    start: Separator | None,
    search: BeamSearch | None,
    with_text: bool,
    *,
    keeps: bool,
) -> Hypothesis:
    sound = example.read()
    separated = None if example.is_separated else model.vocals([sound], SeparationOptions())[0]
    vocals = sound if separated is None else separated.cpu()
    gain_db = si_sdr_to_initial_db = None
    if example.read_vocals is not None and not example.is_separated:
        truth = example.read_vocals().samples.mean(0)
        gain_db = si_sdr(vocals.samples.mean(0), truth) - si_sdr(sound.samples.mean(0), truth)
    if start is not None and not example.is_separated:
        (before,) = start.separate([sound.samples], SeparationOptions())
        si_sdr_to_initial_db = min(MAX_SI_SDR_DB, si_sdr(vocals.samples.mean(0), before.cpu().mean(0)))
    text = beam = None
    if with_text:
        voice = sound if separated is None else model.to_16k_mono(separated)
        (emissions,) = model.emissions([voice], AcousticOptions())
        text = _text(greedy(emissions))
        beam = None if search is None else _text(search.decode(emissions))
    kept = vocals if keeps else None
    return Hypothesis(example.id, example.reference, example.language, text, beam, gain_db, si_sdr_to_initial_db, kept)


def _text(words: Sequence[TimedWord]) -> str:
    return " ".join(word.text for word in words).lower()


def _metrics(hypotheses: Sequence[Hypothesis]) -> ValidationMetrics:
    references = [each.reference for each in hypotheses]
    texts = [each.greedy for each in hypotheses if each.greedy is not None]
    beams = [each.beam for each in hypotheses if each.beam is not None]
    return ValidationMetrics(
        cer=character_errors(references, texts).rate if texts else None,
        wer=word_errors(references, texts).rate if texts else None,
        lm_cer=character_errors(references, beams).rate if beams else None,
        lm_wer=word_errors(references, beams).rate if beams else None,
        # The gain is not finite for a song without accompaniment.
        si_sdr_improvement_db=_mean([each.gain_db for each in hypotheses if each.gain_db is not None]),
        si_sdr_to_initial_db=_mean(
            [each.si_sdr_to_initial_db for each in hypotheses if each.si_sdr_to_initial_db is not None]
        ),
    )


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
