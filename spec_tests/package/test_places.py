"""Files of others: no command replaces one, and whether its place can be used is asked before the work.

Every test names the fault that was put into the program by hand, or the behaviour before, that it caught.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from atlas_ref.config import to_toml
from atlas_ref.errors import UserError
from atlas_ref.places import check_file, check_unused, prove_writable
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import UNEXAMINED, micro_config, start

CONFIG = micro_config("model.n_layers=1", "data.sequence_length=16", "train.max_steps=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and its config beside it."""
    path = tmp_path_factory.mktemp("run") / "run"
    start(CONFIG, path)
    return path


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """See that nothing is worked out before a place is refused."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the place was not asked first")

    for name in ("cli.admission.examine", "spec_tests.selfproof.report.prove", "spec_tests.process.server.run_once"):
        monkeypatch.setattr(name, never)


def mine(path: Path) -> Path:
    """Write a picture of one's own."""
    Figure().savefig(path)
    return path


COMMANDS = {
    "preflight": "preflight --config RUN/config.toml --out FILE",
    "plot": "plot RUN --out FILE.png",
    "selfproof": "selfproof --part faults --json FILE",
    "port run": "port run --op short_conv --numerics f32 --config RUN/env.json --in RUN/env.json --out FILE",
}


def words(command: str, run: Path, file: Path) -> list[str]:
    """Return a command line of COMMANDS with its paths."""
    return [word.replace("RUN", str(run)).replace("FILE", str(file)) for word in command.split()]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_file_of_something_else_is_refused_before_the_work_and_stays(
    atlas: Atlas, run: Path, tmp_path: Path, command: str
) -> None:
    """Kills: notes.txt replaced by a certificate; a picture of one's own drawn over; a refusal after minutes of gates;
    a device that is renamed over; a read-only place found out at the end.
    """
    picture = mine(tmp_path / "theirs.png").read_bytes()
    for content in (b"notes", json.dumps({"name": "mine"}).encode(), picture):
        for name in ("theirs", "theirs.png"):
            (tmp_path / name).write_bytes(content)
        ended = atlas(*words(command, run, tmp_path / "theirs"))
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert f"{tmp_path}/theirs" in ended.err
        assert "holds what this command did not write; name another file." in ended.err
        assert {path.read_bytes() for path in tmp_path.iterdir()} == {content}
    for place, said in (("/proc/none", "/proc: cannot be written"), (tmp_path / "theirs" / "x", "is no directory")):
        ended = atlas(*words(command, run, Path(place)))
        assert (ended.code, said in ended.err) == (2, True), ended.err
    if "plot" not in command:
        assert "/dev/null: is no regular file." in atlas(*words(command, run, Path("/dev/null"))).err


def test_a_file_of_the_command_itself_is_written_anew(atlas: Atlas, run: Path, tmp_path: Path) -> None:
    """Kills: a second `atlas plot` that is refused; an empty file, as mktemp makes it, that is."""
    picture = tmp_path / "curves.png"
    picture.touch()
    sizes = []
    for metric in ("loss", "retention"):
        assert atlas("plot", run, "--out", picture, "--metric", metric).code == 0
        sizes.append(picture.read_bytes())
    assert sizes[0] != sizes[1]


def test_cases_are_exported_to_a_free_folder_only(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: README.txt of somebody replaced; answers of a colleague that lie between new questions."""
    (tmp_path / "README.txt").write_text("mine")
    command = ("vectors", "export", "--op", "short_conv")
    refused = atlas(*command, tmp_path)
    assert refused.err == f"Error: {tmp_path}: is not empty; the directory of exported cases must be new or empty.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["README.txt"]
    assert (tmp_path / "README.txt").read_text() == "mine"
    assert atlas(*command, tmp_path / "new").code == 0
    assert atlas(*command, tmp_path / "new").code == 2


@pytest.mark.usefixtures("idle")
def test_a_donor_of_another_model_or_damaged_is_refused_before_the_gates(
    atlas: Atlas, run: Path, tmp_path: Path
) -> None:
    """Kills: half a minute of gates before the checkpoint that was named is looked at."""
    other = tmp_path / "other.toml"
    other.write_text(to_toml(micro_config("model.n_layers=2", "train.max_steps=2")))
    ended = atlas("preflight", "--config", other, "--seed-from", run)
    assert (ended.code, "the donor must be of the model that is configured" in ended.err) == (2, True)
    start(CONFIG, tmp_path / "copy")
    weights = next(tmp_path.glob("copy/checkpoints/step-*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    ended = atlas("preflight", "--config", run / "config.toml", "--seed-from", weights.parent)
    assert (ended.code, f"{weights}: is damaged" in ended.err) == (2, True)


TWICE = {
    "train --max-steps 3 --set train.max_steps=7": "train.max_steps is given two values, 3 and 7; give it one.",
    "train --seed 3 --set train.seed=4": "train.seed is given two values, 3 and 4; give it one.",
    "train --set train.seed=3 --set train.seed=4": "train.seed is given two values, 3 and 4; give it one.",
    "train --data nowhere --set data.source='recall'": "data.source is given two values, 'path' and 'recall'; give it",
    "train --config tiny --config recall": "--config is given 2 times; give it once.",
    "train --tensorboard --no-tensorboard": "--tensorboard is given 2 times; give it once.",
    "preflight --seed 3 --set train.seed=4": "train.seed is given two values, 3 and 4; give it one.",
    "preflight --batches 3 --batches 4": "--batches is given 2 times; give it once.",
    "config show --set train.seed=1 --set train.seed=2": "train.seed is given two values, 1 and 2; give it one.",
    "runs --sort steps --sort seed": "--sort is given 2 times; give it once.",
    "generate RUN --tokens 3 --tokens 4": "--tokens is given 2 times; give it once.",
    "vectors list --op lm_loss --op short_conv": "--op is given 2 times; give it once.",
}


@pytest.mark.parametrize(("command", "said"), TWICE.items(), ids=[name.replace(" ", "-") for name in TWICE])
def test_options_that_contradict_each_other_are_refused(atlas: Atlas, run: Path, command: str, said: str) -> None:
    """Kills: the last one that wins in silence."""
    ended = atlas(*words(command, run, run))
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith(f"Error: {said}")


def test_the_same_thing_said_twice_is_no_contradiction(atlas: Atlas, run: Path) -> None:
    """Kills: a switch, or a value, that may not be repeated by a script."""
    assert atlas("config", "show", "--set", "train.seed=1", "--set", "train.seed = 1").code == 0
    assert atlas("eval", run, "--json", "--json").code == 0
    resumed = ("train", "--resume", run, *UNEXAMINED, "--seed", "0", "--set", "train.seed=0")
    assert atlas(*resumed).code == 0


@pytest.mark.parametrize(
    "check",
    [
        lambda path: prove_writable(path, "--out"),
        lambda path: check_unused(path, "anything"),
        lambda path: check_file(path, "--out", lambda _: False),
    ],
)
def test_asking_leaves_nothing_behind(tmp_path: Path, check: Callable[[Path], None]) -> None:
    """Kills: directories that are made to see whether they can be; a probe that stays."""
    check(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="/proc: cannot be written"):
        check(Path("/proc/a"))
