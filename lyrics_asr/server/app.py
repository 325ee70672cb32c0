"""The application: routes, the page, health, and the life of the workers."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from lyrics_asr.decoding.pool import usable_cores
from lyrics_asr.server import api_jobs, api_openai, api_survey, realign
from lyrics_asr.server.errors import add_error_handlers
from lyrics_asr.server.safety import SafetyMiddleware
from lyrics_asr.server.settings import ServerSettings
from lyrics_asr.server.state import ServerState
from lyrics_asr.version import __version__

STATIC = Path(__file__).parent / "static"

_DESCRIPTION = """Song audio in, timed lyrics out.

`POST /v1/audio/transcriptions` is OpenAI's API. Alignments and separations are in the same style. Long songs are better
sent as jobs, with progress as server-sent events."""


def create_app(settings: ServerSettings) -> FastAPI:
    """The application; its workers start and stop with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.server = ServerState(settings)
        tempfile.tempdir = str(settings.uploads)  # large forms go to this disk, whatever /tmp is
        app.state.server.start(usable_cores())
        Thread(target=realign.warm_up, daemon=True).start()
        try:
            yield
        finally:
            app.state.server.stop()
            tempfile.tempdir = None

    app = FastAPI(
        title="lyrics_asr",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # those of FastAPI load scripts from the network
        redoc_url=None,
    )
    add_error_handlers(app)
    app.include_router(api_openai.router)
    app.include_router(api_jobs.router)
    if settings.survey is not None:
        api_survey.add_survey(app, settings.survey, settings.data)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(SafetyMiddleware, settings=settings)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    @app.get("/healthz", tags=["operation"])
    async def health() -> JSONResponse:
        """Whether the workers have loaded their models; 503 if none can."""
        supervisors = app.state.server.supervisors
        failures = [supervisor.failure for supervisor in supervisors if supervisor.failure]
        ready = sum(supervisor.is_ready for supervisor in supervisors)
        status = "failed" if failures else "ok" if ready else "loading"
        return JSONResponse({"status": status, "workers": ready}, 503 if failures else 200)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(app.state.server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app
