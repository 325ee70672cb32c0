"""What every request passes: Host, Origin, key, headers of the answer, slow clients, and the access log.

Conventions
- Without keys, the Host header must name this computer or an allowed host, so that a web page cannot reach the server
  under a name of its own (DNS rebinding).
- A request from a web page must come from our own page (CSRF). Clients that are not browsers send no Origin.
- The page, the API's description and a listening test are public; with keys, everything else needs `Authorization:
  Bearer KEY`.
"""

import asyncio
import json
import logging
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lyrics_asr.server.errors import error_response
from lyrics_asr.server.settings import Limits, ServerSettings, is_address, is_loopback

_PUBLIC = ("/static/", "/docs", "/openapi.json", "/healthz")
_SURVEY = "/survey/"
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
_DOCUMENT_BYTES = 5_000_000
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

access_log = logging.getLogger("lyrics_asr.server.access")
"""One JSON object per request; the command line shows it."""


class SafetyMiddleware:
    """See the module."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            headers = Headers(scope=scope)
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await error_response(*refusal)(scope, receive, send_safely)
            else:
                await self._app(
                    scope, _LimitedBody(receive, self._body_limit(headers), self._settings.limits), send_safely
                )
        finally:
            client = scope["client"][0] if scope.get("client") else None
            entry = {"client": client, "method": scope["method"], "path": scope["path"], "status": status}
            access_log.info(json.dumps({**entry, "seconds": round(time.monotonic() - began, 4)}))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Status, message and code if the request is refused."""
        host = _host_name(headers.get("host", ""))
        if not self._is_known(host):
            return (
                421,
                f"unknown host {host[:100]!r}; start the server with --allowed-host for this name",
                "unknown_host",
            )
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
        if is_foreign or (headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD")):
            return 403, "requests from other web sites are refused", "foreign_origin"
        limit = self._body_limit(headers)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return 413, _too_large(limit), "too_large"
        path = scope["path"]
        public = _PUBLIC if self._settings.survey is None else (*_PUBLIC, _SURVEY)
        if not self._settings.keys or path == "/" or path.startswith(public):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Each is compared, in constant time, so that the time does not tell which one is nearly right.
        matches = [secrets.compare_digest(given.strip().encode(), key.encode()) for key in self._settings.keys]
        if scheme.lower() == "bearer" and any(matches):
            return None
        return 401, "no valid API key; send the header Authorization: Bearer KEY", "invalid_api_key"

    def _body_limit(self, headers: Headers) -> int:
        """The most bytes of a body: forms go to the disk, everything else to memory."""
        is_form = headers.get("content-type", "").startswith("multipart/form-data")
        upload_bytes = self._settings.limits.upload_bytes
        return upload_bytes if is_form else min(upload_bytes, _DOCUMENT_BYTES)

    def _is_known(self, host: str) -> bool:
        settings = self._settings
        if is_loopback(host) or host == settings.host or host in settings.allowed_hosts:
            return True
        if is_address(host) and not is_loopback(settings.host):  # only a name can be rebound
            return True
        return bool(settings.keys) and not settings.allowed_hosts and not is_loopback(settings.host)


class _LimitedBody:
    """Receives a request's body; HTTPException, which the application answers, if it is too large or too slow."""

    def __init__(self, receive: Receive, limit_bytes: int, limits: Limits) -> None:
        self._receive, self._limit_bytes, self._limits = receive, limit_bytes, limits
        self._is_complete = False
        self._bytes = 0

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._limits.body_wait_seconds)
        except asyncio.TimeoutError:
            raise HTTPException(408, "the client was silent in the middle of its request; send it again") from None
        self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._limit_bytes:
            raise HTTPException(413, _too_large(self._limit_bytes))
        return message


def _too_large(limit_bytes: int) -> str:
    return f"the request has more than {limit_bytes} bytes; send a smaller file"


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    return (urlsplit(f"//{host}").hostname or "") if host.isprintable() and "@" not in host else ""
