"""Nothing that is saved is executed: files hold tensors and JSON, and no module of the program can unpickle.

Every test names the fault that was put into the program by hand and that it caught.
"""

import ast
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from atlas_ref.storage import checkpoint as checkpoints
from atlas_ref.storage.checkpoint import (
    META,
    TENSOR_FILES,
    find_checkpoint,
)


def test_only_tensors_and_json_are_saved(whole: Path) -> None:
    """Kills: optimiser.safetensors written by torch.save."""
    path = find_checkpoint(whole).path
    assert {file.name for file in path.iterdir()} == {META, *TENSOR_FILES}
    for name in TENSOR_FILES:
        assert load_file(path / name)
    meta = json.loads((path / META).read_text())
    assert meta["step"] == 6
    assert (whole / "checkpoints" / "latest").read_text() == "step-00000006\n"


UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


LOADERS = {"torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "numpy.load", "np.load", "eval", "exec"}


def forbidden(source: str) -> set[str]:
    """Return the modules that a source imports, and the functions that it names, which could run what a file says."""
    tree = ast.parse(source)
    found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)} & LOADERS
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS}
        if isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= full & LOADERS | ({node.module} if node.module.split(".")[0] in UNPICKLERS else set())
    return found


def test_no_module_of_the_program_can_unpickle() -> None:
    """Kills: `import pickle`, `torch.load` or `torch.save` anywhere in the package or the command line."""
    root = Path(checkpoints.__file__).parents[2]
    sources = [*(root / "atlas_ref").rglob("*.py"), *(root / "cli").rglob("*.py"), *(root / "preflight").rglob("*.py")]
    assert len(sources) > 20
    found = {source.relative_to(root).as_posix(): forbidden(source.read_text()) for source in sources}
    # What answers a code question is run where it was asked for, in a process that is shut off (`judging`).
    assert {name: words for name, words in found.items() if words} == {"atlas_ref/judging/shut_off.py": {"exec"}}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads as read",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy as np\nread = np.load",
        "eval('1')",
    ],
)
def test_a_way_to_unpickle_is_found(source: str) -> None:
    """The test above can fail."""
    assert forbidden(source)
