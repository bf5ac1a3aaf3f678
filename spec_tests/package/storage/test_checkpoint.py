"""Checkpoints: a stopped run goes on as if it had never stopped, and a bad file is named, never trusted.

Every test names the fault that was put into the program by hand and that it caught.
"""

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas_ref.config import KillSwitchesConfig, RunConfig
from atlas_ref.config.changes import CHANGEABLE
from atlas_ref.errors import UserError
from atlas_ref.storage import checkpoint as checkpoints
from atlas_ref.storage.checkpoint import (
    META,
    MODEL,
    OPTIMISER,
    STATE,
    TENSOR_FILES,
    find_checkpoint,
    saved_steps,
)
from atlas_ref.storage.run_directory import RunDirectory
from spec_tests.package.damage.sealed import seal
from spec_tests.package.micro.runs import (
    RECALL,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

MUON = ("optim.name='muon'", "train.seed=3")
BPE = ("data.tokenizer='bpe'", "data.bpe_vocab_size=300", "model.vocab_size=300")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of six uninterrupted steps, saved at three and six."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(micro_config(), path)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that directory to damage."""
    path = tmp_path / "copy"
    shutil.copytree(whole, path)
    return path


def assert_same_run(expected: Path, found: Path) -> None:
    """Weights, optimiser and state are equal byte for byte, and so is the log except for the clock."""
    assert saved_bytes(found) == saved_bytes(expected)
    assert without_timing(metric_lines(found)) == without_timing(metric_lines(expected))


@pytest.mark.parametrize("stop_at", [2, 3, 4, 6])
def test_a_run_that_was_interrupted_and_resumed_equals_one_that_was_not(
    whole: Path, tmp_path: Path, stop_at: int
) -> None:
    """Kills: the state not restored; the optimiser's moments or step not restored; the batch of step 0 after resuming.

    Step 4 is a save, so at 4 the interruption finds its checkpoint there; 2, 3 and 6 lie between saves.
    """
    config = micro_config()
    outcome = start(config, tmp_path / "run", stop_before(stop_at))
    assert outcome.interrupted
    assert outcome.step == stop_at - 1
    go_on(config, tmp_path / "run")

    assert_same_run(whole, tmp_path / "run")


@pytest.mark.parametrize("overrides", [MUON, RECALL, BPE], ids=["muon", "recall", "bpe"])
def test_resuming_is_exact_with_muon_and_for_every_kind_of_data(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """Kills: Muon's momentum left out of the checkpoint; a tokenizer that is not read back."""
    config = micro_config(*overrides)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(3))
    go_on(config, tmp_path / "parts")

    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_branch_from_an_older_checkpoint_equals_the_run_it_left(whole: Path, tmp_path: Path) -> None:
    """Kills: a branch that starts with an empty log."""
    older = find_checkpoint(whole / "checkpoints" / "step-00000003")
    go_on(micro_config(), tmp_path / "branch", older)

    assert_same_run(whole, tmp_path / "branch")


def test_lines_after_the_resumed_step_are_dropped_from_the_log(copy: Path) -> None:
    """Kills: appending to the old log, which then holds steps twice; a half line left by a crash taken for damage."""
    shutil.rmtree(copy / "checkpoints" / "step-00000006")
    with (copy / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 7, "train/lo')
    go_on(micro_config(), copy)

    assert [line["step"] for line in metric_lines(copy)] == [1, 2, 3, 4, 6]


def test_training_draws_no_random_number(tmp_path: Path) -> None:
    """Kills: a call of torch.rand in the step: then there would be a generator to save."""
    config = micro_config()
    start(config, tmp_path / "parts", stop_before(3))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    go_on(config, tmp_path / "parts")
    start(config, tmp_path / "again", stop_before(3))
    torch.manual_seed(2)
    go_on(config, tmp_path / "again")

    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "again")
    assert before.numel() > 0


def test_only_tensors_and_json_are_saved(whole: Path) -> None:
    """Kills: optimiser.safetensors written by torch.save."""
    path = find_checkpoint(whole).path
    assert {file.name for file in path.iterdir()} == {META, *TENSOR_FILES}
    for name in TENSOR_FILES:
        assert load_file(path / name)
    meta = json.loads((path / META).read_text())
    assert meta["step"] == 6
    assert (whole / "checkpoints" / "latest").read_text() == "step-00000006\n"


UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
LOADERS = {"torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "numpy.load", "np.load", "eval", "exec"}


def forbidden(source: str) -> set[str]:
    """Return the modules that a source imports, and the functions that it names, which could run what a file says."""
    tree = ast.parse(source)
    found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)} & LOADERS
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS}
        if isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & LOADERS | ({node.module} if node.module.split(".")[0] in UNPICKLERS else set())
    return found


