"""What commands say of runs whose models have no memory that is written at test time."""

import json
from pathlib import Path

import pytest

from spec_tests.package.micro.arithmetic import arithmetic_config
from spec_tests.package.micro.cognate import RELAY, cognate_config
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import start


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each other family."""
    root = tmp_path_factory.mktemp("families")
    start(arithmetic_config("train.max_steps=2"), root / "arithmetic")
    start(cognate_config(*RELAY, "train.max_steps=2"), root / "relay")
    return root


def test_a_run_of_every_family_is_listed(real: Path, atlas: Atlas) -> None:
    """Kills: a table that asks every run for the rule of its memory, so that one without is called damaged."""
    ended = atlas("runs", real, "--json")
    rows = {row["run"]: (row["status"], row["memory"]) for row in json.loads(ended.out)}
    assert rows == {"arithmetic": ("finished", "none"), "relay": ("finished", "separate recursion")}


def test_the_exported_table_of_a_network_without_layers_names_none(real: Path, atlas: Atlas, tmp_path: Path) -> None:
    """Kills: "N is 0 to" of layers that are not there."""
    assert atlas("export", real / "arithmetic", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "names.md").read_text(encoding="utf-8")
    assert "| `hidden.0.weight` | 12 x 8 |" in text
    assert "N is" not in text


def test_a_run_on_arithmetic_is_judged_and_does_not_write(real: Path, atlas: Atlas) -> None:
    """Kills: a traceback where there is no tokenizer."""
    judged = json.loads(atlas("eval", real / "arithmetic", "--json").out)
    assert judged["tokens"] == 20
    refused = atlas("generate", real / "arithmetic", "--prompt", "3")
    assert refused.code == 2
    assert "was trained on arithmetic, which is not text" in refused.err
