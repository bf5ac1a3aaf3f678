"""Texts that the model writes while it trains: drawn, kept, and without any effect on training.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.tokenizer import ByteTokenizer, decode
from atlas_ref.errors import UserError
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.processes.distributed import World
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.training.run import load_model
from atlas_ref.training.samples import Sample, keep_samples, read_samples
from spec_tests.package.micro.runs import (
    RECALL,
    Silence,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

PROMPT = 'RO"MEO:\té\n'
SHORT = ("model.n_layers=1", "train.max_steps=5", "train.save_interval=3", "train.keep_best=false")
SAMPLED = (
    *SHORT,
    "train.sample_interval=2",
    f"train.sample_prompt={json.dumps(PROMPT)}",
    "train.sample_tokens=4",
    "train.seed=7",
)


class Ear(Silence):
    """A reporter that keeps what is said."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run with samples, and what it said."""
    path, ear = tmp_path_factory.mktemp("sampled") / "run", Ear()
    start(micro_config(*SAMPLED), path, reporter=ear)
    return path, ear.heard


def test_a_run_with_samples_is_bit_for_bit_the_run_without(sampled: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Kills: a sample that moves the weights, their gradients or the state of training; a file that none asked for."""
    start(micro_config(*SHORT, "train.seed=7"), tmp_path / "run")
    assert saved_bytes(tmp_path / "run") == saved_bytes(sampled[0])
    assert without_timing(metric_lines(tmp_path / "run")) == without_timing(metric_lines(sampled[0]))
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_a_sample_is_what_the_model_of_its_step_writes(sampled: tuple[Path, list[str]]) -> None:
    """Kills: another step's model, schedule or numbers; a line left out at the last step; a prompt that is not read."""
    path, heard = sampled
    found = list(read_samples(path / "samples.jsonl"))
    assert [sample.step for sample in found] == [2, 4, 5]
    model, tokenizer = load_model(find_checkpoint(path), torch.device("cpu")), ByteTokenizer()
    begin = read_prompt(model, tokenizer.encode(PROMPT), 5)
    tokens = [made.token for made in generate(begin, 4, Sampling(), stream(7, step=5), tokenizer.separator)]
    assert found[-1] == Sample(5, PROMPT, decode(tokenizer, tokens), ended=tokens[-1] == tokenizer.separator)
    assert len({sample.text for sample in found}) == 3
    said = [text for text in heard if text.startswith("sample of step ")]
    assert [text.partition(":")[0] for text in said] == ["sample of step 2", "sample of step 4", "sample of step 5"]
    assert all('RO"MEO: é' in text and "\n" not in text for text in said)


def test_a_resumed_run_has_the_samples_of_a_whole_one(sampled: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Kills: lines after the checkpoint that stand twice; lines before it that are lost; other draws after it."""
    path, config = tmp_path / "run", micro_config(*SAMPLED)
    start(config, path, stop=stop_before(4))
    with (path / "samples.jsonl").open("a") as file:
        # What a process that died after its checkpoint has left.
        file.write(json.dumps(Sample(4, PROMPT, "lost", ended=False)._asdict()) + '\n{"step": 5, "pro')
    go_on(config, path)
    assert (path / "samples.jsonl").read_bytes() == (sampled[0] / "samples.jsonl").read_bytes()
    # A branch takes the samples up to its checkpoint with it.
    go_on(config, tmp_path / "branch", find_checkpoint(sampled[0] / "checkpoints" / "step-00000003"))
    assert (tmp_path / "branch" / "samples.jsonl").read_bytes() == (path / "samples.jsonl").read_bytes()


def test_damaged_samples_are_left_out_with_a_word(tmp_path: Path) -> None:
    """Kills: a run that cannot go on for the sake of a text; damage that nobody hears of; a file made of nothing."""
    source, target = tmp_path / "source.jsonl", tmp_path / "target.jsonl"
    assert keep_samples(source, target, 9) is None
    assert not target.exists()
    good = [Sample(step, "a", "b", ended=True) for step in (1, 2)]
    lines = "".join(json.dumps(sample._asdict()) + "\n" for sample in good)
    for bad in ("\0\0\0", "[1]", '{"step": 3}', '{"step": true, "prompt": "", "text": "", "ended": true}', "[" * 10**5):
        source.write_text(f"{lines}{bad}\n{lines}")
        assert keep_samples(source, target, 9) == (
            f"{source}, line 3: is no sample. The samples from there on are left out."
        )
        assert list(read_samples(target)) == good
    assert keep_samples(source, target, 1) is not None
    assert list(read_samples(target)) == good[:1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((*RECALL, "train.sample_interval=5"), 'it must be 0 for data.source = "recall"'),
        (("train.sample_interval=5", "train.sample_prompt=''"), "train.sample_prompt is empty"),
        (("train.sample_interval=-1",), "train.sample_interval is -1"),
        (("train.sample_tokens=0",), "train.sample_tokens is 0"),
        (("train.sample_prompt=caf\udce9",), "train.sample_prompt"),
    ],
)
def test_samples_of_nothing_are_refused(overrides: tuple[str, ...], words: str) -> None:
    """Kills: each check removed; half of a surrogate pair, which fails at the first sample, hours later."""
    with pytest.raises(UserError, match=words):
        micro_config(*overrides)


def test_processes_that_share_a_model_in_shards_cannot_write_samples() -> None:
    """Kills: the first process that waits for ever for the parts that the others hold."""

    def config(parallel: str) -> RunConfig:
        return micro_config("train.sample_interval=5", f"train.parallel='{parallel}'")

    two = World(rank=0, size=2, local_rank=0)
    two.check(config("ddp"))
    with pytest.raises(UserError, match="one process writes samples alone"):
        two.check(config("fsdp"))
