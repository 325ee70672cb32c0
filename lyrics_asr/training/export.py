"""Export of a trained model as a folder for `load_model`, with a model card; each network in Hugging Face's layout."""

import logging
from dataclasses import asdict
from pathlib import Path

from lyrics_asr.audio import AudioError
from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.evaluation.decoder_tuning import Trial, tune
from lyrics_asr.files import write_text
from lyrics_asr.inference.pipeline import emissions_of
from lyrics_asr.language_model import build_language_model
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.options import DecodingOptions
from lyrics_asr.synthesis.lyrics import load_lyrics
from lyrics_asr.training.checkpoints import best_checkpoint
from lyrics_asr.training.config import TrainingConfig
from lyrics_asr.training.model_card import model_card
from lyrics_asr.training.setup import trained_model
from lyrics_asr.training.trackers import Log

_LANGUAGE_MODEL = "language_model.arpa.gz"

_logger = logging.getLogger(__name__)


def finish(config: TrainingConfig, log: Log) -> Path:
    """Write the best model of a run to the folder `model` of its output, with a model card.

    If the configuration names lyrics, a language model is built from the English ones and tuned on the English
    development songs, whatever other languages the model was trained on. A model trained from scratch is stored in
    float16, a fine-tuned one in its own precision.

    Raises:
        FileNotFoundError: no checkpoint, no lyrics, or no manifest of development songs.
        ValueError: no development songs in English.
    """
    output = Path(config.output)
    model = trained_model(output)
    if config.lyrics:
        _add_language_model(model, config, log)
    _save(model, output, output / "model", half=config.is_from_scratch)
    return output / "model"


def export(run: Path, folder: Path, *, half: bool = False) -> None:
    """Write the best model of a run, or that of one of its checkpoints, with a model card.

    Args:
        run: a run's output, or the folder of a checkpoint.
        folder: made if need be.
        half: store the weights in float16.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: a damaged checkpoint.
        OutputError: the folder cannot be written.
    """
    model = trained_model(run)
    if (run / _LANGUAGE_MODEL).is_file():
        model.language_model_path = run / _LANGUAGE_MODEL
        model.decoding = load_config(DecodingOptions, run / "model" / "decoder.yaml")
    _save(model, run, folder, half=half)


def _save(model: LyricsModel, run: Path, folder: Path, *, half: bool) -> None:
    checkpoint = run if (run / "run.json").is_file() else best_checkpoint(run)
    assert checkpoint is not None  # the model is from there
    model.save(folder, half=half)
    write_text(folder / "README.md", model_card(checkpoint, model.separator.name, model.acoustic.name))


def _add_language_model(model: LyricsModel, config: TrainingConfig, log: Log) -> None:
    lyrics = load_lyrics(Path(config.lyrics), "training")
    model.language_model_path = Path(config.output, _LANGUAGE_MODEL)
    lines = (normalize(line) for stanzas in lyrics.values() for stanza in stanzas for line in stanza)
    build_language_model(lines, config.language_model_order, model.language_model_path)

    development = [song for manifest in config.development for song in read_manifest(Path(manifest))]
    songs = [song for song in development if song.language == "en"][: config.tuning_songs]
    emissions, references = [], []
    for song in songs:
        try:
            emissions.append(emissions_of(song.audio, model))
        except AudioError as error:
            _logger.warning("song %s is left out of the tuning: %s", song.id, error)
        else:
            references.append(normalize(song.lyrics, song.language))

    def log_trial(trial: Trial) -> None:
        log({"tuning": asdict(trial.options), "wer": round(trial.wer, 5)})

    tuning = tune(emissions, references, model.language_model_path, model.decoding, log_trial)
    log(
        {
            "language_model_helps": tuning.helps,
            "with_model": tuning.with_model.value,
            "without": tuning.without_model.value,
        }
    )
    model.decoding = tuning.options
