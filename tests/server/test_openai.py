"""OpenAI's own client against a running server."""

import pytest

from tests.fake_model import WORD_FRAMES, FakeModel
from tests.server.conftest import listening

openai = pytest.importorskip("openai", reason="needs the extra dev: pip install 'lyrics-asr[dev]'")

WORDS = list(WORD_FRAMES)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with (
        listening(tmp_path_factory.mktemp("openai") / "data") as address,
        openai.OpenAI(api_key="none", base_url=f"{address}/v1", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def transcribe(api, song):
    def transcribe(**options):
        return api.audio.transcriptions.create(file=("song.flac", song), **{"model": "whisper-1", **options})

    return transcribe


def test_models(api):
    assert [model.id for model in api.models.list()] == ["fake"]
    assert api.models.retrieve("whisper-1").id == "whisper-1"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        api.models.retrieve("gpt-9")


def test_formats(transcribe):
    text = transcribe().text
    assert text.split() == WORDS
    assert transcribe(response_format="text").split() == WORDS
    assert transcribe(response_format="srt").startswith("1\n00:00:0")
    assert transcribe(response_format="vtt").startswith("WEBVTT")


def test_verbose_json(transcribe):
    answer = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"], temperature=0.5)
    grid = FakeModel().acoustic.grid
    assert [word.word for word in answer.words] == WORDS
    assert [word.start for word in answer.words] == pytest.approx(
        [grid.seconds(frame) for frame in WORD_FRAMES.values()], abs=0.03
    )
    assert " ".join(segment.text for segment in answer.segments).split() == WORDS
    assert (answer.language, float(answer.duration)) == ("english", pytest.approx(3.0, abs=0.05))
    assert transcribe(response_format="verbose_json").words is None


def test_stream(transcribe):
    events = list(transcribe(stream=True, prompt="sun"))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert events[-1].type == "transcript.text.done"
    assert "".join(deltas) == events[-1].text
    assert events[-1].text.split() == WORDS


def test_errors(api, transcribe):
    with pytest.raises(openai.NotFoundError) as caught:
        transcribe(model="gpt-9")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="response_format"):
        transcribe(response_format="docx")
    with pytest.raises(openai.APIStatusError) as caught:
        api.audio.transcriptions.create(file=("song.mp3", b"no audio"), model="whisper-1")
    assert (caught.value.status_code, caught.value.code) == (415, "not_audio")


def test_alignments_and_separations(api, song):
    files = {"file": ("song.flac", song)}
    answer = api._client.post(
        f"{api.base_url}audio/alignments", files=files, data={"lyrics": "Sun, moon\nrain!"}
    ).json()
    assert [word["text"] for line in answer["lines"] for word in line["words"]] == ["Sun,", "moon", "rain!"]
    stem = api._client.post(f"{api.base_url}audio/separations", files=files, data={"stem": "accompaniment"})
    assert stem.headers["content-type"] == "audio/flac"
    assert stem.content.startswith(b"fLaC")
