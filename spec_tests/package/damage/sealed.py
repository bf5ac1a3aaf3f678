"""Changing a checkpoint and making its checksums right again, as a foreign or hostile program would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas_ref.storage.checkpoint import META, TENSOR_FILES


def seal(path: Path, change: Callable[[dict[str, Any]], object] = lambda meta: None) -> None:
    """Describe the files of a checkpoint as they are now, apply `change` to the description, and seal it."""
    meta = json.loads((path / META).read_text())
    for name in TENSOR_FILES:
        content = (path / name).read_bytes()
        meta["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(meta)
    meta.pop("sha256", None)
    checksum = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
    (path / META).write_text(json.dumps({**meta, "sha256": checksum}))
