"""Pages to sing along from results on disk."""

import base64
import io
import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from lyrics_asr.audio import Audio, read_audio, write_audio
from lyrics_asr.cli.main import main
from lyrics_asr.formats import render, render_json
from lyrics_asr.types import AudioInfo
from tests.fake_model import BACKING, DURATION_SECONDS, RATE_HZ, VOICE
from tests.formats.test_formats import TRANSCRIPT
from tests.server.conftest import finished


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_page_of_downloads_is_that_of_the_server(client, song, tmp_path):
    created = client.post("/v1/jobs", files={"file": ("A <song>.flac", song)}, data={"lyrics": "sun\nmoon"})
    job = finished(client, created.json())
    results = f"/v1/jobs/{job['id']}/results"
    with zipfile.ZipFile(io.BytesIO(client.get(f"{results}/all.zip").content)) as archive:
        archive.extractall(tmp_path)
    assert run("render", tmp_path / "transcript.json", "-o", tmp_path, "--format", "html,lrc") == 0
    assert (tmp_path / "transcript.share.html").read_bytes() == client.get(f"{results}/share.html").content


def test_page_of_separated_vocals(tmp_path, monkeypatch, capsys):
    """The accompaniment is the song without its vocals."""
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "songs/a_song.flac", Audio(VOICE + BACKING, RATE_HZ))
    write_audio(tmp_path / "vocals/a_song.flac", Audio(VOICE, RATE_HZ))
    (tmp_path / "results").mkdir()
    transcript = replace(TRANSCRIPT, audio=AudioInfo("songs/a_song.flac", DURATION_SECONDS, RATE_HZ))
    (tmp_path / "results/a_song.json").write_text(render(transcript, "json"), encoding="utf-8")

    assert run("render", "results", "-o", "pages", "--format", "html") == 1
    assert "lyrics-asr separate" in capsys.readouterr().err
    assert run("render", "results", "-o", "pages", "--format", "html", "--vocals", "vocals") == 0
    page = (tmp_path / "pages/a_song.share.html").read_text(encoding="utf-8")
    (content,) = re.findall(r'id="song">(.*?)</script>', page)
    shared = json.loads(content)
    assert shared["title"] == "a song"
    assert shared["transcript"] == json.loads(render_json(transcript))
    for name, expected in {"vocals": VOICE, "accompaniment": BACKING}.items():
        (tmp_path / f"{name}.mp3").write_bytes(base64.b64decode(shared["stems"][name]))
        samples = read_audio(tmp_path / f"{name}.mp3").samples.numpy()
        np.testing.assert_allclose(samples[:, 2000:-2000], expected.numpy()[:, 2000:-2000], atol=0.01)


@pytest.mark.parametrize(
    ("missing", "told"), [("songs/a.wav", "songs/a.wav, which does not exist"), (None, "no vocals")]
)
def test_missing_audio(tmp_path, monkeypatch, capsys, missing, told):
    monkeypatch.chdir(tmp_path)
    if missing is not None:
        write_audio(tmp_path / "vocals/a.wav", Audio(VOICE, RATE_HZ))
    transcript = replace(TRANSCRIPT, audio=AudioInfo("songs/a.wav", DURATION_SECONDS, RATE_HZ))
    (tmp_path / "a.json").write_text(render(transcript, "json"), encoding="utf-8")
    assert run("render", "a.json", "-o", "pages", "--format", "html", "--vocals", "vocals") == 1
    assert told in capsys.readouterr().err


def test_vocals_are_for_pages(tmp_path, capsys):
    (tmp_path / "a.json").write_text(render(TRANSCRIPT, "json"), encoding="utf-8")
    assert run("render", tmp_path / "a.json", "--vocals", tmp_path) == 2
    assert "--vocals is for --format html" in capsys.readouterr().err
