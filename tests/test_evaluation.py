import importlib.metadata
import importlib.util
import json
import logging
import math
from pathlib import Path

import pytest
import torch

from lyrics_asr.acoustic import build_acoustic
from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.datasets.manifest import Song, write_manifest
from lyrics_asr.evaluation import EvaluationConfig, StageSeconds, evaluate, even_spread, load_songs
from lyrics_asr.language_model import build_language_model
from lyrics_asr.model import LyricsModel
from lyrics_asr.separation import load_separator
from lyrics_asr.types import Emissions, TimedWord

RATE_HZ = 44_100
DURATION_SECONDS = 3.0
TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "conv_dim": [8, 8],
    "conv_kernel": [400, 2],
    "conv_stride": [320, 1],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
HEARD = {"sun": 10, "moon": 60, "rain": 100}
"""Words that the planted emissions spell, and the frame where each begins."""


def tone(hz, seconds=DURATION_SECONDS):
    time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return torch.sin(2 * torch.pi * hz * time).repeat(2, 1)


VOICE, BACKING = 0.1 * tone(440), 0.1 * tone(110)


class PlantedModel(LyricsModel):
    """Takes a tenth of the backing for voice and hears HEARD, whatever is sung; counts its runs."""

    def __init__(self):
        super().__init__(load_separator("none"), build_acoustic(TINY, "abcdefghijklmnopqrstuvwxyz"), name="planted")
        self.runs = []

    def vocals(self, audio, options, progress=None):
        self.runs.append("vocals")
        return Audio((VOICE + 0.1 * BACKING)[:, : audio.samples.shape[1]], RATE_HZ)

    def emissions(self, vocals, options):
        self.runs.append("emissions")
        vocabulary, grid = self.acoustic.vocabulary, self.acoustic.grid
        symbols = [vocabulary.blank_id] * grid.count(round(vocals.duration_seconds * grid.sample_rate_hz))
        for word, first in HEARD.items():
            # A letter and a blank in turn, so that double letters stay two.
            for index, letter in enumerate(word):
                symbols[first + 2 * index] = vocabulary.character_ids[letter]
            symbols[first + 2 * len(word)] = vocabulary.word_delimiter_id
        log_probs = torch.full((len(symbols), len(vocabulary.tokens)), -12.0)
        log_probs[torch.arange(len(symbols)), symbols] = 0.0
        return Emissions(log_probs.log_softmax(-1), vocabulary, grid, vocals.duration_seconds)


@pytest.fixture(scope="module")
def model():
    return PlantedModel()


def make_song(folder, model, name="song", lyrics="Sun, moon\nrain!\n", late_seconds=0.0, mixture=None):
    """A song whose words are late by `late_seconds` against what the planted emissions say."""
    samples = VOICE + BACKING if mixture is None else mixture
    write_audio(folder / f"{name}.wav", Audio(samples, RATE_HZ))
    write_audio(folder / f"{name}.vocals.wav", Audio(VOICE[:, : samples.shape[1]], RATE_HZ))
    onsets = [model.acoustic.grid.seconds(frame) - late_seconds for frame in HEARD.values()]
    words = tuple(TimedWord(word, at, at + 0.1, 1.0) for word, at in zip(lyrics.split(), onsets, strict=False))
    return Song(name, folder / f"{name}.wav", lyrics, words, "en", vocals=folder / f"{name}.vocals.wav")


def test_a_song_heard_right_has_no_errors(tmp_path, model):
    model.runs.clear()
    evaluation = evaluate([make_song(tmp_path, model, late_seconds=0.04)], model, EvaluationConfig())
    (song,) = evaluation.songs
    assert song.greedy.text == song.beam_search.text == "sun moon rain"
    assert song.greedy.words.rate == song.beam_search.words.rate == song.greedy.characters.rate == 0
    assert song.greedy.words.hits == 3
    assert [word.text for word in song.aligned_words] == ["Sun,", "moon", "rain!"]
    assert song.alignment.absolute_errors_seconds == pytest.approx((0.04,) * 3)
    assert evaluation.pooled.alignment.mean_of_song_means_seconds == pytest.approx(0.04)
    assert song.duration_seconds == evaluation.pooled.duration_seconds == DURATION_SECONDS
    assert model.runs == ["vocals", "emissions"]


