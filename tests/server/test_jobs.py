"""Jobs over HTTP: from upload to results."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from lyrics_asr.audio import Audio, AudioError, leveling_gain, read_audio, write_audio
from lyrics_asr.formats import parse_json, render_json
from lyrics_asr.server.settings import Limits
from lyrics_asr.types import AudioInfo, ModelInfo, Transcript
from tests.fake_model import BACKING, RATE_HZ, VOICE, WORD_FRAMES, FakeModel
from tests.server.conftest import finished, running


def post(client, song, name="A song.flac", **fields):
    return client.post("/v1/jobs", files={"file": (name, song)}, data=fields)


def test_upload_with_lyrics_is_aligned(client, song, tmp_path):
    created = post(client, song, lyrics="Sun, moon\nrain!")
    assert created.status_code == 202
    assert (created.json()["name"], created.json()["task"]) == ("A song", "align")
    job = finished(client, created.json())
    assert (job["status"], job["error"]) == ("done", None)

    def result(name):
        answer = client.get(f"/v1/jobs/{job['id']}/results/{name}")
        assert answer.status_code == 200
        return answer.content

    transcript = parse_json(result("transcript.json").decode(), "answer")
    grid = FakeModel().acoustic.grid
    starts = [word.start_seconds for line in transcript.lines for word in line.words]
    assert starts == pytest.approx([grid.seconds(frame) for frame in WORD_FRAMES.values()], abs=0.03)
    assert (transcript.audio.path, transcript.audio.sample_rate_hz) == ("A song", RATE_HZ)
    # The fake separator's vocals are those of the raised song, and the stems sum up to the mixture.
    stems = []
    for name in ("vocals.flac", "accompaniment.flac"):
        (tmp_path / name).write_bytes(result(name))
        stems.append(read_audio(tmp_path / name).samples.numpy())
    gain = leveling_gain(Audio(VOICE + BACKING, RATE_HZ))
    np.testing.assert_allclose(stems[0], ((VOICE + 0.1 * BACKING) / gain).numpy(), atol=1e-4)
    np.testing.assert_allclose(stems[0] + stems[1], (VOICE + BACKING).numpy(), atol=2e-4)
    with zipfile.ZipFile(io.BytesIO(result("all.zip"))) as archive:
        assert archive.read("transcript.lrc") == result("transcript.lrc")
        assert archive.read("vocals.flac") == result("vocals.flac")
    assert len(result("vocals.mp3")) > 1000


def test_melody(client, song):
    """The fake voice is a tone of 440 Hz, MIDI note 69; UltraStar counts from C4, 60."""
    job = finished(client, post(client, song, lyrics="sun\nmoon\n").json())
    address = f"/v1/jobs/{job['id']}"
    client.patch(address, json={"name": "../A/song"})
    edited = client.get(f"{address}/results/transcript.json").text.replace('"moon"', '"mood"')
    client.put(f"{address}/transcript", content=edited.replace('"path": "A song"', '"path": "/etc/passwd"'))
    rows = client.get(f"{address}/results/transcript.ultrastar.txt").text.splitlines()
    assert rows[1] == "#TITLE:.. A song"
    notes = [row.split(maxsplit=4) for row in rows if row[0] == ":"]
    assert [note[3:] for note in notes] == [["9", "sun"], ["9", "mood"]]
    assert client.get(f"{address}/results/transcript.mid").content.startswith(b"MThd")


def test_equal_uploads_are_found(client, song):
    first = finished(client, post(client, song, lyrics="Sun, moon\nrain!").json())
    assert post(client, song, name="other.mp3", lyrics="Sun, moon\nrain!").json()["id"] == first["id"]
    assert post(client, song, lyrics="Sun, moon").json()["id"] != first["id"]


def test_transcription(client, song):
    job = finished(client, post(client, song).json())
    assert (job["status"], job["task"]) == ("done", "transcribe")
    text = client.get(f"/v1/jobs/{job['id']}/results/transcript.txt").text
    assert text.split() == list(WORD_FRAMES)


def test_events_end_with_the_job(client, song):
    post(client, song, lyrics="rain moon sun")  # the other waits for this one, while its events are asked for
    job = post(client, song, lyrics="moon sun rain").json()
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert events[0]["status"] in ("queued", "running")
    assert events[-1]["status"] == "done"
    stages = list(dict.fromkeys(event["stage"] for event in events if event["stage"]))
    every = ["decoding", "separation", "acoustic", "lyrics", "writing"]
    assert stages == [stage for stage in every if stage in stages]  # an event has the stage of its moment


def test_edits_are_kept(client, song):
    job = finished(client, post(client, song, lyrics="sun moon").json())
    address = f"/v1/jobs/{job['id']}"
    original = client.get(f"{address}/results/transcript.json").text
    edited = original.replace('"sun"', '"son"')
    assert client.put(f"{address}/transcript", content=edited).json()["is_edited"]
    assert (
        "son"
        in client.get(f"{address}/results/transcript.txt").text + client.get(f"{address}/results/transcript.json").text
    )
    assert client.put(f"{address}/transcript", content="{}").status_code == 422
    assert client.put(f"{address}/transcript", content=" " * 6_000_000).status_code == 413
    assert not client.delete(f"{address}/transcript").json()["is_edited"]
    assert client.get(f"{address}/results/transcript.json").text == original


def test_aligned_again(client, song):
    """Words that a person has set stay, and their neighbours give way; others get the times of the emissions."""
    job = finished(client, post(client, song, lyrics="sun rain").json())
    lines = [
        {"words": [{"text": "Sun"}, {"text": "moon", "start_seconds": 1.15, "end_seconds": 2.1, "is_set": True}]},
        {"words": [{"text": "rain"}]},
    ]
    answer = client.post(f"/v1/jobs/{job['id']}/align", json={"lines": lines})
    assert answer.status_code == 200
    (sun, moon), (rain,) = (line.words for line in parse_json(answer.text, "answer").lines)
    grid = FakeModel().acoustic.grid
    assert (moon.text, moon.start_seconds, moon.end_seconds, moon.confidence) == ("moon", 1.15, 2.1, 1.0)
    assert sun.start_seconds == pytest.approx(grid.seconds(WORD_FRAMES["sun"]), abs=0.03)
    assert sun.end_seconds <= 1.15
    assert rain.start_seconds == pytest.approx(grid.seconds(WORD_FRAMES["rain"]), abs=0.03)
    assert client.put(f"/v1/jobs/{job['id']}/transcript", content=answer.text).json()["is_edited"]
    for wrong in ([], [{"words": []}], [{"words": [{"text": "a b"}]}]):
        assert client.post(f"/v1/jobs/{job['id']}/align", json={"lines": wrong}).status_code == 400


def test_offset_and_name(client, song):
    job = finished(client, post(client, song).json())
    changed = client.patch(f"/v1/jobs/{job['id']}", json={"offset_seconds": -0.05, "name": "<b>Ä</b>"}).json()
    assert (changed["offset_seconds"], changed["name"]) == (-0.05, "<b>Ä</b>")
    assert client.patch(f"/v1/jobs/{job['id']}", json={"offset_seconds": 99}).status_code == 400


def test_delete(client, song):
    job = finished(client, post(client, song, lyrics="rain").json())
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert job["id"] not in [each["id"] for each in client.get("/v1/jobs").json()["data"]]
    assert not (client.app.state.server.settings.folder(job["id"])).exists()


@pytest.mark.parametrize("name", ["..%2Flock", "source", "mixture.npy", "transcript.exe", "..%2F..%2Flibrary.sqlite3"])
def test_results_are_a_fixed_list(client, song, name):
    job = finished(client, post(client, song).json())
    assert client.get(f"/v1/jobs/{job['id']}/results/{name}").status_code == 404


def _wav(tmp_path, samples):
    write_audio(tmp_path / "song.wav", Audio(samples, RATE_HZ))
    return (tmp_path / "song.wav").read_bytes()


def test_wrong_uploads(client, song, tmp_path):
    def refusal(*args, **fields):
        answer = post(client, *args, **fields)
        return answer.status_code, answer.json()["error"]["code"]

    assert refusal(b"no audio at all", "song.mp3") == (415, "not_audio")
    assert refusal(b"", "song.mp3") == (415, "not_audio")
    assert refusal(song, lyrics="[Chorus]\n") == (422, "no_lyrics")
    assert refusal(song, task="align") == (422, "no_lyrics")
    assert refusal(song, lyrics="la " * 100_000) == (413, "too_large")
    assert refusal(song, language="../../x") == (400, "invalid_parameter")
    half = _wav(tmp_path, VOICE)[:30]
    assert refusal(half, "half.wav") == (415, "not_audio")


def test_songs_that_fail_alone(client, tmp_path):
    nan = VOICE.clone()
    nan[0, 100] = float("nan")
    job = finished(client, post(client, _wav(tmp_path, nan), "nan.wav").json())
    assert job["status"] == "failed"
    assert "not finite" in job["error"]
    assert str(client.app.state.server.settings.data) not in job["error"]
    assert client.post(f"/v1/jobs/{job['id']}/retry").status_code == 200
    assert finished(client, job)["status"] == "failed"


def test_limits(song, tmp_path):
    limits = Limits(upload_bytes=400_000, audio_seconds=2.0)
    with running(tmp_path / "data", limits=limits) as client:
        answer = post(client, song)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_long")
        answer = post(client, bytes(500_000))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_slow_headers_leave_room_for_others(client, song, monkeypatch):
    """More files whose headers take long than the server has threads."""
    job = finished(client, post(client, song).json())
    released = Event()

    def inspect_slowly(*_):
        released.wait(30)
        raise AudioError("enough")

    monkeypatch.setattr(client.app.state.server.decoder, "inspect", inspect_slowly)
    with ThreadPoolExecutor(45) as clients:
        uploads = [clients.submit(post, client, b"%d" % number) for number in range(45)]
        try:
            assert client.get(f"/v1/jobs/{job['id']}/results/vocals.mp3").status_code == 200
            assert not any(upload.done() for upload in uploads)
        finally:
            released.set()
    assert {upload.result().status_code for upload in uploads} == {415}


def test_full_queue(song, tmp_path):
    """The queue holds what the workers have not begun: here there are none."""
    with running(tmp_path / "data", limits=Limits(queued_jobs=2), devices=()) as client:
        ids = [post(client, song, lyrics=word).json()["id"] for word in ("sun", "moon")]
        answer = post(client, song, lyrics="rain")
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
        assert int(answer.headers["retry-after"]) >= 1
        assert post(client, song, lyrics="sun").json()["id"] == ids[0]  # an equal upload needs no room
        assert [client.get(f"/v1/jobs/{each}").json()["position"] for each in ids] == [0, 1]
        assert client.post(f"/v1/jobs/{ids[0]}/cancel").json()["status"] == "cancelled"
        assert client.post(f"/v1/jobs/{ids[0]}/cancel").status_code == 409
        assert client.get(f"/v1/jobs/{ids[1]}").json()["position"] == 0


def test_queue_survives_a_restart(song, tmp_path):
    with running(tmp_path / "data", devices=()) as client:
        job = post(client, song, lyrics="sun").json()
        assert client.app.state.server.library.claim().song.id == job["id"]  # as a killed server leaves it
    with running(tmp_path / "data") as client:
        assert finished(client, job)["status"] == "done"
        assert b'lyrics_asr_songs_total{outcome="done"} 1.0' in client.get("/metrics").content


def test_words_are_answered_before_the_stems(song, tmp_path):
    """As a worker leaves a song in the middle: the transcript is there, the stems are not."""
    with running(tmp_path / "data", devices=()) as client:
        job = post(client, song, lyrics="sun\nmoon").json()
        assert job["results"] == []
        transcript = Transcript(
            "align", AudioInfo("song", 3.0, RATE_HZ), ModelInfo("a", "b", "c", None), "sun\nmoon", ()
        )
        folder = client.app.state.server.settings.folder(job["id"])
        (folder / "transcript.json").write_text(render_json(transcript))
        answer = client.post("/v1/audio/alignments", files={"file": song}, data={"lyrics": "sun\nmoon"})
        assert (answer.status_code, answer.json()["text"]) == (200, "sun\nmoon")
        now = client.get(f"/v1/jobs/{job['id']}").json()
        assert now["status"] == "queued"
        assert "transcript.lrc" in now["results"]
        for absent in ("vocals.flac", "all.zip", "share.html", "transcript.mid"):
            assert absent not in now["results"]
            assert client.get(f"/v1/jobs/{job['id']}/results/{absent}").status_code == 404
