import argparse
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from lyrics_asr.audio import Audio, container, read_audio, reading, write_audio
from lyrics_asr.cli.arguments import add_model_options, model_arguments
from lyrics_asr.cli.extras import extra_with
from lyrics_asr.cli.main import main
from lyrics_asr.config import load_config
from lyrics_asr.corpora.manifest import Song, write_manifest
from lyrics_asr.formats import FORMATS, parse_json, render
from lyrics_asr.inference import jobs, mixtures, tasks, transcribe
from lyrics_asr.inference.jobs import find_jobs
from lyrics_asr.inference.requests import AlignRequest, RenderRequest, SeparateRequest, TranscribeRequest
from lyrics_asr.inference.run import run as run_songs
from lyrics_asr.melody.pitch import PitchTrack
from lyrics_asr.models import lyrics_model
from lyrics_asr.models.lyrics_model import LyricsModel
from lyrics_asr.models.registry import load_model
from lyrics_asr.models.separators.loading import build_separator
from lyrics_asr.models.separators.pitch_salience import PitchSalience
from lyrics_asr.options import DecodingOptions, InferenceOptions
from tests.fork_server import start_command
from tests.formats.test_formats import GOLDEN, TRANSCRIPT

VERBS = ("transcribe", "align", "separate", "render", "train", "evaluate", "models", "lm", "data", "doctor")


@pytest.fixture
def songs(tmp_path):
    """A folder with two songs, one of them in a folder below, and lyrics for both."""
    noise = 0.2 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    for name in ("one", "more/two"):
        path = tmp_path / "songs" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, Audio(noise, 16_000))
        path.with_suffix(".txt").write_text("One\n[Chorus]\nTwo\n")
    return tmp_path / "songs"


@pytest.fixture
def model(tiny_model_folder):
    return ("--model", str(tiny_model_folder), "--device", "cpu")


