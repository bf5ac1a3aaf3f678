"""Judging a whole text: every token once, whatever the batch, against a loop that reads the text alone."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.corpus import read_corpus
from atlas_ref.data.tokenizer import BPETokenizer, Tokenizer
from atlas_ref.data.whole import Split, WholeText
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.registry import build_model
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.run import load_model, open_data, tokenizer_of
from spec_tests.package.data.answer_inputs import answer_config, sums, write_rows
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.data_inputs import KEY
from spec_tests.package.micro.models import as_atlas
from spec_tests.package.micro.runs import RECALL, micro_config, start

BPE = ("data.tokenizer='bpe'", "data.bpe_vocab_size=300", "model.vocab_size=300")
SENTENCES = ("Füchse jagen zwölf Boxkämpfer. ", "zyx wvu tsr qpo nml kji. ", "the cat sat on the mat; ")


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on the shipped text."""
    path = tmp_path_factory.mktemp("eval") / "run"
    start(micro_config("train.max_steps=2", *(BPE if request.param == "bpe" else ())), path)
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents shorter and longer than a row (32), and than a context (128)."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    documents = [SENTENCES[n % 3] * n for n in (1, 9, 2, 1, 4)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


def read_alone(model: AtlasModel, tokenizer: Tokenizer, documents: list[str], config: RunConfig) -> dict[str, float]:
    """Return nats, tokens and bytes of a text that one row reads context after context, each in a single call."""
    chunk, context = config.model.memory.chunk, config.data.sequence_length * config.data.context_batches
    tokens: list[int] = []
    starts: list[int] = []
    for text in documents:
        encoded = tokenizer.encode(text)
        filled = encoded + [tokenizer.separator] * (chunk - len(encoded) % chunk)
        starts += [len(tokens)]
        tokens += filled
    nats, count, size = 0.0, 0, 0
    for first in range(0, len(tokens), context):
        part = tokens[first : first + context]
        reset = torch.tensor([[first + place in starts for place in range(len(part))]])
        with torch.no_grad():
            logits = model(torch.tensor([part]), model.initial_state(1), reset, outer_step=2).logits[0]
        for place, token in enumerate(part):
            if token != tokenizer.separator:
                target = tokens[first + place + 1]
                nats -= float(torch.log_softmax(logits[place], -1)[target])
                count, size = count + 1, size + len(tokenizer.token_bytes(target))
    return {"loss": nats / count, "tokens": count, "bytes": size, "bits_per_byte": nats / math.log(2) / size}


def test_a_whole_text_is_judged_as_one_row_reads_it_in_any_batch(run: Path, texts: Path) -> None:
    """Kills: a last window that is dropped, rows cut where no context ends, a token that is scored twice, bits per
    token, and a batch that changes the result.
    """
    checkpoint = find_checkpoint(run)
    tokenizer, model = tokenizer_of(checkpoint), load_model(checkpoint, torch.device("cpu"))
    assert tokenizer is not None
    documents = read_corpus(str(texts), KEY).documents
    expected = read_alone(as_atlas(model), tokenizer, documents, checkpoint.config)

    # Each document's tokens but the first are scored, and its end.
    assert expected["tokens"] == sum(len(tokenizer.encode(text)) for text in documents)
    for rows in (1, 3, 50):
        train = checkpoint.config.train.model_copy(update={"batch_size": rows})
        config = checkpoint.config.model_copy(update={"train": train})
        text = WholeText(read_corpus(str(texts), KEY), "all", tokenizer, config)
        found = evaluate(model, task_of(config.data), text, text.validation_batches, "fp32", 2)
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-5), (rows, key)


def found_by(atlas: Atlas, *arguments: object) -> dict[str, Any]:
    ended = atlas("eval", *arguments, "--json")
    assert ended.code == 0, ended.err
    value = json.loads(ended.out)
    assert isinstance(value, dict)
    return value


def test_eval_of_a_file_reads_all_of_it(atlas: Atlas, run: Path, tmp_path: Path) -> None:
    """Kills: reading the last tenth alone, so that two files that differ before it give one result; a file that is
    too short to train on is judged all the same.
    """
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text(SENTENCES[0] + SENTENCES[1] * 9)
    other.write_text(SENTENCES[2] + SENTENCES[1] * 9)
    (tmp_path / "short.txt").write_text("ab")
    first, second = (found_by(atlas, run, "--data", path) for path in (one, other))

    assert first["loss"] != second["loss"]
    assert found_by(atlas, run, "--data", one, "--split", "all") == first
    parts = [found_by(atlas, run, "--data", one, "--split", part) for part in ("train", "validation")]
    assert all(part["tokens"] > 0 for part in parts)
    assert parts[1]["tokens"] < parts[0]["tokens"] < first["tokens"]
    assert found_by(atlas, run, "--data", tmp_path / "short.txt")["tokens"] in (1, 2)


