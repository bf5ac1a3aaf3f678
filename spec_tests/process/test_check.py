"""`atlas port check` finds each defect and nothing in a sound program; `atlas port run|serve|schema`, and their ends.

Every row of DEFECTS is a fault put into the sound program; the step named beside it is the one that must notice.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import NamedTuple

import pytest

from atlas_ref.errors import UserError
from cli.main import main
from cli.port import Precision
from spec_tests.package.warm.start import warm_python
from spec_tests.port import Numerics
from spec_tests.process.check import check
from spec_tests.process.client import ProcessPort
from spec_tests.process.files import read_arrays, write_arrays
from spec_tests.process.load import load_port
from spec_tests.process.scripts import Opened, X, misbehaving, program


class Ended(NamedTuple):
    """Exit code and both outputs of a command."""

    code: int
    out: str
    err: str


Atlas = Callable[..., Ended]


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Atlas:
    """The command line inside this process."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["atlas", "port", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        code = end.value.code or 0
        assert isinstance(code, int)
        return Ended(code, out, err)

    return run


def around(name: str, body: str) -> str:
    """Return a change that puts a function around one of the program's, which is called `kept` in the body."""
    return f"kept = {name}\ndef {name}(case):\n{indent(dedent(body), '    ')}\n"


RUNS = ("run polynomial_features", "run l2_normalize")
OP, KEYS, VALUES = "an unknown operation", "unknown configuration keys", "unknown configuration values"
EMPTIES = ("empty arrays (polynomial_features)", "empty arrays (l2_normalize)")
ALONE = "one case by arguments (polynomial_features)"
OP_ALONE = "an unknown operation by arguments"
STEPS = ["hello", *RUNS, OP, KEYS, VALUES, *EMPTIES, "bye", ALONE, OP_ALONE]
GUESS_VALUES = """
    case["config"] = {key: BASES[0] if value == "no_such_thing" else value for key, value in case["config"].items()}
    return kept(case)
"""
OTHER_NAMES = "kept(case)\ntensor, data = read(case['in'])\nwrite(case['out'], {'z': tensor}, data)"
NO_END = "kept = sys.exit\nsys.exit = lambda code: kept(code) if code else block()"

