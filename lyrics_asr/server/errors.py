"""Errors of the API, in the shape of OpenAI's: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lyrics_asr.console import log_traceback

_CODES = {404: "not_found", 408: "timeout", 413: "too_large"}


class ApiError(Exception):
    """An error for the client.

    Args:
        status: HTTP status.
        message: what is wrong, and what to do.
        code: short name of the error, for programs.
        param: name of the wrong parameter, if any.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.headers = status, message, code, param, headers


def error_response(
    status: int, message: str, code: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error as the client sees it."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception in this shape."""

    @app.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.message, error.code, error.param, error.headers)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(
            error.status_code, str(error.detail), _CODES.get(error.status_code, "http_error"), headers=error.headers
        )

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        return error_response(400, f"{param}: {first['msg']}", "invalid_parameter", param)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        log_traceback(error)
        return error_response(500, "the server has failed; its log says why", "internal")
