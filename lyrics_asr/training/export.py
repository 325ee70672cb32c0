"""A trained model, with a language model of the training lyrics tuned on the development songs, as a folder."""

from dataclasses import asdict
from pathlib import Path

from lyrics_asr.config import TrainingConfig
from lyrics_asr.datasets.manifest import read_manifest
from lyrics_asr.datasets.synthetic import load_lyrics
from lyrics_asr.language_model import build_language_model
from lyrics_asr.model import LyricsModel
from lyrics_asr.pipeline import listen
from lyrics_asr.text import normalize
from lyrics_asr.training.loop import Log
from lyrics_asr.tuning import Trial, tune


def export(model: LyricsModel, config: TrainingConfig, log: Log) -> Path:
    """Build and tune the language model, then write everything to the folder `model` of the run's output, in float16.

    Raises:
        FileNotFoundError: no lyrics, or no development songs.
    """
    folder = Path(config.output, "model")
    lyrics = load_lyrics(Path(config.lyrics), "training")
    model.language_model_path = Path(config.output, "language_model.arpa.gz")
    lines = (normalize(line) for stanzas in lyrics.values() for stanza in stanzas for line in stanza)
    build_language_model(lines, config.language_model_order, model.language_model_path)

    songs = read_manifest(Path(config.development))[: config.tuning_songs]
    emissions = [listen(song.audio, model) for song in songs]
    references = [normalize(song.lyrics, song.language) for song in songs]

    def report(trial: Trial) -> None:
        log({"tuning": asdict(trial.options), "wer": round(trial.wer, 5)})

    tuning = tune(emissions, references, model.language_model_path, model.decoding, report)
    log(
        {
            "language_model_helps": tuning.helps,
            "with_model": tuning.with_model.value,
            "without": tuning.without_model.value,
        }
    )
    model.decoding = tuning.options
    model.save(folder, half=True)
    return folder
