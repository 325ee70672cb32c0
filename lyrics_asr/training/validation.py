"""Validation during training: development songs through the networks as inference runs them.

Conventions
- WER and CER are total errors over total words or characters. The greedy WER selects the best checkpoint: it needs no
  language model, whose weights are tuned after training. Of a model of phonemes, it is the phoneme error rate.
- `si_sdr_to_initial_db` is the SI-SDR in dB of the separator's present vocals against those of the initial separator,
  as a mean over examples; `MAX_SI_SDR_DB` where both are equal. It falls as the separator moves away from its
  initial weights.
- Examples whose audio cannot be read are logged, counted and left out, in every validation alike.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse.audio import AudioLoadingError, DurationMismatchError

from lyrics_asr.audio import Audio, AudioError, leveling_gain
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.emissions import Emissions
from lyrics_asr.evaluation.aggregation import METRICS, estimate
from lyrics_asr.evaluation.metrics import ErrorCounts, character_errors, si_sdr, word_errors
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.runner import Song, Stopwatch, Task, work
from lyrics_asr.inference.stages import acoustic_inputs, compute_emissions, separate_song
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.options import InferenceOptions
from lyrics_asr.training.examples import Example
from lyrics_asr.types import TimedWord

MAX_SI_SDR_DB = 100.0

_UNUSABLE = (AudioError, AudioLoadingError, DurationMismatchError)

_logger = logging.getLogger(__name__)


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
        corpus: of the example.
        phonemes: of the example.
    """

    id: str
    reference: str
    language: str
    greedy: str | None
    beam: str | None
    gain_db: float | None
    si_sdr_to_initial_db: float | None
    vocals: Audio | None
    corpus: str = ""
    phonemes: str = ""

    @property
    def greedy_reference(self) -> str:
        """What the greedy transcript is compared with."""
        return self.phonemes or self.reference


