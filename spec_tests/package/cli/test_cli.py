"""The command line: what it prints, where it writes, and how it ends when something is wrong.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import tomllib
from pathlib import Path

import pytest

import atlas_ref
from atlas_ref.config import load_config, model_names, preset_names
from spec_tests.package.micro.command import Atlas, Ended
from spec_tests.package.micro.process import in_a_process
from spec_tests.package.micro.runs import (
    RECALL,
    metric_lines,
    micro_config,
    start,
)


@pytest.mark.parametrize(
    "command",
    [[], ["preflight"], ["train"], ["eval"], ["generate"], ["plot"], ["runs"], ["config"], ["config", "list"]],
)
def test_help_comes_without_importing_torch(command: list[str]) -> None:
    """Kills: an import of torch, of the config or of training at the top of any module of the command line."""
    probe = (
        "import sys, cli.main\n"
        f"sys.argv = ['atlas', *{command!r}, '--help']\n"
        "try:\n    cli.main.main()\n"
        "finally:\n    print(sorted({'torch', 'numpy', 'safetensors', 'atlas_ref.config'} & set(sys.modules)))"
    )
    with in_a_process("-c", probe) as process:
        out, err = process.communicate()
    assert err == ""
    assert "Usage:" in out
    assert out.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package(atlas: Atlas) -> None:
    """Kills: a second copy of the version."""
    assert atlas("--version") == Ended(0, f"atlas {atlas_ref.__version__}\n", "")


BAD = {
    "no such command": ["tain"],
    "no such option": ["train", "--steps", "3"],
    "steps below one": ["train", "--max-steps", "0"],
    "steps not a number": ["train", "--max-steps", "many"],
    "no such device": ["train", "--device", "tpu"],
    "no such preset": ["train", "--config", "tyni"],
    "no such config file": ["train", "--config", "nowhere.toml"],
    "a folder for a config": ["train", "--config", "./"],
    "no such field": ["train", "--set", "optim.lr=1"],
    "a value out of range": ["train", "--set", "optim.learning_rate=-1"],
    "a value of the wrong type": ["train", "--set", "model.n_layers=two"],
    "an override without value": ["train", "--set", "model.n_layers"],
    "no such data": ["train", "--data", "nowhere.txt"],
    "no such checkpoint": ["train", "--resume", "nowhere"],
    "eval of nothing": ["eval", "nowhere"],
    "eval without run": ["eval"],
    "generate from nothing": ["generate", "nowhere"],
    "config of nothing": ["config", "show", "nowhere"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=[name.replace(" ", "-") for name in BAD])
def test_a_mistake_gives_one_clear_line_exit_code_2_and_no_files(
    arguments: list[str], atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: UserError or OSError not caught (a traceback); a run directory made before the options are known good."""
    monkeypatch.chdir(tmp_path)
    ended = atlas(*arguments)

    assert ended.code == 2
    assert "Traceback" not in ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert ended.err.splitlines()[-1] == errors[0]
    assert len(errors[0]) > len("Error: ") + 10
    assert list(tmp_path.iterdir()) == []


def test_eval_repeats_the_validation_of_training(atlas: Atlas, trained: Path) -> None:
    """Kills: eval of another checkpoint than the newest; --batches that is not read; a checkpoint taken for its run."""
    ended = atlas("eval", trained, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["step"] == 6
    assert found["loss"] == metric_lines(trained)[-1]["val/loss"]
    fewer = json.loads(atlas("eval", trained, "--json", "--batches", "1").out)
    assert fewer["tokens"] < found["tokens"]
    older = json.loads(atlas("eval", trained / "checkpoints" / "step-00000003", "--json").out)
    assert (older["step"], older["loss"]) == (3, metric_lines(trained)[2]["val/loss"])
    assert atlas("eval", trained).out.startswith(f"step 6: loss {found['loss']:.4f}, ")


def test_eval_reads_other_text_with_the_tokenizer_of_the_run(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a tokenizer trained anew on the other text, whose tokens mean something else."""
    config = micro_config("data.tokenizer='bpe'", "data.bpe_vocab_size=300", "model.vocab_size=300")
    start(config, tmp_path / "run")
    other = tmp_path / "other.txt"
    other.write_text("zyx wvu tsr qpo nml kji hgf edc ba " * 60)
    ended = atlas("eval", tmp_path / "run", "--data", other, "--json")

    assert ended.code == 0, ended.err
    assert 3.0 < json.loads(ended.out)["loss"] < 9.0


def test_generate_prints_the_prompt_and_a_text_that_its_seed_decides(atlas: Atlas, trained: Path) -> None:
    """Kills: a prompt that is not printed or not read; a seed that is not read; fewer tokens than asked for."""
    options = ("--prompt", "HAMLET", "--tokens", "40", "--top-k", "20", "--temperature", "0.9")
    first, again = (atlas("generate", trained, *options, "--seed", "1") for _ in range(2))
    other = atlas("generate", trained, *options, "--seed", "2")

    assert first.code == 0, first.err
    assert first == again
    assert first.out.startswith("HAMLET")
    assert first.out != other.out
    assert 6 < len(first.out) <= 6 + 40 + 1
    assert atlas("generate", trained, "--tokens", "5", "--prompt", "").code == 2


def test_generate_refuses_a_model_that_knows_no_text(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a traceback from a tokenizer that is None."""
    start(micro_config(*RECALL, "train.max_steps=2"), tmp_path / "run")
    ended = atlas("generate", tmp_path / "run")
    assert (ended.code, "was trained on recall, which is not text" in ended.err) == (2, True)


def test_config_show_prints_a_complete_config_that_can_be_run(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: overrides that are not applied; a field that is not printed."""
    ended = atlas("config", "show", "shakespeare-10m", "--set", "train.seed=7")
    assert ended.code == 0, ended.err
    expected = load_config("shakespeare-10m", ["train.seed=7"])
    assert tomllib.loads(ended.out) == expected.model_dump(mode="json")
    file = tmp_path / "shown.toml"
    file.write_text(ended.out)
    assert load_config(str(file)) == expected


def test_config_list_names_every_preset_with_its_size(atlas: Atlas) -> None:
    """Kills: a preset or model left out; a size that is not that of the model."""
    ended = atlas("config", "list")
    assert ended.code == 0, ended.err
    first, second = ended.out.split("published model")
    rows = {line.split()[0]: line for line in first.splitlines()[1:]}
    assert set(rows) == set(preset_names())
    assert {line.split()[0] for line in second.splitlines()[1:]} == set(model_names())
    assert "10.4 M" in rows["shakespeare-10m"]
    assert "0.6 M" in rows["tiny"]
