"""Wav2Vec2-BERT and Parakeet: features and logits against transformers, the time axis, windows, new vocabularies."""

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetTokenizer,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
)

from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import build_acoustic, load_acoustic, save_acoustic
from lyrics_asr.models.front_ends import KaldiFilterBank, NemoFilterBank
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.segments import split_windows
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.options import AcousticOptions, SilenceOptions
from lyrics_asr.training import loop
from lyrics_asr.training.freezing import add_adapters, freeze
from lyrics_asr.training.optimizers import build_optimizers
from lyrics_asr.training.setup import prepare_networks, starting_model
from lyrics_asr.training.stages import FreezingPhase, LoraOptions, OptimizerOptions, StageOptions
from lyrics_asr.training.trackers import JsonLog

RATE_HZ = 16_000
NO_VAD = AcousticOptions(silence=SilenceOptions(threshold_db=-200.0), window_seconds=4.0, context_seconds=1.0)
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_depthwise_kernel_size": 3,
    "bos_token_id": None,
    "eos_token_id": None,
}
PARAKEET = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_kernel_size": 3,
    "subsampling_conv_channels": 4,
}
EXTRACTORS = {"bert": SeamlessM4TFeatureExtractor, "parakeet": ParakeetFeatureExtractor}
TOKENIZER = build_acoustic(
    {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "num_conv_pos_embedding_groups": 1}, "abc"
).tokenizer


