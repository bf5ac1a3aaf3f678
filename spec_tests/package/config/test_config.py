"""Configuration: every preset is complete, and every bad field is refused by its name, its file and what is valid."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas_ref.config import FeaturesConfig, RunConfig, config_hash, load_config, parse_config, to_toml
from atlas_ref.config.errors import dotted_names, nearest
from atlas_ref.errors import UserError
from atlas_ref.functional.polynomial import Basis, feature_dim


def refusal(overrides: list[str]) -> list[str]:
    """The lines of the error that the preset `tiny` gives under these overrides."""
    with pytest.raises(UserError) as caught:
        load_config("tiny", overrides)
    return str(caught.value).splitlines()


def edited_preset(folder: Path, old: str, new: str) -> str:
    """The path of a copy of `tiny` in which one text, which must occur, is another."""
    text = to_toml(load_config("tiny"))
    assert re.search(old, text, re.MULTILINE)

    path = folder / "edited.toml"
    path.write_text(re.sub(old, new, text, count=1, flags=re.MULTILINE))
    return str(path)


@pytest.mark.parametrize("name", dotted_names(RunConfig))
def test_each_missing_field_is_refused_by_name_and_file(name: str) -> None:
    table = load_config("tiny").model_dump()
    section = table
    *sections, last = name.split(".")
    for part in sections:
        section = section[part]
    del section[last]

    with pytest.raises(UserError, match=re.escape(f"run.toml: {name} is missing; it must be ")) as caught:
        parse_config(table, "run.toml")

    assert len(str(caught.value).splitlines()) == 1


def test_a_field_missing_from_a_file_is_refused_with_that_file(tmp_path: Path) -> None:
    path = edited_preset(tmp_path, r"^chunk = .*\n", "")

    with pytest.raises(UserError) as caught:
        load_config(path)

    assert str(caught.value) == (
        f"{path}: model.memory.chunk is missing; it must be an integer at least 1 and at most 65536."
    )


@pytest.mark.parametrize(
    ("unknown", "known"),
    [
        ("optim.lr", "optim.learning_rate"),
        ("optim.learning_rat", "optim.learning_rate"),
        ("train.learning_rate", "optim.learning_rate"),
        ("model.memory.windw", "model.memory.omega_window"),
        ("model.memory.window", "model.attention.window"),
        ("train.max_step", "train.max_steps"),
        ("trian", "train"),
        ("max_steps", "train.max_steps"),
        ("model.memory.gate", "model.memory.gates"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_name(unknown: str, known: str) -> None:
    assert refusal([f"{unknown}=1"]) == [
        f"override {unknown}=1 of tiny.toml: {unknown} is not a known field; did you mean {known}?"
    ]


@pytest.mark.parametrize("name", dotted_names(RunConfig))
def test_the_nearest_name_of_a_known_name_with_one_letter_less_is_that_name(name: str) -> None:
    for cut in (len(name) // 2, len(name) - 2):
        assert nearest(name[:cut] + name[cut + 1 :], dotted_names(RunConfig)) == name


@pytest.mark.parametrize(
    ("name", "value", "shown", "valid"),
    [
        ("train.seed", "1.0", "1.0", "an integer at least 0 and less than 9223372036854775808"),
        ("train.seed", "true", "true", "an integer at least 0 and less than 9223372036854775808"),
        ("train.seed", '"1"', 'the text "1"', "an integer at least 0 and less than 9223372036854775808"),
        ("train.seed", "[1]", "a list", "an integer at least 0 and less than 9223372036854775808"),
        ("train.seed", "2020-01-01", "the date or time 2020-01-01", "an integer at least 0 and less than"),
        ("train.seed", "-1", "-1", "an integer at least 0 and less than 9223372036854775808"),
        ("optim.eps", "nan", "nan", "a finite number greater than 0.0 and at most 0.01"),
        ("optim.eps", "inf", "inf", "a finite number greater than 0.0 and at most 0.01"),
        ("optim.eps", "0.0", "0.0", "a finite number greater than 0.0 and at most 0.01"),
        ("optim.eps", "false", "false", "a finite number greater than 0.0 and at most 0.01"),
        ("optim.eps", "small", 'the text "small"', "a finite number greater than 0.0 and at most 0.01"),
        ("model.disable_memory", "1", "1", "true or false"),
        ("model.disable_memory", "True", 'the text "True"', "true or false"),
        ("train.device", "gpu", 'the text "gpu"', 'one of "auto", "cpu", "cuda"'),
        ("data.path", "1", "1", "Unicode text of at most 4096 characters"),
        ("model.gate", "1", "1", "a table with the fields kind, floor, floor_start, floor_decay_steps"),
        ("model.gate.floor", "{a = 1}", "a table", "a finite number at least 0.0 and less than 1.0"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_is_and_what_is_valid(
    name: str, value: str, shown: str, valid: str
) -> None:
    (line,) = refusal([f"{name}={value}"])

    assert line.startswith(f"override {name}={value} of tiny.toml: {name} is {shown}; it must be {valid}")


def test_the_last_override_of_a_field_is_blamed_and_so_is_one_of_its_section() -> None:
    (line,) = refusal(["optim.eps=0.001", "optim.eps=5"])
    assert line.startswith("override optim.eps=5 of tiny.toml: optim.eps is 5")

    newton_schulz = "model.memory.newton_schulz={coefficients = 'cubic', steps = 99}"
    (line,) = refusal(["train.seed=1", newton_schulz])
    assert line.startswith(f"override {newton_schulz[:60]}... of tiny.toml: model.memory.newton_schulz.steps is 99")


def test_an_integer_is_taken_for_a_number_and_becomes_one() -> None:
    gain = load_config("tiny", ["model.memory.qk_projection.gain=5"]).model.memory.qk_projection.gain

    assert isinstance(gain, float)
    assert gain == 5.0


def test_every_error_of_a_file_is_told_one_a_line(tmp_path: Path) -> None:
    path = edited_preset(tmp_path, r"^chunk = 64", 'chunk = "64"\nspeed = 3')

    with pytest.raises(UserError) as caught:
        load_config(path, ["optim.beta1=1.0"])

    assert [line.split(" is ")[0] for line in str(caught.value).splitlines()] == [
        f"{path}: model.memory.chunk",
        f"{path}: model.memory.speed",
        f"override optim.beta1=1.0 of {path}: optim.beta1",
    ]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["model.n_heads=128", "model.memory.value_dim=1"], ["model.d_model", "model.n_heads"]),
        (["model.d_model=20", "model.memory.value_dim=5"], ["model.d_model", "model.n_heads"]),
        (["model.memory.value_dim=31"], ["model.memory.value_dim", "model.d_model"]),
        (["model.n_heads=2"], ["model.memory.value_dim", "model.d_model"]),
        (
            ["model.memory.rule=delta", "model.memory.omega_window=2"],
            ["model.memory.omega_window", "model.memory.rule"],
        ),
        (
            ["model.memory.key_dim=64", "model.memory.features.degree=3"],
            ["model.memory.features.degree", "model.memory.key_dim"],
        ),
        (
            ["model.memory.rule=delta", "model.memory.omega_window=1", "model.memory.ttl_update_frequency=2"],
            ["model.memory.ttl_update_frequency", "model.memory.rule"],
        ),
        (
            ["model.memory.window_boundary=truncate", "model.memory.ttl_update_frequency=3"],
            ["model.memory.ttl_update_frequency", "model.memory.chunk", "truncate"],
        ),
        (["model.memory.shards.length=100"], ["model.memory.shards.length", "model.memory.chunk"]),
        (["model.memory.gates.momentum_init=0.9"], ["model.memory.gates.momentum_init", "gates.momentum_max"]),
        (["model.memory.gates.step_init=2"], ["model.memory.gates.step_init", "gates.step_max"]),
        (["model.memory.gates.fast_heads=5"], ["model.memory.gates.fast_heads", "model.n_heads"]),
        (["optim.min_learning_rate=1"], ["optim.min_learning_rate", "optim.learning_rate"]),
        (["optim.warmup_steps=601"], ["optim.warmup_steps", "train.max_steps"]),
        (["model.vocab_size=256"], ["model.vocab_size", "257"]),
        (["data.tokenizer=bpe"], ["model.vocab_size", "at least 2048"]),
        (["data.source=relay", "data.relay.symbols=99", "model.vocab_size=101"], ["model.vocab_size", "must be 100 "]),
        (["data.source=path"], ["data.path", "data.source"]),
        (["data.path=x"], ["data.path", "data.source"]),
        (["data.source=path", "data.path=a\0b"], ["data.path", "zero"]),
        (["data.recall.pairs=65", "data.recall.queries=1"], ["data.recall.pairs", "data.recall.keys"]),
        (["data.recall.queries=9"], ["data.recall.queries", "data.recall.pairs"]),
        (["model.dropout.attention=0.1", "model.block=lmm"], ["model.dropout.attention", "model.block"]),
        (["train.patience=3", "stage2.steps=1", "stage2.chunks=[2]"], ["train.patience", "stage2.steps"]),
        (["kill_switches.alpha_min=0.99"], ["kill_switches.alpha_min", "kill_switches.alpha_max"]),
    ],
)
def test_a_contradiction_between_fields_is_refused_with_both_names(overrides: list[str], names: list[str]) -> None:
    (line,) = refusal(overrides)

    assert line.startswith(f"tiny.toml: {names[0]} is ")
    assert all(name in line for name in names)


def test_a_recall_row_that_cannot_hold_its_gap_is_refused_with_the_length_it_needs() -> None:
    load_config("recall", ["data.recall.gap=96"])

    with pytest.raises(UserError, match=r"data.sequence_length is 128; it must be at least 129 to hold"):
        load_config("recall", ["data.recall.gap=97"])


def test_a_recall_row_whose_answers_are_within_reach_is_refused_with_the_length_it_needs() -> None:
    """Two windows of 16 and two convolutions of 3 reach 38 back; pairs and queries take 32 tokens."""
    load_config("recall", ["data.recall.gap=0", "data.sequence_length=70"])

    with pytest.raises(UserError, match=r"data.sequence_length is 69; it must be at least 70, so that no answer"):
        load_config("recall", ["data.recall.gap=0", "data.sequence_length=69"])


@pytest.mark.parametrize("override", ["train", "=1", "train..seed=1", ".seed=1", "", "train.seed.x=1"])
def test_an_override_that_names_no_field_is_refused_as_it_was_written(override: str) -> None:
    (line,) = refusal([override])

    assert line.startswith(f'override "{override}" of tiny.toml: ')


def test_the_last_override_of_a_field_wins() -> None:
    config = load_config("tiny", ["train.seed=1", "train.seed = 7", "train.device=cpu", 'optim.name="muon"'])

    assert (config.train.seed, config.train.device, config.optim.name) == (7, "cpu", "muon")


def test_an_override_leaves_the_given_table_as_it_was() -> None:
    table = load_config("tiny").model_dump()
    parse_config(table, "test", ["model.memory.chunk=64"])

    assert table == load_config("tiny").model_dump()


def _folder(path: Path) -> None:
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (_folder, "is not a regular file"),
    "not UTF-8": (lambda path: path.write_bytes(b"a = 1 # \xff"), "is not UTF-8 text (byte 8)"),
    "not TOML": (lambda path: path.write_text("model: {}"), "is not valid TOML"),
    "field twice": (lambda path: path.write_text("a = 1\na = 2\n"), "is not valid TOML"),
    "endless integer": (lambda path: path.write_text("a = " + "9" * 5000), "is not valid TOML"),
    "bottomless list": (lambda path: path.write_text("a = " + "[" * 100_000), "is not valid TOML"),
    "empty": (lambda path: path.write_text(""), "is empty; it must hold every field"),
    "only a comment": (lambda path: path.write_text("# mine"), "model is missing; it must be a table"),
    "table for text": (lambda path: path.write_text("[model.attention.window]"), "window is a table"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_configuration_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    make, complaint = BROKEN[kind]
    make(path)

    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        load_config(str(path))

    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r'"shakespear-10m" is neither .*; did you mean "shakespeare-10m"\?'):
        load_config("shakespear-10m")


def test_the_hash_changes_with_every_value_and_with_nothing_else() -> None:
    tiny = config_hash(load_config("tiny"))

    assert re.fullmatch(r"[0-9a-f]{64}", tiny)
    assert tiny == config_hash(parse_config(load_config("tiny").model_dump(), "elsewhere"))
    assert tiny != config_hash(load_config("tiny", ["train.seed=1"]))
    assert tiny != config_hash(load_config("tiny", ["model.memory.gates.step_init=0.51"]))


def test_a_configuration_cannot_be_changed() -> None:
    config = load_config("tiny")

    with pytest.raises(ValueError, match="frozen"):
        config.train.seed = 1


@pytest.mark.parametrize("basis", ["monomial_weighted", "monomial", "kronecker", "elementwise"])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_feature_limit_counts_the_features_that_are_made(basis: Basis, degree: int) -> None:
    assert FeaturesConfig(basis=basis, degree=degree).width(5) == feature_dim(5, degree, basis)


def test_reading_a_configuration_does_not_import_torch() -> None:
    code = "import sys; from atlas_ref.config import load_config; load_config('tiny'); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "False\n"
