import pytest
import torch

from lyrics_asr.audio import Audio, leveled, leveling_gain

RATE_HZ = 16_000


def noise(*parts):
    """White noise with (seconds, level in dB of full scale)."""
    generator = torch.Generator().manual_seed(0)
    pieces = [10 ** (db / 20) * torch.randn(1, round(length * RATE_HZ), generator=generator) for length, db in parts]
    return Audio(torch.cat(pieces, dim=1).expand(2, -1), RATE_HZ)


def level_db(audio, start, end):
    return 10 * audio.samples[:, round(start * RATE_HZ) : round(end * RATE_HZ)].square().mean().log10().item()


def test_quiet_parts_get_the_target_and_loud_ones_stay():
    song = noise((4, -10), (4, -36), (4, -14))
    raised = leveled(song)
    assert level_db(raised, 0.0, 3.0) == pytest.approx(level_db(song, 0.0, 3.0), abs=1e-3)
    assert level_db(raised, 5.5, 6.5) == pytest.approx(-16, abs=0.3)
    assert level_db(raised, 9.0, 12.0) == pytest.approx(level_db(song, 9.0, 12.0), abs=1e-3)


def test_the_gain_is_limited_smooth_and_none_in_silence():
    gain_db = 20 * leveling_gain(noise((3, -70), (3, -55), (3, -16))).log10()
    assert gain_db[: 2 * RATE_HZ].max() == 0
    assert gain_db.max() == pytest.approx(30, abs=1e-3)
    assert gain_db.diff().abs().max() * RATE_HZ < 70  # dB per second
    assert gain_db.min() >= 0


@pytest.mark.parametrize("start", [RATE_HZ * 2, RATE_HZ * 2 + 77])
def test_a_block_has_the_gain_of_the_whole_except_at_its_ends(start):
    song = noise((3, -12), (2, -40), (3, -20), (0.123, -30))
    block = Audio(song.samples[:, start:], RATE_HZ)
    whole = leveling_gain(song)[start:]
    torch.testing.assert_close(leveling_gain(block, start)[RATE_HZ:], whole[RATE_HZ:])


def test_silence_and_short_sounds_have_a_gain():
    assert torch.equal(leveling_gain(Audio(torch.zeros(1, 1000), RATE_HZ)), torch.ones(1000))
    assert leveling_gain(noise((0.1, -20))).shape == (1600,)
