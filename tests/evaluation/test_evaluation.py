import dataclasses
import importlib.metadata
import json
import re
from types import SimpleNamespace

import pytest
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.corpora.jamendo import read_jamendo
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.evaluation.aggregation import METRICS
from lyrics_asr.evaluation.config import EvaluationConfig
from lyrics_asr.evaluation.results import estimates
from lyrics_asr.evaluation.run import evaluate, load_songs
from lyrics_asr.evaluation.task import EvaluateTask
from lyrics_asr.files import write_text
from lyrics_asr.formats import render
from lyrics_asr.inference import mixtures, stages
from lyrics_asr.inference.mixtures import read_mixture
from lyrics_asr.language_model import build_language_model
from lyrics_asr.lyrics.text import parse_corpus_lyrics
from lyrics_asr.models.acoustic_checkpoints import build_acoustic
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.separators.loading import load_separator
from lyrics_asr.types import AudioInfo, ModelInfo, TimedLine, TimedWord, Transcript
from tests.fake_model import BACKING, RATE_HZ, TINY, VOICE, FakeModel, make_song
from tests.paths import JAMENDO


@pytest.fixture(scope="module")
def model():
    return FakeModel()


def run(songs, model, folder, **changes):
    config = EvaluationConfig(output=folder / "out", bss_eval=False, device="cpu", **changes)
    return evaluate(songs, config, make_task=tasks_of(model))


def tasks_of(model):
    """Tasks of a model that is there, of one core, which need no process for the beam search."""
    return lambda request, progress, _: EvaluateTask(request, progress, 1, model=model)


def value(evaluation, key):
    return estimates(evaluation.songs)[key].value


def test_a_song_transcribed_right_has_no_errors(tmp_path, model):
    evaluation = run([make_song(tmp_path, model, late_seconds=0.04)], model, tmp_path)
    (song,) = evaluation.songs
    assert song.text.split() == ["sun", "moon", "rain"]
    assert value(evaluation, "wer") == value(evaluation, "greedy_wer") == value(evaluation, "greedy_cer") == 0
    assert [pair.text for pair in song.words] == ["Sun,", "moon", "rain!"]
    assert [pair.error_seconds for pair in song.words] == pytest.approx([0.04] * 3)
    assert value(evaluation, "words_mean_over_songs") == pytest.approx(0.04)
    assert value(evaluation, "si_sdr_gain") == pytest.approx(20, abs=0.02)


def test_errors_are_pooled_over_songs(tmp_path, model):
    right = make_song(tmp_path, model, "right")
    wrong = make_song(tmp_path, model, "wrong", "son moon rain rain")
    wrong = dataclasses.replace(wrong, words=(*wrong.words, TimedWord("rain", 2.5, 2.6, 1.0)))
    evaluation = run([right, wrong], model, tmp_path)
    assert value(evaluation, "greedy_wer") == 2 / 7
    assert value(evaluation, "greedy_wer_mean_over_songs") == 1 / 4
    # "son moon rain rain" against "sun moon rain": one letter replaced, " rain" missing.
    assert value(evaluation, "greedy_cer") == (1 + 5) / (13 + 18)


