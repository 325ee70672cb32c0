"""Validation during training: development songs through the networks as inference runs them.

Conventions
- WER and CER are total errors over total words or characters. The greedy WER selects the best checkpoint: it needs no
  language model, whose weights are tuned after training.
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
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse import CutSet
from lhotse.audio import AudioLoadingError, DurationMismatchError

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio, AudioError, probe, read_audio
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.decoding.greedy import greedy
from lyrics_asr.evaluation.aggregation import METRICS, estimate
from lyrics_asr.evaluation.metrics import ErrorCounts, character_errors, si_sdr, word_errors
from lyrics_asr.inference.jobs import Job, Outcome
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.runner import Song, Stopwatch, Task, work
from lyrics_asr.inference.tasks import compute_emissions, read_mixture, read_song
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.base import Separator
from lyrics_asr.options import InferenceOptions
from lyrics_asr.training.config import AugmentationOptions, TrainingConfig
from lyrics_asr.training.data.batch import Batch, SoundFormat
from lyrics_asr.training.data.cut_reader import SEPARATOR, has_words, read_row
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import manifest_files, our_decoder
from lyrics_asr.types import Emissions, TimedWord

MAX_SI_SDR_DB = 100.0

_UNUSABLE = (AudioError, AudioLoadingError, DurationMismatchError)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """Audio to transcribe and its reference.

    Args:
        id: name in messages and logs.
        reference: normalized lyrics.
        read: returns the mixture, or its path where it is too long for memory; or vocals.
        is_separated: whether `read` returns vocals, so that the separator is skipped.
        read_vocals: returns the reference vocals at the separator's rate, where they are known.
        language: ISO 639-1 code; empty if unknown.
        corpus: name of its manifest or file of cuts.
    """

    id: str
    reference: str
    read: Callable[[], Audio | AudioFile]
    is_separated: bool = False
    read_vocals: Callable[[], Audio] | None = None
    language: str = ""
    corpus: str = ""


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


def development_examples(config: TrainingConfig, model: LyricsModel) -> list[Example]:
    """The validation examples of a run, some of each manifest or file of cuts if there is a limit.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not manifests, or not cuts.
    """
    most = config.validation_examples
    corpora = [
        examples_of(read_manifest(Path(manifest))[: most or None], model, corpus_name(Path(manifest)))
        for manifest in config.development
    ]
    corpora += [examples_of_cuts(Path(cuts), model, most) for cuts in config.development_cut_files]
    mixed = [example for group in zip_longest(*corpora) for example in group if example is not None]
    return mixed[: most or None]


def corpus_name(path: Path) -> str:
    """The name of a manifest or file of cuts in the log: that of the file, with its folder's."""
    return "/".join([path.absolute().parent.name, path.name.split(".")[0]])


def examples_of(songs: Sequence[ReferenceSong], model: LyricsModel, corpus: str = "") -> list[Example]:
    """Whole songs."""
    rate_hz = model.separator.sample_rate_hz

    def example(song: ReferenceSong) -> Example:
        vocals = song.vocals
        return Example(
            song.id,
            normalize(song.lyrics, song.language),
            lambda: _read_song(song, model),
            read_vocals=None if vocals is None else lambda: read_audio(vocals, sample_rate_hz=rate_hz, channels=2),
            language=song.language,
            corpus=corpus,
        )

    return [example(song) for song in songs]


def _read_song(song: ReferenceSong, model: LyricsModel) -> Audio | AudioFile:
    """The mixture of a song, whole if it is to be compared with its vocals."""
    if song.vocals is not None:
        return read_mixture(song.audio, model)
    return read_song(Song(Job(song.audio, Path(song.id)), probe(song.audio)), model)


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
            Example(
                cut.id,
                " ".join(texts),
                partial(read, cut),
                is_separated,
                language="".join(languages[:1]),
                corpus=corpus_name(path),
            )
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
    greedy = [(each.reference, each.greedy) for each in hypotheses if each.reference and each.greedy is not None]
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
        )
        return ()

    def _example(self, song: Song) -> Example:
        return self._examples[int(song.job.stem.name)]

    def _measure(self, example: Example, sound: Audio | AudioFile) -> _Measured:
        model, options = self._model, InferenceOptions()
        if isinstance(sound, AudioFile):  # a long song, which is separated in blocks
            emissions = compute_emissions([sound], model, options)[0] if self._with_text else None
            return _Measured(None, emissions, None, None)
        separated = None if example.is_separated else model.vocals([sound], options.separation)[0]
        vocals = sound if separated is None else separated.cpu()
        gain_db = si_sdr_to_initial_db = emissions = None
        if example.read_vocals is not None and not example.is_separated:
            truth = example.read_vocals().samples.mean(0)
            gain_db = si_sdr(vocals.samples.mean(0), truth) - si_sdr(sound.samples.mean(0), truth)
        if self._start is not None and not example.is_separated:
            (before,) = self._start.separate([sound.samples], options.separation)
            si_sdr_to_initial_db = min(MAX_SI_SDR_DB, si_sdr(vocals.samples.mean(0), before.cpu().mean(0)))
        if self._with_text:
            voice = sound if separated is None else model.to_16k_mono(separated)
            (emissions,) = model.emissions([voice], options.acoustic)
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