@dataclass(frozen=True)
class ValidationMetrics:
    """Metrics over the examples that can be read; None where they do not apply."""

    cer: float | None
    wer: float | None
    lm_cer: float | None
    lm_wer: float | None
    si_sdr_improvement_db: float | None
    si_sdr_to_initial_db: float | None
    unreadable_examples: int = 0


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

    Raises:
        ValueError: the audio of no example can be read.
    """
    model.eval()
    if start is not None:
        start.eval()
    own = examples[accelerator.process_index :: accelerator.num_processes]
    task = _ValidationTask(model, own, start, with_text, kept if accelerator.is_main_process else 0)
    songs = [Song(Job(Path(example.id), Path(str(number)))) for number, example in enumerate(own)]
    work(songs, task, resume=None, on_result=_check_outcome)
    hypotheses = [task.hypotheses[number] for number in sorted(task.hypotheses)]
    accelerator.wait_for_everyone()  # the slowest process may take longer than a collective is allowed to
    everything: list[Hypothesis] = gather_object(hypotheses)
    order = {example.id: number for number, example in enumerate(examples)}
    everything.sort(key=lambda each: order[each.id])
    if examples and not everything:
        raise ValueError("the audio of no validation example can be read; the warnings above name the files")
    metrics = replace(_metrics(everything), unreadable_examples=len(examples) - len(everything))
    return metrics, tuple(everything)


def summary(metrics: ValidationMetrics, hypotheses: Sequence[Hypothesis]) -> dict[str, Any]:
    """What a checkpoint keeps of a validation: metrics, also by language and corpus, and 95 % intervals of WER and CER.

    Args:
        metrics: from `measure`.
        hypotheses: from `measure`.
    """
    greedy = [(each.greedy_reference, each.greedy) for each in hypotheses if each.reference and each.greedy is not None]
    beam = [(each.reference, each.beam) for each in hypotheses if each.reference and each.beam is not None]
    intervals = {
        "wer": _interval(word_errors, greedy),
        "cer": _interval(character_errors, greedy),
        "lm_wer": _interval(word_errors, beam),
        "lm_cer": _interval(character_errors, beam),
    }
    languages = sorted({each.language for each in hypotheses} - {""})
    counts = {"examples": len(hypotheses), "languages": languages, "intervals": intervals}
    return asdict(metrics) | rates_by_group(hypotheses) | counts


def _interval(
    count: Callable[[Sequence[str], Sequence[str]], ErrorCounts], pairs: Sequence[tuple[str, str]]
) -> tuple[float, float] | None:
    """The 95 % interval of an error rate over pairs of a reference and a text; None for fewer than two."""
    errors = [count([reference], [text]) for reference, text in pairs]
    lengths = [(each.substitutions + each.deletions + each.insertions, each.reference_length) for each in errors]
    found = estimate(METRICS["wer"], lengths)
    return None if found.low is None or found.high is None else (found.low, found.high)


def rates_by_group(hypotheses: Sequence[Hypothesis]) -> dict[str, float]:
    """CER and WER of each language and corpus, named "cer fr", "wer dali/validation" and so on.

    There are none of languages or corpora if there is only one of them, or no text.
    """
    rates = {}
    for names in ([each.language for each in hypotheses], [each.corpus for each in hypotheses]):
        groups = sorted(set(names))
        for group in groups if len(groups) > 1 else []:
            metrics = _metrics([each for each, name in zip(hypotheses, names, strict=True) if name == group])
            for metric, rate in (("cer", metrics.cer), ("wer", metrics.wer)):
                if rate is not None:
                    rates[f"{metric} {group}"] = rate
    return rates


@dataclass(frozen=True)
class _Measured:
    """What the networks give for an example; None for what was not computed."""

    vocals: Audio | None
    emissions: Emissions | None
    gain_db: float | None
    si_sdr_to_initial_db: float | None


class _ValidationTask(Task[Audio | AudioFile, _Measured]):
    """Validation as a task of the runner: the job of example n has the stem n."""

    def __init__(
        self, model: LyricsModel, examples: Sequence[Example], start: Separator | None, with_text: bool, kept: int
    ) -> None:
        self._model, self._examples, self._start = model, examples, start
        self._with_text, self._kept = with_text, kept
        self._search: BeamSearch | None = None
        self.hypotheses: dict[int, Hypothesis] = {}

    def check(self, job: Job) -> Song:
        """See `Task`."""
        return Song(job)

    @contextmanager
    def load(self) -> Iterator[None]:
        """See `Task`."""
        path = self._model.language_model_path
        if self._with_text and path is not None:
            self._search = BeamSearch(self._model.acoustic.vocabulary, path, self._model.decoding)
        yield

    def key(self, song: Song) -> str:
        """See `Task`; validation does not resume."""
        raise NotImplementedError

    def read(self, song: Song) -> Audio | AudioFile:
        """See `Task`."""
        return self._example(song).read()

    def infer(self, songs: Sequence[tuple[Song, Audio | AudioFile]], stopwatch: Stopwatch) -> Sequence[_Measured]:
        """See `Task`."""
        return [self._measure(self._example(song), sound) for song, sound in songs]

    def finish(self, song: Song, inferred: _Measured, stopwatch: Stopwatch) -> Sequence[Path]:
        """See `Task`."""
        example, number = self._example(song), int(song.job.stem.name)
        emissions = inferred.emissions
        self.hypotheses[number] = Hypothesis(
            example.id,
            example.reference,
            example.language,
            None if emissions is None else _text(greedy(emissions)),
            None if emissions is None or self._search is None else _text(self._search.decode(emissions)),
            inferred.gain_db,
            inferred.si_sdr_to_initial_db,
            inferred.vocals if number < self._kept else None,
            example.corpus,
            example.phonemes,
        )
        return ()

    def _example(self, song: Song) -> Example:
        return self._examples[int(song.job.stem.name)]

    def _measure(self, example: Example, sound: Audio | AudioFile) -> _Measured:
        model, options = self._model, InferenceOptions()
        if isinstance(sound, AudioFile):  # a long song, which is separated in blocks
            emissions = compute_emissions([sound], model, options)[0] if self._with_text else None
            return _Measured(None, emissions, None, None)
        vocals = voice = sound
        if not example.is_separated:
            vocals, voice = separate_song(sound, model, options.separation)
        gain_db = si_sdr_to_initial_db = emissions = None
        if example.read_vocals is not None and not example.is_separated:
            truth = example.read_vocals().samples.mean(0)
            gain_db = si_sdr(vocals.samples.mean(0), truth) - si_sdr(sound.samples.mean(0), truth)
        if self._start is not None and not example.is_separated:
            gain = leveling_gain(sound)
            (raised,) = self._start.separate([sound.samples * gain], options.separation)
            before = (raised.cpu() / gain).mean(0)
            si_sdr_to_initial_db = min(MAX_SI_SDR_DB, si_sdr(vocals.samples.mean(0), before))
        if self._with_text:
            inputs = [voice]
            if not example.is_separated:
                inputs = acoustic_inputs([sound], model, options.separation, voices=inputs)
            (emissions,) = model.emissions(inputs, options.acoustic)
        return _Measured(vocals, emissions, gain_db, si_sdr_to_initial_db)


def _check_outcome(outcome: Outcome) -> None:
    """Log an example whose audio is unusable; any other failure may be of this moment, and ends the run."""
    if isinstance(outcome.error, _UNUSABLE):
        cause = str(outcome.error).partition("\n[extra info]")[0]  # Lhotse adds whole recordings
        _logger.warning("validation example %s is left out: %s", outcome.job.source, cause)
    elif outcome.error is not None:
        raise outcome.error


def _text(words: Sequence[TimedWord]) -> str:
    return " ".join(word.text for word in words).lower()


def _metrics(hypotheses: Sequence[Hypothesis]) -> ValidationMetrics:
    references = [each.reference for each in hypotheses]
    greedy_references = [each.greedy_reference for each in hypotheses]
    texts = [each.greedy for each in hypotheses if each.greedy is not None]
    beams = [each.beam for each in hypotheses if each.beam is not None]
    return ValidationMetrics(
        cer=character_errors(greedy_references, texts).rate if texts else None,
        wer=word_errors(greedy_references, texts).rate if texts else None,
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
