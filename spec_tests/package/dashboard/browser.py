"""A real browser without a window, spoken to through a pipe (Chromium's DevTools protocol): no package and no port."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    # What a container has neither the rights nor the room for.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
)


def find_browser() -> str | None:
    """Return the program of a browser, None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One tab: give it a page, look at it, press keys."""

    def __init__(self, into: BinaryIO, out: BinaryIO) -> None:
        self._into, self._out = into, out
        self._number, self._session = 0, ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, url: str, width: int, height: int, scheme: str) -> None:
        """Load a page at a size, for a person who prefers a light or a dark `scheme`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=url)

    def until(self, condition: str) -> Any:
        """Return the value of an expression once it is true, which it becomes within ten seconds."""
        wait = (
            "new Promise((done, fail) => { const began = Date.now(); const look = () => {"
            f" let value; try {{ value = ({condition}); }} catch {{ value = undefined; }}"
            " if (value) done(value); else if (Date.now() - began > 10000) fail(new Error('it never came'));"
            " else setTimeout(look, 20); }; look(); })"
        )
        return self.value(wait)

    def value(self, expression: str) -> Any:
        """Return the value of an expression, that of its promise where it is one; RuntimeError for what it raises."""
        found = self._ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            self._ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG."""
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a call; what the page complains of meanwhile is kept in `problems`."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        call = {"id": self._number, "method": method, "params": parameters, **session}
        self._into.write(json.dumps(call).encode() + b"\0")
        while True:
            told = json.loads(self._message())
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']['message']}")
                answer: dict[str, Any] = told["result"]
                return answer
            if told.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(told["params"]["exceptionDetails"]))
            if told.get("method") == "Log.entryAdded":
                self.problems.append(f"{told['params']['entry']['text']} {told['params']['entry'].get('url', '')}")

    def _message(self) -> bytes:
        found = bytearray()
        while not found.endswith(b"\0"):
            byte = self._out.read(1)
            if not byte:
                raise RuntimeError("the browser has ended")
            found += byte
        return bytes(found[:-1])


KEYS = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, " ": 32}


@contextmanager
def browser(program: str, home: Path) -> Iterator[Tab]:
    """Provide a tab of a browser whose files lie in `home`."""
    (theirs, into), (out, answers) = os.pipe(), os.pipe()
    # The protocol is spoken on descriptors 3 and 4, which a shell puts in their place.
    command = [program, *FLAGS, f"--user-data-dir={home}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec 3<&{theirs} 4>&{answers}; exec "$@"', "bash", *command],
        pass_fds=[theirs, answers],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(answers)
    with os.fdopen(into, "wb", buffering=0) as asked, os.fdopen(out, "rb") as told:
        try:
            yield Tab(asked, told)
        finally:
            process.terminate()
            process.wait()
