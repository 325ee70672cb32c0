import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from lyrics_asr.audio import Audio
from lyrics_asr.evaluation.predictions import job_of, kept_prediction, read_prediction
from lyrics_asr.evaluation.task import EvaluateRequest, EvaluateTask, separation_scores
from lyrics_asr.formats import parse_json
from lyrics_asr.inference.run import run
from lyrics_asr.options import InferenceOptions, LineOptions
from tests.fake_model import BACKING, DURATION_SECONDS, RATE_HZ, VOICE, FakeModel, make_song


@pytest.fixture
def model():
    return FakeModel()


def predict(model, song, folder, options=None, overrides=(), **changes):
    """What an evaluation of one song gives, by a task of one core, which needs no process for the beam search."""
    job = job_of(song)
    request = EvaluateRequest(
        output=folder,
        songs={job.stem.as_posix(): song},
        options=options or InferenceOptions(),
        overrides=overrides,
        device="cpu",
        **({"bss_eval": False} | changes),
    )
    (outcome,) = run(request, [job], lambda request, progress, _: EvaluateTask(request, progress, 1, model=model))
    if outcome.error is not None:
        raise outcome.error
    return kept_prediction(song, folder)


def test_a_song_is_transcribed_and_aligned_by_one_run_of_each_network(tmp_path, model):
    prediction = predict(model, make_song(tmp_path, model), tmp_path / "out")
    assert model.runs == ["vocals", "emissions"]
    assert prediction.greedy == "sun moon rain"
    assert prediction.text.split() == ["sun", "moon", "rain"]
    assert [word.text for line in prediction.lines for word in line.words] == ["Sun,", "moon", "rain!"]
    assert prediction.duration_seconds == DURATION_SECONDS
    assert all(seconds > 0 for seconds in dataclasses.astuple(prediction.seconds))


def test_what_is_done_is_not_done_again(tmp_path, model):
    song = make_song(tmp_path, model)
    first = predict(model, song, tmp_path / "out")
    model.runs.clear()
    assert predict(model, song, tmp_path / "out") == first
    assert model.runs == []


def test_predictions_are_the_files_of_the_command_line(tmp_path, model):
    song = dataclasses.replace(make_song(tmp_path, model), id="disc 1/song")
    prediction = predict(model, song, tmp_path / "out")
    for kind, task in (("transcripts", "transcribe"), ("alignments", "align")):
        path = tmp_path / "out" / kind / "disc 1" / "song.json"
        assert parse_json(path.read_text(encoding="utf-8"), "x").task == task
    again = read_prediction(song, tmp_path / "out" / "transcripts", tmp_path / "out" / "alignments")
    assert (again.text, again.lines, again.duration_seconds) == (
        prediction.text,
        prediction.lines,
        prediction.duration_seconds,
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda song: dataclasses.replace(song, lyrics="Sun moon rain"),
        lambda song: song.audio.write_bytes(song.audio.read_bytes() + b"\0\0") and song,
        lambda song: song.vocals.write_bytes(song.vocals.read_bytes() + b"\0\0") and song,
    ],
)
def test_other_lyrics_audio_or_stems_are_worked_on_again(tmp_path, model, change):
    song = make_song(tmp_path, model)
    predict(model, song, tmp_path / "out")
    model.runs.clear()
    predict(model, change(song), tmp_path / "out")
    assert model.runs == ["vocals", "emissions"]


@pytest.mark.parametrize("file", ["songs/song.json", "transcripts/song.json", "alignments/song.json"])
@pytest.mark.parametrize("content", [None, "", "{}", "[1]"])
def test_what_is_gone_or_damaged_is_no_prediction(tmp_path, model, file, content):
    song = make_song(tmp_path, model)
    predict(model, song, tmp_path / "out")
    path = tmp_path / "out" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=r"song: its saved prediction cannot be read"):
        kept_prediction(song, tmp_path / "out")


@pytest.mark.slow
def test_other_decoding_options_do_not_run_the_networks_when_emissions_are_kept(tmp_path, model):
    song = make_song(tmp_path, model)
    cache = tmp_path / "cache"
    first = predict(model, song, tmp_path / "out", cache=cache, bss_eval=True)
    model.runs.clear()
    other, overrides = InferenceOptions(lines=LineOptions(pause_seconds=10.0)), ("decoding.beam_width=7",)
    second = predict(model, song, tmp_path / "out", other, overrides, cache=cache, bss_eval=True)
    assert model.runs == []
    assert second.separation == first.separation
    assert second.separation.vocals is not None
    assert (first.text, second.text) == ("sun\nmoon\nrain", "sun moon rain")


