"""Form fields that the endpoints share, and the client of a request."""

import hashlib
from typing import Annotated

from fastapi import Depends, Form, Request
from pydantic import AfterValidator
from starlette.datastructures import UploadFile

from lyrics_asr.lyrics.languages import AUTO, require_language
from lyrics_asr.server.errors import ApiError
from lyrics_asr.server.state import ServerState


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state


def _client(request: Request) -> str:
    """Who asks: a hash of the key, or else the address."""
    authorization = request.headers.get("authorization")
    if request.app.state.server.settings.keys and authorization:
        return hashlib.sha256(authorization.encode()).hexdigest()[:16]
    return request.client.host if request.client else "unknown"


State = Annotated[ServerState, Depends(_state)]
Client = Annotated[str, Depends(_client)]


def _check_language(language: str) -> str:
    if language != AUTO:
        require_language(language, or_of_model=True)
    return language


Language = Annotated[
    str,
    AfterValidator(_check_language),
    Form(max_length=40, description="language of the lyrics, such as en; auto guesses it", examples=["en"]),
]
Prompt = Annotated[str, Form(max_length=20_000, description="words that are likely to be sung, such as names")]


def lyrics_bytes(state: ServerState, lyrics: str | None, lyrics_file: UploadFile | None) -> bytes | None:
    """The lyrics of a form; None if there are none.

    Raises:
        ApiError: they are longer than allowed.
    """
    limit = state.settings.limits.lyrics_bytes
    if lyrics_file is not None:
        given = lyrics_file.file.read(limit + 1)
    elif lyrics is not None and lyrics.strip():
        given = lyrics.encode("utf-8", "replace")
    else:
        return None
    if len(given) > limit:
        raise ApiError(
            413, f"the lyrics have more than {limit} bytes; send those of one song", "too_large", param="lyrics"
        )
    return given
