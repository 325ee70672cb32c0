"""The joint network and the ways to find a model, on tiny models saved in the real formats."""

import json
import math
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from torchaudio.functional import resample

import lyrics_asr.models.known_models
import lyrics_asr.models.lyrics_model
import lyrics_asr.models.registry
from lyrics_asr.audio import Audio
from lyrics_asr.cli.doctor import examine
from lyrics_asr.files import OutputError
from lyrics_asr.models.acoustic import AcousticModel
from lyrics_asr.models.acoustic_checkpoints import build_acoustic, save_acoustic
from lyrics_asr.models.hub import ModelNotFoundError
from lyrics_asr.models.known_models import ACOUSTIC_REVISIONS, PUBLISHED_ACOUSTIC, SEPARATOR_REVISIONS, cached_paths
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import download, load_model
from lyrics_asr.models.separators.demucs import DemucsSeparator
from lyrics_asr.models.separators.loading import build_separator, load_separator, save_separator
from lyrics_asr.options import AcousticOptions, DecodingOptions, SeparationOptions

HTDEMUCS = {
    "sources": ["accompaniment", "vocals"],
    "channels": 4,
    "dconv_comp": 2,
    "t_layers": 1,
    "t_heads": 2,
    "t_hidden_scale": 1.0,
    "bottom_channels": 8,
    "nfft": 1024,
    "depth": 3,
    "segment": Fraction(1, 2),
}
WAV2VEC2 = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "apply_spec_augment": False,
}


def tiny_separator() -> DemucsSeparator:
    torch.manual_seed(0)
    return build_separator(HTDEMUCS)


def tiny_acoustic() -> AcousticModel:
    torch.manual_seed(1)
    return build_acoustic(WAV2VEC2, "abcdefgh")


def tiny_model(**options) -> LyricsModel:
    return LyricsModel(tiny_separator(), tiny_acoustic(), name="tiny", **options).eval()


