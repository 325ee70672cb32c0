import pytest
import torch

from lyrics_asr.audio import Audio, ChannelCorrection
from tests.audio.test_reading import song


def corrected(samples, path):
    audio = Audio(samples, 16_000)
    return ChannelCorrection.measure(audio, path).apply(audio).samples


@pytest.fixture(scope="module")
def mix():
    """A voice in the middle, an instrument on each side."""
    voice, left, right = (torch.from_numpy(song(3.0, 16_000, 3))[[k]] for k in range(3))
    return torch.cat([voice + 0.5 * left, voice + 0.5 * right])


def test_a_song_without_a_fault_keeps_its_samples(mix, tmp_path, caplog):
    assert corrected(mix, tmp_path) is mix
    assert corrected(mix[:1], tmp_path) is not None
    assert not caplog.text


def test_an_inverted_side_is_turned_back(mix, tmp_path, caplog):
    inverted = mix * torch.tensor([[1.0], [-1.0]])
    assert torch.equal(corrected(inverted, tmp_path), mix)
    assert "one side of the stereo sound is inverted" in caplog.text
    mono = mix.mean(0, keepdim=True)
    silent_in_mono = torch.cat([mono, -mono])
    assert torch.equal(corrected(silent_in_mono, tmp_path).mean(0, keepdim=True), mono)


@pytest.mark.parametrize("side", [0, 1])
def test_a_dead_side_gets_the_other(mix, tmp_path, caplog, side):
    one_sided = mix.clone()
    one_sided[side] *= 1e-3
    expected = mix[1 - side].expand(2, -1)
    assert torch.equal(corrected(one_sided, tmp_path), expected)
    assert "one side of the stereo sound is silent" in caplog.text


def test_an_offset_is_removed_and_hides_no_silence(mix, tmp_path):
    centred = mix - mix.mean(1, keepdim=True)
    torch.testing.assert_close(corrected(centred + 0.25, tmp_path), centred, atol=1e-6, rtol=0)
    assert corrected(torch.full((2, 16_000), 0.25), tmp_path).abs().max() < 1e-6
    inverted = centred * torch.tensor([[1.0], [-1.0]]) + 0.25
    torch.testing.assert_close(corrected(inverted, tmp_path), centred, atol=1e-6, rtol=0)


def test_silence_is_no_fault(tmp_path, caplog):
    assert not corrected(torch.zeros(2, 100), tmp_path).any()
    assert not caplog.text