def test_no_module_of_the_program_can_unpickle() -> None:
    """Kills: `import pickle`, `torch.load` or `torch.save` anywhere in the package or the command line."""
    root = Path(checkpoints.__file__).parents[2]
    sources = [*(root / "atlas_ref").rglob("*.py"), *(root / "cli").rglob("*.py"), *(root / "preflight").rglob("*.py")]
    assert len(sources) > 20
    assert {source: found for source in sources if (found := forbidden(source.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads as read",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy as np\nread = np.load",
        "eval('1')",
    ],
)
def test_a_way_to_unpickle_is_found(source: str) -> None:
    """The test above can fail."""
    assert forbidden(source)


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def damage_flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    file.write_bytes(content)


def damage_replace(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(200))


def damage_remove(file: Path) -> None:
    file.unlink()


DAMAGES = (damage_truncate, damage_flip, damage_replace, damage_remove)


@pytest.mark.parametrize("name", [META, *TENSOR_FILES])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("damage_"))
def test_a_damaged_file_is_refused_by_its_name(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    """Kills: no checksum of the tensor files; a run directory that is changed before the checkpoint proved good."""
    file = copy / "checkpoints" / "step-00000006" / name
    damage(file)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    with pytest.raises(UserError) as caught:
        go_on(micro_config("train.max_steps=8"), copy)

    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("old", "new"), [('"step": 6', '"step": 5'), ('"learning_rate": 0.002', '"learning_rate": 0.003')]
)
def test_a_description_that_was_changed_is_refused(copy: Path, old: str, new: str) -> None:
    """Kills: no checksum of the description, which would go on from a wrong step or with a wrong rate."""
    file = copy / "checkpoints" / "step-00000006" / META
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"{file}: is damaged"):
        find_checkpoint(copy)


