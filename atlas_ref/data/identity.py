"""Which data a run reads: a small value, kept in its checkpoints and compared before it goes on.

What counts is what is read: the contents of the files in their order, the key under which they hold text, the
parameters of a generated task, the tokenizer, and the first batches that all of this makes here, which a changed reader
or generator of random numbers would alter. Names of files are relative to what `data.path` names and only help to say
what has changed, so data that were moved or renamed as a whole are the same data.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from atlas_ref.wording import visible

SHA256 = r"^[0-9a-f]{64}$"
MOST_NAMED = 4096
"""Most files that are kept one by one, which takes half a megabyte; of more only the checksum over all is kept."""
SHOWN = 3
"""Most files of a kind that a message names."""
OTHERWISE = {
    "text_key": "another key holds the text",
    "task": "the generated task has other parameters",
    "tokenizer": "the tokenizer is another",
    "sample": "the same data give another first batch in this version of the program or of numpy",
}
"""What to say about a difference that no file shows."""


class FileIdentity(BaseModel):
    """One file as it was read: its name below the root of the data, how it is read, its size and its checksum."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=4096)
    kind: str = Field(pattern=r"^[a-z.]{1,32}$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=SHA256)

    @field_validator("name")
    @classmethod
    def _is_visible(cls, name: str) -> str:
        if visible(name) != name:
            raise ValueError("must be visible")
        return name


class DataIdentity(BaseModel):
    """All that decides what training and validation read, apart from the fields of the config that cut and arrange it.

    `files` is empty for a generated task, and for more files than are kept one by one; `count` is their number and
    `contents` the checksum over all of them in order.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    files: tuple[FileIdentity, ...] = Field(max_length=MOST_NAMED)
    count: int = Field(ge=0)
    contents: str = Field(pattern=SHA256)
    text_key: str = Field(max_length=1024)
    task: dict[str, int] = Field(max_length=32)
    tokenizer: str | None = Field(pattern=SHA256)
    sample: str | None = Field(pattern=SHA256)

    @model_validator(mode="after")
    def _agrees_with_its_files(self) -> "DataIdentity":
        if self.files and (self.count, self.contents) != (len(self.files), contents_digest(self.files)):
            raise ValueError("count and contents are not those of the files")
        return self

    @property
    def digest(self) -> str:
        """One checksum of all of it, names aside: equal where the same is read."""
        value = self.model_dump(exclude={"files", "count"})
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    def difference(self, other: "DataIdentity") -> str | None:
        """Return in words what is different in `other`, which is read now; None where both read the same."""
        return self.other_text(other) or self._otherwise(other, ("tokenizer", "sample"))

    def other_text(self, other: "DataIdentity") -> str | None:
        """Return in words how the text, or the task, of `other` differs, however it is cut and encoded; None if not."""
        if self.contents != other.contents:
            return _files_differ(self, other)
        return self._otherwise(other, ("text_key", "task"))

    def shared(self, other: "DataIdentity") -> int:
        """Return how many files of `other` were read here too."""
        known = {file.sha256 for file in self.files}
        return sum(file.sha256 in known for file in other.files)

    def _otherwise(self, other: "DataIdentity", fields: tuple[str, ...]) -> str | None:
        return next((OTHERWISE[name] for name in fields if getattr(self, name) != getattr(other, name)), None)


def identify(
    files: Sequence[FileIdentity], *, text_key: str, task: dict[str, int], tokenizer: str | None, sample: str | None
) -> DataIdentity:
    """Return the identity of data; `tokenizer` is its JSON, `sample` the checksum of the first batches, if any."""
    return DataIdentity(
        files=tuple(files) if len(files) <= MOST_NAMED else (),
        count=len(files),
        contents=contents_digest(files),
        text_key=text_key,
        task=task,
        tokenizer=None if tokenizer is None else hashlib.sha256(tokenizer.encode()).hexdigest(),
        sample=sample,
    )


def contents_digest(files: Iterable[FileIdentity]) -> str:
    """Return the checksum over what is in the files, and how it is read, in their order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.kind} {file.bytes} {file.sha256}\n".encode())
    return digest.hexdigest()


NO_DATA = identify((), text_key="", task={}, tokenizer=None, sample=None)
"""The identity of what was trained on nothing, such as a model that a gate saves and reads again."""


def _files_differ(old: DataIdentity, new: DataIdentity) -> str:
    """Return which files have changed, are gone or are new; without their names where there are too many."""
    before, now = ({file.name: file for file in identity.files} for identity in (old, new))
    if not before or not now:
        return f"the contents of the files have changed ({old.count:,} files then, {new.count:,} now)"
    changed = [name for name in before if name in now and before[name] != now[name]]
    parts = (("changed", changed), ("gone", before.keys() - now.keys()), ("new", now.keys() - before.keys()))
    said = "; ".join(f"{what}: {_some(sorted(names))}" for what, names in parts if names)
    return said or "the order of the files has changed"


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
