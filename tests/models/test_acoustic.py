"""The acoustic stage against transformers' own pipeline, on tiny checkpoints in the real on-disk formats."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    Wav2Vec2Processor,
    WavLMConfig,
    WavLMForCTC,
    WhisperConfig,
)

from lyrics_asr.models.acoustic import CORRECTION_KEY
from lyrics_asr.models.acoustic_checkpoints import (
    build_acoustic,
    load_acoustic,
    save_acoustic,
)
from lyrics_asr.models.checkpoint_files import is_complete
from lyrics_asr.models.hub import ModelNotFoundError
from lyrics_asr.models.known_models import ACOUSTIC_REVISIONS
from lyrics_asr.models.languages import adapter_of
from lyrics_asr.models.segments import VocalRegions, Window, split_windows, stitch, vocal_spans
from lyrics_asr.options import AcousticOptions
from lyrics_asr.types import FrameGrid

PUBLISHED = "facebook/wav2vec2-large-960h-lv60-self"
GRID = FrameGrid(stride_samples=320, receptive_field_samples=400, sample_rate_hz=16_000)
OPTIONS = AcousticOptions(window_seconds=1.0, context_seconds=0.2)
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC, {}),
    "hubert": (HubertConfig, HubertForCTC, {}),
    "wavlm": (WavLMConfig, WavLMForCTC, {"num_buckets": 32, "max_bucket_distance": 80}),
    "data2vec": (Data2VecAudioConfig, Data2VecAudioForCTC, {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2}),
}
# The order of facebook/wav2vec2-large-960h-lv60-self, abridged.
LETTERS = {token: column for column, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "'"])}


def write_checkpoint(
    folder: Path, family: str = "wav2vec2", norm: str = "layer", vocabulary=LETTERS, seed=0, do_normalize=True, **config
):
    """A `save_pretrained` folder of a tiny network; returns the network and its feature extractor."""
    folder.mkdir(parents=True, exist_ok=True)
    config_class, network_class, extra = FAMILIES[family]
    if family != "data2vec":
        extra = {**extra, "feat_extract_norm": norm}
    torch.manual_seed(seed)
    network = network_class(
        config_class(**{**SIZES, **extra, "vocab_size": len(vocabulary), "pad_token_id": 0, **config})
    )
    network.save_pretrained(folder)
    (folder / "letters.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "letters.json")).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=norm == "layer")
    extractor.save_pretrained(folder)
    return network.eval(), extractor


def song(samples: int, seed: int = 1) -> torch.Tensor:
    return 0.1 + 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def local_model(tmp_path_factory):
    """A network without attention: a frame depends on its neighbourhood alone, so windows can be exact."""
    folder = tmp_path_factory.mktemp("local")
    write_checkpoint(folder, num_hidden_layers=0)
    return load_acoustic(str(folder))


def test_the_correction_of_onsets_comes_with_the_configuration(tmp_path):
    write_checkpoint(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), CORRECTION_KEY: 0.03}))
    model = load_acoustic(str(tmp_path))
    assert model.grid == replace(GRID, correction_seconds=0.03)
    assert model.network.config.to_dict()[CORRECTION_KEY] == 0.03  # which saving the model keeps
    assert model.grid.seconds(10) == pytest.approx(GRID.seconds(10) + 0.03)
    assert [model.grid.frame(model.grid.seconds(frame)) for frame in range(5)] == list(range(5))
    assert replace(GRID, correction_seconds=-0.05).seconds(0) == 0.0


@pytest.fixture(scope="module")
def group_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    write_checkpoint(folder, norm="group")
    return load_acoustic(str(folder))


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("do_normalize", [True, False])
def test_families_equal_transformers(tmp_path, family, do_normalize):
    network, extractor = write_checkpoint(tmp_path, family, do_normalize=do_normalize)
    model = load_acoustic(str(tmp_path))
    assert model.grid == GRID
    inputs = extractor(song(9000).numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = network(inputs.input_values).logits.log_softmax(-1)
        torch.testing.assert_close(model(song(9000)[None]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_batch_with_lengths_equals_transformers(tmp_path, norm):
    network, extractor = write_checkpoint(tmp_path, norm=norm)
    model = load_acoustic(str(tmp_path))
    songs, lengths = [song(9000), song(6000, 2)], torch.tensor([9000, 6000])
    padded = torch.nn.utils.rnn.pad_sequence(songs, batch_first=True)
    # With the mask of the extractor, or none where the checkpoint was trained without one.
    inputs = extractor(
        [each.numpy() for each in songs],
        sampling_rate=16_000,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    mask = inputs.attention_mask if norm == "layer" else None
    with torch.no_grad():
        expected = network(inputs.input_values, attention_mask=mask).logits.log_softmax(-1)
        log_probs = model(padded, lengths)
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-4)
    assert model.frame_counts(lengths).tolist() == [GRID.count(9000), GRID.count(6000)]
    assert log_probs.shape[1] == GRID.count(9000)


def test_padding_and_its_content_do_not_matter(local_model):
    padded = torch.stack([song(9000), song(9000, 2)])
    padded[1, 6000:] = 7.0
    with torch.no_grad():
        log_probs = local_model(padded, torch.tensor([9000, 6000]))[1, : GRID.count(6000)]
        alone = local_model(padded[1:, :6000])[0]
    # The position convolution of the last frames sees the padding's hidden states: zero, as they are outside the song.
    torch.testing.assert_close(log_probs, alone, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_waveform(local_model):
    waveform = song(5000)[None].requires_grad_()
    local_model(waveform).square().mean().backward()
    assert waveform.grad.abs().sum() > 0


WINDOW_SAMPLES = 49 * 320 + 400  # 50 frames: one second
HOP_SAMPLES = 30 * 320
EDGES = [WINDOW_SAMPLES, WINDOW_SAMPLES + HOP_SAMPLES, WINDOW_SAMPLES + 2 * HOP_SAMPLES]


@pytest.mark.parametrize("samples", [edge + d for edge in EDGES for d in (-1, 0, 1, 79, 80, 319, 320)])
def test_frames_around_every_window_edge(local_model, group_model, samples):
    for model in (local_model, group_model):
        emissions = model.emissions([song(samples)], OPTIONS)[0]
        assert len(emissions.log_probs) == GRID.count(samples)
        assert emissions.duration_seconds == samples / 16_000
    windowed = local_model.emissions([song(samples)], OPTIONS)[0].log_probs
    unsplit = local_model.emissions([song(samples)], AcousticOptions())[0].log_probs
    torch.testing.assert_close(windowed, unsplit, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [0, 399])
def test_too_short_for_a_frame(local_model, samples):
    assert local_model.emissions([song(samples)], OPTIONS)[0].log_probs.shape == (0, len(LETTERS))


def test_short_song_is_the_unsplit_run(group_model):
    waveform = song(16_000)
    with torch.no_grad():
        expected = group_model(waveform[None])[0]
    masked = [LETTERS[token] for token in ("<s>", "</s>", "<unk>")]
    expected[:, masked] = -torch.inf
    log_probs = group_model.emissions([waveform], OPTIONS)[0].log_probs
    assert log_probs[:, masked].max() < -1000
    assert log_probs.isfinite().all()
    expected = expected.log_softmax(-1)
    kept = [column for column in range(len(LETTERS)) if column not in masked]
    torch.testing.assert_close(log_probs[:, kept], expected[:, kept], atol=1e-5, rtol=1e-4)


def test_loud_and_quiet_parts_keep_their_difference(local_model):
    """Statistics come from the song: each window by itself would bring a faint verse up to full level."""
    waveform = song(64_000)
    waveform[:32_000] *= 0.01
    expected = local_model.emissions([waveform], AcousticOptions())[0].log_probs
    torch.testing.assert_close(local_model.emissions([waveform], OPTIONS)[0].log_probs, expected, atol=1e-5, rtol=1e-4)


def test_batches_of_windows_and_training_mode(local_model):
    local_model.train()
    one = local_model.emissions([song(60_000)], OPTIONS)[0].log_probs
    assert local_model.training
    local_model.eval()
    three = local_model.emissions([song(60_000)], AcousticOptions(1.0, 0.2, batch_size=3))[0].log_probs
    torch.testing.assert_close(one, three, atol=1e-5, rtol=1e-4)


def test_songs_that_share_batches_are_as_each_alone(local_model):
    songs = [song(60_000), song(100), song(9000, 2), song(60_000, 3), song(0)]
    together = local_model.emissions(songs, AcousticOptions(1.0, 0.2, batch_size=4))
    for waveform, emissions in zip(songs, together, strict=True):
        alone = local_model.emissions([waveform], OPTIONS)[0]
        torch.testing.assert_close(emissions.log_probs, alone.log_probs, atol=1e-5, rtol=1e-4)
        assert emissions.duration_seconds == alone.duration_seconds


def test_silences_are_skipped(local_model):
    voice, silence = song(48_000), torch.zeros(32_000)
    waveform = torch.cat([voice, silence, voice, silence])
    spans = vocal_spans(waveform, GRID, OPTIONS.silence)
    assert len(spans) == 2
    whole = local_model.emissions([waveform], OPTIONS)[0].log_probs
    assert len(whole) == GRID.count(len(waveform))
    condensed = torch.cat([waveform[span.start : span.end] for span in spans])
    vocal = VocalRegions(waveform, spans, GRID).frame_numbers()
    assert torch.equal(whole[vocal], local_model.emissions([condensed], OPTIONS)[0].log_probs)
    silent = torch.ones(len(whole), dtype=torch.bool)
    silent[vocal] = False
    best = whole.argmax(1)
    assert int(silent.sum()) == pytest.approx(2 * 1.7 * 50, abs=8)  # of 2 s each, but for margins
    border = (spans[0].end + spans[1].start) // 2 // GRID.stride_samples
    assert best[border - 2 : border + 3].tolist().count(LETTERS["|"]) == 1  # a word ends once
    silent[border - 2 : border + 3] = False
    assert (best[silent] == LETTERS["<pad>"]).all()
    torch.testing.assert_close(whole[silent].exp().sum(1), torch.ones(int(silent.sum())))


@given(frames=st.integers(0, 3000), window=st.integers(3, 400), border=st.integers(0, 150))
def test_windows_cover_every_frame_once_away_from_borders(frames, window, border):
    seconds = {"window_seconds": window * 0.02 + 1e-6, "context_seconds": border * 0.02 - 1e-9 if border else 0.0}
    if window <= 2 * border:
        with pytest.raises(ValueError, match="context_seconds"):
            split_windows(frames, GRID, **seconds)
        return
    windows = split_windows(frames, GRID, **seconds)
    kept = [frame for each in windows for frame in range(each.keep_start_frame, each.keep_end_frame)]
    assert kept == list(range(frames))
    length = max([each.end_frame - each.start_frame for each in windows], default=0)
    assert length <= window
    if len(windows) > 1:
        assert len(windows) == math.ceil((frames - 2 * border) / (window - 2 * border))
        shared = (frames + 2 * border * (len(windows) - 1)) / len(windows)
        assert length == window or (shared <= length < shared + 52 and length % 50 == 0)
    for each in windows:
        assert 0 <= each.start_frame <= each.keep_start_frame < each.keep_end_frame <= each.end_frame <= frames
        assert each.end_frame - each.start_frame == length
        assert each.keep_start_frame - each.start_frame >= border or each.start_frame == 0
        assert each.end_frame - each.keep_end_frame >= border or each.end_frame == frames


def test_stitch_takes_the_kept_frames():
    windows = (Window(0, 4, 0, 3), Window(2, 6, 3, 6))
    outputs = [torch.arange(0, 4)[:, None].float(), torch.arange(2, 6)[:, None].float()]
    assert stitch(windows, outputs)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_vocabulary_is_the_tokenizers(tmp_path):
    write_checkpoint(tmp_path)
    vocabulary = load_acoustic(str(tmp_path)).vocabulary
    assert vocabulary.tokens == tuple(LETTERS)
    assert (vocabulary.blank_id, vocabulary.word_delimiter_id) == (0, 4)


def test_blank_and_delimiter_where_the_tokenizer_puts_them(tmp_path):
    write_checkpoint(tmp_path, vocabulary={"a": 0, "b": 1, " ": 2, "[PAD]": 3, "[UNK]": 4})
    tokenizer = Wav2Vec2CTCTokenizer(
        str(tmp_path / "letters.json"), pad_token="[PAD]", unk_token="[UNK]", word_delimiter_token=" "
    )
    tokenizer.save_pretrained(tmp_path)  # <s> and </s> get columns 5 and 6, which the network does not have
    model = load_acoustic(str(tmp_path))
    assert model.vocabulary.tokens == ("a", "b", " ", "[PAD]", "[UNK]")
    assert (model.vocabulary.blank_id, model.vocabulary.word_delimiter_id) == (3, 2)
    assert model.emissions([song(4000)], OPTIONS)[0].log_probs[:, 4].max() < -1000


def write_multilingual(folder: Path) -> None:
    """As facebook/mms-1b-all: a nested vocab.json and one adapter file for each language."""
    nested = {
        "eng": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6},
        "cmn-script_simplified": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "你": 5},
        "fra": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "à": 5, "ç": 6, "é": 7},
    }
    for seed, (language, letters) in enumerate(reversed(nested.items())):
        network, _ = write_checkpoint(
            folder, vocabulary=letters, seed=seed, do_stable_layer_norm=True, adapter_attn_dim=4
        )
        adapter = network._get_adapters()
        with torch.no_grad():
            for value in adapter.values():
                value.normal_(generator=torch.Generator().manual_seed(seed))
        save_file(dict(adapter), folder / f"adapter.{language}.safetensors", {"format": "pt"})
    (folder / "letters.json").write_text(json.dumps(nested))
    Wav2Vec2CTCTokenizer(str(folder / "letters.json"), target_lang="eng").save_pretrained(folder)


@pytest.mark.parametrize(("language", "letters"), [("fr", ("à", "ç", "é")), ("cmn-script_simplified", ("你",))])
def test_multilingual_checkpoint_takes_its_adapter(tmp_path, language, letters):
    write_multilingual(tmp_path)
    french = load_acoustic(str(tmp_path), language=language)
    assert french.vocabulary.tokens[5:] == letters
    code = {"fr": "fra"}.get(language, language)
    oracle = Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang=code, ignore_mismatched_sizes=True).eval()
    inputs = Wav2Vec2FeatureExtractor()(song(5000).numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = oracle(inputs.input_values).logits.log_softmax(-1)
        torch.testing.assert_close(french(song(5000)[None]), expected, atol=1e-5, rtol=1e-4)
    save_acoustic(french, tmp_path / "saved")
    for asked in (None, language):
        again = load_acoustic(str(tmp_path / "saved"), language=asked)
        assert again.vocabulary == french.vocabulary
        torch.testing.assert_close(again(song(5000)[None]), french(song(5000)[None]))
    with pytest.raises(ValueError, match=f"saved: listens in '{code}' only, not in 'en'; give that language"):
        load_acoustic(str(tmp_path / "saved"), language="en")


def test_languages_that_are_not_there(tmp_path):
    write_multilingual(tmp_path / "mms")
    for unknown in ("xyz", "de", "xx"):
        with pytest.raises(ValueError, match=rf"no language '{unknown}'; it has cmn-script_simplified, eng, fra"):
            load_acoustic(str(tmp_path / "mms"), language=unknown)
    (tmp_path / "mms" / "adapter.fra.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapter\.fra\.safetensors"):
        load_acoustic(str(tmp_path / "mms"), language="fra")


@pytest.mark.parametrize(
    ("language", "adapter"),
    [
        ("en", "eng"),
        ("eng", "eng"),
        ("de-AT", "deu"),
        ("nb", "nob"),
        ("ar", "ara"),
        ("zh", "cmn-script_simplified"),
        ("cmn", "cmn-script_simplified"),
        ("azj-script_latin", "azj-script_latin"),
    ],
)
def test_codes_of_languages_name_adapters(language, adapter):
    """Codes of MMS, some of which have a script."""
    adapters = ["ara", "arz", "azj-script_cyrillic", "azj-script_latin", "cmn-script_simplified", "deu", "eng", "nob"]
    assert adapter_of(language, adapters) == adapter
    with pytest.raises(ValueError, match="'az' has several adapters; choose one of azj-script_cyrillic, azj-script_la"):
        adapter_of("az", adapters)


def test_a_checkpoint_of_one_language_takes_no_notice_of_the_language(tmp_path):
    write_checkpoint(tmp_path)
    plain, french = load_acoustic(str(tmp_path)), load_acoustic(str(tmp_path), language="fra")
    assert french.vocabulary == plain.vocabulary
    assert torch.equal(
        french.emissions([song(9000)], OPTIONS)[0].log_probs, plain.emissions([song(9000)], OPTIONS)[0].log_probs
    )


@pytest.fixture
def offline_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("name", [PUBLISHED, "someone/other"])
def test_names_are_found_in_the_hub_cache(offline_cache, name):
    revision = ACOUSTIC_REVISIONS.get(name, "1" * 40)
    root = offline_cache / f"models--{name.replace('/', '--')}"
    network, _ = write_checkpoint(root / "snapshots" / revision)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(revision if name != PUBLISHED else "2" * 40)
    model = load_acoustic(name)
    assert model.name == name
    for key, value in network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[key], value)
    assert load_acoustic(name, language="fra").vocabulary == model.vocabulary
    with pytest.raises(ModelNotFoundError, match="run the same command once while online; or give a folder"):
        load_acoustic(name, revision="3" * 40)


def cached(cache: Path, name: str) -> Path:
    """The folder of a repository's head in the hub's cache."""
    root = cache / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("1" * 40)
    return root / "snapshots" / ("1" * 40)


def test_multilingual_checkpoint_in_the_hub_cache(offline_cache):
    folder = cached(offline_cache, "someone/mms")
    write_multilingual(folder)
    assert load_acoustic("someone/mms", language="cmn-script_simplified").vocabulary.tokens[5:] == ("你",)
    with pytest.raises(ValueError, match="no language 'xyz'"):
        load_acoustic("someone/mms", language="xyz")
    (folder / "adapter.fra.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match="someone/mms"):
        load_acoustic("someone/mms", language="fr")
    (folder / "adapter.eng.safetensors").unlink()
    assert load_acoustic("someone/mms", language="en").vocabulary.tokens[5:] == ("a", "b")  # part of the weights


def test_a_saved_processor_in_the_hub_cache(offline_cache, local_model):
    """As transformers 5 writes it: the settings of the feature extractor are in processor_config.json."""
    folder = cached(offline_cache, "someone/new")
    Wav2Vec2Processor(local_model.feature_extractor, local_model.tokenizer).save_pretrained(folder)
    local_model.network.save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    for name in ("someone/new", str(folder)):
        torch.testing.assert_close(load_acoustic(name)(song(5000)[None]), local_model(song(5000)[None]))


def test_a_part_of_a_checkpoint_in_the_cache_is_not_taken_for_the_whole(offline_cache):
    folder = cached(offline_cache, "someone/other")
    network, _ = write_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="8KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    for key, value in load_acoustic("someone/other").network.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[key])
    for path in (shards[0], shards[-1], *(folder / name for name in ("preprocessor_config.json", "vocab.json"))):
        path.rename(folder / "away")
        with pytest.raises(ModelNotFoundError, match="someone/other"):
            load_acoustic("someone/other")
        (folder / "away").rename(path)
    assert is_complete(folder)
    (folder / "model.safetensors.index.json").rename(folder / "pytorch_model.bin.index.json")
    assert is_complete(folder)  # the same rule for the older format
    shards[0].unlink()
    assert not is_complete(folder)


def test_offline_and_not_cached(offline_cache):
    with pytest.raises(ModelNotFoundError, match=rf"{PUBLISHED}.*lyrics-asr models download.*--model embedded"):
        load_acoustic(PUBLISHED)


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def test_checkpoint_without_safetensors_is_read_without_running_it(tmp_path):
    network, _ = write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    for key, value in load_acoustic(str(tmp_path)).network.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[key])
    torch.save({**network.state_dict(), "x": Hostile(tmp_path / "pwned")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="not a CTC checkpoint"):
        load_acoustic(str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_damaged_and_unfit_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\./nowhere.*no such folder"):
        load_acoustic("./nowhere")
    with pytest.raises(ValueError, match="not a CTC checkpoint"):
        load_acoustic(str(tmp_path))
    WhisperConfig().save_pretrained(tmp_path / "whisper")
    with pytest.raises(ValueError, match=r"whisper: is a whisper model, which has no CTC head; .*acoustic: {encoder: "):
        load_acoustic(str(tmp_path / "whisper"))
    Wav2Vec2Config(model_type="unheard of").save_pretrained(tmp_path / "unknown")
    with pytest.raises(ValueError, match=r"^\S+/unknown: not a CTC checkpoint that can be read"):
        load_acoustic(str(tmp_path / "unknown"))
    write_checkpoint(tmp_path / "headless")
    Wav2Vec2Model.from_pretrained(tmp_path / "headless").save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match=r"lm_head.*fine-tuned with CTC"):
        load_acoustic(str(tmp_path / "headless"))
    write_checkpoint(tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"torn.*cannot be read|torn.*can be read"):
        load_acoustic(str(tmp_path / "torn"))
    write_checkpoint(tmp_path / "adapted", add_adapter=True, num_adapter_layers=1, output_hidden_size=16)
    with pytest.raises(ValueError, match="one frame for each stride"):
        load_acoustic(str(tmp_path / "adapted"))


def test_windows_too_short_for_their_borders(local_model):
    with pytest.raises(ValueError, match=r"window_seconds 1\.0.*context_seconds 0\.5"):
        AcousticOptions(1.0, 0.5)
    with pytest.raises(ValueError, match="batch_size 0"):
        AcousticOptions(batch_size=0)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_build_save_load(tmp_path, norm):
    model = build_acoustic({**SIZES, "feat_extract_norm": norm}, "abcé").eval()
    assert model.vocabulary.tokens == ("<pad>", "<unk>", "|", "'", "a", "b", "c", "é")
    assert model.feature_extractor.return_attention_mask == (norm == "layer")
    save_acoustic(model, tmp_path / "full")
    again = load_acoustic(str(tmp_path / "full"))
    assert again.vocabulary == model.vocabulary
    assert torch.equal(
        again.emissions([song(9000)], OPTIONS)[0].log_probs, model.emissions([song(9000)], OPTIONS)[0].log_probs
    )
    save_acoustic(model, tmp_path / "half", half=True)
    sizes = [(tmp_path / each / "model.safetensors").stat().st_size for each in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    for value in load_acoustic(str(tmp_path / "half")).network.state_dict().values():
        assert value.dtype != torch.float16


def test_saved_checkpoint_is_read_by_transformers(tmp_path):
    model = build_acoustic(SIZES, "ab")
    save_acoustic(model, tmp_path)
    network = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == {
        key: tuple(value.shape) for key, value in model.network.state_dict().items()
    }
    ids = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)("ab ba").input_ids
    assert [model.vocabulary.tokens[column] for column in ids] == ["a", "b", "|", "b", "a"]
    shutil.rmtree(tmp_path)


def test_a_new_vocabulary_keeps_the_weights_of_the_letters_that_were_there(tmp_path):
    """The old one is in upper case; ä is new, and T is gone."""
    old, _ = write_checkpoint(tmp_path)
    model = load_acoustic(str(tmp_path), vocabulary="aeä")
    assert model.vocabulary.tokens == ("<pad>", "<unk>", "|", "'", "a", "e", "ä")
    head, before = model.network.lm_head, old.lm_head
    for token, column in zip(model.vocabulary.tokens[:-1], range(6), strict=True):
        kept = LETTERS[token if token in LETTERS else token.upper()]
        assert torch.equal(head.weight[column], before.weight[kept])
        assert torch.equal(head.bias[column], before.bias[kept])
    assert head.bias[6] == 0
    assert 0 < head.weight[6].abs().max() < 1
    expected = old.wav2vec2.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.network.wav2vec2.state_dict().items())
    save_acoustic(model, tmp_path / "saved")
    again = load_acoustic(str(tmp_path / "saved"))
    assert again.vocabulary == model.vocabulary
    torch.testing.assert_close(again(song(5000)[None]), model(song(5000)[None]))


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
def test_a_self_supervised_checkpoint_gets_a_head(offline_cache, family):
    """Neither tokenizer nor head, as facebook/wav2vec2-base and microsoft/wavlm-base are published."""
    folder = cached(offline_cache, "someone/self-supervised")
    network, _ = write_checkpoint(folder, family)
    for name in ("vocab.json", "tokenizer_config.json", "model.safetensors"):
        (folder / name).unlink()
    network.base_model.save_pretrained(folder)
    torch.manual_seed(1)
    model = load_acoustic("someone/self-supervised", vocabulary="abc")
    assert len(model.vocabulary.tokens) == 7
    assert model(song(5000)[None]).shape[-1] == 7
    expected = network.base_model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.network.base_model.state_dict().items())
    with pytest.raises(ModelNotFoundError, match="someone/self-supervised"):
        load_acoustic("someone/self-supervised")
    with pytest.raises(ValueError, match=r"has no vocabulary; .* by training with `vocabulary: text`"):
        load_acoustic(str(folder))