def rewrite(path: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of a checkpoint and make its checksums right again, as a foreign program would."""
    tensors = load_file(path / name)
    change(tensors)
    save_file(tensors, path / name)
    seal(path)


def reshape_first(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if tensors[name].ndim > 1)
    tensors[name] = tensors[name][..., 1:].contiguous()


def drop_first(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def add_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors["zzz.unknown"] = torch.zeros(2)


def halve_precision(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if tensors[name].ndim > 1)
    tensors[name] = tensors[name].half()


@pytest.mark.parametrize("name", TENSOR_FILES)
@pytest.mark.parametrize("change", [reshape_first, drop_first, add_one, halve_precision])
def test_a_tensor_that_does_not_fit_is_refused_with_file_and_name(
    copy: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    """Kills: each of the four comparisons removed in turn, for weights, optimiser and state."""
    path = copy / "checkpoints" / "step-00000006"
    rewrite(path, name, change)

    with pytest.raises(UserError, match="tensor") as caught:
        go_on(micro_config("train.max_steps=8"), copy)

    assert str(path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("optim.learning_rate=0.003", "optim.learning_rate"),
        ("train.seed=5", "train.seed"),
        ("train.batch_size=4", "train.batch_size"),
        ("model.n_layers=1", "model.n_layers"),
    ],
)
def test_a_resumed_run_keeps_its_config_and_so_does_a_branch(
    copy: Path, tmp_path: Path, override: str, name: str
) -> None:
    """Kills: no comparison with the config of the checkpoint, or of the directory: another seed or rate goes on."""
    for path in (copy, tmp_path / "branch"):
        with pytest.raises(UserError, match=f"cannot change {name} from"):
            go_on(micro_config(override), path, find_checkpoint(copy))


def test_a_resumed_run_may_change_its_length_and_its_intervals(copy: Path) -> None:
    """Kills: an empty list of changeable fields."""
    changes: dict[str, object] = {"max_steps": 8, "log_interval": 5, "eval_interval": 7, "save_interval": 4}
    changes |= {"threads": 2, "keep_last": 9, "micro_batches": 2, "parallel": "'fsdp'"}
    switches = {f"kill_switches.{name}" for name in KillSwitchesConfig.model_fields}
    more = {"data.path", "train.device", "train.keep_best", "train.tensorboard", "train.wandb"}
    more |= {"optim.schedule", "optim.decay_steps"}
    more |= {"train.sample_interval", "train.sample_prompt", "train.sample_tokens"}
    assert {f"train.{name}" for name in changes} | more | switches == set(CHANGEABLE)
    overrides = [*(f"train.{name}={value}" for name, value in changes.items()), "kill_switches.gate_patience=7"]
    overrides += ["train.keep_best=false"]
    outcome = go_on(micro_config(*overrides), copy)
    torch.set_num_threads(1)

    assert outcome.step == 8
    assert list(saved_steps(copy / "checkpoints")) == [3, 6, 8]
    assert "max_steps = 8" in (copy / "config.toml").read_text()


def test_a_checkpoint_of_another_run_is_refused_in_this_directory(copy: Path, tmp_path: Path) -> None:
    """Kills: the config.toml of the directory not read on resume."""
    other = tmp_path / "other"
    config = micro_config("train.seed=9", "train.max_steps=7")
    start(config, other)
    shutil.copytree(other / "checkpoints" / "step-00000007", copy / "checkpoints" / "step-00000007")

    with pytest.raises(UserError, match=r"config\.toml: .* train\.seed"):
        go_on(config, copy)


def test_newer_checkpoints_are_never_overwritten(copy: Path) -> None:
    """Kills: resuming from step 3 in place, which would replace step 6."""
    older = find_checkpoint(copy / "checkpoints" / "step-00000003")
    with pytest.raises(UserError, match="holds checkpoints after step-00000003, up to step-00000006"):
        go_on(micro_config(), copy, older)


def test_a_crash_while_saving_leaves_the_checkpoints_before_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: writing straight into step-00000008, which then looks complete with one file missing."""
    config = micro_config("train.max_steps=8")

    def fail_at_state(tensors: dict[str, torch.Tensor], file: Path) -> None:
        if file.name == STATE:
            raise OSError(28, "No space left on device", str(file))
        save_file(tensors, file)

    monkeypatch.setattr("atlas_ref.storage.checkpoint.save_file", fail_at_state)
    with pytest.raises(OSError, match="No space left"):
        go_on(config, copy)
    monkeypatch.undo()
    assert list(saved_steps(copy / "checkpoints")) == [3, 6]
    assert find_checkpoint(copy).step == 6
    assert go_on(config, copy).step == 8
    assert list(saved_steps(copy / "checkpoints")) == [3, 6, 8]
    assert not [path.name for path in (copy / "checkpoints").iterdir() if path.name.startswith(".")]


def test_the_latest_file_a_checkpoint_and_a_run_directory_all_lead_to_a_checkpoint(whole: Path) -> None:
    """Kills: taking the first checkpoint of a directory instead of the newest."""
    newest = whole / "checkpoints" / "step-00000006"
    for path in (whole, newest, whole / "checkpoints" / "latest"):
        assert find_checkpoint(path).path == newest
    assert find_checkpoint(newest.with_name("step-00000003")).step == 3


def test_a_place_without_checkpoint_is_named(tmp_path: Path) -> None:
    """Kills: an IndexError from an empty list of steps."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(path)):
            find_checkpoint(path)


def test_a_directory_that_holds_something_is_never_trained_into(whole: Path, tmp_path: Path) -> None:
    """Kills: mkdir(exist_ok=True) and nothing more."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        start(micro_config(), tmp_path)
    with pytest.raises(UserError, match="already holds a run"):
        start(micro_config(), whole)
    assert RunDirectory(whole).newest_checkpoint() is not None


def test_a_checkpoint_says_what_it_was_made_from(whole: Path) -> None:
    """Kills: a step or config in the description that is not the one trained; an optimiser without its moments."""
    found = find_checkpoint(whole)
    config: RunConfig = micro_config()
    assert (found.step, found.config) == (6, config)
    optimiser = found.tensors(OPTIMISER)
    # The initial memory learns only where a row starts afresh, here at step 1; everything else at every step.
    steps = {name: float(value) for name, value in optimiser.items() if ".step." in name and ".initial." not in name}
    assert set(steps.values()) == {6.0}
    weights = found.tensors(MODEL)
    assert {f"adamw.exp_avg.{name}" for name in weights} == {name for name in optimiser if ".exp_avg." in name}
