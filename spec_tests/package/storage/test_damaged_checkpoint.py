"""A damaged checkpoint is named, never trusted: bytes, descriptions and tensors that do not fit.

Every test names the fault that was put into the program by hand and that it caught.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import (
    META,
    TENSOR_FILES,
    find_checkpoint,
)
from spec_tests.package.damage.sealed import seal
from spec_tests.package.micro.runs import (
    go_on,
    micro_config,
)


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def damage_flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    file.write_bytes(content)


def damage_replace(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(200))


def damage_remove(file: Path) -> None:
    file.unlink()


DAMAGES = (damage_truncate, damage_flip, damage_replace, damage_remove)


@pytest.mark.parametrize("name", [META, *TENSOR_FILES])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("damage_"))
def test_a_damaged_file_is_refused_by_its_name(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    """Kills: no checksum of the tensor files; a run directory that is changed before the checkpoint proved good."""
    file = copy / "checkpoints" / "step-00000006" / name
    damage(file)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    with pytest.raises(UserError) as caught:
        go_on(micro_config("train.max_steps=8"), copy)

    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("old", "new"), [('"step": 6', '"step": 5'), ('"learning_rate": 0.002', '"learning_rate": 0.003')]
)
def test_a_description_that_was_changed_is_refused(copy: Path, old: str, new: str) -> None:
    """Kills: no checksum of the description, which would go on from a wrong step or with a wrong rate."""
    file = copy / "checkpoints" / "step-00000006" / META
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=rf"{file}: is damaged"):
        find_checkpoint(copy)


def rewrite(path: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of a checkpoint and make its checksums right again, as a foreign program would."""
    tensors = load_file(path / name)
    change(tensors)
    save_file(tensors, path / name)
    seal(path)


def reshape_first(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if tensors[name].ndim > 1)
    tensors[name] = tensors[name][..., 1:].contiguous()


def drop_first(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[min(tensors)]


def add_one(tensors: dict[str, torch.Tensor]) -> None:
    tensors["zzz.unknown"] = torch.zeros(2)


def halve_precision(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in sorted(tensors) if tensors[name].ndim > 1)
    tensors[name] = tensors[name].half()


@pytest.mark.parametrize("name", TENSOR_FILES)
@pytest.mark.parametrize("change", [reshape_first, drop_first, add_one, halve_precision])
def test_a_tensor_that_does_not_fit_is_refused_with_file_and_name(
    copy: Path, name: str, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    """Kills: each of the four comparisons removed in turn, for weights, optimiser and state."""
    path = copy / "checkpoints" / "step-00000006"
    rewrite(path, name, change)

    with pytest.raises(UserError, match="tensor") as caught:
        go_on(micro_config("train.max_steps=8"), copy)

    assert str(path / name) in str(caught.value)
