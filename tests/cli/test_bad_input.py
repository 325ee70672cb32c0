"""What users really hand in: messages name file, cause and remedy; no half-written file and no traceback."""

import json
import os
import signal
import time

import pytest
import torch

from lyrics_asr.audio import Audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.formats import parse_json
from lyrics_asr.inference import transcribe
from lyrics_asr.inference.results import LEDGER_NAME
from tests.fork_server import start_command

RATE_HZ = 16_000


def noise(seconds, channels=1, rate_hz=RATE_HZ):
    generator = torch.Generator().manual_seed(0)
    return Audio(0.2 * torch.randn(channels, round(seconds * rate_hz), generator=generator), rate_hz)


def write_song(path, audio=None):
    write_audio(path, audio or noise(1.0))
    return path


@pytest.fixture
def cli(tiny_model_folder, tmp_path, capsys):
    """Runs a verb with the tiny model into `tmp_path / "out"`; gives exit code, messages and files written."""

    def run(verb, *inputs):
        output = tmp_path / "out"
        code = main([verb, *map(str, inputs), "-o", str(output), "--model", str(tiny_model_folder), "--device", "cpu"])
        logs = ("run.jsonl", "run.log", LEDGER_NAME)
        files = sorted(path.name for path in output.rglob("*") if path.name not in logs) if output.is_dir() else []
        return code, capsys.readouterr().err, files

    return run


def assert_refused(result, *parts):
    code, message, files = result
    assert code == 1
    assert all(part in message for part in parts), message
    assert "; " in message, f"no remedy: {message}"
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    assert files == []


def test_missing_file(cli, tmp_path):
    assert_refused(cli("transcribe", tmp_path / "song.mp3"), "song.mp3", "no such file")


def test_folder_in_place_of_a_file(cli, tmp_path):
    (tmp_path / "song.mp3").mkdir()
    code, message, files = cli("transcribe", tmp_path / "song.mp3")
    assert code == 2
    assert "song.mp3: has no file with a suffix among" in message
    assert files == []


def test_empty_file(cli, tmp_path):
    (tmp_path / "song.mp3").touch()
    assert_refused(cli("transcribe", tmp_path / "song.mp3"), "song.mp3", "empty")


def test_text_that_is_called_mp3(cli, tmp_path):
    (tmp_path / "song.mp3").write_text("These are words and no sound.\n" * 50)
    assert_refused(cli("transcribe", tmp_path / "song.mp3"), "song.mp3")


