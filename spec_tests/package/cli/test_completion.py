"""What the shell is offered at TAB, and what starting a command imports.

Every test names the fault that was put into the program by hand and that it caught.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import atlas_ref
from atlas_ref.config import RunConfig, model_names, preset_names
from atlas_ref.config.errors import FAMILIES, dotted_names
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import micro_config, start

ROOT = Path(atlas_ref.__file__).parents[1]


def offered(atlas: Atlas, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """Return what bash is offered at the end of a command line."""
    words = line.split(" ")
    monkeypatch.setenv("_ATLAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    ended = atlas()
    assert (ended.code, ended.err) == (0, "")
    return ended.out.splitlines()


def test_commands_presets_and_fields_are_offered(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: completion switched off; a section taken for a field; a command whose --set or --config has none."""
    assert offered(atlas, monkeypatch, "atlas doc") == ["doctor"]
    names = {name for family in FAMILIES for name in dotted_names(RunConfig, family)}
    fields = {f"{name}=" for name in names if not any(other.startswith(f"{name}.") for other in names)}
    for command in ("train", "preflight", "config show"):
        assert set(offered(atlas, monkeypatch, f"atlas {command} --set ")) == fields
    assert offered(atlas, monkeypatch, "atlas train --set model.memory.ttl_u") == ["model.memory.ttl_update_frequency="]
    for place in ("train --config", "preflight --config", "config show"):
        assert offered(atlas, monkeypatch, f"atlas {place} ") == [*preset_names(), *model_names()]
    assert offered(atlas, monkeypatch, "atlas train --config tin") == ["tiny"]


def modules_after(*arguments: str, **variables: str) -> set[str]:
    """Return which of some modules that take long to import a command has imported, in a process of its own."""
    slow = {"torch", "torch.distributed.tensor", "torch._dynamo", "sympy", "matplotlib"}
    probe = (
        "import sys, cli.main\n"
        f"sys.argv = ['atlas', *{arguments!r}]\n"
        "try:\n    cli.main.main()\n"
        f"finally:\n    print('\\n' + ' '.join({slow!r} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_completion_and_the_list_of_presets_do_not_import_torch() -> None:
    """Kills: a preset that is built to be counted; a field whose completion loads the program."""
    assert modules_after("config", "list") == set()
    words = {"_ATLAS_COMPLETE": "complete_bash", "COMP_WORDS": "atlas train --set ", "COMP_CWORD": "3"}
    assert modules_after(**words) == set()


def test_evaluating_imports_torch_and_nothing_else_that_is_slow(tmp_path: Path) -> None:
    """Kills: the tensors of several processes imported for one; a model built on no device to count its weights."""
    start(micro_config("train.max_steps=1", "optim.warmup_steps=1", "model.n_layers=1"), tmp_path / "run")
    assert modules_after("eval", str(tmp_path / "run")) == {"torch"}