def chunks(samples: int, batch: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(batch, 2, samples, generator=torch.Generator().manual_seed(samples))


@pytest.fixture
def offline_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    return tmp_path / "hub"


def fill_cache(cache: Path) -> None:
    """The published pair's places in the hub's cache, with tiny weights."""
    demucs = cache / "models--adefossez--HTDemucs" / "snapshots" / SEPARATOR_REVISIONS["adefossez/HTDemucs"]
    save_separator(tiny_separator(), demucs)
    next(demucs.glob("*.yaml")).rename(demucs / "htdemucs.yaml")
    wav2vec2 = cache / f"models--{PUBLISHED_ACOUSTIC.replace('/', '--')}" / "snapshots"
    save_acoustic(tiny_acoustic(), wav2vec2 / ACOUSTIC_REVISIONS[PUBLISHED_ACOUSTIC])


def test_gradients_reach_the_separator():
    model = tiny_model().train()
    model(chunks(20_000)).square().mean().backward()
    for parameter in model.separator.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert sum(parameter.grad.abs().sum() for parameter in model.separator.parameters()) > 0


def test_frozen_separator_gets_no_gradients():
    model = tiny_model().train()
    model.separator.requires_grad_(False)
    model(chunks(20_000)).square().mean().backward()
    assert all(parameter.grad is None for parameter in model.separator.parameters())
    assert any(parameter.grad is not None for parameter in model.acoustic.parameters())


def test_frozen_feature_encoder_lets_gradients_through():
    model = tiny_model().train()
    model.acoustic.network.freeze_feature_encoder()
    model(chunks(20_000)).square().mean().backward()
    encoder = model.acoustic.network.wav2vec2.feature_extractor
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert sum(parameter.grad.abs().sum() for parameter in model.separator.parameters()) > 0


@pytest.mark.parametrize("samples", [1103, 20_000, 20_001, 44_100, 44_099, 45_000 + 881, 45_000 + 882])
def test_frames_of_the_graph_are_those_of_the_grid(samples):
    model = LyricsModel(load_separator("none"), tiny_acoustic(), name="tiny").eval()
    with torch.no_grad():
        frames = model(chunks(samples)).shape[1]
    assert frames == model.acoustic.grid.count(math.ceil(samples * 16_000 / 44_100))
    assert model.frame_counts(torch.tensor([samples])).tolist() == [frames]


def test_graph_is_the_chain_of_its_stages():
    model = tiny_model()
    mixture, lengths = chunks(30_000, batch=2), torch.tensor([30_000, 22_050])
    with torch.no_grad():
        vocals = resample(model.separator(mixture).mean(1), 44_100, 16_000)
        expected = model.acoustic(vocals, torch.tensor([10_885, 8_000]))
        assert torch.equal(model(mixture, lengths), expected)
        assert not torch.equal(model(mixture), expected)


def test_resampling_in_the_graph_agrees_with_resampling_outside():
    time_seconds = torch.arange(44_100) / 44_100
    tone = torch.sin(2 * torch.pi * 440 * time_seconds)
    outside = Audio(tone[None], 44_100).resampled(16_000).samples[0]
    inside = resample(tone, 44_100, 16_000)
    assert inside.shape == outside.shape
    torch.testing.assert_close(inside[200:-200], outside[200:-200], atol=2e-3, rtol=0)


def test_song_through_both_stages():
    model = tiny_model()
    song = Audio(chunks(44_100)[0], 44_100)
    shares: list[float] = []
    (vocals,) = model.vocals([song], SeparationOptions(), shares.append)
    assert (vocals.sample_rate_hz, tuple(vocals.samples.shape)) == (44_100, (2, 44_100))
    assert shares[-1] == 1
    (emissions,) = model.emissions([model.to_16k_mono(vocals)], AcousticOptions())
    assert len(emissions.log_probs) == model.acoustic.grid.count(16_000)
    assert emissions.duration_seconds == 1.0
    assert emissions.vocabulary == model.acoustic.vocabulary


@pytest.mark.parametrize("suffix", [".arpa", ".arpa.gz", ".bin"])
def test_save_and_load(tmp_path, suffix):
    language_model = tmp_path / f"mine{suffix}"
    language_model.write_bytes(b"\\data\\")
    model = tiny_model(language_model_path=language_model, decoding=DecodingOptions(alpha=0.9, beam_width=7))
    folder = tmp_path / "model"
    model.save(folder)
    again = load_model(str(folder), device="cpu")
    assert {key: tuple(value.shape) for key, value in again.state_dict().items()} == {
        key: tuple(value.shape) for key, value in model.state_dict().items()
    }
    with torch.no_grad():
        torch.testing.assert_close(again(chunks(20_000)), model(chunks(20_000)))
    assert not again.training
    assert again.decoding == model.decoding
    assert again.language_model_path == folder / f"language_model{suffix}"
    assert again.language_model_path.read_bytes() == b"\\data\\"
    assert again.info.name == str(folder)
    assert again.info.separator == f"{folder}/separator"
    assert again.info.acoustic == f"{folder}/acoustic"
    assert again.info.language_model == f"{folder}/language_model{suffix}"
    again.save(folder)
    assert load_model(str(folder), device="cpu").language_model_path.read_bytes() == b"\\data\\"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_saving_over_a_model_leaves_nothing_of_it(tmp_path):
    language_model = tmp_path / "a.arpa.gz"
    language_model.write_bytes(b"x")
    folder = tmp_path / "model"
    tiny_model(language_model_path=language_model, decoding=DecodingOptions(alpha=0.9)).save(folder)
    (folder / "notes.txt").write_text("mine")
    signature = next((folder / "separator").glob("*.safetensors"))
    torch.manual_seed(7)
    other = LyricsModel(build_separator(HTDEMUCS), tiny_acoustic(), name="other")
    other.save(folder)
    other.save(tmp_path / "fresh")
    assert not signature.exists()
    again = load_model(str(folder), device="cpu")
    assert again.language_model_path is None
    assert again.decoding == DecodingOptions()
    for key, value in load_model(str(tmp_path / "fresh"), device="cpu").state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    assert files_in(folder).keys() == {*files_in(tmp_path / "fresh"), "notes.txt"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arpa.gz", "fresh", "model"]
    assert json.loads((folder / "model.json").read_text()) == {"schema": "lyrics-asr/model/1", "separator": None}


@pytest.mark.parametrize("name", ["language_model.arpa", "mine.arpa"])
def test_saving_with_the_language_model_of_the_target(tmp_path, name):
    tiny_model().save(tmp_path / "model")
    language_model = tmp_path / "model" / name
    language_model.write_bytes(b"x")
    tiny_model(language_model_path=language_model).save(tmp_path / "model")
    assert (tmp_path / "model" / "language_model.arpa").read_bytes() == b"x"
    assert language_model.read_bytes() == b"x"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_saving_that_fails_leaves_the_old_model(tmp_path, monkeypatch, failure):
    folder = tmp_path / "model"
    tiny_model().save(folder)
    before = files_in(folder)

    def fail(*args: object) -> None:
        raise failure

    for place, name in [
        (lyrics_asr.models.lyrics_model, "dump_config"),
        (lyrics_asr.models.lyrics_model, "write_text"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            with pytest.raises((OutputError, KeyboardInterrupt), match=r"model: cannot be written.*No space|^$"):
                tiny_model(decoding=DecodingOptions(alpha=0.1)).save(folder)
        assert files_in(folder) == before
    rename = Path.rename

    def fail_to_swap(path: Path, target: Path) -> Path:
        return fail() if path.name == "new" else rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_to_swap)
        with pytest.raises((OutputError, KeyboardInterrupt)):
            tiny_model(decoding=DecodingOptions(alpha=0.1)).save(folder)
    assert files_in(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_half_is_smaller_and_close(tmp_path):
    model = tiny_model()
    model.save(tmp_path / "full")
    model.save(tmp_path / "half", half=True)
    sizes = [sum(path.stat().st_size for path in (tmp_path / each).rglob("*.safetensors")) for each in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    with torch.no_grad():
        log_probs = load_model(str(tmp_path / "half"), device="cpu")(chunks(20_000))
        torch.testing.assert_close(log_probs, model(chunks(20_000)), atol=0.05, rtol=0.05)


def test_model_without_separator(tmp_path):
    LyricsModel(load_separator("none"), tiny_acoustic(), name="tiny").save(tmp_path)
    assert not (tmp_path / "separator").exists()
    model = load_model(str(tmp_path), device="cpu")
    assert model.info.separator == "none"
    assert model.info.language_model is None
    assert model.decoding == DecodingOptions()
    assert model.device == torch.device("cpu")


def test_parts_can_be_replaced(tmp_path):
    language_model = tmp_path / "a.arpa"
    language_model.write_bytes(b"x")
    tiny_model(language_model_path=language_model).save(tmp_path / "model")
    other = tmp_path / "other"
    save_acoustic(build_acoustic(WAV2VEC2, "xyz"), other)
    model = load_model(
        str(tmp_path / "model"), separator="none", acoustic=str(other), language_model="none", device="cpu"
    )
    assert (model.info.separator, model.info.acoustic, model.info.language_model) == ("none", str(other), None)
    assert model.acoustic.vocabulary.tokens[4:] == ("x", "y", "z")
    model = load_model(str(tmp_path / "model"), language_model=str(language_model), device="cpu")
    assert model.language_model_path == language_model


def test_what_the_acoustic_model_hears_belongs_to_both_parts(tmp_path):
    tiny_model(acoustic_input="mixture").save(tmp_path)
    folder = str(tmp_path)
    assert load_model(folder, device="cpu").acoustic_input == "mixture"
    assert load_model(folder, separator="none", device="cpu").acoustic_input == "vocals"
    assert load_model(folder, acoustic=tiny_acoustic(), device="cpu").acoustic_input == "vocals"
    description = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**description, "acoustic_input": "stems"}))
    with pytest.raises(ValueError, match=r"'acoustic_input' must be one of .*, not 'stems'"):
        load_model(folder, device="cpu")


def test_a_model_on_the_hub_is_known_by_its_name(offline_cache, tiny_model_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"me/mine \(Hugging Face\): the weights are not on this computer"):
        load_model("me/mine", device="cpu")
    repository = offline_cache / "models--me--mine"
    shutil.copytree(tiny_model_folder, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    model, expected = load_model("me/mine", device="cpu"), load_model(str(tiny_model_folder), device="cpu")
    assert (model.info.separator, model.info.acoustic) == ("me/mine/separator", "me/mine/acoustic")
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value)
    again = load_model("me/mine", separator=model.info.separator, acoustic=model.info.acoustic, device="cpu")
    assert again.info == model.info

    shutil.copytree(tiny_model_folder, tmp_path / "me" / "mine")
    (tmp_path / "me" / "mine" / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"me/mine/model\.json: not JSON"):  # a folder of that name comes first
        load_model("me/mine", device="cpu")


def test_published_pair_comes_from_the_cache(offline_cache):
    assert cached_paths("published") == ()
    fill_cache(offline_cache)
    model = load_model("published", device="cpu")
    assert model.info.name == "published"
    assert (model.info.separator, model.info.acoustic) == ("htdemucs", PUBLISHED_ACOUSTIC)
    for key, value in tiny_acoustic().state_dict().items():
        torch.testing.assert_close(model.acoustic.state_dict()[key], value)
    paths = download("published")
    assert paths == cached_paths("published")
    assert [path.name for path in paths] == [
        SEPARATOR_REVISIONS["adefossez/HTDemucs"],
        ACOUSTIC_REVISIONS[PUBLISHED_ACOUSTIC],
    ]


LOAD_OFFLINE = """
import time
from lyrics_asr.models.hub import ModelNotFoundError
from lyrics_asr.models.registry import load_model
started = time.monotonic()
try:
    load_model("published")
except ModelNotFoundError as error:
    print(time.monotonic() - started, error)
"""


@pytest.mark.slow
def test_offline_without_weights_fails_fast_in_a_fresh_process(tmp_path):
    """Imports are not counted: their time is that of the machine's load, and they are the same with weights."""
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "", "PYTHONPATH": str(Path.cwd())}
    output = subprocess.check_output([sys.executable, "-c", LOAD_OFFLINE], env=environment, text=True)
    seconds, message = output.split(" ", 1)
    assert float(seconds) < 2
    assert "adefossez/HTDemucs" in message
    assert "lyrics-asr models download" in message
    assert "--model embedded" in message


def test_embedded_model_is_named_and_not_located(tmp_path, monkeypatch):
    for module in (lyrics_asr.models.lyrics_model, lyrics_asr.models.registry, lyrics_asr.models.known_models):
        monkeypatch.setattr(module, "ASSETS_FOLDER", tmp_path)
    (tmp_path / "embedded").mkdir()
    assert cached_paths("embedded") == ()
    (models,) = (finding.detail for finding in examine() if finding.subject == "models")
    assert "embedded is missing from this package" in models
    with pytest.raises(ModelNotFoundError, match=r"embedded.*model\.json"):
        load_model("embedded")
    language_model = tmp_path / "a.arpa.gz"
    language_model.write_bytes(b"x")
    tiny_model(language_model_path=language_model).save(tmp_path / "embedded")
    info = load_model("embedded", device="cpu").info
    assert (info.name, info.separator, info.acoustic) == ("embedded", "embedded/separator", "embedded/acoustic")
    assert info.language_model == "embedded/language_model.arpa.gz"
    again = load_model(
        "embedded",
        separator=info.separator,
        acoustic=info.acoustic,
        language_model=info.language_model,
        device="cpu",
    )
    assert again.info == info
    assert download("embedded") == cached_paths("embedded") == (tmp_path / "embedded",)


def test_bad_models(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"nowhere.*--model published, --model embedded"):
        load_model("nowhere")
    description = tmp_path / "model.json"
    for text, message in [
        ("{", r"model\.json: not JSON"),
        ("[]", "schema must be 'lyrics-asr/model/1'"),
        (json.dumps({"schema": "lyrics-asr/model/9"}), "schema must be"),
        (json.dumps({"schema": "lyrics-asr/model/1", "separator": 3}), "'separator' must be a name or null, not 3"),
    ]:
        description.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_model(str(tmp_path))
    tiny_model().save(tmp_path)
    (tmp_path / "decoder.yaml").write_text("alpha: loud")
    with pytest.raises(ValueError, match=r"decoder\.yaml.*alpha"):
        _ = load_model(str(tmp_path)).decoding


def test_bad_arguments(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="device 'toaster' is unknown"):
        load_model("embedded", device="toaster")
    with pytest.raises(ValueError, match="device 'cuda:99'"):
        load_model("embedded", device="cuda:99")
    known = "published, embedded, embedded-small"
    with pytest.raises(ValueError, match=f"'large' is not a known model; choose one of {known}"):
        cached_paths("large")
    tiny_model().save(tmp_path / "mine")
    monkeypatch.setattr(
        lyrics_asr.models.registry, "load_acoustic", None
    )  # nothing is loaded before the name is checked
    with pytest.raises(ValueError, match=f"mine' is not a known model; choose one of {known}"):
        download(str(tmp_path / "mine"))
    monkeypatch.undo()
    tiny_model().save(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such language model"):
        load_model(str(tmp_path), language_model="gone.arpa")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt.*\.arpa"):
        load_model(str(tmp_path), language_model=str(tmp_path / "notes.txt"))
