"""What several processes must have in common before they train one model, and the first thing in which they differ.

Each process reads its own command line, files and libraries. Where they are not the same, nothing need break: with
`ddp` the weights of the first process are copied over those of the others, so a process with another seed or other data
trains along in silence, and the checkpoint tells of the first one alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from atlas_ref.config import RunConfig
from atlas_ref.config.changes import leaves
from atlas_ref.data.identity import DataIdentity
from atlas_ref.processes.distributed import CommonError, World
from atlas_ref.storage.checkpoint import Checkpoint

ALIKE = "; all processes must be started alike."


def agree(world: World, facts: Mapping[str, object]) -> None:
    """Raise CommonError in every process unless all have the same facts, which are plain values by name.

    It names the first process that differs from the first one, and the first fact in which it does.
    """
    found = [json.loads(text or "{}") for text in world.texts(json.dumps(facts))]
    for rank, theirs in enumerate(found):
        for name in (*found[0], *theirs):
            if theirs.get(name) != found[0].get(name):
                raise CommonError(
                    f"process {rank} has {name} {_worded(theirs.get(name))} where process 0 has "
                    f"{_worded(found[0].get(name))}{ALIKE}"
                )


def facts_of_run(config: RunConfig, directory: Path, checkpoint: Checkpoint | None) -> dict[str, object]:
    """Return what a run is determined by, apart from its data: its config, its place, and what it goes on from."""
    files = None if checkpoint is None else {name: record.sha256 for name, record in sorted(checkpoint.files.items())}
    return {
        **dict(leaves(config.model_dump())),
        "the run directory": str(directory.absolute()),
        "the checkpoint with the checksums": files,
    }


def agree_on_data(world: World, data: DataIdentity) -> None:
    """Raise CommonError in every process unless all read the same, which are few bytes to compare where they do."""
    digests = world.texts(data.digest)
    differs = next((rank for rank, digest in enumerate(digests) if digest != digests[0]), None)
    if differs is None:
        return
    found = [DataIdentity.model_validate_json(text or "") for text in world.texts(data.model_dump_json())]
    raise CommonError(
        f"process {differs} reads other data than process 0 ({found[0].difference(found[differs])}){ALIKE}"
    )


def _worded(value: object) -> str:
    """Return a value as TOML or JSON would write it, which shows what does not print."""
    return "none" if value is None else json.dumps(value)
