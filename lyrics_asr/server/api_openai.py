"""OpenAI's transcription API, and alignments and separations in the same style.

Each request is a job of the library, and waits for its words, not for the stems. Words come with the beam search at the
end of a song, so the deltas of `stream=true` are whole lines.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from lyrics_asr.formats import render, suffix_of
from lyrics_asr.lyrics.languages import AUTO, NAMES, base_code
from lyrics_asr.server.answers import OFFERED_FORMATS, media_type, read_transcript, result_file
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.forms import Client, Language, Prompt, State, lyrics_bytes
from lyrics_asr.server.state import ServerState, Upload
from lyrics_asr.types import Transcript

router = APIRouter(prefix="/v1", tags=["OpenAI"])

ALIASES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""Names that clients have built in; the server's model answers to them."""

AudioFile = Annotated[UploadFile, File(description="an audio or video file")]
ModelName = Annotated[str, Form(description="a name of GET /v1/models", examples=["whisper-1"])]


@router.get("/models")
async def list_models(state: State) -> dict[str, Any]:
    """The model of this server."""
    return {"object": "list", "data": [_describe_model(state.settings.model)]}


@router.get("/models/{name}")
async def get_model(state: State, name: str) -> dict[str, Any]:
    """The model of this server, by its name or an alias."""
    _check_model(state, name)
    return _describe_model(name)


@router.post("/audio/transcriptions")
async def transcribe(
    state: State,
    client: Client,
    file: AudioFile,
    model: ModelName,
    language: Language = AUTO,
    prompt: Prompt = "",
    response_format: Annotated[Literal["json", "text", "srt", "vtt", "verbose_json"], Form()] = "json",
    timestamp_granularities: Annotated[
        list[Literal["word", "segment"]] | None, Form(alias="timestamp_granularities[]")
    ] = None,
    stream: Annotated[bool, Form()] = False,
    temperature: Annotated[float, Form(description="accepted and ignored: results do not vary")] = 0.0,
) -> Response:
    """Transcribe a song as OpenAI's API does; `prompt` has words to expect."""
    _check_model(state, model)
    if timestamp_granularities and response_format != "verbose_json":
        message = "timestamp_granularities needs response_format verbose_json"
        raise ApiError(400, message, "invalid_parameter", param="timestamp_granularities")
    upload = Upload(file.file, file.filename or "song", None, "transcribe", language, prompt, client)
    song_id = (await state.add(upload)).song.id
    if stream:
        return StreamingResponse(_events(state, song_id), media_type="text/event-stream")
    transcript = read_transcript(state, await state.transcribed(song_id))
    if response_format == "verbose_json":
        return JSONResponse(verbose_json(transcript, timestamp_granularities or ["segment"]))
    if response_format == "json":
        usage = {"type": "duration", "seconds": round(transcript.audio.duration_seconds)}
        return JSONResponse({"text": transcript.text, "usage": usage})
    text = render(transcript, "txt" if response_format == "text" else response_format)
    return Response(text, media_type=media_type(f"text.{response_format}"))


@router.post("/audio/alignments")
async def align(
    state: State,
    client: Client,
    file: AudioFile,
    lyrics: Annotated[str | None, Form(description="lyrics as text, LRC, subtitles, ...")] = None,
    lyrics_file: Annotated[UploadFile | None, File(description="the same as a file")] = None,
    language: Language = AUTO,
    response_format: Annotated[str, Form(description=f"one of {', '.join(OFFERED_FORMATS)}")] = "json",
) -> Response:
    """Give every word of known lyrics its time; the answer is the transcript of `lyrics-asr align`."""
    if response_format not in OFFERED_FORMATS:
        message = f"unknown response_format; use one of {', '.join(OFFERED_FORMATS)}"
        raise ApiError(400, message, "invalid_parameter", param="response_format")
    given = lyrics_bytes(state, lyrics, lyrics_file)
    if given is None:
        raise ApiError(422, "there are no lyrics to align; send lyrics or lyrics_file", "no_lyrics", param="lyrics")
    upload = Upload(file.file, file.filename or "song", given, "align", language, "", client)
    stored = await state.transcribed((await state.add(upload)).song.id)
    text = render(read_transcript(state, stored), response_format)
    return Response(text, media_type=media_type(f"text{suffix_of(response_format)}"))


@router.post("/audio/separations", response_class=FileResponse)
async def separate(
    state: State,
    client: Client,
    file: AudioFile,
    stem: Annotated[Literal["vocals", "accompaniment"], Form()] = "vocals",
    response_format: Annotated[Literal["flac", "mp3", "wav"], Form()] = "flac",
) -> FileResponse:
    """Separate a song, and answer with one stem; ask again for the other, which is kept."""
    upload = Upload(file.file, file.filename or "song", None, "separate", AUTO, "", client)
    stored = await state.finished((await state.add(upload)).song.id)
    name = f"{stem}.{response_format}"
    path = await run_sync(result_file, state, stored, name, limiter=state.conversions)
    assert isinstance(path, Path)
    return FileResponse(path, media_type=media_type(name), filename=f"{stored.song.name} - {name}")


def verbose_json(transcript: Transcript, granularities: list[Literal["word", "segment"]]) -> dict[str, Any]:
    """A transcript as OpenAI's `verbose_json`; segments are lines."""
    language = base_code(transcript.language or "en")
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": NAMES.get(language, language).lower(),
        "duration": transcript.audio.duration_seconds,
        "text": transcript.text,
    }
    if "word" in granularities:
        answer["words"] = []
        for line in transcript.lines:
            for word in line.words:
                answer["words"].append({"word": word.text, "start": word.start_seconds, "end": word.end_seconds})
    if "segment" in granularities:
        answer["segments"] = []
        for number, line in enumerate(transcript.lines):
            segment = {"id": number, "seek": 0, "start": line.start_seconds, "end": line.end_seconds, "text": line.text}
            unknown = {"tokens": [], "temperature": 0.0, "avg_logprob": 0.0, "compression_ratio": 1.0}
            answer["segments"].append({**segment, **unknown, "no_speech_prob": 1 - line.confidence})
    return answer


async def _events(state: ServerState, song_id: str) -> AsyncIterator[str]:
    try:
        transcript = read_transcript(state, await state.transcribed(song_id))
    except ApiError as error:
        yield _event({"error": {"message": error.message, "type": "invalid_request_error", "code": error.code}})
        return
    for number, line in enumerate(transcript.lines):
        yield _event({"type": "transcript.text.delta", "delta": "\n" * bool(number) + line.text})
    yield _event({"type": "transcript.text.done", "text": transcript.text})


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _check_model(state: ServerState, name: str) -> None:
    known = (state.settings.model, *ALIASES)
    if name not in known:
        message = f"the model {name[:100]!r} does not exist; use one of {', '.join(known)}"
        raise ApiError(404, message, "model_not_found", param="model")


def _describe_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "lyrics-asr"}