def test_what_fails_or_is_missing_does_not_stop_the_others(tmp_path, model):
    good = make_song(tmp_path, model, "good")
    silent = make_song(tmp_path, model, "silent", mixture=torch.zeros(2, RATE_HZ))
    miscounted = dataclasses.replace(make_song(tmp_path, model, "miscounted"), words=good.words[:2])
    crowded = make_song(tmp_path, model, "crowded", "la " * 200)
    missing = Song("missing", tmp_path / "missing.mp3", "la", (), "en")
    evaluation = run([silent, miscounted, crowded, missing, good], model, tmp_path)
    assert [song.id for song in evaluation.songs] == ["good"]
    assert evaluation.missing_audio == ("missing",)
    reasons = {song.id: song.reason for song in evaluation.failed}
    assert list(reasons) == ["silent", "miscounted", "crowded"]
    assert reasons["silent"].startswith("AudioError: ")
    assert reasons["miscounted"] == "ValueError: 2 reference times for the 3 words of the alignment"
    assert reasons["crowded"].startswith("AlignmentError: ")


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    model = FakeModel()
    songs = [make_song(tmp_path, model, name) for name in ("a", "b", "c")]

    class Stopped(KeyboardInterrupt):
        pass

    class StoppedAtC(EvaluateTask):
        def finish(self, song, inferred, stopwatch):
            if song.job.stem.name == "c":
                raise Stopped
            return super().finish(song, inferred, stopwatch)

    config = EvaluationConfig(output=tmp_path / "out", bss_eval=False, device="cpu")
    with pytest.raises(Stopped):
        evaluate(songs, config, make_task=lambda *given: StoppedAtC(*given[:2], 1, model=model))
    model.runs.clear()
    evaluation = run(songs, model, tmp_path)
    assert [song.id for song in evaluation.songs] == ["a", "b", "c"]
    assert model.runs == ["vocals", "emissions"]


@pytest.mark.parametrize("file", ["songs/song.json", "transcripts/song.json", "alignments/song.json"])
@pytest.mark.parametrize("content", [None, "[1]"])
def test_a_file_that_is_gone_or_damaged_is_made_again(tmp_path, model, file, content):
    song = make_song(tmp_path, model)
    first = run([song], model, tmp_path)
    path = tmp_path / "out" / file
    whole = path.read_text(encoding="utf-8")
    path.unlink() if content is None else path.write_text(content)
    again = run([song], model, tmp_path)
    for key in ("wer", "words_mean_over_songs", "si_sdr_gain"):
        assert value(again, key) == value(first, key)
    if not file.startswith("songs"):  # which holds times
        assert path.read_text(encoding="utf-8") == whole


def test_limit_counts_songs_with_audio(tmp_path, model):
    songs = [Song("missing", tmp_path / "no.mp3", "la", (), "en")]
    songs += [make_song(tmp_path, model, name) for name in ("a", "b", "c")]
    assert [song.id for song in run(songs, model, tmp_path, limit=2).songs] == ["a", "b"]


def test_nothing_to_evaluate_says_why(tmp_path, model):
    missing = Song("missing", tmp_path / "no.mp3", "la", (), "en")
    silent = make_song(tmp_path, model, "silent", mixture=torch.zeros(2, RATE_HZ))
    with pytest.raises(ValueError, match=r"none of 2 songs could be evaluated, 1 without audio; .* silent: AudioError"):
        run([missing, silent], model, tmp_path)


def test_decoding_departs_from_the_options_of_the_model(tmp_path, model):
    song = make_song(tmp_path, model)
    assert run([song], model, tmp_path / "tuned").decoding == model.decoding
    options = run([song], model, tmp_path / "other", decoding={"beam_width": 7, "decoder": "pyctcdecode"}).decoding
    assert (options.beam_width, options.decoder, options.beta) == (7, "pyctcdecode", model.decoding.beta)
    with pytest.raises(ValueError, match="beam_size"):
        run([song], model, tmp_path / "unknown", decoding={"beam_size": 7})


def test_a_long_song_is_separated_in_blocks_and_one_that_runs_out_of_memory_is_measured(tmp_path, monkeypatch):
    model = FakeModel()
    long, scarce = (dataclasses.replace(make_song(tmp_path, model, name), vocals=None) for name in ("long", "scarce"))
    write_audio(long.audio, Audio(torch.cat([VOICE + BACKING, VOICE], dim=1), RATE_HZ))
    blocks = []

    def in_blocks(song, model, options, progress):
        blocks.append(song.path)
        return model.to_16k_mono(read_mixture(song.path, model))

    monkeypatch.setattr(mixtures, "LONG_SECONDS", 4.0)
    monkeypatch.setattr(stages, "separate_in_blocks", in_blocks)
    assert len(run([long, scarce], model, tmp_path).songs) == 2
    assert blocks == [long.audio]