def test_even_spread_is_measured_against_the_same_reference(tmp_path, model):
    song = make_song(tmp_path, model)
    (result,) = evaluate([song], model, EvaluationConfig()).songs
    expected = [abs(word.start_seconds - at) for word, at in zip(song.words, (0.0, 1.0, 2.0), strict=True)]
    assert result.even_spread.absolute_errors_seconds == pytest.approx(expected)


def test_separation_is_that_of_orthogonal_tones(tmp_path, model):
    evaluation = evaluate([make_song(tmp_path, model)], model, EvaluationConfig())
    score = evaluation.songs[0].separation
    assert score.mixture_si_sdr_db == pytest.approx(0, abs=0.01)
    assert score.vocals_si_sdr_db == pytest.approx(20, abs=0.01)
    assert evaluation.pooled.si_sdr_improvement_db == pytest.approx(20, abs=0.02)


def test_songs_without_stem_or_backing_have_no_gain(tmp_path, model):
    with_stem = make_song(tmp_path, model, "a_cappella", mixture=VOICE)
    without = Song("b", with_stem.audio, with_stem.lyrics, with_stem.words, "en")
    evaluation = evaluate([with_stem, without], model, EvaluationConfig())
    assert evaluation.songs[0].separation.mixture_si_sdr_db == math.inf
    assert evaluation.songs[0].separation.improvement_db is None
    assert evaluation.songs[1].separation is None
    assert evaluation.pooled.si_sdr_improvement_db is None


def test_errors_are_pooled_over_songs(tmp_path, model):
    right = make_song(tmp_path, model, "right")
    wrong = make_song(tmp_path, model, "wrong", "son moon rain rain")
    wrong = Song(**{**vars(wrong), "words": (*wrong.words, TimedWord("rain", 2.5, 2.6, 1.0))})
    pooled = evaluate([right, wrong], model, EvaluationConfig()).pooled
    assert pooled.greedy_words.pooled.rate == 2 / 7
    assert pooled.greedy_words.mean_of_song_rates == 1 / 4
    # "son moon rain rain" against "sun moon rain": one letter replaced, " rain" missing.
    assert pooled.greedy_characters.pooled.rate == (1 + 5) / (13 + 18)
    assert pooled.alignment.words == 7


def test_what_fails_or_is_missing_does_not_stop_the_others(tmp_path, model):
    good = make_song(tmp_path, model, "good")
    silent = make_song(tmp_path, model, "silent", mixture=torch.zeros(2, RATE_HZ))
    miscounted = Song(**{**vars(make_song(tmp_path, model, "miscounted")), "words": good.words[:2]})
    crowded = make_song(tmp_path, model, "crowded", "la " * 200)
    short_stem = make_song(tmp_path, model, "short_stem")
    write_audio(short_stem.vocals, Audio(VOICE[:, :RATE_HZ], RATE_HZ))
    missing = Song("missing", tmp_path / "missing.mp3", "la", (), "en")
    evaluation = evaluate([silent, miscounted, crowded, short_stem, missing, good], model, EvaluationConfig())
    assert [song.id for song in evaluation.songs] == ["good"]
    assert evaluation.missing_audio == ("missing",)
    reasons = {song.id: song.reason for song in evaluation.failed}
    assert list(reasons) == ["silent", "miscounted", "crowded", "short_stem"]
    assert reasons["silent"].startswith("AudioError: ")
    assert reasons["miscounted"] == "ValueError: 2 reference times for the 3 words of the lyrics"
    assert reasons["crowded"].startswith("AlignmentError: ")
    assert "the vocals last 1.00 s, the mixture 3.00 s" in reasons["short_stem"]


