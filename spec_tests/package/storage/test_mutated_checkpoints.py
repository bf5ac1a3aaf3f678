"""Hundreds of mutated checkpoints: each is refused in one sentence that names its file, or loaded as if unharmed.

None of them stops the interpreter, hangs, or runs code. Every test names the fault that was put into the program by
hand and that it caught.
"""

import pickle
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.reading import read_json
from atlas_ref.storage.checkpoint import TENSOR_FILES, find_checkpoint
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.training.loop import get_ready
from atlas_ref.training.run import load_model, new_run, restore
from spec_tests.package.damage.mutation import MARKER, Mutation
from spec_tests.package.damage.mutations import mutations
from spec_tests.package.damage.sealed import seal
from spec_tests.package.damage.sealed_mutations import set_config
from spec_tests.package.micro.command import in_this_process
from spec_tests.package.micro.runs import micro_config, start
from spec_tests.sampling import sample

SMALL = ("model.n_layers=1", "data.sequence_length=16", "train.max_steps=2", "train.eval_batches=1")
MUTATIONS = tuple(mutations())
HARMLESS = (
    "a link to itself elsewhere",
    "metadata of text",
    "a field that nobody reads",
    # The last character is a line break.
    "meta.json: cut to -1",
)
"""Endings of the names of mutations that change nothing that is read."""
SECONDS = 120


class Loaded(NamedTuple):
    """A run as it would go on."""

    step: int
    switches: SwitchState
    tensors: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(micro_config(*SMALL), path)
    return path


@pytest.fixture(autouse=True)
def guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let unpickling fail the test, and a read that never ends too; work where a payload would leave its marker."""

    def unpickled(*arguments: object, **options: object) -> None:
        pytest.fail("something was unpickled")

    def hung(number: int, frame: FrameType | None) -> None:
        pytest.fail("a load did not end")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, unpickled)
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / MARKER).exists()


def mutated(whole: Path, target: Path, mutation: Mutation) -> Path:
    """Return the checkpoint directory of a copy of the run, with the mutation."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(whole, target)
    path = target / "checkpoints" / "step-00000002"
    mutation.apply(path)
    return path


def load(path: Path) -> Loaded:
    """Return the run that would go on from the directory, made ready as `atlas train` does it."""
    checkpoint = find_checkpoint(path)
    ready = get_ready(checkpoint.config, RunDirectory(path), checkpoint, over_unsaved=False)
    run = new_run(ready.config, ready.device)
    restore(run, checkpoint)
    tensors = {f"{file}/{name}": tensor for file, table in run.tensors().items() for name, tensor in table.items()}
    return Loaded(run.step, run.switches, tensors)


def refusal(path: Path, expected: Loaded) -> str | None:
    """Return the words in which a run is refused, or None when it is loaded as `expected`."""
    try:
        found = load(path)
    except UserError as error:
        return str(error)
    assert found[:2] == expected[:2]
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    return None


def test_there_are_enough_mutations_of_every_file() -> None:
    """The tests below can fail: hundreds of changes, each file among them."""
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 400
    for file in (*TENSOR_FILES, "meta.json"):
        assert sum(mutation.file == file for mutation in MUTATIONS) >= 80


@pytest.mark.parametrize(("every", "file"), sample(product((4, 1), (*TENSOR_FILES, "meta.json")), kept=4))
def test_a_mutated_checkpoint_is_refused_by_name_or_loaded_as_if_unharmed(
    whole: Path, tmp_path: Path, every: int, file: str
) -> None:
    """Kills: a KeyError or ValidationError from a sealed description; a TypeError from a size that is no integer; a
    hang on a pipe or on /dev/zero; a RecursionError; NaN in JSON; a name that is a path; an error of many lines.
    """
    expected = load(whole)
    surprises = []
    for mutation in [mutation for mutation in MUTATIONS if mutation.file == file][::every]:
        blamed = mutated(whole, tmp_path / "run", mutation) / file
        words = refusal(tmp_path / "run", expected)
        if words is None:
            if not mutation.name.endswith(HARMLESS):
                surprises.append(f"{mutation.name}: was loaded")
        elif mutation.name.endswith(HARMLESS):
            surprises.append(f"{mutation.name}: was refused: {words}")
        elif str(blamed) not in words and str(blamed.parent) + ":" not in words:
            surprises.append(f"{mutation.name}: does not name its file: {words[:300]}")
        elif len(words.splitlines()) != 1 or len(words) > 2000 or not words.isprintable():
            surprises.append(f"{mutation.name}: is not one readable line: {words[:300]!r}")
    assert not surprises, "\n".join(surprises)


@pytest.mark.parametrize(
    "text",
    ["NaN", "[-Infinity]", '{"a": 1e999}', '{"a": 1, "a": 1}', "[" * 100_000, "9" * 5000, "", "\x00", "\ufeff1"],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_not_plain_json_is_refused(tmp_path: Path, text: str) -> None:
    """Kills: NaN, infinities and numbers that overflow taken for numbers; the last of two equal keys; a RecursionError
    and the ValueError of too many digits.
    """
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"{file}: is not JSON"):
        read_json(file)
    file.write_text('{"a": [1, 2.5e-3, null]}')
    assert read_json(file) == {"a": [1, 0.0025, None]}


@pytest.mark.parametrize("command", ["train", "eval", "generate"])
def test_the_command_line_ends_with_one_line_and_exit_code_2(
    whole: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: an error that only `atlas train` puts into a sentence; a traceback."""
    atlas = in_this_process(monkeypatch, capsys)
    harmful = [m for m in MUTATIONS if m.file in ("meta.json", "model.safetensors") and not m.name.endswith(HARMLESS)]
    for mutation in harmful[::30]:
        mutated(whole, tmp_path / "run", mutation)
        options = ["--resume", "auto", "--out"] if command == "train" else []
        ended = atlas(command, *options, tmp_path / "run", *(["--config", whole / "config.toml"] if options else []))
        assert ended.code == 2, mutation.name
        assert len(ended.err.splitlines()) == 1, mutation.name
        assert ended.err.startswith("Error: "), mutation.name
        assert f"step-00000002/{mutation.file}" in ended.err, mutation.name


def test_a_description_of_a_giant_is_refused_before_memory_is_asked_for_it(whole: Path, tmp_path: Path) -> None:
    """Kills: a model of terabytes that is allocated because a sealed config says so."""
    giant = {("model", "d_model"): 65_536, ("model", "n_heads"): 1024, ("model", "memory", "value_dim"): 64}
    change = partial(set_config, {**giant, ("model", "n_layers"): 8})
    path = mutated(whole, tmp_path / "run", Mutation("giant", "meta.json", partial(seal, change=change)))
    checkpoint = find_checkpoint(path)
    for use in (
        lambda: load_model(checkpoint, torch.device("cpu")),
        lambda: get_ready(checkpoint.config, RunDirectory(tmp_path / "new"), checkpoint, over_unsaved=False),
    ):
        with pytest.raises(UserError, match=rf"{path}/meta\.json: describes a model of [\d,]{{15,}} parameters"):
            use()
