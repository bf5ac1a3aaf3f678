"""No word of a port is obeyed by the terminal that prints it, or by a reader of the report."""

import re
from pathlib import Path

import pytest

from spec_tests.contract.outcome import FormError, PortError
from spec_tests.process.conftest import opened
from spec_tests.process.scripts import BAD, Opened, asked, misbehaving
from spec_tests.report.launch import Launch
from spec_tests.report.test_guard import CHAPTER, HOSTILE
from spec_tests.report.write import FILES

CONTROLS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]")
__all__ = ["opened"]


@pytest.mark.usefixtures("warm")
def test_a_whole_run_shows_what_a_port_says_and_obeys_none_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [f"--report={tmp_path}", "--level=L0", "--numerics=f32", "--tb=short", "-rA"]
    assert Launch(f"{HOSTILE}:Loud", options, jobs="1", cases=(CHAPTER,)).run() == 1
    printed = "".join(capfd.readouterr())
    assert "loud\\x1b[2J 1\\x1b[2J: failed" in printed
    assert "Loud\\x1b[2J: said\\x1b[2J\\x9b2J" in printed
    assert "printed\\x1b[2J" in printed
    for text in (printed, *((tmp_path / name).read_text("utf-8") for name in FILES)):
        assert CONTROLS.findall(text) == []


SAYINGS = {
    "an error": ("say({'id': case['id'], 'status': 'error', 'message': 'a\\x1b[2J'})", PortError),
    "a refusal": (
        "say({'id': case['id'], 'status': 'unsupported', 'capability': 'x', 'reason': 'a\\x1b[2J'})",
        AssertionError,
    ),
    "a line of its own": ("put('a\\x1b[2J\\n')", PortError),
    "a field": ("say({'id': case['id'], 'status': 'ok', 'a\\x1b[2J': 1})", PortError),
    "standard error": ("sys.stderr.write('a\\x1b[2J'); sys.stderr.flush(); os._exit(7)", PortError),
    "the name of an array": (
        "tensor = {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}\n"
        "write(case['out'], {'y': tensor, 'a\\x1b[2J': {**tensor, 'data_offsets': [4, 8]}}, bytes(8)); done(case)",
        FormError,
    ),
}


@pytest.mark.parametrize("saying", SAYINGS)
def test_what_a_program_says_is_shown_in_its_message(saying: str, opened: Opened) -> None:
    statements, error = SAYINGS[saying]
    with pytest.raises(error) as caught:
        asked(opened(misbehaving(statements)), BAD)
    assert "a\\x1b[2J" in str(caught.value).replace("\\\\", "\\")
    assert CONTROLS.findall(str(caught.value)) == []
