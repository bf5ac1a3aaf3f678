"""The server of the page in a thread of this process, and questions to it with the client of the standard library."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvicorn

from cli.dashboard.server import address, listen, serve
from cli.dashboard.watched import Watch


@contextmanager
def served(*places: Path) -> Iterator[str]:
    """Serve the runs at some places, and provide the address."""
    servers: list[uvicorn.Server] = []
    with listen(0) as listening:
        thread = threading.Thread(target=serve, args=(Watch(places), listening, servers.append))
        thread.start()
        try:
            yield address(listening)
        finally:
            servers[0].should_exit = True
            thread.join()


def answer(site: str, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    """Return what the server answers, and the body."""
    connection = HTTPConnection(urlsplit(site).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        found = connection.getresponse()
        return found, found.read()
    finally:
        connection.close()


def told(site: str, path: str, **query: object) -> Any:
    """Return the JSON of an answer, which must be one."""
    found, body = answer(site, f"{path}?{urlencode(query)}" if query else path)
    assert found.status == 200, body
    return json.loads(body)
