"""What a worker does with a song, in this process."""

import pytest

from lyrics_asr.audio import Audio
from lyrics_asr.server import song_files
from lyrics_asr.server.processing import LoadedModel, Order
from lyrics_asr.types import AudioInfo
from tests.fake_model import BACKING, DURATION_SECONDS, RATE_HZ, VOICE, FakeModel


def test_options_of_the_server_are_those_of_all_tasks(tmp_path, monkeypatch):
    given, separate = [], FakeModel.vocals

    def vocals(model, songs, options, progress=None):
        given.append(options.precision)
        return separate(model, songs, options, progress)

    monkeypatch.setattr(FakeModel, "vocals", vocals)
    loaded = LoadedModel(FakeModel(), ("separation.precision=float32",))
    (tmp_path / song_files.LYRICS).write_text("sun\nmoon")
    for task in ("transcribe", "align", "separate"):
        song_files.save_mixture(tmp_path / song_files.MIXTURE, Audio(VOICE + BACKING, RATE_HZ))
        order = Order(tmp_path, task, "en", "", AudioInfo("a song", DURATION_SECONDS, RATE_HZ))
        assert loaded.process(order, lambda stage, fraction: None).error is None
    assert given == ["float32"] * 3


@pytest.mark.parametrize(
    ("acoustic_input", "expected"),
    [
        ("mixture", ["acoustic", "lyrics", "separation", "writing"]),
        ("vocals", ["separation", "acoustic", "lyrics", "writing"]),
    ],
)
def test_words_do_not_wait_for_stems(tmp_path, acoustic_input, expected, capsys):
    """A model that hears mixtures separates after the words are found; no model writes stems before."""
    model = FakeModel()
    model.acoustic_input = acoustic_input
    song_files.save_mixture(tmp_path / song_files.MIXTURE, Audio(VOICE + BACKING, RATE_HZ))
    (tmp_path / song_files.LYRICS).write_text("sun\nmoon")
    stages = []

    def report(stage, fraction):
        stages.append(stage)
        assert (tmp_path / song_files.TRANSCRIPT).is_file() == ("lyrics" in stages[:-1])
        assert not (tmp_path / song_files.VOCALS).exists()

    order = Order(tmp_path, "align", "en", "", AudioInfo("a song", DURATION_SECONDS, RATE_HZ))
    outcome = LoadedModel(model).process(order, report)
    assert outcome.error is None
    assert "a song: 2 of 2 lines found" in capsys.readouterr().err
    assert list(dict.fromkeys(stages)) == expected
    assert set(outcome.stages) >= {"separation", "acoustic", "writing"}
    assert (tmp_path / song_files.ACCOMPANIMENT).is_file()
