"""Whisper's encoder with a CTC head: features and encoder against transformers, windows, times, training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from lyrics_asr.corpora.manifest import read_manifest
from lyrics_asr.inference.pipeline import align, emissions_of
from lyrics_asr.lyrics.text import parse_lyrics
from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic, save_acoustic
from lyrics_asr.models.log_mel import LogMelExtractor, LogMelSpectrogram
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.models.whisper_ctc import WhisperCTC
from lyrics_asr.models.whisper_for_ctc import WhisperForCTC
from lyrics_asr.options import AcousticOptions, SilenceOptions
from lyrics_asr.training import loop
from lyrics_asr.training.freezing import add_adapters, freeze, merge_adapters
from lyrics_asr.training.setup import starting_model, with_vocabulary_of_text
from lyrics_asr.training.stages import FreezingPhase, LoraOptions, OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog

RATE_HZ = 16_000
WINDOW = 30 * RATE_HZ
SIZES = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "vocab_size": 60,
    "pad_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "decoder_start_token_id": 1,
}
HEAD = {"head_layers": 2, "head_size": 8, "head_blocks": 2}


def song(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise with a slowly changing level."""
    noise = torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * (1.2 + torch.sin(torch.arange(len(noise)) / 7000))


def make_whisper(folder: Path) -> Path:
    """A tiny Whisper in the layout of the hub."""
    torch.manual_seed(0)
    WhisperForConditionalGeneration(WhisperConfig(**SIZES)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({"a": 0}))
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def model(whisper):
    torch.manual_seed(1)
    return build_acoustic({"encoder": str(whisper), **HEAD}, "abc").eval()


@pytest.mark.parametrize("seconds", [0.5, 7.3, 30.0])
@pytest.mark.parametrize("mels", [80, 128])
def test_features_equal_those_of_the_extractor_of_transformers(seconds, mels):
    extractor = WhisperFeatureExtractor(feature_size=mels)
    waveforms = torch.stack([song(seconds), 0.01 * song(seconds, seed=1)])
    expected = extractor(list(waveforms.numpy()), sampling_rate=RATE_HZ, return_tensors="pt").input_features
    features = LogMelSpectrogram(LogMelExtractor(feature_size=mels))(waveforms)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


def test_gradients_pass_through_the_features_to_the_waveform(model):
    waveform = song(1.0).requires_grad_()
    model(waveform[None])[..., 3].sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad.abs().sum() > 0


def test_the_encoder_is_that_of_the_checkpoint(whisper, model):
    encoder = WhisperForConditionalGeneration.from_pretrained(whisper).eval().model.encoder
    features = LogMelSpectrogram(LogMelExtractor())(song(4.0)[None])
    with torch.no_grad():
        expected = encoder(features, output_hidden_states=True)
        states = model.network.hidden_states(features)
    torch.testing.assert_close(states[-1], expected.last_hidden_state)
    torch.testing.assert_close(states[-2], expected.hidden_states[-2])


