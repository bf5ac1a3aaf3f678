"""The certificate of a preflight: what the gates found, and for exactly what.

It is bound to the resolved configuration, the versions of the package, the specification and torch, the source code of
what was examined, the kind of device, and the subject; the configuration is kept whole, so that a stale certificate can
name the field that has changed. It lies beside the run as DIR/preflight.json, and in the user's cache under the hash
of its binding, so that the next run of the same configuration needs no second preflight.

The seals are checksums of each part, not signatures: they notice and name what was edited; they stop nobody who
computes them anew. So what can be known without them is asked again: each verdict is judged by its numbers, and the
budget must be no smaller than the configuration's own.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import JsonValue, ValidationError, field_validator

import atlas_ref
from atlas_ref.config import ModelConfig, RunConfig
from atlas_ref.config.changes import leaves
from atlas_ref.errors import UserError
from atlas_ref.places import user_cache
from atlas_ref.reading import read_json
from atlas_ref.storage.files import write_atomically
from preflight.budget import savings
from preflight.meaning import meaning_of
from preflight.result import GateResult, Record, Verdict
from preflight.subject import Budget

FORMAT: Final = "atlas-preflight-2"
PACKAGES = (Path(atlas_ref.__file__).parent, Path(__file__).parent)
"""Where the code is that a certificate speaks of: the model and its training, and the gates."""
SHOWN = 6
"""Most differences that a message lists."""

MEANINGS = {
    "package_version": "the version of atlas-spec",
    "specification": "the version of the specification",
    "torch": "the version of torch",
    "device": "the device",
    "subject": "the subject",
}


class CertificateError(UserError):
    """A certificate that does not hold for the run that wants to start."""


class Binding(Record):
    """For what the gates' results hold; the precision is a field of the config."""

    config: dict[str, JsonValue]
    package_version: str
    specification: str
    code: str
    torch: str
    device: str
    subject: str

    @property
    def key(self) -> str:
        """SHA-256 of all of it."""
        return _digest(self.model_dump(mode="json"))


class Certificate(Record):
    """The results of the gates, what they hold for, what PASS means of it, and a checksum of each part by its name."""

    format: Literal["atlas-preflight-2"]
    binding: Binding
    seed: int
    budget: Budget
    gates: tuple[GateResult, ...]
    meaning: str
    seals: dict[str, str]

    @field_validator("gates")
    @classmethod
    def _each_gate_once(cls, gates: tuple[GateResult, ...]) -> tuple[GateResult, ...]:
        if len({result.gate for result in gates}) < len(gates):
            raise ValueError("a gate has two results")
        return gates

    def to_json(self) -> str:
        """The text of the file."""
        return self.model_dump_json(indent=2) + "\n"


def bind(config: RunConfig, device: str, subject: str) -> Binding:
    """Return what results hold for that are found now; `device` is a kind of device, such as `cpu`."""
    return Binding(
        config=config.model_dump(mode="json"),
        package_version=atlas_ref.__version__,
        specification=atlas_ref.SPEC_VERSION,
        code=code_digest(),
        torch=torch.__version__,
        device=device,
        subject=subject,
    )


@cache
def code_digest(packages: tuple[Path, ...] = PACKAGES) -> str:
    """Return a checksum of the Python files below `packages`, which may be edited between two runs."""
    digest = hashlib.sha256()
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            source = file.read_bytes()
            digest.update(f"{package.name}/{file.relative_to(package).as_posix()} {len(source)}\n".encode() + source)
    return digest.hexdigest()


def issue(binding: Binding, seed: int, budget: Budget, gates: Collection[GateResult]) -> Certificate:
    """Return the sealed certificate of results, whatever their verdict."""
    bare = Certificate(
        format=FORMAT,
        binding=binding,
        seed=seed,
        budget=budget,
        gates=tuple(gates),
        meaning=meaning_of(RunConfig.model_validate(binding.config)),
        seals={},
    )
    return bare.model_copy(update={"seals": _seals(json.loads(bare.to_json()))})


