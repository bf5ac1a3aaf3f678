"""The published models by name, and the combinations of axes that have no meaning.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from pathlib import Path

import pytest

from atlas_ref.config import load_config, model_names
from atlas_ref.config.combinations import FIELDS, OF_A_RUN
from atlas_ref.config.errors import dotted_names
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.config.toml import write_toml
from atlas_ref.errors import UserError

FOLDER = Path(__file__).parents[3] / "atlas_ref" / "config" / "presets" / "models"


@pytest.mark.parametrize("name", model_names())
def test_the_file_of_a_model_says_its_paper_its_equation_where_it_departs_and_its_whole_memory(name: str) -> None:
    """Kills: a field that a file leaves to `tiny`; a comment of another field; a header without an equation."""
    header, _, body = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").partition("\n\n")
    paper, equation, departs = header.splitlines()
    assert re.match(r"# .+ \(\d{4}\.\d{5}\): .+\.$", paper)
    assert re.match(r"# [MSA]_t = ", equation)
    assert re.match(r"# Departs: .+\.$", departs)
    written = write_toml(load_config(name).model.memory)

    def fields(text: str) -> list[str]:
        return [re.sub(r"\s+#", " #", line) for line in text.splitlines() if " = " in line]

    assert fields(body) == fields(written)


@pytest.mark.parametrize("name", model_names())
def test_a_model_is_a_preset_with_its_memory_and_nothing_else_of_its_own(name: str) -> None:
    """Kills: a model whose name alone is of another preset than `tiny`; a memory that is merged, not exchanged."""
    memory = load_config(name).model.memory
    assert memory != load_config("tiny").model.memory
    for base, chosen in (("tiny", name), ("tiny", f"tiny+{name}"), ("recall", f"recall+{name}")):
        whole = load_config(base).model_dump()
        whole["model"]["memory"] = memory.model_dump()
        assert load_config(chosen).model_dump() == whole


def test_a_model_goes_into_the_configuration_of_a_file(tmp_path: Path) -> None:
    """Kills: a name with a plus that is looked for among the presets only."""
    path = tmp_path / "mine.toml"
    path.write_text(write_toml(load_config("recall", ["train.seed=7"])))
    found = load_config(f"{path}+kda", ["model.memory.chunk=1"])
    assert (found.train.seed, found.model.memory) == (7, load_config("kda").model.memory)


@pytest.mark.parametrize("name", ["+deltanet", "tiny+", "tiny+deltanett", "nowhere+deltanet", "deltanett"])
def test_a_name_that_is_no_model_is_refused_with_what_there_is(name: str) -> None:
    """Kills: a preset that is taken where its model is unknown; a message without the models."""
    with pytest.raises(UserError, match=r"is neither a preset nor a file; did you mean .* deltanet, "):
        load_config(name)


MEANINGLESS = {
    "error_at = retained": ("deltanet", "error_at='retained'", "chunk=8"),
    "algorithm = implicit": ("longhorn", "step_scale='mass'"),
    "algorithm = ridge": ("mesa", "read='pre'"),
    "gate_axis = rows": ("yaad", "gate_axis='rows'"),
    "gate_axis = columns": ("yaad", "gate_axis='columns'"),
    "gates.retention_kind = retnet": ("retnet", "gate_axis='columns'"),
    "gates.retention_kind = mamba2": ("mamba2", "gate_axis='rows'"),
    "retention = proximal_elastic": ("memora", "retention='proximal_elastic'"),
    "link.kind = softmax": ("gla", "link.kind='softmax'"),
    "architecture = mlp_glu": ("yaad", "architecture='mlp_glu'"),
    "bias.kind = yaad_printed": ("yaad", "bias.kind='yaad_printed'"),
    "rule = delta": ("deltanet", "omega_window=2"),
    "kind = hierarchical": ("titans-lmm", "kind='hierarchical'", "read='pre'"),
}
"""A model and what is changed in it, under the field that makes the change meaningless."""


def test_every_refusal_is_tried() -> None:
    """Kills: a line of the table that no test meets; a field that there is not."""
    assert {f"{FIELDS[need.axis]} = {need.value}" for need in OF_A_RUN} == set(MEANINGLESS)
    assert set(FIELDS.values()) <= set(dotted_names(MemoryConfig))


@pytest.mark.parametrize("field_and_value", MEANINGLESS)
def test_a_combination_without_meaning_is_refused_with_both_fields_and_the_reason(field_and_value: str) -> None:
    """Kills: a combination that is computed as something else; a message that names one of the two fields."""
    model, *changes = MEANINGLESS[field_and_value]
    with pytest.raises(UserError) as refused:
        load_config(model, [f"model.memory.{change}" for change in changes])
    name, _, value = field_and_value.partition(" = ")
    (line,) = [line for line in str(refused.value).splitlines() if f"model.memory.{name} = " in line]
    found = re.match(
        rf'{model}: model\.memory\.(\S+) is .+; it must be .+ for model\.memory\.{name} = "{value}", (.+)\.', line
    )
    assert found is not None
    needs = [need for need in OF_A_RUN if (FIELDS[need.axis], need.value) == (name, value)]
    assert any(need.reason == found[2] and found[1] in {FIELDS[axis] for axis in need.valid} for need in needs)