def test_config_says_what_is_missing():
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        EvaluationConfig(limit=0)
    with pytest.raises(ValueError, match="corpus=dali needs audio=FOLDER"):
        EvaluationConfig(corpus="dali")


def test_songs_are_read_from_every_corpus(tmp_path, model):
    song = make_song(tmp_path, model)
    write_manifest(tmp_path / "manifest.jsonl", [song])
    assert load_songs(EvaluationConfig(folder=tmp_path)) == (song,)
    assert load_songs(EvaluationConfig(folder=tmp_path / "manifest.jsonl")) == (song,)
    with pytest.raises(FileNotFoundError, match=r"JamendoLyrics\.csv"):
        load_songs(EvaluationConfig(corpus="jamendo", folder=tmp_path))
    for corpus in ("jam_alt", "musdb_alt", "dali", "folder"):
        empty = tmp_path / corpus
        with pytest.raises((FileNotFoundError, ValueError), match=corpus):
            load_songs(EvaluationConfig(corpus=corpus, folder=empty, audio=empty))
    write_text(tmp_path / "folder" / "song.txt", "Sonne, Mond")
    (found,) = load_songs(EvaluationConfig(corpus="folder", folder=tmp_path / "folder", language="de"))
    assert (found.id, found.language, found.lyrics) == ("song", "de", "Sonne, Mond")


def test_songs_are_chosen_by_language_and_genre(tmp_path, model):
    song = make_song(tmp_path, model)
    songs = [
        dataclasses.replace(song, id=name, language=language, genre=genre)
        for name, language, genre in (("a", "en", "Rock"), ("b", "de", "Rock"), ("c", "en", None))
    ]
    write_manifest(tmp_path / "manifest.jsonl", songs)

    def chosen(**filters):
        return [song.id for song in load_songs(EvaluationConfig(folder=tmp_path, **filters))]

    assert chosen(language="en") == ["a", "c"]
    assert chosen(genre="rock") == ["a", "b"]
    assert chosen(genre="Rock", language="en") == ["a"]
    with pytest.raises(ValueError, match=r"none of 3 songs has language=fr, .* languages: de, en; genres: Rock"):
        chosen(language="fr")


def write_predictions(folder, songs, late_seconds):
    """Writes every song's annotations, late by `late_seconds`, as its prediction."""
    for song in songs:
        remaining = iter(song.words)
        lines = []
        for line in parse_corpus_lyrics(song.lyrics).lines:
            starts = [next(remaining).start_seconds + late_seconds for _ in line.words]
            words = tuple(TimedWord(w, at, at, 1.0) for w, at in zip(line.words, starts, strict=True))
            lines.append(TimedLine(line.text, starts[0], starts[-1], 1.0, words))
        info = AudioInfo(song.id, song.words[-1].end_seconds + 1, RATE_HZ)
        names = ModelInfo("annotations", "none", "none", None)
        for kind, task in (("transcripts", "transcribe"), ("alignments", "align")):
            transcript = Transcript(task, info, names, song.lyrics, tuple(lines))
            write_text(folder / kind / f"{song.id}.json", render(transcript, "json"))