@pytest.fixture
def stdin():
    """Gives a text through a pipe to the standard input of this process."""
    before = os.dup(0)

    def give(text):
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        os.dup2(read, 0)
        os.close(read)

    yield give
    os.dup2(before, 0)
    os.close(before)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def written(folder):
    """The files of a folder, without hidden ones."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file())


def test_text_on_stdout_is_the_lines_of_the_json(songs, model, capsys):
    assert run("transcribe", songs / "one.wav", *model) == 0
    shown = capsys.readouterr()
    assert run("transcribe", songs / "one.wav", *model, "--format", "json") == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert lines
    assert shown.out.splitlines() == [line["text"] for line in lines]
    assert shown.err == ""


def test_transcribe_a_folder_mirrors_its_tree(songs, model, tmp_path, capsys):
    output = tmp_path / "results"
    assert run("transcribe", songs, "-o", output, "--format", "json,lrc", "--greedy", *model) == 0
    assert written(output) == ["more/two.json", "more/two.lrc", "one.json", "one.lrc", "run.jsonl"]
    log = [json.loads(line) for line in (output / "run.jsonl").read_text().splitlines()]
    assert [entry["outputs"] for entry in log] == [["more/two.json", "more/two.lrc"], ["one.json", "one.lrc"]]
    assert {entry["status"] for entry in log} == {"done"}
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second, said = shown.err.splitlines()
    factor = r"RTF \d+\.\d{3}"
    assert re.fullmatch(rf"lyrics-asr: 1/2 wrote {output}/more/two\.json, \.lrc \({factor}, \d+ s left\)", first)
    assert re.fullmatch(rf"lyrics-asr: 2/2 wrote {output}/one\.json, \.lrc \({factor}\)", second)
    assert re.fullmatch(r"lyrics-asr: 2 of 2 songs done in \d+ s, 2 s of audio \(RTF \d+\.\d{3}\)", said)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["transcribe", "align", "separate"])
def test_a_run_goes_on_where_an_earlier_one_ended(songs, model, tmp_path, capsys, verb):
    output, suffix = tmp_path / "results", "wav" if verb == "separate" else "json"

    def work(*more):
        assert run(verb, songs, "-o", output, *model, *more) == 0
        return {
            line.split("/results/")[1].split()[0] for line in capsys.readouterr().err.splitlines() if "wrote" in line
        }

    everything = {f"one.{suffix}", f"more/two.{suffix}"}
    assert work() == everything
    written_first = {name: (output / name).read_bytes() for name in everything}
    assert work() == set()
    assert work("--overwrite") == everything
    assert {name: (output / name).read_bytes() for name in everything} == written_first
    (output / f"one.{suffix}").unlink()
    assert work() == {f"one.{suffix}"}
    os.utime(songs / "more/two.wav")  # content counts, and not when it was written
    write_audio(songs / "one.wav", Audio(0.1 * torch.randn(1, 9_000), 16_000))
    assert work() == {f"one.{suffix}"}
    option = "separation.overlap=0.5" if verb == "separate" else "acoustic.context_seconds=2"
    assert work("--set", option) == everything
    assert work("--set", option) == set()
    if verb == "align":
        (songs / "one.txt").write_text("Other words")
        assert work("--set", option) == {"one.json"}
    if verb == "transcribe":
        assert work("--set", option, "--hotwords", "three") == everything
        assert work("--set", option, "--hotwords", "three") == set()


@pytest.mark.parametrize("verb", ["align", "separate"])
def test_songs_that_share_batches_have_the_results_of_each_alone(songs, model, tmp_path, monkeypatch, verb):
    groups = []

    def counted(function, mixtures, *more):
        groups.append(len(mixtures))
        return function(mixtures, *more)

    monkeypatch.setattr(tasks, "compute_emissions", partial(counted, tasks.compute_emissions))
    vocals = LyricsModel.vocals
    if verb == "separate":
        monkeypatch.setattr(LyricsModel, "vocals", lambda model, *given: counted(partial(vocals, model), *given))
    monkeypatch.setattr(mixtures, "LONG_SECONDS", 2.0)
    for name, seconds in (("long", 2.3), ("short", 0.7)):
        write_audio(songs / f"{name}.wav", Audio(0.2 * torch.randn(2, round(seconds * 44_100)), 44_100))
        (songs / f"{name}.txt").write_text("Three\n")
    (songs / "broken.wav").write_text("no audio")
    (songs / "broken.txt").write_text("Four")
    for name, options in (("alone", ()), ("together", ("--set", "separation.batch_size=4"))):
        assert run(verb, songs, "-o", tmp_path / name, *model, *options) == 3
    assert groups == [1, 1, 1, 1, 4]
    for name in ("one", "more/two", "long", "short"):
        if verb == "separate":
            both = [read_audio(tmp_path / each / f"{name}.wav").samples for each in ("alone", "together")]
            torch.testing.assert_close(*both, atol=1e-5, rtol=1e-4)
        else:
            texts = [(tmp_path / each / f"{name}.json").read_text() for each in ("alone", "together")]
            words = [
                [(word.text, word.start_seconds) for line in parse_json(text, name).lines for word in line.words]
                for text in texts
            ]
            assert words[0] == words[1]


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_finishes_the_rest(model, tmp_path):
    noise = 0.2 * torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    for number in range(30):
        write_audio(tmp_path / f"songs/{number:02}.wav", Audio(noise * (1 + number) / 31, 16_000))
    arguments = ["transcribe", tmp_path / "songs", "-o", tmp_path / "out", "--greedy", *model]
    log, rng = tmp_path / "out/run.jsonl", random.Random(0)
    for kill in range(21):
        lines = len(log.read_text().splitlines()) if log.exists() else 0
        process = start_command(arguments)
        # At a random moment of a random one of the next songs, so that some 20 kills get through all of them.
        songs = rng.randrange(3)
        while kill < 20 and process.is_alive():
            if len(log.read_text().splitlines() if log.exists() else []) >= lines + songs:
                time.sleep(rng.uniform(0, 0.1))
                process.kill()
            time.sleep(0.01)
        process.join()
        outputs = [path.name for path in (tmp_path / "out").glob("[!.]*.json")]
        for name in outputs:
            parse_json((tmp_path / "out" / name).read_text(), name)
    assert process.exitcode == 0
    assert sorted(outputs) == [f"{number:02}.json" for number in range(30)]
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    assert {entry["stem"] for entry in entries if entry["status"] == "done"} == {f"{n:02}" for n in range(30)}
    assert len(entries) < 30 + 21 * 4  # what was finished is not done again


def test_align_a_pair_to_stdout_as_lrc(songs, model, tmp_path, capsys):
    lyrics = tmp_path / "words of the song.txt"
    lyrics.write_text("Hello, 2 You")
    assert run("align", songs / "one.wav", lyrics, *model) == 0
    assert "Hello, 2 You" in capsys.readouterr().out


@pytest.mark.parametrize("to_folder", [False, True])
def test_lyrics_come_from_a_pipe(songs, model, tmp_path, capsys, stdin, to_folder):
    """`align song.wav /dev/stdin`: a pipe can be read once."""
    stdin("Hello, 2 You\n")
    more = ["-o", tmp_path / "results"] if to_folder else ["--format", "json"]
    assert run("align", songs / "one.wav", "/dev/stdin", *more, *model) == 0
    shown = capsys.readouterr().out
    text = (tmp_path / "results/one.json").read_text() if to_folder else shown
    assert parse_json(text, "one").text == "Hello, 2 You\n"


def test_lyrics_in_any_format_beside_a_song(songs, model, tmp_path, capsys):
    (songs / "one.txt").unlink()
    (songs / "one.lrc").write_text(
        "[00:00.10][Chorus]\n[00:00.20]Hello\n[00:00.50]<00:00.50> my <00:00.60> world\n[Chorus]\n"
    )
    assert run("align", songs / "one.wav", *model, "--format", "json") == 0
    shown = capsys.readouterr()
    assert [line.text for line in parse_json(shown.out, "one").lines] == ["Hello", "my world", "Hello", "my world"]
    assert f"{songs / 'one.lrc'}: repeated from above: [Chorus]" in shown.err
    assert run("align", songs / "one.wav", *model, "--format", "json", "--no-expand-repeats") == 0
    shown = capsys.readouterr()
    assert [line.text for line in parse_json(shown.out, "one").lines] == ["Hello", "my world"]
    assert "repeated from above" not in shown.err


def test_given_times_guide_on_request(songs, model, capsys):
    (songs / "one.txt").write_text("[00:00.50]Hello")
    assert run("align", songs / "one.wav", *model, "--use-times", "--set", "alignment.margin_seconds=0.1") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(("[00:00.4", "[00:00.5", "[00:00.6"))
    (songs / "one.txt").write_text("Hello")
    assert run("align", songs / "one.wav", *model, "--use-times") == 0
    assert "one.txt: has no times for --use-times" in capsys.readouterr().err


def test_the_guessed_encoding_is_told(songs, model, capsys):
    (songs / "one.txt").write_bytes("Снег идёт".encode("windows-1251"))
    assert run("align", songs / "one.wav", *model) == 0
    shown = capsys.readouterr()
    assert "Снег идёт" in shown.out
    assert "one.txt: read as Windows-1251 (guessed; --encoding names another encoding)" in shown.err
    assert run("align", songs / "one.wav", *model, "--encoding", "cp1251") == 0
    assert "guessed" not in capsys.readouterr().err


def test_lyrics_come_from_a_fifo(songs, model, tmp_path, capsys):
    """`align song.wav <(cat lyrics.txt)`."""
    fifo = tmp_path / "lyrics"
    os.mkfifo(fifo)
    writer = Thread(target=fifo.write_text, args=("Hello, 2 You\n",), daemon=True)
    writer.start()
    assert run("align", songs / "one.wav", fifo, *model, "--format", "json") == 0
    writer.join(10)
    assert parse_json(capsys.readouterr().out, "one").text == "Hello, 2 You\n"


@pytest.mark.parametrize("to_folder", [False, True])
def test_what_is_small_is_read_once(songs, model, tmp_path, monkeypatch, to_folder):
    calls = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(*args):
            calls[name] += 1
            return function(*args)

        monkeypatch.setattr(module, name, counted)

    count(container, "read_header")
    for module in (container, reading):
        count(module, "open_track")
    count(jobs, "read_lyrics")
    count(lyrics_model, "weights_fingerprint")
    assert (
        run("align", songs / "one.wav", songs / "one.txt", *model, *(["-o", tmp_path / "r"] if to_folder else [])) == 0
    )
    # The file is opened for its header and for its samples; without a folder there is nothing to resume from.
    assert calls == Counter(read_header=1, open_track=2, read_lyrics=1, weights_fingerprint=int(to_folder))
    if to_folder:
        calls.clear()
        assert run("align", songs, "-o", tmp_path / "both", *model) == 0
        assert calls == Counter(read_header=2, open_track=4, read_lyrics=2, weights_fingerprint=1)


def test_a_language_model_that_cannot_be_read_is_found_before_songs_are_separated(
    songs, model, tmp_path, monkeypatch, capsys
):
    broken = tmp_path / "broken.arpa"
    broken.write_text("not n-grams")
    monkeypatch.setattr(lyrics_model.LyricsModel, "vocals", None)
    assert run("transcribe", songs, "-o", tmp_path / "r", *model, "--language-model", broken) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"lyrics-asr: error: {broken}: ")
    assert "TypeError" not in message  # the separator did not run


def test_requests_give_from_python_what_the_command_line_gives(songs, model, tmp_path, tiny_model_folder):
    assert run("align", songs, "-o", tmp_path / "cli", *model) == 0
    found = [replace(job, lyrics=job.source.with_suffix(".txt")) for job in find_jobs([songs], {".wav"}, None)]
    request = AlignRequest(output=tmp_path / "python", model=str(tiny_model_folder), device="cpu")
    outcomes = run_songs(pickle.loads(pickle.dumps(request)), found, tasks.AlignTask)
    assert [outcome.error for outcome in outcomes] == [None, None]
    for name in ("one.json", "more/two.json"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "cli" / name).read_bytes()


def test_precision_is_set_for_both_networks_and_set_has_the_last_word():
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    parser.set_defaults(output=None)
    given = parser.parse_args(["--precision", "float32", "--set", "acoustic.precision=auto"])
    options = load_config(InferenceOptions, overrides=list(model_arguments(given)["overrides"]))
    assert (options.separation.precision, options.acoustic.precision) == ("float32", "auto")
    assert model_arguments(parser.parse_args([]))["overrides"] == ()


def test_the_runtime_is_that_of_the_separator(songs, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lyrics_asr.models.openvino_network", raising=False)
    assert run("separate", songs, "-o", tmp_path / "r", "--model", "embedded", "--runtime", "openvino") == 1
    assert "error: openvino is not installed; install it with: pip install " in capsys.readouterr().err
    assert run("separate", songs, "-o", tmp_path / "r", *model, "--runtime", "openvino") == 1
    assert "error: runtime openvino: runs U-Nets on a CPU" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [TranscribeRequest, AlignRequest, SeparateRequest, RenderRequest])
def test_requests_are_frozen_and_can_be_pickled(kind, tmp_path):
    request = kind(output=tmp_path, formats=("json", "lrc"), overwrite=True)
    assert pickle.loads(pickle.dumps(request)) == request != kind(output=tmp_path)
    with pytest.raises(FrozenInstanceError):
        request.output = None


def test_the_handler_of_sigterm_is_restored(capsys):
    def mine(*_):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        for arguments in (("models", "list"), ("models", "path", "unheard-of"), ("--help",), ("--no-such",)):
            run(*arguments)
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_align_a_folder_beside_its_songs(songs, model):
    assert run("align", songs, "-o", songs, *model) == 0
    transcript = parse_json((songs / "more/two.json").read_text(), "two.json")
    assert transcript.text == "One\n[Chorus]\nTwo\n"
    assert [line.text for line in transcript.lines] == ["One", "Two"]


def test_formats_with_notes_find_the_melody(songs, model, tmp_path, capsys):
    output = tmp_path / "results"
    assert run("align", songs / "one.wav", "-o", output, "--format", "json,ultrastar,midi", *model) == 0
    assert written(output) == ["one.json", "one.mid", "one.ultrastar.txt", "run.jsonl"]
    transcript = parse_json((output / "one.json").read_text(), "one.json")
    assert {(each.line, each.word) for each in transcript.melody} == {
        (i, k) for i, line in enumerate(transcript.lines) for k, _ in enumerate(line.words)
    }
    assert run("render", output / "one.json", "-o", tmp_path / "again", "--format", "ultrastar,midi") == 0
    for name in ("one.mid", "one.ultrastar.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes()
    assert run("align", songs / "one.wav", "-o", tmp_path / "plain", *model) == 0
    assert run("render", tmp_path / "plain/one.json", "--format", "midi") == 1
    assert "has no melody; align the song with --melody" in capsys.readouterr().err


def test_the_melody_is_that_of_a_separator_that_estimates_f0(songs, tiny_model_folder, tmp_path, monkeypatch):
    sizes = {"sample_rate_hz": 16_000, "audio_channels": 1, "n_fft": 512, "bins": 256, "patch_frames": 32}
    model = load_model(str(tiny_model_folder), device="cpu")
    model.separator = build_separator({"network": "UNet", **sizes, "channels": [4, 8], "pitch_channels": 2})
    middle_c = PitchTrack(np.full(101, 60.0))
    monkeypatch.setattr(PitchSalience, "track", lambda self, voice: middle_c)
    model.save(tmp_path / "model")
    options = ("--model", tmp_path / "model", "--device", "cpu", "--melody")
    assert run("align", songs / "one.wav", "-o", tmp_path / "results", *options) == 0
    transcript = parse_json((tmp_path / "results/one.json").read_text(), "one.json")
    assert {note.midi for each in transcript.melody for note in each.notes} == {60}


def test_align_and_transcribe_lists(songs, model, tmp_path):
    write_manifest(songs / "all.jsonl", [Song("live/uno", songs / "one.wav", "Uno, dos", (), "es")])
    (songs / "all.csv").write_text("audio,lyrics\nmore/two.wav,one.txt\n")
    output = tmp_path / "results"
    assert run("align", songs / "all.jsonl", songs / "all.csv", "-o", output, *model) == 0
    assert written(output) == ["live/uno.json", "more/two.json", "run.jsonl"]
    assert parse_json((output / "live/uno.json").read_text(), "uno").text == "Uno, dos"
    assert parse_json((output / "more/two.json").read_text(), "two").text == "One\n[Chorus]\nTwo\n"
    assert run("transcribe", songs / "all.jsonl", "-o", output, "--format", "lrc", "--greedy", *model) == 0
    assert (output / "live/uno.lrc").exists()


def test_align_reports_songs_without_lyrics_and_does_the_others(songs, model, tmp_path, capsys):
    (songs / "one.txt").unlink()
    assert run("align", songs, "-o", tmp_path / "results", *model) == 3
    assert written(tmp_path / "results") == ["more/two.json", "run.jsonl", "run.log"]
    errors = capsys.readouterr().err
    assert "one.txt: no such file; put the lyrics of one.wav there" in errors
    assert "1 of 2 songs failed" in errors


def test_separate_writes_vocals_of_the_same_length(songs, model, tmp_path):
    assert run("separate", songs / "one.wav", "-o", tmp_path / "vocals", "--format", "flac", *model) == 0
    vocals = read_audio(tmp_path / "vocals/one.flac")
    assert vocals.sample_rate_hz == 44_100
    assert vocals.samples.shape == (2, 44_100)


def test_separate_does_not_mix_vocals_with_songs(songs, model, capsys):
    before = written(songs)
    assert run("separate", songs, "-o", songs, *model) == 2
    assert "choose another --output" in capsys.readouterr().err
    assert written(songs) == before


def test_results_do_not_overwrite_lyrics(songs, model, capsys, monkeypatch):
    monkeypatch.setattr(lyrics_model.LyricsModel, "vocals", None)  # no song is processed for nothing
    assert run("transcribe", songs, "-o", songs, "--format", "txt", *model) == 0
    shown = capsys.readouterr().err
    assert f"kept {songs}/one.txt: not written by lyrics-asr, or changed since; --force replaces it" in shown
    assert "0 of 2 songs done" in shown
    assert "2 files kept" in shown
    assert (songs / "one.txt").read_text() == "One\n[Chorus]\nTwo\n"


def test_results_beside_the_song_replace_only_our_own(songs, model, capsys):
    arguments = ("transcribe", songs / "one.wav", "-o", songs, "--greedy", "--format", "lrc,srt", *model)
    lyrics, subtitles = songs / "one.lrc", songs / "one.srt"
    subtitles.write_text("by hand")
    assert run(*arguments) == 0
    result = lyrics.read_text()
    assert f"kept {subtitles}" in capsys.readouterr().err
    lyrics.write_text("corrected by hand")
    assert run(*arguments, "--overwrite") == 0
    assert (lyrics.read_text(), subtitles.read_text()) == ("corrected by hand", "by hand")
    assert run(*arguments, "--force") == 0
    assert lyrics.read_text() == result
    assert subtitles.read_text() != "by hand"
    capsys.readouterr()
    assert run(*arguments, "--overwrite") == 0
    assert f"wrote {subtitles}" in capsys.readouterr().err


def test_render_into_the_folder_of_its_input_again(songs, model, tmp_path):
    results = tmp_path / "results"
    assert run("align", songs, "-o", results, *model) == 0
    for _ in range(2):
        assert run("render", results, "-o", results, "--format", "txt,srt") == 0
        assert (results / "more/two.txt").read_text() == "One\n[Chorus]\nTwo\n"
        assert (results / "more/two.srt").read_text().startswith("1\n00:00:0")


@pytest.mark.parametrize("name", [*GOLDEN, "json"])
def test_render_writes_the_golden_text_of_a_transcript(tmp_path, capsys, name):
    document = render(TRANSCRIPT, "json")
    (tmp_path / "one.json").write_text(document, encoding="utf-8")
    assert run("render", tmp_path / "one.json", "--format", name) == 0
    assert capsys.readouterr().out == GOLDEN.get(name, document)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "mp9"), "unknown format 'mp9'"),
        (("--format", "json,txt"), "do not go to stdout"),
        (("--set", "acoustic.windowseconds=3"), "windowseconds"),
        (("--set", "decoding.beam_width=wide"), "beam_width"),
        (("--set", "decoding.beam_width=[1"), "command line: decoding.beam_width=[1: is not YAML"),
        (("--set", "decoding.beam_width=0"), "decoding.beam_width 0 is out of range; it must be at least 1"),
        (("--greedy", "--hotwords", "zoe"), "--hotwords needs the beam search"),
        (("--set", "separation.overlap=1"), "separation.overlap 1.0 is out of range"),
        (
            ("--set", "acoustic.window_seconds=2", "--set", "acoustic.context_seconds=1"),
            "more than twice acoustic.context_seconds 1.0",
        ),
        (("--set", "lines.max_words=0", "--model", "nowhere"), "lines.max_words is 0"),
    ],
)
def test_wrong_usage(songs, model, capsys, arguments, message):
    assert run("transcribe", songs / "one.wav", *model, *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""


def test_hot_words_come_from_words_tags_sheets_and_folders(songs, model, tmp_path, monkeypatch):
    given = {}

    def decode_transcript(info, *_, hot_words, **__):
        given[Path(info.path).name] = hot_words.split()
        raise ValueError("enough")

    monkeypatch.setattr(transcribe, "decode_transcript", decode_transcript)
    monkeypatch.setattr("lyrics_asr.inference.transcribe.read_tags", lambda path: {"title": f"Title of {path.stem}"})
    sheets = tmp_path / "sheets"
    (sheets / "more").mkdir(parents=True)
    (sheets / "more" / "two.txt").write_text("Sheet\n")
    arguments = ("--hotwords", "Zoe, " + "x" * 5000, "--hotwords", "tags", "--hotwords", sheets)
    run("transcribe", songs, "-o", tmp_path / "out", *model, *arguments, "--hotwords", songs / "one.txt")
    common = ["One", "[Chorus]", "Two"]
    assert given["one.wav"] == ["Zoe,", "x" * 5000, "Title", "of", "one", *common]
    assert given["two.wav"] == ["Zoe,", "x" * 5000, "Title", "of", "two", "Sheet", *common]


def test_several_songs_need_an_output_folder(songs, model, capsys):
    assert run("transcribe", songs, *model) == 2
    assert "--output" in capsys.readouterr().err


def test_results_are_utf_8_in_every_locale(tmp_path):
    (tmp_path / "one.json").write_text(render(TRANSCRIPT, "json"), encoding="utf-8")
    code = "import sys; from lyrics_asr.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "render", tmp_path / "one.json"],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=100,
    )
    assert done.stdout == GOLDEN["txt"].encode()


@pytest.mark.slow
def test_lm_tune_writes_the_decoder_of_a_model(tiny_model_folder, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    sound = Audio(0.1 * torch.randn(2, 44_100 * 2, generator=torch.Generator().manual_seed(0)), 44_100)
    songs = []
    for name in ("a", "b"):
        write_audio(tmp_path / f"{name}.wav", sound)
        songs.append(Song(name, tmp_path / f"{name}.wav", "seven eight nine", (), "en"))
    write_manifest(tmp_path / "songs.jsonl", songs)
    assert run("lm", "tune", model, tmp_path / "songs.jsonl", "--cache", tmp_path / "cache") == 0
    captured = capsys.readouterr()
    # The language model lacks all of the words.
    assert "over 2 songs the language model does not help beyond chance: its weight is 0" in captured.out
    assert "alpha 1.2" in captured.err
    assert load_config(DecodingOptions, model / "decoder.yaml").alpha == 0
    assert len(list((tmp_path / "cache").iterdir())) == 1  # the two songs are one

    for arguments, message in (
        (("published", tmp_path / "songs.jsonl"), "published: no model's folder"),
        ((model, tmp_path / "songs.jsonl", "--limit", "0"), "--limit is 0"),
    ):
        assert run("lm", "tune", *arguments) == 2
        assert message in capsys.readouterr().err
    (model / "language_model.arpa").unlink()
    assert run("lm", "tune", model, tmp_path / "songs.jsonl") == 2
    assert "has no language model" in capsys.readouterr().err


def test_lm_build(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("[Chorus]\nIt's 2 cats\ncats and dogs\n")
    assert run("lm", "build", tmp_path, "-o", tmp_path / "words.arpa", "--order", "2") == 0
    unigrams = (tmp_path / "words.arpa").read_text().split("\\1-grams:")[1].split("\\2-grams:")[0]
    words = {line.split("\t")[1] for line in unigrams.split("\n") if "\t" in line}
    assert words - {"<s>", "</s>", "<unk>"} == {"it's", "two", "cats", "and", "dogs"}


def test_models_list_and_path(capsys):
    assert run("models", "list") == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["published", "embedded", "embedded-small"]
    assert run("models", "path", "unheard-of") == 1
    assert "not a known model" in capsys.readouterr().err


def test_doctor_names_what_it_looked_at(capsys):
    run("doctor")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][1] == "python"
    assert [line[1] for line in lines[-5:]] == ["libraries", "device", "codecs", "models", "extras"]
    assert "eval" in lines[-1]
    assert "dev" not in lines[-1]


def test_doctor_finds_a_torchaudio_that_does_not_load(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    assert run("doctor") == 1
    assert re.search(r"^BAD +libraries +ModuleNotFoundError: .*torchaudio", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("package", "extra"),
    [("scipy", "synth"), ("jiwer", "eval"), ("mir-eval", "eval"), ("lhotse", "train"), ("ray", "ray"), ("ruff", "dev")],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(package, extra, monkeypatch, capsys):
    """With the metadata that pip installs, whose extras name all packages of the extras that they include."""
    assert extra_with(package) == extra
    assert extra_with("torch") is None

    def fails(args):
        raise ModuleNotFoundError(f"No module named '{package}'", name=f"{package.replace('-', '_')}.part")

    monkeypatch.setattr("lyrics_asr.cli.doctor.doctor", fails)
    assert run("doctor") == 1
    assert capsys.readouterr().err.endswith(f"install it with: pip install 'lyrics-asr[{extra}]'\n")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_is_listed(verb, capsys):
    assert run(verb, "--help") == 0
    assert verb in capsys.readouterr().out
    assert run("--help") == 0
    assert verb in [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]


def test_help_names_every_format(capsys):
    run("transcribe", "--help")
    text = capsys.readouterr().out
    assert all(name in text for name in FORMATS)


def test_help_does_not_build_language_models_of_the_songs_that_are_held_out(capsys):
    run("lm", "build", "--help")
    assert "lyrics-asr lm build lyrics/ -o" in capsys.readouterr().out


ACTIONS = {
    "models": ("list", "download", "path", "export", "average", "push"),
    "lm": ("build", "info", "tune"),
    "data": ("synth", "dali", "cuts", "cache-vocals"),
}


def test_help_and_import_are_light():
    """Of every verb and action, in a process that has imported nothing else."""
    verbs = [[verb, *action] for verb in VERBS for action in [[], *([each] for each in ACTIONS.get(verb, ()))]]
    code = (
        "import sys; from lyrics_asr.cli.main import main\n"
        f"for verb in {verbs}:\n"
        "    assert main([*verb, '--help']) == 0\n"
        "    heavy = {'torch', 'numpy', 'omegaconf', 'transformers', 'lhotse', 'av'} & set(sys.modules)\n"
        "    assert not heavy, (verb, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_public_names_exist():
    import lyrics_asr

    assert all(getattr(lyrics_asr, name) is not None for name in lyrics_asr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unheard'"):
        _ = lyrics_asr.unheard


@pytest.mark.slow
def test_a_native_stderr_is_quiet_and_messages_come_through(songs, tiny_model_folder):
    code = "import sys; from lyrics_asr.cli.main import main; sys.exit(main())"
    arguments = [
        "transcribe",
        songs / "one.wav",
        songs / "missing.wav",
        "-o",
        songs / "r",
        "--model",
        tiny_model_folder,
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 3
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("lyrics-asr: ") for line in lines), lines
    assert len(lines) == 3


def test_unknown_languages_are_refused_with_a_list(songs, model, capsys):
    assert run("align", songs / "one.wav", *model, "--language", "xx") == 2
    assert "unknown language 'xx'; known are auto (guessed from the lyrics), am (Amharic)" in capsys.readouterr().err
    assert run("align", songs / "one.wav", *model, "--language", "xyz") == 1  # no language of this model either
    assert "unknown language 'xyz'" in capsys.readouterr().err
    assert run("align", songs / "one.wav", *model, "--language", "auto") == 0