def test_limit_counts_songs_with_audio(tmp_path, model):
    songs = [Song("missing", tmp_path / "no.mp3", "la", (), "en")]
    songs += [make_song(tmp_path, model, name) for name in ("a", "b", "c")]
    evaluation = evaluate(songs, model, EvaluationConfig(limit=2))
    assert [song.id for song in evaluation.songs] == ["a", "b"]


def test_nothing_to_evaluate_says_why(tmp_path, model):
    missing = Song("missing", tmp_path / "no.mp3", "la", (), "en")
    silent = make_song(tmp_path, model, "silent", mixture=torch.zeros(2, RATE_HZ))
    with pytest.raises(ValueError, match=r"none of 2 songs could be evaluated, 1 have no audio; .* silent: AudioError"):
        evaluate([missing, silent], model, EvaluationConfig())


def test_defects_of_the_program_are_not_hidden(tmp_path, model, monkeypatch):
    def broken(*_):
        raise KeyError("a defect")

    monkeypatch.setattr(model, "emissions", broken)
    with pytest.raises(KeyError, match="a defect"):
        evaluate([make_song(tmp_path, model)], model, EvaluationConfig())


def test_decoding_departs_from_the_options_of_the_model(tmp_path, model):
    song = make_song(tmp_path, model)
    assert evaluate([song], model, EvaluationConfig()).decoding == model.decoding
    options = evaluate([song], model, EvaluationConfig(decoding={"beam_width": 7, "alpha": 0.25})).decoding
    assert (options.beam_width, options.alpha, options.beta) == (7, 0.25, model.decoding.beta)
    with pytest.raises(ValueError, match="beam_size"):
        evaluate([song], model, EvaluationConfig(decoding={"beam_size": 7}))


def test_even_spread_fills_the_song():
    words = even_spread(["a", "b", "c", "d"], 10.0)
    assert [(word.text, word.start_seconds, word.end_seconds) for word in words] == [
        ("a", 0.0, 2.5),
        ("b", 2.5, 5.0),
        ("c", 5.0, 7.5),
        ("d", 7.5, 10.0),
    ]
    assert even_spread([], 10.0) == ()
    # A duration whose n-th part times n is more than itself.
    assert all(word.end_seconds <= 0.1 for count in range(1, 200) for word in even_spread(["la"] * count, 0.1))


def test_total_time_is_the_sum_of_the_stages():
    assert StageSeconds(1.0, 2.0, 4.0, 8.0, 16.0, 32.0).total == 63


def test_config_says_what_is_missing():
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        EvaluationConfig(limit=0)
    with pytest.raises(ValueError, match="corpus=jamendo needs folder=FOLDER"):
        EvaluationConfig(corpus="jamendo")


def test_songs_are_read_from_either_corpus(tmp_path, model):
    song = make_song(tmp_path, model)
    write_manifest(tmp_path / "manifest.jsonl", [song])
    assert load_songs(EvaluationConfig(manifest=tmp_path / "manifest.jsonl", folder=tmp_path)) == (song,)
    with pytest.raises(FileNotFoundError, match=r"JamendoLyrics\.csv"):
        load_songs(EvaluationConfig(corpus="jamendo", folder=tmp_path))


