"""What a port of this process says reaches the terminal as text: shown, and not obeyed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from atlas_ref.wording import visible


def make_harmless(report: pytest.TestReport) -> None:
    """Spell out the control characters in what a test printed and in the trace of its failure."""
    report.sections = [(title, visible(text, lines=True)) for title, text in report.sections]
    said = "" if report.longrepr is None or isinstance(report.longrepr, tuple) else str(report.longrepr)
    if visible(said, lines=True) != said:
        report.longrepr = visible(said, lines=True)


@contextmanager
def harmless_output(config: pytest.Config) -> Iterator[None]:
    """Keep what is printed meanwhile, outside the tests, and print it spelt out in the end; nothing with `-s`."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None or not capture.is_globally_capturing():
        yield
        return
    capture.resume_global_capture()
    try:
        yield
    finally:
        capture.suspend_global_capture(in_=True)
        sys.stderr.write(visible("".join(capture.read_global_capture()), lines=True))
