"""docs/porting-other-languages.md: its recipes are right, its table is one of bfloat16, its commands are ours."""

import re
import shlex
import struct
import sys
import sysconfig
import venv
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cli.conform import conform
from cli.port import app
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, round_to_bf16
from spec_tests.process.client import ProcessPort
from spec_tests.process.scripts import asked
from spec_tests.process.table import lines
from spec_tests.report.manifest import SUITE

DOCS: Final = SUITE.parent / "docs"
PAGE: Final = (DOCS / "porting-other-languages.md").read_text()
ROW: Final = re.compile(r"^\| (.+?) \| ([0-9a-f]{8}) \| ([0-9a-f]{8}|NaN) \| .* \|$", re.MULTILINE)


def recipe(name: str) -> ModuleType:
    """Return the module that a block of the page is."""
    (block,) = re.findall(rf"```python file={name}\n(.*?)```", PAGE, re.DOTALL)
    module = ModuleType(name)
    exec(compile(block, name, "exec"), module.__dict__)
    return module


def float_of(bits: int) -> Array:
    return np.frombuffer(struct.pack("<I", bits), np.float32)


def test_the_table_of_bfloat16_has_ten_pairs_which_are_so_by_every_means() -> None:
    rows = ROW.findall(PAGE)
    assert len(rows) == 10
    bf16 = recipe("bf16.py").bf16
    for shown, given, rounded in rows:
        value = float_of(int(given, 16))
        np.testing.assert_array_equal(value, np.float32(shown.replace("infinity", "inf")))
        for answer in (round_to_bf16(value)[0], bf16(float(value[0]))) if rounded != "NaN" else ():
            assert struct.pack("<f", answer) == struct.pack("<I", int(rounded, 16))
    assert np.isnan(bf16(float("nan")))


def test_the_recipe_for_bfloat16_rounds_as_the_suite_does() -> None:
    rng = generator(1)
    x = (rng.standard_normal(2000) * 10.0 ** rng.integers(-38, 38, 2000)).astype(np.float32)
    bf16 = recipe("bf16.py").bf16
    np.testing.assert_array_equal([bf16(float(entry)) for entry in x], round_to_bf16(x))


def test_the_recipe_for_safetensors_reads_what_the_library_writes_and_the_other_way_round(tmp_path: Path) -> None:
    tensors = recipe("tensors.py")
    arrays: dict[str, Array] = {
        "wide": generator(1).standard_normal((2, 3)),
        "narrow": generator(2).standard_normal((4,)).astype(np.float32),
        "indices": np.array([[1, -2]], dtype=np.int64),
        "scalar": np.array(0.5),
        "empty": np.zeros((0, 3)),
    }
    kinds = {"float64": "F64", "float32": "F32", "int64": "I64"}
    save_file(arrays, tmp_path / "theirs")
    found = tensors.read(tmp_path / "theirs")
    entries = {
        name: (kinds[value.dtype.name], list(value.shape), value.ravel().tolist()) for name, value in arrays.items()
    }
    tensors.write(tmp_path / "ours", entries)
    back = load_file(tmp_path / "ours")
    assert found.keys() == back.keys() == arrays.keys()
    for name, value in arrays.items():
        shape, numbers = found[name]
        np.testing.assert_array_equal(np.array(numbers, value.dtype).reshape(shape), value)
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == value.dtype


def test_the_table_has_a_line_an_operation_and_the_page_shows_one_of_them() -> None:
    printed = list(lines())
    begins = [f"L{row.level} {op}(" for op, row in OPERATIONS.items()]
    assert [line[: len(begin)] for line, begin in zip(printed, begins, strict=True)] == begins
    assert all("\n" not in line for line in printed)
    (shown,) = re.findall(r"```\n(L0 .*)\n```", PAGE)
    assert shown in printed
    scan = next(line for line in printed if " memory_scan(" in line)
    assert "rule=titans|omega|delta|" in scan
    assert "window_keys[batch window-1 heads features]:s" in scan
    assert scan.endswith("weights_trace[batch time heads parameters]:s")
    assert "table" in {command.name for command in app.registered_commands}


PORT: Final = """
import sys
from dataclasses import replace
from spec_tests.process.example import ExamplePort

class Port(ExamplePort):
    def declare(self):
        return replace(super().declare(), language=sys.prefix)
"""


def test_a_port_is_asked_in_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    venv.create(other, symlinks=True)
    (tmp_path / "elsewhere.py").write_text(PORT)
    paths = (str(tmp_path), str(SUITE.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    (command,) = re.findall(r'--port "cmd:(.*)"', PAGE)
    command = command.replace("/path/to/other", shlex.quote(str(other))).replace("your.module", "elsewhere")
    with ProcessPort(command) as port:
        assert Path(port.declare().language) == other
        assert Path(port.declare().language) != Path(sys.prefix)
        assert asked(port)["y"].any()


def test_the_action_asks_with_options_that_there_are_and_keeps_the_folder_of_the_report() -> None:
    text = (SUITE.parent / "docs/conformance/action.yml").read_text()
    (command,) = re.findall(r"atlas (conform .*?) \|\|", text)
    options = {word.removeprefix("--"): value for word, value in re.findall(r"(--\w+) \"\$(\w+)\"", command)}
    assert len(options) == command.count("--")
    assert options.keys() <= conform.__annotations__.keys()
    given = dict(re.findall(r"^        ([A-Z_]+): \$\{\{ inputs\.(\w+) \}\}$", text, re.MULTILINE))
    assert set(options.values()) <= given.keys()
    inputs = set(re.findall(r"^  (\w+):\n    description:", text, re.MULTILINE))
    assert set(given.values()) == inputs
    assert re.search(r"path: \$\{\{ inputs\.report \}\}$", text, re.MULTILINE)
    assert set(re.findall(r"\$([A-Z_]+)", text)) - {"PWD", "ACTION_PATH"} == given.keys()