DEFECTS: dict[str, tuple[str, set[str]]] = {
    "nothing": ("", set()),
    "another specification": ("SPEC = '9'", {"hello"}),
    "no precision": ("PRECISIONS = []", {"hello"}),
    "no operation": ("OPS = {}", {"hello"}),
    "declares too much": (
        around("refuse", "return 'no' if 'eps' in case['config'] else kept(case)"),
        {RUNS[1], EMPTIES[1]},
    ),
    "guesses operations": (around("answer", "(kept if case['op'] in OPS else done)(case)"), {OP}),
    "dies of operations": (around("answer", "kept(case if case['op'] in OPS else {})"), {OP}),
    "guesses keys": (around("refuse", "case['config'].pop('no_such_thing', None)\nreturn kept(case)"), {KEYS}),
    "guesses values": (around("refuse", GUESS_VALUES), {VALUES}),
    "other names": (around("compute", OTHER_NAMES), {*RUNS, *EMPTIES, ALONE}),
    "one type only": (
        around("compute", "kept(case if read(case['in'])[0]['dtype'] == 'F32' else {})"),
        {*RUNS, *EMPTIES},
    ),
    "no empty arrays": (around("compute", "kept(case if all(read(case['in'])[0]['shape']) else {})"), set(EMPTIES)),
    "no empty arrays of the last": (
        around("compute", "kept(case if 'eps' not in case['config'] or all(read(case['in'])[0]['shape']) else {})"),
        {EMPTIES[1]},
    ),
    "an exit code": ("EXIT = 1", {"bye"}),
    "no end": (NO_END, {"bye"}),
    "no arguments": ("once = lambda arguments: kept(64)\nkept = sys.exit", {ALONE, OP_ALONE}),
    "an error in place of a refusal": ("REFUSED = 1", {OP_ALONE}),
    "no file": ("once = lambda words: sys.exit(3 if 'no_such_thing' in words else 0)", {ALONE}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found_at_its_step_and_nowhere_else(defect: str, opened: Opened) -> None:
    changes, steps = DEFECTS[defect]
    findings = list(check(opened(changes, timeout=1.5 if defect == "no end" else 10.0)))
    assert {finding.step for finding in findings if finding.problem is not None} == steps
    assert all(finding.problem != "" and finding.advice for finding in findings)
    assert [finding.step for finding in findings] == (STEPS[:1] if steps == {"hello"} else STEPS)


def test_the_command_says_what_passed_what_failed_and_what_to_do(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: exit code 0 after a failure; advice without the problem, or the other way round."""
    sound = atlas("check", f"cmd:{program(tmp_path)}")
    assert (sound.code, sound.err) == (0, "")
    assert sound.out.splitlines() == [*(f"passed  {step}" for step in STEPS), "11 of 11 steps passed."]
    broken = atlas("check", f"cmd:{program(tmp_path, 'EXIT = 5')}")
    assert broken.code == 1
    assert "FAILED  bye\n        the program ended with exit code 5\n        To do: Answer" in broken.out
    assert broken.out.endswith("10 of 11 steps passed.\n")


USAGE = {
    "no such program": "cmd:./nowhere --fast",
    "no program": "cmd:",
    "an open quote": "cmd:port 'half",
    "no such module": "nowhere:Port",
}


@pytest.mark.parametrize("name", USAGE)
def test_a_port_that_cannot_be_started_is_a_usage_error(name: str, atlas: Atlas) -> None:
    """Kills: a traceback, or exit code 1, for a command line that is wrong."""
    ended = atlas("check", USAGE[name])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("Error: ")
    assert len(ended.err.splitlines()) == 1
    if name != "no such module":
        with pytest.raises(UserError):
            load_port(USAGE[name])


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_a_usage_error(
    seconds: str, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a variable that is read only when the first case hangs."""
    monkeypatch.setenv("ATLAS_PORT_TIMEOUT", seconds)
    ended = atlas("check", f"cmd:{sys.executable}")
    assert (ended.code, f"ATLAS_PORT_TIMEOUT={seconds}" in ended.err) == (2, True)


def test_the_time_limit_is_that_of_the_variable_then_sixty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a variable that is not read."""
    monkeypatch.delenv("ATLAS_PORT_TIMEOUT", raising=False)
    assert ProcessPort(sys.executable).timeout == 60.0
    monkeypatch.setenv("ATLAS_PORT_TIMEOUT", "2.5")
    assert ProcessPort(sys.executable).timeout == 2.5


def one_case(folder: Path, op: str, config: str, port: str) -> list[str | Path]:
    """Return the arguments of `atlas port run` for a case on X."""
    write_arrays(folder / "in", {"x": X})
    (folder / "config").write_text(config)
    files: list[str | Path] = ["--config", folder / "config", "--in", folder / "in", "--out", folder / "out"]
    return ["run", "--op", op, "--numerics", "f64", *files, "--port", port]


NOISY = "spec_tests.process.scripts:Noisy"
ENDS = {
    "a case": ("l2_normalize", '{"eps": 0.5}', 0, ""),
    "an unknown key": ("l2_normalize", '{"eps": 0.5, "beta": 1}', 3, "unsupported: .*'beta'"),
    "an unknown operation": ("no_such_op", "{}", 3, "unsupported: .*no_such_op"),
    "a port that raises": ("l2_normalize", '{"eps": 13.0}', 1, "ZeroDivisionError: thirteen"),
    "no json": ("l2_normalize", "eps = 0.5", 2, "Error: .*expected a JSON object"),
    "no object": ("l2_normalize", "[1]", 2, "Error: .*expected a JSON object"),
}


@pytest.mark.parametrize("name", ENDS)
def test_one_case_ends_with_the_exit_code_of_its_answer(name: str, atlas: Atlas, tmp_path: Path) -> None:
    """Kills: 0 for a case that was not answered; a table's refusal that only servers make."""
    op, config, code, words = ENDS[name]
    ended = atlas(*one_case(tmp_path, op, config, NOISY))
    assert ended.code == code
    assert re.search(words, ended.err)
    assert (tmp_path / "out").exists() == (code == 0)
    if code == 0:
        assert read_arrays(tmp_path / "out", 10_000)["y"].shape == X.shape


def test_one_case_of_a_program_is_run_like_any_other(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a crash of the program shown as one of this."""
    crash = program(tmp_path, misbehaving("sys.exit('out of registers')"))
    assert atlas(*one_case(tmp_path, "l2_normalize", '{"eps": 0.5}', f"cmd:{crash}")).code == 0
    ended = atlas(*one_case(tmp_path, "l2_normalize", '{"eps": 0.25}', f"cmd:{crash}"))
    assert ended == (1, "", "error: l2_normalize: the program ended with exit code 1\n    out of registers\n")


def test_inputs_that_cannot_be_read_are_a_usage_error(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a traceback for a file that is missing or is something else."""
    arguments = one_case(tmp_path, "l2_normalize", '{"eps": 0.5}', NOISY)
    (tmp_path / "in").write_text("x = 1")
    assert atlas(*arguments)[:2] == (2, "")
    (tmp_path / "in").unlink()
    missing = atlas(*arguments)
    assert (missing.code, str(tmp_path / "in") in missing.err) == (2, True)


def test_the_served_port_is_a_whole_program(tmp_path: Path) -> None:
    """Kills: `serve` without its form by arguments; a help text or a warning on standard output."""
    served = [warm_python(), "-m", "cli.main", "port", "serve", "--port", "spec_tests.process.example:ExamplePort"]
    with ProcessPort(shlex.join(served), timeout=20.0) as port:
        assert [finding for finding in check(port) if finding.problem is not None] == []


def test_the_schema_is_printed_as_json(atlas: Atlas) -> None:
    """Kills: a value that JSON does not have."""
    ended = atlas("schema")
    assert ended.code == 0
    assert json.loads(ended.out)["protocol"] == 1


def test_the_command_names_every_precision() -> None:
    """Kills: a precision left out of the copy that help is made from."""
    assert [str(precision) for precision in Precision] == [str(numerics) for numerics in Numerics]
