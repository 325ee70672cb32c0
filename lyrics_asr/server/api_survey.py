"""A listening test of `lyrics-asr survey make`: its page for everybody, and a place for its results.

Results need no key, as raters have none. They are small, of this survey, and limited in number; each is a file of its
own in the data folder, whose name the server chooses.
"""

import json
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from lyrics_asr.console import UsageError
from lyrics_asr.files import write_text
from lyrics_asr.server.errors import ApiError

_MOST_BYTES = 200_000
_MOST_RESULTS = 5000
_SCHEMA = "lyrics-asr/survey-result/1"  # as the page writes it


def read_survey_id(folder: Path) -> str:
    """The id of the survey in a folder.

    Raises:
        UsageError: there is none.
    """
    try:
        survey_id = json.loads((folder / "survey.json").read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder}: has no survey ({error}); `lyrics-asr survey make` writes one") from error
    if not (isinstance(survey_id, str) and survey_id.isalnum()):
        raise UsageError(f"{folder}: its survey.json is damaged; make the survey again")
    return survey_id


def add_survey(app: FastAPI, folder: Path, data: Path) -> None:
    """Serve a survey at /survey/, and keep its results in `data`.

    Raises:
        UsageError: no survey in the folder.
    """
    survey_id = read_survey_id(folder)
    results = data / "survey_results" / survey_id
    router = APIRouter()

    @router.post("/survey/results", tags=["survey"], status_code=201)
    async def add_result(request: Request) -> JSONResponse:
        """Keep the results of a rater."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                raise ApiError(413, f"results have more than {_MOST_BYTES} bytes", "too_large")
        result = _parse(body)
        if result.get("schema") != _SCHEMA or result.get("survey") != survey_id:
            raise ApiError(400, "not results of this survey; reload its page", "invalid_result")
        if results.is_dir() and sum(1 for _ in results.iterdir()) >= _MOST_RESULTS:
            raise ApiError(429, f"there are {_MOST_RESULTS} results already; tell whoever runs the survey", "full")
        write_text(results / f"{secrets.token_hex(8)}.json", json.dumps(result, indent=1) + "\n")
        return JSONResponse({"status": "kept"}, 201)

    app.include_router(router)
    app.mount("/survey", StaticFiles(directory=folder, html=True), name="survey")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        result = json.loads(body)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict):
        raise ApiError(400, "results must be a JSON object", "invalid_result")
    return result