@pytest.mark.slow
@pytest.mark.skipif(not JAMENDO.is_dir(), reason="needs JamendoLyrics; name its folder in LYRICS_ASR_JAMENDO")
@pytest.mark.parametrize(("late_seconds", "every"), [(0.0, 2), (0.25, 6)])
def test_the_annotations_of_jamendolyrics_against_themselves(tmp_path, late_seconds, every):
    songs = read_jamendo(JAMENDO)[::every]
    assert len(songs) >= 71 // every
    write_predictions(tmp_path, songs, late_seconds)
    config = EvaluationConfig(transcripts=tmp_path / "transcripts", alignments=tmp_path / "alignments")
    evaluation = evaluate(songs, config)
    assert evaluation.failed == evaluation.missing_audio == ()
    found = {key: each.value for key, each in estimates(evaluation.songs).items()}
    assert found["wer"] == found["cer"] == found["jam_alt_wer_case"] == 0
    assert found["jam_alt_f1_lines"] == found["jam_alt_f1_sections"] == 1
    for unit in ("words", "lines"):
        for kind in ("mean_over_songs", "median_over_songs", "mean_pooled", "median_pooled", "mean_of_medians"):
            assert found[f"{unit}_{kind}"] == pytest.approx(late_seconds, abs=1e-9)
        assert found[f"{unit}_within_0.3"] == found[f"{unit}_below_0.3"] == 1
        assert found[f"{unit}_within_0.2"] == (late_seconds == 0)
    if late_seconds == 0:
        assert found["words_pcs"] == pytest.approx(1)
        assert found["words_pcs_mirex"] == pytest.approx(1)


@pytest.fixture(scope="module")
def script():
    """`lyrics-asr evaluate`."""
    return SimpleNamespace(main=lambda arguments: main(["evaluate", *arguments]))


@pytest.fixture(scope="module")
def setup(tmp_path_factory, model):
    """A model on disk with random weights, a manifest of two good songs, and the YAML that names them."""
    folder = tmp_path_factory.mktemp("evaluation")
    torch.manual_seed(0)
    acoustic = build_acoustic(TINY, "abcdefghijklmnopqrstuvwxyz")
    build_language_model(["sun moon rain", "moon sun", "rain rain"] * 5, 2, folder / "lm.arpa")
    tiny = LyricsModel(load_separator("none"), acoustic, name="tiny", language_model_path=folder / "lm.arpa")
    tiny.save(folder / "model")
    songs = [make_song(folder, model), make_song(folder, model, "second", late_seconds=0.1)]
    write_manifest(folder / "manifest.jsonl", songs)
    yaml = f"folder: {folder}\nmodel: {folder}/model\noutput: {folder}/results\ndevice: cpu\nbss_eval: false\n"
    (folder / "config.yaml").write_text(yaml + "decoding: {beam_width: 5}\n", encoding="utf-8")
    return folder


