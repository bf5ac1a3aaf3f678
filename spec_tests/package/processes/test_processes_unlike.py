"""Processes that were started differently refuse to train together, and one that is silent is named and given up.

One start of two processes makes every case of `unlike_worker`. They are as if started by hand, on two machines: the
words that torchrun adds, and the time that it takes to end a process that was stopped, are not what is tested.
"""

import json
import os
import shutil
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas_ref.errors import UserError
from atlas_ref.processes import distributed
from spec_tests.package.damage.sealed import seal
from spec_tests.package.micro.runs import micro_config, micro_file, start
from spec_tests.package.processes.forked import environment, run_worker
from spec_tests.package.processes.unlike_worker import ALONE, CONFIG, NOTICED, SMALL, WORDS

ALIKE = "; all processes must be started alike.\n"
LOST = 5


class Found(NamedTuple):
    """What both processes wrote, and how the first one ended when the second one had stopped, or never came."""

    ended: tuple[dict[str, list[Any]], dict[str, list[Any]]]
    hangs: list[str]
    code: int
    words: str
    alone: tuple[int, str]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Two processes that differ in each case, until the second one stops itself."""
    directory = tmp_path_factory.mktemp("unlike")
    os.mkfifo(directory / NOTICED)
    torch.set_num_threads(1)
    micro_file(directory / CONFIG, *SMALL)
    start(micro_config(*SMALL), directory / "0" / "earlier")
    shutil.copytree(directory / "0" / "earlier", directory / "1" / "earlier")
    other = directory / "1" / "earlier" / "checkpoints" / "step-00000001"
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors")
    seal(other)
    ended = run_worker("unlike_worker", directory)
    assert (directory / "found-1.json").exists(), ended.stderr
    said = [json.loads((directory / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    alone = json.loads((directory / ALONE).read_text()), (directory / WORDS).read_text()
    return Found((said[0]["ended"], said[1]["ended"]), said[0]["hangs"], ended.returncode, ended.stderr, alone)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("a seed", "process 1 has train.seed 7 where process 0 has 0"),
        ("a field", 'process 1 has train.device "auto" where process 0 has "cpu"'),
        ("an option", 'process 1 has --resume "auto" where process 0 has none'),
        ("libraries", f'process 1 has torch "1.0" where process 0 has "{torch.__version__}"'),
        ("data", "process 1 reads other data than process 0 (changed: text.txt)"),
    ],
)
def test_processes_that_are_not_alike_refuse_with_the_first_difference(case: str, words: str, found: Found) -> None:
    """Kills: a process with another seed, or other data of the same name, whose run is recorded as the first one's."""
    assert found.ended[0][case] == [2, f"Error: {words}{ALIKE}"]
    assert found.ended[1][case][0] == 2


def test_processes_that_do_not_share_a_folder_refuse(found: Found) -> None:
    """Kills: shards of one checkpoint in two places, because of a relative path."""
    code, words = found.ended[0]["a folder"]
    assert (code, found.ended[1]["a folder"][0]) == (2, 2)
    assert words.startswith('Error: process 1 has the run directory "')
    assert words.endswith(f'/0/relative"{ALIKE}')


def test_processes_refuse_checkpoints_of_one_name_that_are_not_the_same(found: Found) -> None:
    """Kills: weights of one file and weights of another trained on as copies of one model."""
    code, words = found.ended[0]["checkpoint"]
    assert (code, found.ended[1]["checkpoint"][0]) == (2, 2)
    assert words.startswith('Error: process 1 has the checkpoint with the checksums {"model.safetensors": "')


def test_what_one_process_alone_gets_wrong_is_said_with_its_number(found: Found) -> None:
    """Kills: a message about an option that the command which shows it does not have."""
    code, words = found.ended[0]["a mistake"]
    assert (code, found.ended[1]["a mistake"][0]) == (2, 2)
    assert words.startswith("Error: process 1: override train.seeds=1 of ../micro.toml: ")


def test_processes_that_are_alike_train(found: Found) -> None:
    """Kills: a comparison of what may differ, such as the rank or the directory that a process works in."""
    assert found.ended[0]["nothing"][0] == found.ended[1]["nothing"][0] == 0


def test_a_process_that_runs_and_does_not_come_is_named_until_it_does(found: Found) -> None:
    """Kills: signs of life alone, which a process that hangs goes on to give; an exchange waited for in silence."""
    late = [words for words in found.hangs if "it runs" in words]
    assert late
    assert late[0].startswith("process 1 has not answered for 1 s (it runs, but has not come to where process 0 waits")
    assert late[0].endswith(")")


def test_a_process_that_was_stopped_is_named_and_then_given_up(found: Found) -> None:
    """Kills: two hours of silence, in which nobody knows who is waited for."""
    assert found.code == LOST
    named, left = found.words.splitlines()[-2:]
    assert named == "process 1 has not answered for 1 s"
    assert left.startswith("Error: process 1 has not answered for ")
    assert left.endswith(" s; go on from the last checkpoint with --resume auto.")


def test_a_process_that_never_comes_is_named_and_then_given_up(found: Found) -> None:
    """Kills: a rendezvous that waits for all of them before anything is watched."""
    code, said = found.alone
    assert code == LOST
    words = said.splitlines()
    assert words[0] == "process 1 has not answered for 0 s"
    assert words[-1].startswith("Error: process 1 has not answered for 1 s; ")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_processes_started_by_hand_without_a_variable_are_told_which(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a KeyError, or a ValueError of torch, for who starts several processes without torchrun."""
    for variable, value in environment(0, 1).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv(name)
    with pytest.raises(UserError, match=f"; {name} is not set"), distributed.processes():
        pass
