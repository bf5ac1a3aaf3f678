"""Signals: every one that asks a process to end saves first, says so at once, and leaves no traceback anywhere.

Every test names the fault that was put into the program by hand, or the behaviour before, that it caught.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.config import to_toml
from atlas_ref.storage.checkpoint import saved_steps
from atlas_ref.training.step import StepResult, train_step
from cli import interrupt
from cli.interrupt import SIGNALS, StopRequest, at_any_moment
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.process import in_a_process
from spec_tests.package.micro.runs import UNEXAMINED, micro_config
from spec_tests.package.warm.start import warm_python
from spec_tests.sampling import sample

CODES = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGHUP: 129,
    signal.SIGUSR1: 138,
    signal.SIGUSR2: 140,
}


@pytest.fixture
def micro(tmp_path: Path) -> Path:
    """The small config as a file."""
    path = tmp_path / "micro.toml"
    path.write_text(to_toml(micro_config("model.n_layers=1", "data.sequence_length=16")))
    return path


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """See that every handler is put back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes with which the process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(interrupt, "leave", codes.append)
    return codes


@pytest.mark.parametrize(
    ("number", "times"), sample([*((number, 1) for number in CODES), (signal.SIGINT, 2), (signal.SIGTERM, 2)], 6)
)
def test_a_signal_ends_the_step_saves_and_is_the_exit_code(
    atlas: Atlas, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, times: int
) -> None:
    """Kills: SIGHUP or SIGUSR1 that ends the process; one signal reported as another; a second one, which people send
    where a step is long and schedulers by habit, that loses everything.
    """
    steps = iter(range(1, 100))

    def signalled(*arguments: Any) -> StepResult:
        if next(steps) == 2:
            for _ in range(times):
                signal.raise_signal(number)
        return train_step(*arguments)

    monkeypatch.setattr("atlas_ref.training.loop.train_step", signalled)
    ended = atlas("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run")

    assert (ended.code, ended.err) == (CODES[number], "")
    assert "interrupted after step 2; go on with: atlas train --resume auto" in ended.out
    assert list(saved_steps(tmp_path / "run" / "checkpoints")) == [2]


def test_the_first_signal_is_answered_at_once_the_second_asks_back_and_the_third_ends(
    capfd: pytest.CaptureFixture[str], left: list[int]
) -> None:
    """Kills: silence until the step is over; a second signal that ends; a third that does not; kinds counted together,
    as torchrun makes two signals of one Ctrl-C.
    """
    with StopRequest(lambda: 20) as stop:
        assert not stop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert (stop(), stop.exit_code) == (True, 130)
    assert left == []
    assert capfd.readouterr().err.splitlines() == [
        "Ctrl-C: the step in progress is finished and saved; then the exit code is 130",
        "SIGTERM: the step in progress is finished and saved; then the exit code is 143",
        "Ctrl-C again: still finishing and saving. A third Ctrl-C ends at once and loses every step after step 20",
        "SIGTERM again: still finishing and saving. A third SIGTERM ends at once and loses every step after step 20",
    ]
    with StopRequest(lambda: None):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
    assert left == [143]
    assert capfd.readouterr().err.splitlines()[1].endswith("loses every step, as none is saved yet")
    with StopRequest():
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_the_answer_does_not_wait_for_the_interpreter(capfd: pytest.CaptureFixture[str]) -> None:
    """Kills: an answer from a handler of Python, which runs when the step comes back from the library: here a write by
    the signal alone, as no bytecode of the handler runs between the two lines.
    """
    with StopRequest(lambda: 3) as stop:
        os.write(stop._ends[1], bytes([signal.SIGINT]))
    assert capfd.readouterr().err.startswith("Ctrl-C: the step in progress")
    assert not stop()


def test_a_signal_that_is_ignored_stays_ignored(atlas: Atlas) -> None:
    """Kills: nohup that no longer helps; Ctrl-C of another job that ends one in the background."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        with StopRequest(lambda: 1) as stop:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGINT)
            assert not stop()
        assert atlas("--version").code == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_interrupt_in_an_import_ends_at_once_and_elsewhere_is_130_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    """Kills: half a module, whose users fail with an error of their own; a KeyboardInterrupt that a library turns into
    one; a normal end of a command that was interrupted.
    """
    (tmp_path / "half_a_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)

    def use_half_a_module() -> None:
        __import__("half_a_module")
        assert left == [130]
        raise AttributeError("module 'numpy' has no attribute 'multiply'")

    def be_content() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        sys.exit(0)

    for command in (use_half_a_module, be_content):
        with pytest.raises(SystemExit) as end, at_any_moment():
            command()
        assert end.value.code == 130
    assert left == [130], "the import ends the process, and nothing else does"
    with pytest.raises(ZeroDivisionError), at_any_moment():
        divmod(1, 0)


INTERRUPTED = """
import os, signal, sys
class Interrupts:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts)
sys.argv = ["atlas", "vectors", "list"]
from cli.main import main
main()
"""


@pytest.mark.parametrize("module", ["cli.streams", "typer.core", "cli.vectors", "numpy.linalg"])
def test_ctrl_c_while_modules_load_is_130_without_a_word(module: str) -> None:
    """Kills: a traceback of the import system; exit code 1 from what a half-imported numpy does later."""
    with in_a_process("-c", INTERRUPTED.format(module=module)) as process:
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def test_training_outlives_its_terminal(micro: Path, tmp_path: Path) -> None:
    """Kills: whatever the simulations above would miss of a terminal that closes: the reader goes, then SIGHUP comes;
    exit code 1 from a closed pipe; a run without checkpoint.
    """
    path = tmp_path / "run"
    forever = [
        word for name in ("max_steps", "save_interval", "eval_interval") for word in ("--set", f"train.{name}=99999")
    ]
    command = ["-m", "cli.main", "train", "--config", str(micro), "--out", str(path), *UNEXAMINED, *forever]
    with in_a_process(*command, python=warm_python()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        next(line for line in process.stdout if line.startswith("step 1/"))
        process.stdout.close()
        process.send_signal(signal.SIGHUP)
        err = process.stderr.read()
    assert process.returncode == 129
    assert "SIGHUP: the step in progress is finished and saved; then the exit code is 129\n" in err
    assert "standard output cannot be written any more (Broken pipe): training goes on; " in err
    assert len(saved_steps(path / "checkpoints")) == 1