def song(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise with a slowly changing level."""
    noise = torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))
    return 0.1 * noise * (1.2 + torch.sin(torch.arange(len(noise)) / 7000))


def make(kind: str, **sizes) -> AcousticModel:
    torch.manual_seed(0)
    columns = len(TOKENIZER.get_vocab())
    if kind == "bert":
        network = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**BERT, vocab_size=columns, **sizes))
    else:
        config = ParakeetCTCConfig(encoder_config=PARAKEET, vocab_size=columns, pad_token_id=0)
        network = ParakeetForCTC(config)
    return AcousticModel(kind, network, TOKENIZER, EXTRACTORS[kind]()).eval()


@pytest.fixture(scope="module", params=["bert", "parakeet"])
def model(request):
    return make(request.param)


@pytest.fixture(scope="module")
def adapted():
    return make("bert", add_adapter=True, num_adapter_layers=1)


@pytest.mark.parametrize("samples", [(16_000, 16_000), (32_000, 20_320)])
def test_features_equal_those_of_the_extractor_of_transformers(model, samples):
    """Rows of both lengths, in a batch; lengths are multiples of both hops."""
    rows = [song(count / RATE_HZ, seed=seed) * 0.1**seed for seed, count in enumerate(samples)]
    expected = model.feature_extractor([row.numpy() for row in rows], sampling_rate=RATE_HZ, return_tensors="pt")
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor(samples)
    features = model.log_mel(batch, lengths)
    mask = model.log_mel.mask(lengths, features)
    assert mask.sum(1).tolist() == expected.attention_mask.sum(1).tolist()
    for number in range(len(rows)):
        count = int(mask[number].sum())
        # The extractor of Wav2Vec2-BERT sums columns in float32; its logarithms are normalized in float64 below.
        tolerance = 5e-5 if isinstance(model.log_mel, KaldiFilterBank) else 1e-5
        wanted = expected.input_features[number, :count]
        torch.testing.assert_close(features[number, :count], wanted, rtol=0, atol=tolerance)
        assert not features[number, count:].any()


def test_kaldi_features_equal_the_logarithms_of_the_extractor():
    extractor, waveform = SeamlessM4TFeatureExtractor(), song(2.0)
    columns = torch.from_numpy(extractor._extract_fbank_features(waveform.numpy())).double()
    normalized = (columns - columns.mean(0)) / (columns.var(0) + 1e-7).sqrt()
    features = KaldiFilterBank(extractor)(waveform[None])[0]
    torch.testing.assert_close(features, normalized.reshape(-1, 160).float(), rtol=0, atol=1e-5)


def test_logits_equal_those_of_the_checkpoint(model):
    """A batch of two lengths, and each row alone."""
    rows = [song(2.0), song(1.28, seed=1)]
    inputs = model.feature_extractor([row.numpy() for row in rows], sampling_rate=RATE_HZ, return_tensors="pt")
    lengths = torch.tensor([len(row) for row in rows])
    with torch.no_grad():
        expected = model.network(**{name: each.to(each.dtype) for name, each in inputs.items()}).logits.log_softmax(-1)
        batched = model(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
        for number, count in enumerate(model.frame_counts(lengths).tolist()):
            torch.testing.assert_close(batched[number, :count], expected[number, :count], rtol=0, atol=1e-4)
            torch.testing.assert_close(model(rows[number][None])[0], batched[number, :count], rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [880, 1279, 1280, 1281, 1440, 16_000, 47_999, 48_000, 48_001])
def test_frame_counts(model, adapted, samples):
    for each in (model, adapted):
        with torch.no_grad():
            frames = each(song(4.0)[None, :samples]).shape[1]
        assert frames == each.grid.count(samples) == each.frame_counts(torch.tensor([samples])).item()


def test_gradients_reach_the_waveform_also_of_silence(model):
    waveform = torch.stack([song(1.0), torch.zeros(RATE_HZ)]).requires_grad_()
    model(waveform)[..., 3].sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad[0].abs().sum() > 0


@pytest.mark.parametrize("front_end", ["bert", "parakeet"])
def test_frames_stand_where_a_click_is(front_end):
    """The columns that a click changes are centred on it, on the time axis of the grid."""
    if front_end == "bert":
        features = KaldiFilterBank(SeamlessM4TFeatureExtractor())
        column_samples, first = 160, 200  # the centre of the first column
    else:
        features = NemoFilterBank(ParakeetFeatureExtractor(), 8)
        column_samples, first = 160, 0
    click = 16_040
    waveform = torch.full((1, 2 * RATE_HZ), 1e-3) * torch.sign(song(2.0))
    louder = waveform.clone()
    louder[0, click] += 0.5
    change = (features(louder) - features(waveform))[0].reshape(-1, 80).abs().amax(1)
    columns = (change > 0.5 * change.max()).nonzero()[:, 0].double()
    assert float(columns.mean()) * column_samples + first == pytest.approx(click, abs=40)
    frame = features.grid.frame(click / RATE_HZ)
    assert features.grid.seconds(frame) == pytest.approx(click / RATE_HZ, abs=features.grid.frame_seconds / 2)


def test_songs_of_several_windows_have_the_frames_of_the_song(model, adapted):
    waveform = song(13.37)
    for each in (model, adapted):
        emissions = each.emissions([waveform], NO_VAD)[0].log_probs
        assert len(emissions) == each.grid.count(len(waveform))
        columns, grid = ~each._masked_columns, each.grid
        window = split_windows(len(emissions), grid, 4.0, 1.0)[0]
        frame_samples = max(grid.receptive_field_samples, grid.stride_samples)
        samples = (window.end_frame - 1) * grid.stride_samples + frame_samples
        with torch.no_grad():
            first = each(waveform[None, :samples])[0][:, columns].log_softmax(-1)
        assert len(first) == window.end_frame
        kept = grid.frame(3.0) - 1
        torch.testing.assert_close(emissions[:kept, columns], first[:kept], rtol=0, atol=1e-4)


def test_a_self_supervised_checkpoint_gets_a_head(tmp_path):
    """Layout of facebook/w2v-bert-2.0: an encoder, an extractor and no vocabulary."""
    torch.manual_seed(1)
    encoder = Wav2Vec2BertModel(Wav2Vec2BertConfig(**BERT))
    encoder.save_pretrained(tmp_path)
    SeamlessM4TFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no vocabulary; a self-supervised checkpoint gets one by training"):
        load_acoustic(str(tmp_path))
    started = load_acoustic(str(tmp_path), vocabulary="abc")
    assert started.vocabulary.tokens == ("<pad>", "<unk>", "|", "'", "a", "b", "c")
    torch.testing.assert_close(started.network.wav2vec2_bert.state_dict(), encoder.state_dict())
    save_acoustic(started, tmp_path / "saved")
    again = load_acoustic(str(tmp_path / "saved"))
    with torch.no_grad():
        torch.testing.assert_close(again(song(1.0)[None]), started(song(1.0)[None]))


def test_word_pieces_are_loaded_and_replaced_by_letters(tmp_path):
    """Layout of nvidia/parakeet-ctc-0.6b: the blank is the last token, the others are word pieces."""
    pieces = {"<unk>": 0, "▁the": 1, "b": 2, "▁a": 3, "<pad>": 4}
    tokenizer = ParakeetTokenizer(
        tokenizer_object=Tokenizer(models.BPE(pieces, [], unk_token="<unk>")), unk_token="<unk>", pad_token="<pad>"
    )
    network = ParakeetForCTC(ParakeetCTCConfig(encoder_config=PARAKEET, vocab_size=5, pad_token_id=4))
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ParakeetFeatureExtractor().save_pretrained(tmp_path)
    with_pieces = load_acoustic(str(tmp_path))
    assert with_pieces.vocabulary.unit == "pieces"
    assert with_pieces.vocabulary.tokens[with_pieces.vocabulary.blank_id] == "<pad>"
    model = load_acoustic(str(tmp_path), vocabulary="abc")
    new, old = model.network.ctc_head.weight, network.ctc_head.weight
    assert torch.equal(new[0], old[4])  # the blank
    assert torch.equal(new[5], old[2])  # b
    save_acoustic(model, tmp_path / "saved")
    with torch.no_grad():
        torch.testing.assert_close(load_acoustic(str(tmp_path / "saved"))(song(1.0)[None]), model(song(1.0)[None]))


def test_the_head_has_its_own_learning_rate_and_layers_freeze(model):
    lyrics_model = LyricsModel(load_separator("none"), model, name="tiny")
    stage = StageOptions("all", steps=1, acoustic=OptimizerOptions(1e-4), head_learning_rate=1e-3)
    rates = build_optimizers(lyrics_model, stage)["acoustic"].learning_rates
    assert set(rates) == {"acoustic", "acoustic head"}
    try:
        parts = freeze(lyrics_model, stage, FreezingPhase(feature_encoder=False, frozen_layers=1))
        assert parts.head == sum(each.numel() for each in model.head.parameters())
        trained = {name for name, each in model.network.named_parameters() if each.requires_grad}
        assert any("layers.1." in name for name in trained)
        assert not any(part in name for name in trained for part in ("layers.0.", "subsampling", "feature_projection"))
    finally:
        model.requires_grad_(True).eval()


@pytest.mark.parametrize("kind", ["bert", "parakeet"])
def test_adapters_are_on_every_attention(kind):
    model = make(kind)
    add_adapters(model, LoraOptions(rank=2))
    adapters = [name for name, _ in model.network.named_parameters() if "lora_B" in name]
    assert len(adapters) == 4 * len(model.layers)


def test_an_encoder_of_wav2vec2_bert_is_trained_with_masks(training_config, tmp_path):
    """From `acoustic: FOLDER`, `vocabulary: letters` to the model of the run."""
    torch.manual_seed(1)
    Wav2Vec2BertModel(Wav2Vec2BertConfig(**BERT)).save_pretrained(tmp_path / "encoder")
    SeamlessM4TFeatureExtractor().save_pretrained(tmp_path / "encoder")
    config = replace(training_config, acoustic=str(tmp_path / "encoder"), vocabulary="letters")
    start = starting_model(config).acoustic.state_dict()
    trained = loop.train(config, JsonLog(tmp_path / "log")).acoustic
    unchanged = {name for name, each in trained.state_dict().items() if torch.equal(each, start[name])}
    assert not any("lm_head" in name or "feature_projection" in name for name in unchanged)
    assert isinstance(trained.network, Wav2Vec2BertForCTC)


def test_parakeet_has_no_masks(training_config):
    model = LyricsModel(load_separator("none"), make("parakeet"), name="tiny")
    prepare_networks(replace(training_config, spec_augment=None), model)
    with pytest.raises(ValueError, match="spec_augment: parakeet has no masks of features; set it to null"):
        prepare_networks(training_config, model)