def test_a_saved_model_is_an_auto_model_for_ctc(model, tmp_path):
    """What transformers reads has the outputs, the letters and the features of ours; what it writes, we read."""
    save_acoustic(model, tmp_path / "ours")
    network = AutoModelForCTC.from_pretrained(tmp_path / "ours").eval()
    assert isinstance(network, WhisperForCTC)
    waveform = song(30.0)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "ours")
    features = extractor(waveform.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert set(tokenizer.all_special_ids) == set(model.tokenizer.all_special_ids)
    network.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    extractor.save_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        expected = model(waveform[None])
        torch.testing.assert_close(network(features).logits.log_softmax(-1), expected, rtol=0, atol=1e-4)
        for folder in ("ours", "theirs"):
            again = load_acoustic(str(tmp_path / folder))
            assert again.vocabulary == model.vocabulary
            assert torch.equal(again._masked_columns, model._masked_columns)
            torch.testing.assert_close(again(waveform[None]), expected)


def test_gradient_checkpointing_changes_no_gradient(whisper):
    torch.manual_seed(2)
    model = build_acoustic({"encoder": str(whisper), **HEAD, "head_dropout": 0.0}, "abc").train()
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(song(1.0)[None])[..., 3].sum().backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        model.network.gradient_checkpointing_enable({"use_reentrant": False})
    assert any("encoder.layers.0" in name for name in gradients[0])
    torch.testing.assert_close(*gradients)


def test_frames_stand_at_multiples_of_20_ms(model):
    """A click changes the features around its own frame, wherever it is: no bias of the time axis."""
    for frame in (100, 333, 1001):
        waveform = torch.zeros(1, WINDOW)
        waveform[0, frame * 320] = 1.0
        features = LogMelSpectrogram(LogMelExtractor())(waveform)
        conv1, conv2 = (torch.ones(1, 80, 3), torch.ones(1, 1, 3))  # receptive field of the encoder's convolutions
        energy = (features - features.min()).sum(1, keepdim=True)
        smooth = torch.nn.functional.conv1d(energy.expand(-1, 80, -1), conv1, padding=1)
        response = torch.nn.functional.conv1d(smooth, conv2, stride=2, padding=1)[0, 0]
        centre = (response * torch.arange(len(response))).sum() / response.sum()
        assert model.grid.seconds(frame) == pytest.approx(frame * 0.02, abs=1e-4)
        assert float(centre) == pytest.approx(frame, abs=1e-3)


@pytest.mark.parametrize("samples", [1, 319, 320, 321, 48_000, 48_001])
def test_frame_counts(model, samples):
    with torch.no_grad():
        frames = model(song(4.0)[None, :samples]).shape[1]
    assert frames == -(-samples // 320) == model.grid.count(samples)
    assert model.frame_counts(torch.tensor([samples])).tolist() == [frames]


def test_a_song_of_one_window_is_not_split(model):
    waveform = song(29.0)
    emissions = model.emissions([waveform], AcousticOptions(silence=SilenceOptions(threshold_db=-200.0)))[0]
    with torch.no_grad():
        expected = model(waveform[None])[0]
    columns = ~model._masked_columns
    torch.testing.assert_close(
        emissions.log_probs[:, columns], expected[:, columns].log_softmax(-1), rtol=1e-4, atol=1e-4
    )


def test_windows_are_30_s_with_context_on_both_sides(model):
    waveform = song(80.0)
    options = AcousticOptions(silence=SilenceOptions(threshold_db=-200.0))
    whole = model.emissions([waveform], options)[0].log_probs
    assert len(whole) == 4000
    columns = ~model._masked_columns
    with torch.no_grad():
        first = model(waveform[None, :WINDOW])[0][:, columns].log_softmax(-1)
    kept = 1500 - 125
    torch.testing.assert_close(whole[:kept, columns], first[:kept], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole[kept : kept + 20, columns], first[kept : kept + 20], rtol=1e-4, atol=1e-4)


def test_a_window_longer_than_the_encoder_takes_is_an_error(model):
    with pytest.raises(ValueError, match=r"acoustic\.window_seconds 31 is more than .* use at most 30"):
        model.emissions([song(1.0)], AcousticOptions(window_seconds=31.0))
    with pytest.raises(ValueError, match="480001 samples are more than the 480000 of a window"):
        model(torch.zeros(1, WINDOW + 1))


def test_an_unknown_size_of_the_head_is_named(whisper):
    with pytest.raises(ValueError, match="layer_size: no size of a CTC head; use head_blocks, head_dropout"):
        build_acoustic({"encoder": str(whisper), "layer_size": 3}, "abc")


def test_an_encoder_that_is_not_whisper_or_not_whole_is_named(whisper, tmp_path):
    save_acoustic(
        build_acoustic({"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}, "abc"), tmp_path
    )
    with pytest.raises(ValueError, match=rf"{tmp_path}: a checkpoint of wav2vec2; an encoder .* must be of Whisper"):
        build_acoustic({"encoder": str(tmp_path)}, "abc")
    torn = tmp_path / "torn"
    shutil.copytree(whisper, torn)
    weights = load_file(torn / "model.safetensors")
    save_file(
        {key: each for key, each in weights.items() if "conv2" not in key}, torn / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ValueError, match=r"torn: weights encoder\.conv2\.bias, .* are missing"):
        build_acoustic({"encoder": str(torn)}, "abc")
    (torn / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="torn: not a Whisper checkpoint that can be read"):
        build_acoustic({"encoder": str(torn)}, "abc")


def test_freezing_trains_the_layers_of_the_table_and_never_the_positions(model):
    lyrics_model = LyricsModel(load_separator("none"), model, name="tiny")
    stage = StageOptions("all", steps=1, acoustic=OptimizerOptions(1e-3))
    try:
        freeze(lyrics_model, stage, FreezingPhase(feature_encoder=False, frozen_layers=2))
        trained = {name for name, each in model.network.named_parameters() if each.requires_grad}
        assert any(name.startswith("encoder.layers.2.") for name in trained)
        assert not any(name.startswith(("encoder.layers.0", "encoder.layers.1", "encoder.conv")) for name in trained)
        assert "lm_head.output.weight" in trained
        freeze(lyrics_model, stage, FreezingPhase())
        frozen = {name for name, each in model.network.named_parameters() if not each.requires_grad}
        assert frozen == {"encoder.embed_positions.weight"}
    finally:
        model.requires_grad_(True).eval()


def test_adapters_start_at_zero_and_merge_into_the_attention(whisper):
    torch.manual_seed(2)
    model = build_acoustic({"encoder": str(whisper), **HEAD}, "abc").eval()
    waveform = song(2.0)[None]
    with torch.no_grad():
        before = model(waveform)
        add_adapters(model, LoraOptions(rank=2))
        torch.testing.assert_close(model(waveform), before)
        adapters = [each for name, each in model.network.named_parameters() if "lora_B" in name]
        assert len(adapters) == 4 * SIZES["encoder_layers"]
        for each in adapters:
            each.normal_()
        adapted = model(waveform)
        assert not torch.allclose(adapted, before, atol=1e-3)
        merge_adapters(model)
        torch.testing.assert_close(model(waveform), adapted, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", ["letters", "pieces"])
def test_an_encoder_with_a_new_head_is_trained_end_to_end(
    training_config, training_corpus, whisper, tmp_path, vocabulary
):
    """A whole run from `acoustic: {encoder: FOLDER}`: both networks train, and the result loads, hears and aligns."""
    stage = StageOptions(
        "both", steps=2, input="mixture", separator=OptimizerOptions(1e-3), acoustic=OptimizerOptions(1e-3)
    )
    config = replace(training_config, acoustic={"encoder": str(whisper), **HEAD}, stages=[stage])
    config = with_vocabulary_of_text(replace(config, vocabulary=vocabulary, pieces=40))
    start = starting_model(config).state_dict()
    trained = loop.train(config, JsonLog(tmp_path / "log"))
    trained.save(tmp_path / "trained")
    again = load_model(str(tmp_path / "trained"), device="cpu")
    assert isinstance(again.acoustic.network, WhisperCTC)
    state = again.state_dict()
    unchanged = {name for name, each in start.items() if torch.equal(each, state[name])}
    assert unchanged == {"acoustic.network.encoder.embed_positions.weight"}
    assert again.acoustic.vocabulary == trained.acoustic.vocabulary
    assert again.acoustic.vocabulary.unit == vocabulary
    sung, *_ = read_manifest(training_corpus)
    lyrics = parse_lyrics(sung.lyrics)
    words = [word.text for line in align(sung.audio, lyrics, again, keep_all=True).lines for word in line.words]
    assert words == [word for line in lyrics.lines for word in line.words]
    ours, theirs = (emissions_of(sung.audio, model).log_probs for model in (again, trained.eval()))
    torch.testing.assert_close(ours, theirs)


def test_masks_of_spec_augment_are_drawn_in_training_alone(model):
    network, features = model.network, torch.ones(2, 80, 3000)
    config = network.config
    config.apply_spec_augment, config.mask_time_prob, config.mask_time_length = True, 0.1, 10
    config.mask_feature_prob, config.mask_feature_length = 0.1, 4
    try:
        assert torch.equal(network._spec_augment(features), features)
        network.train()
        np.random.seed(0)  # noqa: NPY002, transformers draws its masks from the global generator
        masked = network._spec_augment(features)
        assert 0.02 < 1 - masked.mean() < 0.4
        rows = masked[0].amax(1) == 0
        columns = masked[0].amax(0) == 0
        assert rows.any()
        assert columns.any()
        assert torch.equal(masked[0] == 0, rows[:, None] | columns[None])
    finally:
        config.apply_spec_augment = False
        network.eval()
