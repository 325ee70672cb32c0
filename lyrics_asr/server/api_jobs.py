"""Jobs: the asynchronous API, which the page uses too."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import FileResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from lyrics_asr.files import write_text
from lyrics_asr.formats import parse_json, render_json
from lyrics_asr.lyrics.languages import AUTO
from lyrics_asr.server import song_files
from lyrics_asr.server.answers import JobAnswer, describe_job, describe_jobs, media_type, read_transcript, result_file
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.forms import Client, Language, Prompt, State, lyrics_bytes
from lyrics_asr.server.library import DONE, QUEUED, RUNNING, StoredSong
from lyrics_asr.server.realign import EditedLyrics, align_again
from lyrics_asr.server.state import ServerState, Upload
from lyrics_asr.types import AlignmentError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_TRANSCRIPT_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


class JobList(BaseModel):
    """The jobs of the library."""

    object: str = "list"
    data: list[JobAnswer]


class JobChange(BaseModel):
    """What a person sets for a song."""

    name: str | None = Field(None, min_length=1, max_length=200)
    offset_seconds: float | None = Field(None, ge=-10, le=10, description="shift of the words against the audio")


@router.post("", status_code=202)
async def create_job(
    state: State,
    client: Client,
    file: Annotated[UploadFile, File(description="an audio or video file")],
    lyrics: Annotated[str | None, Form(description="lyrics to align, as text, LRC, subtitles, ...")] = None,
    lyrics_file: Annotated[UploadFile | None, File(description="the same as a file, in any encoding")] = None,
    task: Annotated[Literal["auto", "transcribe", "align", "separate"], Form()] = "auto",
    language: Language = AUTO,
    prompt: Prompt = "",
) -> JobAnswer:
    """Queue a song: aligned if there are lyrics, else transcribed. An equal upload is found, not done again."""
    given = lyrics_bytes(state, lyrics, lyrics_file)
    if task == "align" and given is None:
        raise ApiError(422, "there are no lyrics to align; send lyrics or lyrics_file", "no_lyrics", param="lyrics")
    if task == "auto":
        task = "transcribe" if given is None else "align"
    upload = Upload(
        file.file, file.filename or "song", given if task == "align" else None, task, language, prompt, client
    )
    stored = await state.add(upload)
    return describe_job(state, stored.song.id)


@router.get("")
async def list_jobs(state: State) -> JobList:
    """All jobs, the newest first."""
    return JobList(data=describe_jobs(state, state.library.all()))


@router.get("/events", response_class=EventSourceResponse)
async def watch_jobs(state: State) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events `jobs` with the list of all jobs: now, and after each change."""
    async for _ in state.changes(every_seconds=0.25):
        revision = state.library.revision
        if state.listing[0] != revision:
            answer = JobList(data=describe_jobs(state, state.library.all()))
            state.listing = (revision, answer.model_dump_json())
        yield ServerSentEvent(event="jobs", raw_data=state.listing[1])


@router.get("/{job_id}")
async def get_job(state: State, job_id: str) -> JobAnswer:
    """A job, as it is now."""
    return describe_job(state, job_id)


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def watch_job(state: State, job_id: str) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events `job` with the job: now, after each change, and at its end, which ends the stream."""
    sent = None
    async for _ in state.changes(every_seconds=0.05):
        if state.library.get(job_id) is None:
            return
        answer = describe_job(state, job_id)
        if answer != sent:
            sent = answer
            yield ServerSentEvent(event="job", raw_data=answer.model_dump_json())
        if answer.status not in (QUEUED, RUNNING):
            return


@router.patch("/{job_id}")
async def change_job(state: State, job_id: str, change: JobChange) -> JobAnswer:
    """Set the name of a song, or the shift of its words."""
    state.get(job_id)
    if change.name is not None:
        state.library.rename(job_id, change.name)
    if change.offset_seconds is not None:
        state.library.set_offset(job_id, change.offset_seconds)
    return describe_job(state, job_id)


@router.post("/{job_id}/cancel")
async def cancel_job(state: State, job_id: str) -> JobAnswer:
    """Cancel a job that waits or runs."""
    state.get(job_id)
    if not state.library.cancel(job_id):
        raise ApiError(409, "the job has ended already", "ended")
    return describe_job(state, job_id)


@router.post("/{job_id}/retry")
async def retry_job(state: State, job_id: str) -> JobAnswer:
    """Queue a job again that failed or was cancelled."""
    state.get(job_id)
    if not state.library.retry(job_id):
        raise ApiError(409, "only jobs that failed or were cancelled can be tried again", "not_ended")
    state.wake()
    return describe_job(state, job_id)


@router.delete("/{job_id}", status_code=204)
async def delete_job(state: State, job_id: str) -> None:
    """Delete a song with all its files."""
    state.get(job_id)
    await state.delete(job_id)


@router.get("/{job_id}/results/{name}")
async def get_result(state: State, job_id: str, name: str) -> Response:
    """A result: transcript.json, .txt, .lrc, ...; vocals.flac, accompaniment.mp3, ...; or all.zip."""
    stored = state.get(job_id)
    result = await run_sync(result_file, state, stored, name, limiter=state.conversions)
    filename = f"{stored.song.name} - {name}"
    if isinstance(result, Path):
        return FileResponse(result, media_type=media_type(name), filename=filename)
    disposition = f"attachment; filename*=utf-8''{quote(filename)}"  # a shared page never runs as one of ours
    return Response(result, media_type=media_type(name), headers={"Content-Disposition": disposition})


@router.put("/{job_id}/transcript", openapi_extra=_TRANSCRIPT_BODY)
async def edit_transcript(request: Request, state: State, job_id: str) -> JobAnswer:
    """Replace the transcript by an edited one, in the JSON format of the results."""
    _editable(state, job_id)
    try:
        edited = parse_json((await request.body()).decode("utf-8"), "transcript")
    except ValueError as error:
        raise ApiError(422, str(error), "invalid_transcript") from error
    path = state.settings.folder(job_id) / song_files.EDITED
    await run_in_threadpool(write_text, path, render_json(edited))
    state.library.touch()
    return describe_job(state, job_id)


@router.post("/{job_id}/align")
async def align_edited(state: State, job_id: str, edited: EditedLyrics) -> Response:
    """Align edited lyrics again, at once. The answer is a transcript; PUT it to keep it."""
    transcript = await run_in_threadpool(read_transcript, state, _editable(state, job_id))
    try:
        folder = state.settings.folder(job_id)
        aligned = await run_sync(align_again, folder, transcript, edited, limiter=state.conversions)
    except AlignmentError as error:
        raise ApiError(422, str(error), "not_aligned") from error
    except FileNotFoundError as error:
        raise ApiError(409, "the emissions of this song are missing; upload it again", "no_emissions") from error
    return Response(render_json(aligned), media_type="application/json")


@router.delete("/{job_id}/transcript")
async def discard_edits(state: State, job_id: str) -> JobAnswer:
    """Go back to the transcript as it was processed."""
    state.get(job_id)
    (state.settings.folder(job_id) / song_files.EDITED).unlink(missing_ok=True)
    state.library.touch()
    return describe_job(state, job_id)


def _editable(state: ServerState, job_id: str) -> StoredSong:
    """The song with this id.

    Raises:
        ApiError: there is none, or its transcript and emissions are not complete.
    """
    stored = state.get(job_id)
    if stored.status != DONE or stored.song.task == "separate":
        raise ApiError(409, "this job has no transcript to edit, or is not done", "not_done")
    return stored
