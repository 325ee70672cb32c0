"""The script that packages a model: layers that training changed are stored for both networks, the others once."""

import sys

import pytest
import torch

from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.models.transcriber import load_transcriber
from scripts import package_model
from tests.fake_model import TINY
from tests.models.test_transcriber import make_checkpoint

UNET = {"network": "UNet", "n_fft": 512, "bins": 64, "patch_frames": 64, "channels": [2, 2]}


def test_a_package_holds_the_trained_and_the_original_layers(tmp_path, monkeypatch):
    whisper = make_checkpoint(tmp_path / "whisper")
    acoustic = build_acoustic({"encoder": str(whisper), "head_layers": 1}, "abc")
    with torch.no_grad():
        acoustic.network.encoder.layers[0].fc2.weight.neg_()
    LyricsModel(build_separator(UNET), acoustic, name="trained").save(tmp_path / "trained")
    monkeypatch.setattr(sys, "argv", ["", *map(str, (tmp_path / "trained", whisper, tmp_path / "package"))])
    package_model.main()

    package = load_model(str(tmp_path / "package"), device="cpu")
    original = load_transcriber(str(whisper), torch.device("cpu"))
    assert package.transcriber is not None
    for found, expected in (
        (package.acoustic.network, acoustic.network),
        (package.transcriber.network, original.network),
    ):
        assert found.state_dict().keys() == expected.state_dict().keys()
        for name, weight in expected.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], weight, atol=0.02 * float(weight.abs().max()), rtol=0)
    ours, theirs = package.acoustic.network.encoder.layers[0], package.transcriber.network.model.encoder.layers[0]
    assert ours.fc1.weight.data_ptr() == theirs.fc1.weight.data_ptr()
    assert ours.fc2.weight.data_ptr() != theirs.fc2.weight.data_ptr()

    other = build_acoustic(TINY, "abc")
    assert load_model(str(tmp_path / "package"), acoustic=other, device="cpu").transcriber is None
    transcriber = str(tmp_path / "package" / "transcriber")
    other = load_model(str(tmp_path / "package"), acoustic=other, transcriber=transcriber, device="cpu")
    with pytest.raises(ValueError, match=r"it has no encoder of its own; .* or --transcriber none"):
        _ = other.transcriber

    with torch.no_grad():
        acoustic.network.encoder.conv1.weight.neg_()
    LyricsModel(build_separator(UNET), acoustic, name="other").save(tmp_path / "trained")
    with pytest.raises(SystemExit, match="its encoder is not that of"):
        package_model.main()
