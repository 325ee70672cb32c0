"""Training with new vocabularies: word pieces and phonemes, from cuts to an exported model that aligns and decodes."""

from dataclasses import replace
from pathlib import Path

import jiwer
import pytest
from transformers import AutoTokenizer

from lyrics_asr.alignment.forced_alignment import align_lyrics
from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.decoding.beam_search import BeamSearch
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import evaluate, load_songs
from lyrics_asr.evaluation.task import EvaluateTask
from lyrics_asr.inference.pipeline import emissions_of
from lyrics_asr.language_model import build_language_model
from lyrics_asr.lyrics.normalization import normalize
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.models.registry import load_model
from lyrics_asr.options import DecodingOptions
from lyrics_asr.training import loop
from lyrics_asr.training.checkpoints import read_run
from lyrics_asr.training.examples import development_examples
from lyrics_asr.training.export import finish
from lyrics_asr.training.setup import architecture
from lyrics_asr.training.trackers import JsonLog


class Log(JsonLog):
    """Keeps the entries as well."""

    def __init__(self, folder):
        super().__init__(folder)
        self.entries = []

    def __call__(self, entry):
        self.entries.append(entry)
        super().__call__(entry)


@pytest.mark.parametrize("unit", ["pieces", "phonemes"])
def test_a_new_vocabulary_is_learned_and_exported(unit, training_config, training_corpus, tmp_path):
    """The loss of one batch falls, and the model of the run, which is moved, aligns and decodes."""
    stage = training_config.stages[0]
    stage = replace(stage, steps=30, acoustic=replace(stage.acoustic, learning_rate=1e-2, warmup_steps=1))
    config = replace(
        training_config,
        vocabulary=unit,
        pieces=40,
        stages=[stage],
        spec_augment=None,
        overfit_chunks=2,
        log_every_steps=1,
        validate_every_steps=30,
    )
    log = Log(Path(config.output))
    trained = loop.train(config, log)
    losses = [entry["ctc"] for entry in log.entries if "ctc" in entry]
    assert losses[-1] < 0.8 * losses[0]
    moved = tmp_path / "moved"
    Path(config.output).rename(moved)
    config = replace(config, output=str(moved))
    folder = moved / "tokenizer" / {"pieces": "pieces-40", "phonemes": "phonemes"}[unit]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (checkpoint,) = (moved / "checkpoints").iterdir()
    assert read_run(checkpoint).architecture == architecture(config)  # it can be resumed
    assert trained.acoustic.vocabulary.unit == unit
    example, *_ = development_examples(config, trained)  # a model of phonemes is validated by phonemes
    phonemes = [tokenizer.phonemize(word) for word in example.reference.split() if unit == "phonemes"]
    assert example.phonemes.split() == " ".join(phonemes).split()

    folder = finish(config, JsonLog(moved))
    model = load_model(str(folder), device="cpu")
    assert model.acoustic.vocabulary == trained.acoustic.vocabulary
    assert model.acoustic.tokenizer.get_vocab() == tokenizer.get_vocab()
    song, *_ = read_manifest(training_corpus)
    emissions = emissions_of(song.audio, model)
    lyrics = parse_lyrics(song.lyrics)
    words = [word for line in align_lyrics(emissions, lyrics, keep_all=True).lines for word in line.words]
    assert [word.text for word in words] == [word for line in lyrics.lines for word in line.words]
    build_language_model([line.text.lower() for line in lyrics.lines], 2, tmp_path / "lm.arpa")
    search = BeamSearch(model.acoustic.vocabulary, tmp_path / "lm.arpa", DecodingOptions(open_vocabulary=False))
    known = {word for line in lyrics.lines for word in line.text.lower().split()}
    found = [word.text for word in search.decode(emissions)]
    assert set(found) <= known

    model.language_model_path, model.decoding = tmp_path / "lm.arpa", DecodingOptions(open_vocabulary=False)
    config = EvaluationConfig(folder=training_corpus, limit=1, output=tmp_path / "evaluated", bss_eval=False)
    evaluation = evaluate(load_songs(config), config, make_task=lambda *given: EvaluateTask(*given[:2], 1, model=model))
    (evaluated,) = evaluation.songs
    assert [pair.text for pair in evaluated.words] == [word.text for word in words]
    measured = estimates(evaluation.songs)
    assert measured["wer"].value == pytest.approx(jiwer.wer(normalize(song.lyrics), " ".join(found)))
    assert ("greedy_wer" in measured) == (unit == "pieces")  # phonemes are not compared with words