def examined(binding: Binding) -> str | None:
    """Return in which chunks the memory was examined, and in which it was not; None for a model without chunks.

    A certificate holds for these chunks alone: what a memory recalls in others is for `atlas eval --chunk` to say.
    """
    config = RunConfig.model_validate(binding.config)
    if not isinstance(config.any_model, ModelConfig):
        return None
    line = f"examined in chunks of {_listed(config.model.memory.chunks().values())} tokens"
    if not config.stage2.steps:
        return line
    return f"{line}; not in those of its second stage, {_listed(config.stage2.chunks)}"


def _listed(chunks: Iterable[int]) -> str:
    return " and ".join(f"{chunk:,}" for chunk in dict.fromkeys(chunks))


def save_certificate(certificate: Certificate, path: Path) -> None:
    """Write a certificate in one step, and the directory it belongs in where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, certificate.to_json(), read_json)


def is_certificate(path: Path) -> bool:
    """Return whether a file is a certificate, whatever it holds for."""
    try:
        _read(path)
    except CertificateError:
        return False
    return True


def cache_file(binding: Binding) -> Path:
    """Return where the user's cache has a certificate with this binding, if anywhere."""
    return user_cache() / "preflight" / f"{binding.key}.json"


def check_certificate(
    path: Path, wanted: Binding, gates: Collection[str], changeable: Collection[str] = ()
) -> Certificate:
    """Return the certificate at `path` if it is whole, bound to `wanted`, and every one of `gates` passed at full cost.

    Fields of the config that are `changeable` may differ. Raises CertificateError, which names what differs.
    """
    certificate, edited = _read(path)
    problems = [
        *(f"{name} is not what preflight wrote" for name in edited),
        *_differences(certificate.binding, wanted, changeable),
        *shortcomings(certificate.gates, gates),
        *savings(certificate.budget, RunConfig.model_validate(wanted.config)),
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CertificateError(
            f"{path}: is no certificate for this run: {'; '.join(problems[:SHOWN])}{more}. "
            "Where the file is removed, preflight runs anew."
        )
    return certificate


def shortcomings(results: Collection[GateResult], gates: Collection[str]) -> Iterator[str]:
    """Yield a phrase for each of `gates` that was not run, and each result that is not PASS."""
    verdicts = {result.gate: result.verdict for result in results}
    for gate in gates:
        if gate not in verdicts:
            yield f"the gate {gate} was not run"
    for gate, verdict in verdicts.items():
        if verdict is not Verdict.PASS:
            yield f"the gate {gate} is {verdict}"


def _read(path: Path) -> tuple[Certificate, list[str]]:
    """Return the certificate in a file, and the names of its parts that do not match their seals."""
    try:
        raw = read_json(path)
        certificate = Certificate.model_validate(raw)
    except UserError as error:
        raise CertificateError(str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise CertificateError(f"{path}: is no certificate of preflight: {where}: {first['msg']}.") from error
    found = _seals(raw)
    return certificate, sorted(
        name for name in {*found, *certificate.seals} if found.get(name) != certificate.seals.get(name)
    )


def _seals(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksum of each part of a certificate but the seals: of each gate, and of each part of the rest."""
    parts = {name: value for name, value in raw.items() if name not in ("gates", "seals")}
    parts["gates"] = {f"{result['gate']}": result for result in raw["gates"]}
    named: dict[str, Any] = {}
    for name, value in parts.items():
        named |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return {name: _digest(value) for name, value in named.items()}


def _digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, over a spelling of it that does not depend on order or spacing."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _differences(saved: Binding, wanted: Binding, changeable: Collection[str]) -> Iterator[str]:
    """Yield a phrase for each field of the config, and each other part of the binding, that differs."""
    old, new = dict(leaves(saved.config)), dict(leaves(wanted.config))
    for name in (*old, *(added for added in new if added not in old)):
        if name not in changeable and old.get(name) != new.get(name):
            yield f"{name} was {_spelt(old, name)} and is {_spelt(new, name)}"
    for field, meaning in MEANINGS.items():
        before, now = getattr(saved, field), getattr(wanted, field)
        if before != now:
            yield f"{meaning} was {before} and is {now}"
    if saved.code != wanted.code:
        yield "the source code of atlas_ref or preflight was another"


def _spelt(table: Mapping[str, Any], name: str) -> str:
    return json.dumps(table[name]) if name in table else "absent"