def test_emissions_alone_do_not_tell_how_well_a_voice_was_separated(tmp_path, model):
    song = make_song(tmp_path, model)
    cache = tmp_path / "cache"
    predict(model, song, tmp_path / "out", cache=cache)
    model.runs.clear()
    assert predict(model, song, tmp_path / "new", cache=cache).separation
    assert model.runs == ["vocals", "emissions"]
    without_stem = dataclasses.replace(song, vocals=None)
    model.runs.clear()
    predict(model, without_stem, tmp_path / "newer", cache=cache)
    assert model.runs == []


def test_separation_is_that_of_orthogonal_tones(tmp_path, model):
    scores = predict(model, make_song(tmp_path, model), tmp_path / "out").separation
    assert scores.mixture_si_sdr_db == pytest.approx(0, abs=0.01)
    assert scores.vocals_si_sdr_db == pytest.approx(20, abs=0.01)
    assert scores.vocals is None


def test_bss_eval_when_it_is_asked_for():
    generator = torch.Generator().manual_seed(0)
    voice, band = (Audio(torch.randn(2, 24_000, generator=generator), 8000) for _ in range(2))
    mixture = Audio(voice.samples + band.samples, 8000)
    estimate = Audio(voice.samples + 0.1 * band.samples, 8000)
    scores = separation_scores(Path("stem.wav"), voice, mixture, estimate, with_bss_eval=True)
    assert scores.vocals.sdr_db == pytest.approx(20, abs=1)
    assert scores.mixture.sdr_db == pytest.approx(0, abs=1)


def test_a_song_a_cappella_has_nothing_to_separate(tmp_path, model):
    scores = predict(model, make_song(tmp_path, model, mixture=VOICE), tmp_path / "out", bss_eval=True).separation
    assert set(dataclasses.astuple(scores)) == {None}


def test_a_stem_of_another_length_is_refused(tmp_path, model):
    short = Audio(VOICE[:, :RATE_HZ], RATE_HZ)
    mixture = Audio(VOICE + BACKING, RATE_HZ)
    with pytest.raises(ValueError, match=r"stem\.wav: the vocals last 1\.00 s, the mixture 3\.00 s"):
        separation_scores(Path("stem.wav"), short, mixture, mixture, with_bss_eval=False)


@pytest.mark.parametrize("song_id", ["../../etc/song", "/etc/song", "a/../../b", "a\\b", "a\0b"])
def test_an_id_never_leads_out_of_the_folder(tmp_path, model, song_id):
    song = dataclasses.replace(make_song(tmp_path, model), id=song_id)
    for work in (
        lambda song: predict(model, song, tmp_path / "out"),
        lambda song: read_prediction(song, tmp_path, None),
    ):
        with pytest.raises(ValueError, match="cannot be a file name"):
            work(song)
    assert not (tmp_path / "out").exists()


def test_transcripts_may_be_text(tmp_path, model):
    song = make_song(tmp_path, model)
    (tmp_path / "song.txt").write_text("Sun moon\nrain", encoding="utf-8")
    prediction = read_prediction(song, tmp_path, None)
    assert (prediction.text, prediction.lines, prediction.greedy) == ("Sun moon\nrain", None, None)
    assert prediction.duration_seconds == pytest.approx(DURATION_SECONDS)


def test_predictions_that_are_missing_or_damaged_are_named(tmp_path, model):
    song = make_song(tmp_path, model)
    with pytest.raises(FileNotFoundError, match=r"song\.json: no transcript of this song, nor a \.txt"):
        read_prediction(song, tmp_path, None)
    with pytest.raises(FileNotFoundError, match=r"song\.json: no such prediction"):
        read_prediction(song, None, tmp_path)
    (tmp_path / "song.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"song\.json: is not JSON"):
        read_prediction(song, tmp_path, None)
    (tmp_path / "song.json").unlink()
    (tmp_path / "song.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"song\.txt: not UTF-8"):
        read_prediction(song, tmp_path, None)


def test_records_are_plain_json(tmp_path, model):
    predict(model, make_song(tmp_path, model), tmp_path / "out", bss_eval=True)
    record = json.loads((tmp_path / "out" / "songs" / "song.json").read_text(encoding="utf-8"))
    assert record["schema"] == "lyrics-asr/evaluated-song/2"
    assert math.isfinite(record["separation"]["vocals_si_sdr_db"])
