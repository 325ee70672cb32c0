"""The parts that a run starts from: names, folders and new ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lhotse import CutSet

from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import load_separator, save_separator
from lyrics_asr.training import loop
from lyrics_asr.training.data.training_text import letters_of_cuts
from lyrics_asr.training.export import finish
from lyrics_asr.training.setup import starting_model, starting_separator
from lyrics_asr.training.trackers import JsonLog
from tests.models.test_acoustic import write_checkpoint, write_multilingual


@pytest.fixture
def separator(tiny_hdemucs, tmp_path):
    """A bag of another separator than that of the tiny model."""
    save_separator(tiny_hdemucs, tmp_path / "demucs", half=False)
    return str(tmp_path / "demucs")


def assert_same_weights(actual, expected):
    theirs = expected.state_dict()
    assert actual.state_dict().keys() == theirs.keys()
    for name, value in actual.state_dict().items():
        assert torch.equal(value, theirs[name])


def test_parts_of_a_model_are_replaced_by_checkpoints(training_config, tiny_model_folder, separator, tmp_path):
    write_checkpoint(tmp_path / "hugging_face")
    config = replace(
        training_config,
        model=str(tiny_model_folder),
        separator=str(*Path(separator).glob("*.safetensors")),
        acoustic=str(tmp_path / "hugging_face"),
    )
    model = starting_model(config)
    assert_same_weights(model.separator, load_separator(separator))
    assert_same_weights(model.acoustic, load_acoustic(config.acoustic))
    assert (model.separator.name, model.acoustic.name) == (config.separator, config.acoustic)
    for nothing in ("", {}):  # as older checkpoints have it
        kept = starting_model(replace(config, separator=nothing, acoustic=nothing))
        assert_same_weights(kept, load_model(str(tiny_model_folder), device="cpu"))


def test_two_checkpoints_are_a_model(training_config, separator, tmp_path):
    write_checkpoint(tmp_path / "hugging_face")
    config = replace(training_config, separator=separator, acoustic=str(tmp_path / "hugging_face"))
    model = starting_model(config)
    assert_same_weights(model.separator, load_separator(separator))
    assert_same_weights(model.acoustic, load_acoustic(config.acoustic))
    assert model.language_model_path is None


def test_a_checkpoint_goes_with_a_new_part(training_config, tiny_model_folder, separator):
    stage = replace(training_config.stages[0], input="mixture", separator=training_config.stages[0].acoustic)
    config = replace(training_config, model=str(tiny_model_folder), stages=[stage])
    model = starting_model(replace(config, separator=separator))
    assert_same_weights(model.separator, load_separator(separator))
    torch.manual_seed(config.seed)
    new_acoustic = build_acoustic(config.acoustic, config.letters)
    assert model.acoustic.vocabulary == new_acoustic.vocabulary
    assert_same_weights(model.acoustic.layers, new_acoustic.layers)
    new = starting_model(replace(config, acoustic=""))
    assert starting_separator(replace(config, acoustic=""), new) is None  # there is nothing to stay close to
    assert starting_separator(replace(config, separator=separator), model) is not None


def test_an_adapter_of_a_multilingual_checkpoint_is_trained_and_exported(training_config, tmp_path):
    write_multilingual(tmp_path / "mms")
    config = replace(
        training_config, acoustic=str(tmp_path / "mms"), acoustic_language="fr", output=str(tmp_path / "french")
    )
    log = JsonLog(Path(config.output))
    loop.train(config, log)
    french = load_acoustic(config.acoustic, language="fra")
    trained = load_model(str(finish(config, log)), device="cpu", language="fr")
    assert trained.acoustic.vocabulary == french.vocabulary
    before, after = french.state_dict(), trained.acoustic.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any("adapter_layer" in name for name in moved)
    assert "network.lm_head.bias" in moved


def test_a_new_language_is_learned_with_the_letters_of_the_training_text(training_config, training_cuts, tmp_path):
    """Cuts in Turkish and Czech, on a checkpoint for another alphabet; the exported model has their letters."""
    write_checkpoint(tmp_path / "other")
    texts = {"tr": "Işık dağ 2", "cs": "Říčka, ŽE!"}
    cuts = CutSet.from_file(training_cuts).to_eager()
    for cut, (language, text) in zip(cuts, texts.items(), strict=False):
        (supervision,) = cut.supervisions
        supervision.text, supervision.language, supervision.alignment = text, language, None
    path = tmp_path / "foreign.jsonl.gz"
    cuts.subset(first=2).to_eager().to_file(path)
    assert letters_of_cuts([path]) == "".join(sorted(set("işıkdağiki" + "říčkaže")))

    config = replace(training_config, acoustic=str(tmp_path / "other"), vocabulary="text")
    config = replace(config, cuts=replace(config.cuts, cuts=[str(path)]), output=str(tmp_path / "foreign"))
    log = JsonLog(Path(config.output))
    loop.train(config, log)
    loop.train(config, log)  # the same letters again
    exported = load_model(str(finish(config, log)), device="cpu")
    assert set(exported.acoustic.vocabulary.tokens) == {"<pad>", "<unk>", "|", "'", *letters_of_cuts([path])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"separator": ""}, "give model .initial weights of both parts., or both separator and acoustic"),
        ({"vocabulary": "words"}, "letters, text, pieces, phonemes or the folder of a tokenizer, not 'words'"),
        ({"acoustic": ["htdemucs"]}, "acoustic must be a name, a folder, or a mapping of arguments, not"),
        (
            {"acoustic_language": "fr"},
            "selects the adapter of a checkpoint, but acoustic describes",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(training_config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(training_config, **changes)
