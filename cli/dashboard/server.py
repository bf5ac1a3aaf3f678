"""The server of the page: files of its own, and what run directories say; on the loopback address and for it alone.

    GET /            the page                       GET /runs     every run, a row each
    GET /panels      which charts there are         GET /run      what is new of one: id, generation, since, version

It reads, and nothing else. A request for another host than this one, as a page of the web could have a browser send
under a name that leads here, is refused.
"""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atlas_ref.errors import UserError
from cli.dashboard.panels import PANELS
from cli.dashboard.watched import Watch

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer: what the page needs is here, and nothing else may load, frame or read it."""
PATIENCE = 1
"""Seconds that open connections have when the server ends."""


class Guarded:
    """An application whose answers all have HEADERS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, guarded)


def application(watch: Watch) -> Starlette:
    """Return the application that shows the runs of `watch`."""

    async def page(request: Request) -> Response:
        del request
        return FileResponse(PAGE / "index.html")

    async def panels(request: Request) -> Response:
        del request
        listed = [{**panel._asdict(), "curves": [curve._asdict() for curve in panel.curves]} for panel in PANELS]
        return JSONResponse(listed)

    async def runs(request: Request) -> Response:
        del request
        return JSONResponse(watch.rows())

    async def run(request: Request) -> Response:
        asked = request.query_params
        found = watch.find(asked.get("id", ""))
        if found is None:
            raise HTTPException(404, "no run has this id")
        try:
            generation, since = (int(asked.get(name, "0")) for name in ("generation", "since"))
        except ValueError:
            raise HTTPException(400, "generation and since are whole numbers") from None
        return JSONResponse(found.told(generation, since, asked.get("version", "")))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/panels", panels),
            Route("/runs", runs),
            Route("/run", run),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        middleware=[
            Middleware(Guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False),
        ],
    )


def listen(port: int) -> socket.socket:
    """Return a socket on a port of the loopback address, 0 for any that is free; raise UserError for a taken one."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot be listened on ({error.strerror}); give another, or 0 for any that is free."
        ) from None


def address(listening: socket.socket) -> str:
    """Return where the page of a socket is."""
    return f"http://{HOST}:{listening.getsockname()[1]}/"


def serve(watch: Watch, listening: socket.socket, ended: Callable[[uvicorn.Server], None] | None = None) -> None:
    """Serve until a signal says so; `ended` is given the server first, to end it by another way (`should_exit`)."""
    settings = uvicorn.Config(
        application(watch), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=PATIENCE
    )
    server = uvicorn.Server(settings)
    if ended is not None:
        ended(server)
    server.run(sockets=[listening])
