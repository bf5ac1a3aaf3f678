"""What commands say of runs whose models have no memory that is written at test time."""

import json
from pathlib import Path

import pytest

from spec_tests.package.micro.arithmetic import arithmetic_config
from spec_tests.package.micro.cognate import RELAY, cognate_config
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.episodes import EPISODES
from spec_tests.package.micro.runs import micro_config, start


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each other family."""
    root = tmp_path_factory.mktemp("families")
    start(arithmetic_config("train.max_steps=2"), root / "arithmetic")
    start(cognate_config(*RELAY, "train.max_steps=2"), root / "relay")
    start(micro_config(*EPISODES, "train.max_steps=2", "model.init_std=0.02"), root / "episodes")
    return root


def test_a_run_of_every_family_is_listed(real: Path, atlas: Atlas) -> None:
    """Kills: a table that asks every run for the rule of its memory, so that one without is called damaged."""
    ended = atlas("runs", real, "--json")
    rows = {row["run"]: (row["status"], row["memory"]) for row in json.loads(ended.out)}
    assert rows == {
        "arithmetic": ("finished", "none"),
        "relay": ("finished", "separate recursion"),
        "episodes": ("finished", "omega matrix"),
    }


def test_a_run_on_episodes_is_judged_by_what_each_memory_retrieves(real: Path, atlas: Atlas) -> None:
    """Kills: a traceback for what only answers of another task have; an arm that is measured and not told."""
    ended = atlas("eval", real / "episodes")
    assert ended.code == 0, ended.err
    judged = json.loads(atlas("eval", real / "episodes", "--json").out)
    assert f"{judged['answer_accuracy']:.4f} of {judged['answers']:,.0f} answers right" in ended.out
    for arm in ("stored", "skipped", "other", "swapped", "zeroed", "gain"):
        low, high = judged[f"retrieval/{arm}_low"], judged[f"retrieval/{arm}_high"]
        assert f"{judged[f'retrieval/{arm}']:.4f} [{low:.4f}, {high:.4f}]" in ended.out


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
