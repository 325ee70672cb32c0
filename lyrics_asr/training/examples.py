"""Validation examples: development songs, development cuts, or the chunks of a batch, read when they are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet

from lyrics_asr.audio import ACOUSTIC_SAMPLE_RATE_HZ, Audio, probe, read_audio
from lyrics_asr.corpora.manifest import Song as ReferenceSong
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.inference.jobs import Job
from lyrics_asr.inference.long_audio import AudioFile
from lyrics_asr.inference.mixtures import read_mixture, read_song
from lyrics_asr.inference.runner import Song
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.spelling import spell
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.data.batch import Batch, SoundFormat
from lyrics_asr.training.data.cut_reader import SEPARATOR, has_words, read_row
from lyrics_asr.training.data.labels import Labeller
from lyrics_asr.training.data.lhotse_io import cuts_file, manifest_files, our_decoder
from lyrics_asr.training.data.object_storage import cuts_path
from lyrics_asr.training.data.options import AugmentationOptions
from lyrics_asr.types import WILDCARD


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
        phonemes: the reference in phonemes, which a model of phonemes is compared with before it has a lexicon; empty
            for other models.
    """

    id: str
    reference: str
    read: Callable[[], Audio | AudioFile]
    is_separated: bool = False
    read_vocals: Callable[[], Audio] | None = None
    language: str = ""
    corpus: str = ""
    phonemes: str = ""


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
    files = [cuts_file(cuts_path(cuts), "development_cuts") for cuts in config.development_cut_files]
    corpora += [examples_of_cuts(file, model, most) for file in files]
    mixed = [example for group in zip_longest(*corpora) for example in group if example is not None]
    return mixed[: most or None]


def corpus_name(path: Path) -> str:
    """The name of a manifest or file of cuts in the log: that of the file, with its folder's."""
    return "/".join([path.absolute().parent.name, path.name.split(".")[0]])


def examples_of(songs: Sequence[ReferenceSong], model: LyricsModel, corpus: str = "") -> list[Example]:
    """Whole songs."""
    rate_hz = model.separator.sample_rate_hz

    def example(song: ReferenceSong) -> Example:
        vocals, reference = song.vocals, normalize(song.lyrics, song.language)
        return Example(
            song.id,
            reference,
            lambda: _read_song(song, model),
            read_vocals=None if vocals is None else lambda: read_audio(vocals, sample_rate_hz=rate_hz, channels=2),
            language=song.language,
            corpus=corpus,
            phonemes=_phonemes([(reference, song.language)], model),
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
                phonemes=_phonemes(list(zip(texts, languages, strict=True)), model),
            )
        )
    return examples


def _phonemes(texts: Sequence[tuple[str, str]], model: LyricsModel) -> str:
    """Normalized texts, each with its language, in the phonemes of a model; empty if it has another vocabulary."""
    vocabulary = model.acoustic.vocabulary
    if vocabulary.unit != "phonemes":
        return ""
    columns = [column for text, language in texts for column in spell(text, vocabulary, language)]
    return vocabulary.text(column for column in columns if column != WILDCARD)


def examples_in(batch: Batch, model: LyricsModel, *, is_separated: bool) -> list[Example]:
    """The rows of a batch, with their labels as references.

    Args:
        batch: at the acoustic model's rate if its vocals are used, else at the separator's.
        model: its rates and vocabulary are used.
        is_separated: whether to use the batch's vocals instead of its mixture.
    """
    vocabulary = model.acoustic.vocabulary
    rate_hz = ACOUSTIC_SAMPLE_RATE_HZ if is_separated else model.separator.sample_rate_hz
    sound = batch.vocals if is_separated else batch.mixture
    assert sound is not None
    labels = torch.split(batch.labels, batch.label_lengths.tolist())
    return [
        Example(
            chunk_id,
            vocabulary.text(row_labels.tolist()),
            partial(Audio, samples[:, :length].cpu(), rate_hz),
            is_separated,
        )
        for chunk_id, samples, length, row_labels in zip(
            batch.chunk_ids, sound, batch.lengths.tolist(), labels, strict=True
        )
    ]
