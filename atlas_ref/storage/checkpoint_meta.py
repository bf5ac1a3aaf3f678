"""meta.json of a checkpoint: what it must hold, field by field, and the checksum that seals it.

The checksum finds damage. It is no signature: whoever can write the file can seal it again, so everything in it is
checked as if a stranger had written it, and nothing in it is ever executed or used as a path.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from atlas_ref.config import RunConfig, config_hash, parse_config
from atlas_ref.data.identity import SHA256, DataIdentity
from atlas_ref.errors import UserError
from atlas_ref.readable import unreadable
from atlas_ref.reading import read_json
from atlas_ref.storage.files import sha256
from atlas_ref.storage.switch_state import HISTORY, SwitchState

FORMAT: Final = "atlas-checkpoint-1"


class FileRecord(BaseModel):
    """Size and checksum of one file of tensors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    bytes: int = Field(ge=0, lt=2**63)
    sha256: str = Field(pattern=SHA256)


def file_record(file: Path) -> FileRecord:
    """Return the size and checksum by which a file is known again."""
    return FileRecord(bytes=file.stat().st_size, sha256=sha256(file))


class SwitchRecord(BaseModel):
    """What the kill switches remember, every part of it said."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    since: dict[str, int]
    history: dict[str, Annotated[tuple[float, ...], Field(max_length=HISTORY)]]
    losses: tuple[float, ...]
    first_loss: Annotated[float, Field(ge=0)] | None

    def state(self) -> SwitchState:
        """Return it as the switches use it."""
        return SwitchState(self.since, self.history, self.losses, self.first_loss)


def _readable(text: str) -> str:
    if problem := unreadable(text):
        raise ValueError(problem)
    return text


class Meta(BaseModel):
    """The contents of meta.json, without its own checksum."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    format: Literal["atlas-checkpoint-1"]
    step: int = Field(ge=0, le=10**9)
    config: dict[str, Any]
    config_hash: str = Field(pattern=SHA256)
    tokenizer: str | None
    tokens: Annotated[int, Field(ge=1)] | None
    """Tokens of the tokenizer, at most `model.vocab_size` of the config; None where there is no tokenizer."""
    data: DataIdentity
    preflight_skipped: Annotated[str, AfterValidator(_readable)] | None
    log_lines: int = Field(ge=0)
    kill_switches: SwitchRecord
    files: dict[str, FileRecord]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Meta":
        if (self.tokenizer is None) != (self.tokens is None):
            raise ValueError("a tokenizer and the number of its tokens must both be there, or neither")
        if self.log_lines > self.step:
            raise ValueError(f"log_lines is {self.log_lines}, with at most one line a step and {self.step} steps")
        for switch, began in self.kill_switches.since.items():
            if not 1 <= began <= self.step:
                raise ValueError(f"the streak of {switch} began at step {began} of {self.step}")
        return self

    def sealed(self) -> dict[str, Any]:
        """Return the JSON object to write: the fields, and the checksum over them."""
        table = self.model_dump()
        return {**table, "sha256": digest(table)}

    def run_config(self, file: Path) -> RunConfig:
        """Return the config; raise UserError, naming the file, when this version cannot read it as it was written."""
        try:
            config = parse_config(self.config, str(file))
        except UserError as error:
            # One line for each field that is wrong: a file that nobody wrote by hand needs only the first.
            raise UserError(str(error).splitlines()[0]) from error
        if config_hash(config) != self.config_hash:
            raise UserError(f"{file}: holds a config that this version reads differently from the one that wrote it.")
        return config


def read_meta(file: Path) -> Meta:
    """Return the verified contents of meta.json; raise UserError, naming the file, for anything else."""
    table = read_json(file)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise UserError(f"{file}: does not describe a checkpoint of the format {FORMAT}.")
    stored = table.pop("sha256", None)
    try:
        if stored != digest(table):
            raise UserError(f"{file}: is damaged (its contents do not match its own SHA-256).")
        # In JSON, strict means that a list is a tuple but a text is no number.
        return Meta.model_validate_json(json.dumps(table))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: is no description of a checkpoint ({place or 'contents'}: {first['msg']}).") from None
    except RecursionError:
        raise UserError(f"{file}: is no description of a checkpoint (nested too deeply).") from None


def digest(table: Mapping[str, Any]) -> str:
    """Return the checksum of a description, over a spelling of it that does not depend on order or spacing."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