def test_eval_says_when_its_text_is_another(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a loss that is taken for one of the run's own text after that has changed, or of its validation part."""
    folder, moved = tmp_path / "texts", tmp_path / "moved"
    for place in (folder, moved):
        place.mkdir()
        (place / "a.txt").write_text(SENTENCES[1] * 16)
    start(micro_config("data.source='path'", f"data.path='{folder}'", "train.max_steps=2"), tmp_path / "run")
    run, line = tmp_path / "run", "another text than that of the run"

    assert found_by(atlas, run)["same_text"] is found_by(atlas, run, "--data", moved)["same_text"] is True
    assert line not in atlas("eval", run).out
    assert "this is the text of the run, which was trained on it" in atlas("eval", run, "--data", moved).out
    (moved / "b.txt").write_text(SENTENCES[2] * 16)
    assert found_by(atlas, run, "--data", moved)["same_text"] is False
    assert f"{line}; of its files the run has read 1\n" in atlas("eval", run, "--data", moved).out
    (folder / "a.txt").write_text(SENTENCES[2] * 16)
    assert found_by(atlas, run)["difference"] == "changed: a.txt"
    assert f"{line} (changed: a.txt)\n" in atlas("eval", run).out


def test_what_was_not_trained_on_text_judges_none(atlas: Atlas, tmp_path: Path, texts: Path) -> None:
    """Kills: advice to change the vocabulary of a trained model."""
    start(micro_config(*RECALL, "train.max_steps=2"), tmp_path / "run")

    assert "bits_per_byte" not in found_by(atlas, tmp_path / "run")
    for options in (("--data", texts), ("--split", "all")):
        ended = atlas("eval", tmp_path / "run", *options)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.endswith("was trained on recall, which is not text.\n")


@pytest.mark.parametrize(("text", "split"), [("a", "all"), ("ab", "validation")])
def test_a_text_of_which_nothing_can_be_scored_is_refused(text: str, split: Split, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(text)
    corpus = read_corpus(str(tmp_path / "x.txt"), KEY)

    with pytest.raises(UserError, match=r"x\.txt: is too short"):
        WholeText(corpus, split, BPETokenizer.train(["ab"], 300), micro_config())


def test_a_run_on_answers_is_judged_by_its_answers_and_on_its_validation_part_alone(
    tmp_path: Path, atlas: Atlas
) -> None:
    file = write_rows(tmp_path / "sums.jsonl", sums(60))
    start(answer_config(file, "train.max_steps=2", "train.eval_batches=9"), tmp_path / "run")
    told = atlas("eval", tmp_path / "run")
    assert (told.code, told.out.splitlines()[0].endswith("of 6 answers right as a whole")) == (0, True)
    found = json.loads(atlas("eval", tmp_path / "run", "--json").out)
    assert (found["answers"], found["answer_accuracy"], found["same_text"]) == (6, 0.0, True)
    refused = atlas("eval", tmp_path / "run", "--split", "all")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "was trained on answers, of which the validation part alone is judged" in refused.err


def test_a_model_is_served_in_other_chunks_with_the_steps_that_it_was_trained_with(run: Path, atlas: Atlas) -> None:
    """Kills: a divisor of `mass` that follows the chunk of the command; --chunk that reaches no memory."""
    checkpoint = find_checkpoint(run)
    found = json.loads(atlas("eval", run, "--chunk", "2", "--json").out)
    assert (found["chunk"], found["trained_chunk"]) == (2, 8)
    losses = {}
    for divided_by in (8, 2):
        memory = checkpoint.config.model.memory.model_copy(update={"chunk": 2, "step_chunk": divided_by})
        model = load_model(checkpoint, torch.device("cpu"))
        served = as_atlas(build_model(checkpoint.config.model.model_copy(update={"memory": memory}), 0))
        served.load_state_dict(model.state_dict())
        config, source = checkpoint.config, open_data(checkpoint.config, checkpoint)
        task = task_of(config.data)
        losses[divided_by] = evaluate(served, task, source, config.train.eval_batches, config.train.precision, 2)[
            "loss"
        ]
    assert found["loss"] == losses[8]
    assert abs(losses[2] - losses[8]) > 1e-7
    told = atlas("eval", run, "--chunk", "2").out
    assert "served in chunks of 2 tokens, trained in chunks of 8" in told


def test_the_chunk_of_training_changes_nothing_and_is_not_spoken_of(run: Path, atlas: Atlas) -> None:
    usual, same = atlas("eval", run), atlas("eval", run, "--chunk", "8")
    assert usual.out == same.out
    made = [atlas("generate", run, "--tokens", "12", *chunk).out for chunk in ((), ("--chunk", "8"), ("--chunk", "3"))]
    assert made[0] == made[1] != ""
    told = [atlas("generate", run, "--tokens", "1", "--chunk", chunk).err for chunk in ("8", "3")]
    assert told == ["", "served in chunks of 3 tokens, trained in chunks of 8\n"]
    assert made[2]


def test_a_chunk_that_the_memory_cannot_have_is_refused(run: Path, atlas: Atlas) -> None:
    refused = atlas("eval", run, "--chunk", "70000")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "model.memory.chunk" in refused.err
