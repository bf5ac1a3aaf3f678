"""Presets and TOML text: each preset is complete and shipped, and what is written is read again exactly.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from pathlib import Path

import pytest
import torch

from atlas_ref.config import load_config, parse_config, preset_names, to_toml
from atlas_ref.models.atlas import AtlasModel

PRESETS = [
    "atlas-340m",
    "cognate-27m",
    "cognate-curriculum",
    "cognate-memory",
    "cognate-reasoning",
    "cognate-speed",
    "grok-mlp",
    "grok-perp",
    "grok-square",
    "grok-transformer",
    "lmm-tiny",
    "mac-tiny",
    "mal-tiny",
    "omega-389m",
    "omega-dumas",
    "omega-micro",
    "omega-shakespeare",
    "phase1",
    "recall",
    "relay",
    "shakespeare-10m",
    "sudoku",
    "tiny",
    "tnt-atlas",
    "tnt-titans",
]


def test_presets_are_the_shipped_files() -> None:
    assert preset_names() == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_written_as_toml_loads_as_the_same_configuration(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    path = tmp_path / "copy.toml"
    path.write_text(to_toml(config), encoding="utf-8")

    assert load_config(str(path)) == config


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_order_and_the_comments_that_writing_gives(name: str) -> None:
    def without_values(text: str) -> list[str]:
        return [re.sub(r"= .*?\s+#", "= #", line) for line in text.strip().splitlines()]

    shipped = (Path(__file__).parents[3] / "atlas_ref" / "config" / "presets" / f"{name}.toml").read_text()
    header, _, body = shipped.partition("\n\n")

    assert all(line.startswith("# ") for line in header.splitlines())
    assert without_values(body) == without_values(to_toml(load_config(name)))


@pytest.mark.parametrize(("name", "millions"), [("shakespeare-10m", "10.4"), ("atlas-340m", "340.0")])
def test_a_preset_named_after_its_size_has_that_size(name: str, millions: str) -> None:
    with torch.device("meta"):
        model = AtlasModel(load_config(name).model, seed=0)

    assert f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}" == millions


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("omega-shakespeare", 10_405_656),
        ("omega-dumas", 10_405_656),
        ("omega-389m", 389_547_160),
        ("omega-micro", 111_458),
    ],
)
def test_a_preset_of_episodes_has_its_count(name: str, count: int) -> None:
    with torch.device("meta"):
        model = AtlasModel(load_config(name).model, seed=0)

    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_source_shape_is_kept() -> None:
    model = load_config("tnt-atlas").model

    assert (model.d_model, model.n_heads, model.n_layers) == (576, 9, 6)
    assert (model.attention.window, model.attention.persistent_tokens) == (256, 4)


@pytest.mark.parametrize(
    "text", ['a "quote" and \\', "tab\tline\nreturn\r", "\x01\x7f\x1f", "déjà \U0001d50a \u2028", " = # [x]"]
)
def test_any_text_survives_writing_and_reading(text: str, tmp_path: Path) -> None:
    table = load_config("tiny").model_dump()
    table["data"].update(source="path", path=text)
    config = parse_config(table, "test")
    path = tmp_path / "text.toml"
    path.write_bytes(to_toml(config).encode())

    assert load_config(str(path)).data.path == text


@pytest.mark.parametrize("number", [1e-300, 5e-324, 0.1, 1.0, 1e-05])
def test_any_number_survives_writing_and_reading_exactly(number: float, tmp_path: Path) -> None:
    config = load_config("tiny", [f"optim.learning_rate={number!r}", "optim.min_learning_rate=0"])
    path = tmp_path / "number.toml"
    path.write_text(to_toml(config))

    assert load_config(str(path)).optim.learning_rate == number
