"""`atlas export`, and the table of tensors that it, `atlas config list` and the check of sizes read.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from atlas_ref.config import config_hash
from atlas_ref.models.tensors import count_parameters, tensors
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.export import CONFIG, NAMES, TOKENIZER
from atlas_ref.training.run import load_model
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.models import VARIANTS, make_model
from spec_tests.package.micro.runs import RECALL, micro_config, start

ROOT = Path(__file__).parents[3]
STOPPED_EARLY = ("train.max_steps=2", "model.gate.floor_start=0.5", "model.gate.floor_decay_steps=100")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose schedules had not ended."""
    path = tmp_path_factory.mktemp("trained") / "run"
    start(micro_config(*STOPPED_EARLY, "model.n_layers=1"), path)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_of_tensors_is_that_of_the_model(variant: str) -> None:
    """Kills: a tensor left out or made up; a shape by another formula; a count that is not their sum."""
    model = make_model(variant)
    table = tensors(model.config)
    assert {info.name: info.shape for info in table} == {n: tuple(t.shape) for n, t in model.state_dict().items()}
    assert len({info.name for info in table}) == len(table)
    assert count_parameters(model.config) == sum(parameter.numel() for parameter in model.parameters())
    for info in table:
        assert len(info.axes.split(",")) == len(info.shape)
        assert info.meaning


def test_the_script_of_the_guide_has_the_logits_of_the_run(
    atlas: Atlas, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a script that no longer runs; weights of another dtype or checkpoint; schedules at their end instead of
    where the run was; a script that nobody would call short."""
    monkeypatch.chdir(tmp_path)
    assert atlas("export", trained, "exported").code == 0
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "exporting.md").read_text(), re.DOTALL)
    assert len(script.splitlines()) <= 30
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(script, "docs/exporting.md", "exec"), names)

    checkpoint = find_checkpoint(trained)
    model = load_model(checkpoint, torch.device("cpu"))
    with torch.inference_mode():
        ours = model(names["tokens"], model.initial_state(1), None, checkpoint.step).logits
        at_the_end = model(names["tokens"], model.initial_state(1), None).logits
    assert torch.equal(names["output"].logits, ours)
    assert not torch.equal(ours, at_the_end)


def test_an_export_says_what_it_is(atlas: Atlas, trained: Path, tmp_path: Path) -> None:
    """Kills: metadata that is missing or of another run; a name without a meaning; a path of this machine; a file that
    colleagues may not read."""
    before = os.umask(0o027)
    try:
        ended = atlas("export", trained, tmp_path / "out")
    finally:
        os.umask(before)
    assert ended.code == 0, ended.err
    checkpoint = find_checkpoint(trained)
    described = json.loads((tmp_path / "out" / CONFIG).read_text())
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert (metadata["step"], metadata["config_hash"]) == ("2", config_hash(checkpoint.config))
    assert (described["step"], described["config_hash"]) == (2, config_hash(checkpoint.config))
    assert described["model"] == checkpoint.config.model.model_dump(mode="json")
    assert described["tokenizer"] == {"kind": "bytes", "tokens": 257, "separator": 256}
    assert described["preflight_skipped"] == checkpoint.preflight_skipped
    assert str(tmp_path) not in json.dumps(described)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.safetensors", CONFIG, NAMES}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o640}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]

    rows = re.findall(r"^\| `(\S+)` \| ([\dx ]+) \| .+ \| .+ \|$", (tmp_path / "out" / NAMES).read_text(), re.MULTILINE)
    table = {name.replace(".N.", ".0."): [int(size) for size in shape.split(" x ")] for name, shape in rows}
    assert table == stored
    assert f"{described['parameters']:,} parameters of step 2" in ended.out


def test_byte_pairs_go_with_the_model_as_their_package_reads_them(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a tokenizer that only this program can read; a separator that is another token."""
    tokenizers = pytest.importorskip("tokenizers")
    bpe = ("data.tokenizer='bpe'", "data.bpe_vocab_size=270", "model.vocab_size=270")
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be that is the question " * 40)
    start(micro_config(*bpe, "data.source='path'", f"data.path='{text}'", "train.max_steps=2"), tmp_path / "run")
    assert atlas("export", tmp_path / "run", tmp_path / "out").code == 0
    described = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert described["tokenizer"] == {"kind": "bpe", "file": TOKENIZER, "tokens": 270, "separator": 269}
    encoding = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / TOKENIZER))
    assert encoding.get_vocab_size() == 269
    assert encoding.encode("to be").ids


def test_a_model_of_no_text_has_no_tokenizer(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a traceback for a tokenizer that is None."""
    start(micro_config(*RECALL, "train.max_steps=2"), tmp_path / "run")
    assert atlas("export", tmp_path / "run", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["tokenizer"] is None


def test_nothing_that_is_there_is_replaced_and_a_failure_leaves_nothing(
    atlas: Atlas, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a used directory written into; a file or a dangling link replaced; half an export left behind."""
    used = tmp_path / "used"
    used.mkdir()
    (used / "README.txt").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("used", "used/README.txt", "dangling"):
        ended = atlas("export", trained, tmp_path / name)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert "must be new or empty" in ended.err
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", "names.md")

    with monkeypatch.context() as patch:
        patch.setattr("atlas_ref.training.export.write_atomically", fail)
        assert atlas("export", trained, tmp_path / "empty").err == "Error: names.md: No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert list((tmp_path / "empty").iterdir()) == []
    assert atlas("export", trained, tmp_path / "empty").code == 0
    assert os.listdir(used) == ["README.txt"]


def test_what_cannot_be_exported_is_one_sentence(atlas: Atlas, trained: Path, tmp_path: Path) -> None:
    """Kills: a directory made for a run that does not exist."""
    ended = atlas("export", tmp_path / "nowhere", tmp_path / "out")
    assert (ended.code, "is neither a run directory nor a checkpoint" in ended.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