@pytest.fixture(scope="module")
def script():
    """evaluate.py of the top level, as a module."""
    path = Path(__file__).resolve().parents[1] / "evaluate.py"
    spec = importlib.util.spec_from_file_location("evaluate_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    logging.getLogger("lyrics_asr").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def setup(tmp_path_factory, model):
    """A model on disk with random weights, a manifest of one good song, and the YAML that names them."""
    folder = tmp_path_factory.mktemp("evaluation")
    torch.manual_seed(0)
    acoustic = build_acoustic(TINY, "abcdefghijklmnopqrstuvwxyz")
    build_language_model(["sun moon rain", "moon sun", "rain rain"] * 5, 2, folder / "lm.arpa")
    tiny = LyricsModel(load_separator("none"), acoustic, name="tiny", language_model_path=folder / "lm.arpa")
    tiny.save(folder / "model")
    write_manifest(folder / "manifest.jsonl", [make_song(folder, model)])
    yaml = f"manifest: {folder}/manifest.jsonl\nmodel: {folder}/model\noutput: {folder}/results.json\ndevice: cpu\n"
    (folder / "config.yaml").write_text(yaml + "decoding: {beam_width: 5}\n", encoding="utf-8")
    return folder


def test_the_script_prints_a_table_and_writes_json(script, setup, capsys):
    assert script.main([str(setup / "config.yaml"), "decoding.alpha=0.75"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:4] == ["song", "s", "WER", "WER"]
    assert printed[2].startswith("song ")
    assert printed[4].startswith("all songs ")
    results = json.loads((setup / "results.json").read_text(encoding="utf-8"))
    assert results["schema"] == "lyrics-asr/evaluation/1"
    assert results["config"]["manifest"] == str(setup / "manifest.jsonl")
    assert (results["decoding"]["beam_width"], results["decoding"]["alpha"]) == (5, 0.75)
    assert results["packages"]["torch"] == importlib.metadata.version("torch")
    (song,) = results["songs"]
    words = song["greedy"]["words"]
    assert words["rate"] == (words["substitutions"] + words["deletions"] + words["insertions"]) / 3
    assert f"{words['rate']:.1%}" in printed[2]
    assert [word["text"] for word in song["aligned_words"]] == ["Sun,", "moon", "rain!"]
    # Without a separator nothing is gained.
    assert results["pooled"]["si_sdr_improvement_db"] == pytest.approx(0, abs=1e-6)
    assert results["failed"] == results["missing_audio"] == []


def test_the_script_isolates_a_failing_song(script, setup, model, capsys):
    good, bad = make_song(setup, model), make_song(setup, model, "bad", mixture=torch.zeros(2, RATE_HZ))
    a_cappella = make_song(setup, model, "a_cappella", mixture=VOICE)
    missing = Song("missing", setup / "missing.mp3", "la", (), "en")
    write_manifest(setup / "mixed.jsonl", [bad, missing, good, a_cappella])
    output = setup / "mixed.json"
    assert script.main([str(setup / "config.yaml"), f"manifest={setup}/mixed.jsonl", f"output={output}"]) == 3
    captured = capsys.readouterr()
    assert "2 songs evaluated, 1 failed, 1 without audio" in captured.out
    assert "failed: bad: AudioError: " in captured.out
    results = json.loads(output.read_text(encoding="utf-8"))
    assert [song["id"] for song in results["failed"]] == ["bad"]
    assert results["missing_audio"] == ["missing"]
    # JSON has no infinity.
    assert results["songs"][1]["separation"]["mixture_si_sdr_db"] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["manifest=nowhere.jsonl"], "nowhere.jsonl: no such manifest"),
        (["corpus=jamendo", "folder=nowhere"], "JamendoLyrics.csv: no such file"),
        (["model=nowhere"], "nowhere: no model there"),
        (["decoding.beam_size=3"], "beam_size"),
    ],
)
def test_failures_exit_with_1_and_their_cause(script, setup, capsys, overrides, message):
    assert script.main([str(setup / "config.yaml"), *overrides]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.out == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["limit=many"], "limit"),
        (["limit=0"], "limit must be at least 1"),
        (["corpus=spotify"], "corpus"),
        (["corpus=jamendo"], "needs folder=FOLDER"),
        (["mood=sad"], "mood"),
        (["everything"], "not of the form key=value: everything"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_key(script, setup, capsys, overrides, message):
    with pytest.raises(SystemExit) as caught:
        script.main([str(setup / "config.yaml"), *overrides])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_leaves_no_results(script, setup, full_disk, capsys):
    output = setup / "full" / "results.json"
    assert script.main([str(setup / "config.yaml"), f"output={output}"]) == 1
    assert "results.json" in capsys.readouterr().err
    assert list(output.parent.iterdir()) == []


def test_the_shipped_config_is_one(script):
    path = Path(__file__).resolve().parents[1] / "configs" / "evaluate_embedded.yaml"
    assert script.load_config(EvaluationConfig, path).model == "embedded"