def test_mp3_cut_off_in_the_middle_is_read_as_far_as_it_goes(cli, tmp_path):
    song = write_song(tmp_path / "song.mp3", noise(4.0))
    song.write_bytes(song.read_bytes()[: song.stat().st_size // 2])
    code, message, files = cli("transcribe", song)
    assert (code, files) == (0, ["song.json"])
    assert f"{song}: the header says 4.0 s, 2." in message
    transcript = parse_json((tmp_path / "out/song.json").read_text(), "song.json")
    assert 1.5 < transcript.audio.duration_seconds < 2.5
    (entry,) = map(json.loads, (tmp_path / "out/run.jsonl").read_text().splitlines())
    assert entry["audio_seconds"] == pytest.approx(transcript.audio.duration_seconds, abs=1e-3)
    assert_refused((*cli("transcribe", song, "--strict")[:2], []), "song.mp3", "get the file again")


def test_name_that_is_not_utf_8(tiny_model_folder, tmp_path, capfd):
    name = os.fsdecode(b"\xc9t\xe9")
    try:
        song = write_song(tmp_path / f"{name}.wav")
    except OSError:
        pytest.skip("the file system holds no such names")
    output = tmp_path / "out"
    assert main(["transcribe", str(song), "-o", str(output), "--greedy", "--model", str(tiny_model_folder)]) == 0
    assert "wrote" in capfd.readouterr().err
    transcript = parse_json((output / f"{name}.json").read_text("utf-8"), "song.json")
    assert transcript.audio.path == f"{tmp_path}/\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}.wav"
    assert os.fsencode(f'"outputs": ["{name}.json"]') in (output / "run.jsonl").read_bytes()


def test_too_short(cli, tmp_path):
    assert_refused(cli("transcribe", write_song(tmp_path / "song.wav", noise(0.05))), "song.wav", "0.050 s")


def test_silence(cli, tmp_path):
    song = write_song(tmp_path / "song.wav", Audio(torch.zeros(1, RATE_HZ), RATE_HZ))
    assert_refused(cli("transcribe", song), "song.wav", "silent")


def test_samples_that_are_no_numbers(cli, tmp_path):
    audio = noise(1.0)
    audio.samples[0, 100] = float("nan")
    assert_refused(cli("transcribe", write_song(tmp_path / "song.wav", audio)), "song.wav", "not finite")


def test_video_file(cli, tmp_path):
    import av

    path = tmp_path / "song.mkv"
    with av.open(str(path), "w") as container:
        picture, sound = (
            container.add_stream("mpeg4", rate=10),
            container.add_stream("aac", rate=RATE_HZ, layout="mono"),
        )
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        frame = av.AudioFrame.from_ndarray(noise(1.0).samples.numpy(), format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(sound.encode(frame))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    assert cli("transcribe", path)[::2] == (0, ["song.json"])


def test_video_without_sound(cli, tmp_path):
    import av

    path = tmp_path / "song.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        container.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(picture.encode(None))
    assert_refused(cli("transcribe", path), "song.mkv", "audio")


@pytest.mark.parametrize(("channels", "rate_hz"), [(6, 48_000), (1, 8_000), (2, 192_000)])
def test_unusual_channels_and_rates(cli, tmp_path, channels, rate_hz):
    song = write_song(tmp_path / "song.wav", noise(0.5, channels, rate_hz))
    assert cli("transcribe", song)[::2] == (0, ["song.json"])


@pytest.mark.parametrize(
    ("text", "encoding"), [("Où est l'été\nà Noël", "latin-1"), ("Love 🎵 you ❤️", "utf-8"), ("さくら はな", "utf-8")]
)
def test_lyrics_in_other_encodings_and_scripts(cli, tmp_path, text, encoding):
    song = write_song(tmp_path / "song.wav")
    song.with_suffix(".txt").write_bytes(text.encode(encoding))
    assert cli("align", song)[::2] == (0, ["song.json"])
    transcript = parse_json((tmp_path / "out/song.json").read_text("utf-8"), "song.json")
    assert [word.text for line in transcript.lines for word in line.words] == text.split()
    assert transcript.text == text


def test_empty_lyrics(cli, tmp_path):
    song = write_song(tmp_path / "song.wav")
    song.with_suffix(".txt").write_text("\n\n")
    assert_refused(cli("align", song), "song.txt")


@pytest.mark.slow
def test_lyrics_that_cannot_fit(cli, tmp_path):
    song = write_song(tmp_path / "song.wav", noise(10.0))
    song.with_suffix(".txt").write_text("word " * 10_000)
    assert_refused(cli("align", song), "song.wav", "frames")


def test_output_folder_without_write_permission(cli, tmp_path, monkeypatch):
    song = write_song(tmp_path / "song.wav")
    (tmp_path / "out").mkdir(mode=0o500)
    if os.access(tmp_path / "out", os.W_OK):  # the superuser may write anywhere

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert_refused(cli("transcribe", song), "out", "Permission denied", "permissions")


def test_output_folder_is_a_file(cli, tmp_path):
    song = write_song(tmp_path / "song.wav")
    (tmp_path / "out").write_text("mine")
    assert_refused(cli("transcribe", song), "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.usefixtures("full_disk")
def test_full_disk(tiny_model_folder, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        song = write_song(tmp_path / "song.wav")
    output = tmp_path / "out"
    assert main(["separate", str(song), "-o", str(output), "--model", str(tiny_model_folder)]) == 1
    message = capsys.readouterr().err
    assert "out/song.wav: cannot be written: No space left on device; free some space" in message
    assert sorted(path.name for path in output.iterdir()) == [LEDGER_NAME, "run.jsonl", "run.log"]


def test_missing_model(tmp_path, capsys):
    song = write_song(tmp_path / "song.wav")
    assert main(["transcribe", str(song), "--model", str(tmp_path / "nowhere")]) == 1
    assert "--model embedded" in capsys.readouterr().err


def test_a_bad_song_among_good_ones(cli, tmp_path):
    folder = tmp_path / "songs"
    for name in ("a", "c"):
        write_song(folder / f"{name}.wav")
    (folder / "b.mp3").write_text("no sound")
    code, message, files = cli("transcribe", folder)
    assert (code, files) == (3, ["a.json", "c.json"])
    assert "b.mp3" in message
    assert "1 of 3 songs failed" in message


def test_an_unforeseen_error_is_named_and_shown_with_debug(cli, tmp_path, monkeypatch, capsys, tiny_model_folder):
    def fail(*_, **__):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(transcribe, "decode_transcript", fail)
    song = write_song(tmp_path / "song.wav")
    code, message, _ = cli("transcribe", song)
    assert code == 1
    assert "ZeroDivisionError: by nought" in message
    assert "Traceback" not in message
    assert main(["transcribe", str(song), "--debug", "--model", str(tiny_model_folder)]) == 1
    assert "Traceback" in capsys.readouterr().err
    log = (tmp_path / "out/run.log").read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert 'in fail\n    raise ZeroDivisionError("by nought")' in log


def test_ctrl_c_in_process_leaves_no_file_and_ends_the_caller(cli, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    song = write_song(tmp_path / "song.wav")
    monkeypatch.setattr(os, "fsync", interrupt)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        cli("transcribe", song)
    assert signal.getsignal(signal.SIGTERM) is before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LEDGER_NAME, "run.log"]
    assert capsys.readouterr().err == "lyrics-asr: interrupted; finished files are kept, the one in progress is not\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_from_outside(tiny_model_folder, tmp_path, number):
    for song in range(3):
        write_song(tmp_path / "songs" / f"{song}.wav", noise(1.0 if song == 0 else 600.0))
    process = start_command(
        ["separate", tmp_path / "songs", "-o", tmp_path / "out", "--model", tiny_model_folder], tmp_path / "stderr"
    )
    deadline = time.monotonic() + 180
    while not (tmp_path / "out/run.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "out/run.jsonl").exists(), "the first song was not done in time"
    os.kill(process.pid, number)
    process.join(180)
    errors = (tmp_path / "stderr").read_text()
    assert process.exitcode == 130, errors
    assert "interrupted" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [LEDGER_NAME, "0.wav", "run.jsonl", "run.log"]