def test_the_script_prints_metrics_and_writes_results_and_reports(script, setup, capsys):
    assert script.main([str(setup / "config.yaml"), "decoding.alpha=0.75"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["metric", "value", "95", "%", "interval", "songs"]
    assert "2 songs evaluated, 0 failed, 0 without audio" in lines
    assert re.search(r"2/2 second: WER [\d.]+%, mean error [\d.]+ s \(0 s left\)", captured.err)
    results = json.loads((setup / "results" / "results.json").read_text(encoding="utf-8"))
    assert results["schema"] == "lyrics-asr/evaluation/3"
    assert results["config"]["folder"] == str(setup)
    assert (results["decoding"]["beam_width"], results["decoding"]["alpha"]) == (5, 0.75)
    assert results["packages"]["torch"] == importlib.metadata.version("torch")
    assert results["hardware"]["cores"] >= 1
    errors, words = (sum(song["statistics"]["wer"][i] for song in results["songs"]) for i in (0, 1))
    assert results["metrics"]["wer"]["value"] == errors / words
    assert f"{100 * errors / words:.1f} %" in next(line for line in lines if line.startswith("WER"))
    # Without a separator nothing is gained.
    assert results["metrics"]["si_sdr_gain"]["value"] == pytest.approx(0, abs=1e-6)
    assert results["failed"] == results["missing_audio"] == []
    assert (setup / "results" / "report.md").read_text(encoding="utf-8").startswith(f"# {setup}/model\n")
    assert "<!doctype html>" in (setup / "results" / "report.html").read_text(encoding="utf-8")


def test_the_script_measures_predictions_of_any_system(script, setup, model, capsys):
    songs = load_songs(EvaluationConfig(folder=setup))
    write_predictions(setup / "theirs", songs, 0.25)
    own = [f"transcripts={setup}/theirs/transcripts", f"alignments={setup}/theirs/alignments"]
    assert script.main([str(setup / "config.yaml"), *own, f"output={setup}/theirs_results", "--limit", "2"]) == 0
    assert "0.250 s" in capsys.readouterr().out


def test_the_script_isolates_a_failing_song(script, setup, model, capsys):
    good, bad = make_song(setup, model), make_song(setup, model, "bad", mixture=torch.zeros(2, RATE_HZ))
    a_cappella = make_song(setup, model, "a_cappella", mixture=VOICE)
    missing = Song("missing", setup / "missing.mp3", "la", (), "en")
    write_manifest(setup / "mixed.jsonl", [bad, missing, good, a_cappella])
    output = setup / "mixed"
    assert script.main([str(setup / "config.yaml"), f"folder={setup}/mixed.jsonl", f"output={output}"]) == 3
    captured = capsys.readouterr()
    assert "2 songs evaluated, 1 failed, 1 without audio" in captured.out
    assert "failed: bad: AudioError: " in captured.out
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert [song["id"] for song in results["failed"]] == ["bad"]
    assert results["missing_audio"] == ["missing"]


def test_the_script_compares_two_results(script, setup, capsys):
    songs = load_songs(EvaluationConfig(folder=setup))
    for name, late_seconds in (("right", 0.0), ("late", 0.25)):
        write_predictions(setup / name, songs, late_seconds)
        own = [f"alignments={setup}/{name}/alignments", f"output={setup}/{name}_results"]
        assert script.main([str(setup / "config.yaml"), *own]) == 0
    capsys.readouterr()
    assert script.main(["compare", f"{setup}/right_results", f"{setup}/late_results/results.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "2 songs in common; 0 only in the first, 0 only in the second" in lines
    row = next(line for line in lines if line.startswith(METRICS["words_mean_over_songs"].label))
    assert row.split()[-1] == "first"
    assert "-0.250 s" in row
    assert script.main(["compare", f"{setup}/right_results", f"{setup}/nowhere"]) == 1
    assert "nowhere: no such results" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["folder=nowhere.jsonl"], "nowhere.jsonl: no such manifest"),
        (["corpus=jamendo", "folder=nowhere"], "JamendoLyrics.csv: no such file"),
        (["model=nowhere"], "nowhere: not a model"),
        (["decoding.beam_size=3"], "beam_size"),
        (["--language", "fr"], "none of 2 songs has language=fr"),
        (["output=/dev/null/here"], "/dev/null/here: cannot be written"),
    ],
)
def test_failures_exit_with_1_and_their_cause(script, setup, capsys, overrides, message):
    assert script.main([str(setup / "config.yaml"), *overrides]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("lyrics-asr: error: ")
    assert captured.out == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["limit=many"], "limit"),
        (["limit=0"], "limit must be at least 1"),
        (["--limit", "0"], "limit must be at least 1"),
        (["corpus=spotify"], "corpus"),
        (["corpus=dali"], "needs audio=FOLDER"),
        (["mood=sad"], "mood"),
        (["everything"], "not of the form key=value: everything"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_key(script, setup, capsys, overrides, message):
    assert script.main([str(setup / "config.yaml"), *overrides]) == 2
    assert message in capsys.readouterr().err


def test_a_full_disk_stops_the_run_and_leaves_no_part_of_a_file(script, setup, full_disk, capsys):
    output = setup / "full"
    assert script.main([str(setup / "config.yaml"), f"output={output}"]) == 1
    captured = capsys.readouterr()
    assert "song.json: cannot be written: No space left on device" in captured.err
    assert "2/2" not in captured.err
    assert {path.name for path in output.rglob("*") if path.is_file()} <= {"run.jsonl", "evaluate.log"}
