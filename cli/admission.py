"""Who may start training: a run whose gates passed, or one that says why it goes without them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from atlas_ref.errors import UserError
from atlas_ref.readable import unreadable
from atlas_ref.wording import counted
from cli.console import say

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from atlas_ref.storage.run_directory import Admission
    from atlas_ref.training.loop import Ready
    from preflight.certificate import Binding, Certificate
    from preflight.gates import Gate
    from preflight.result import GateResult
    from preflight.subject import Budget

REFUSED_EXIT_CODE = 3
MOST_REASON = 1000
"""Characters of a reason, which every report shows in one line."""


def admit(ready: "Ready", reason: str | None) -> "Admission":
    """Return why a run may start; leave with exit code 3, having said why, when it may not.

    A reason to skip preflight, given now or stored in the checkpoint, is taken as it is. Otherwise a certificate in
    the run directory decides, then one in that of the checkpoint, then one in the user's cache; where there is none,
    preflight runs.
    """
    from atlas_ref.storage.run_directory import Admission

    stored = (ready.checkpoint.preflight_skipped if ready.checkpoint else None) or ""
    # A reason that is given at each start is kept once.
    if reasons := "; ".join(dict.fromkeys(text for text in (*stored.split("; "), reason) if text)):
        say(skip_line(reasons))
        return Admission(None, reasons)
    return Admission(_certificate(ready).to_json(), None)


def skip_line(reason: str) -> str:
    """Return the line that every report of a run without a certificate shows."""
    return f"preflight was skipped: {reason}"


def _certificate(ready: "Ready") -> "Certificate":
    """Return the certificate that holds for a run."""
    from preflight.budget import default_budget
    from preflight.certificate import CertificateError, bind, cache_file, check_certificate
    from preflight.gates import gates_of
    from preflight.subject import HEALTHY

    binding, gates = bind(ready.config, ready.device.type, HEALTHY.name), gates_of(ready.config)
    for path, changeable in (*_beside(ready), (cache_file(binding), ())):
        if path.exists():
            try:
                certificate = check_certificate(path, binding, gates, changeable)
            except CertificateError as error:
                raise refused(str(error)) from error
            say(f"preflight passed: {path}")
            return certificate
    typer.echo(f"no certificate for this configuration: running preflight, {counted(len(gates), 'gate')}")
    return _fresh_certificate(ready.config, binding, default_budget(ready.config))


def _beside(ready: "Ready") -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield where a certificate of this run may lie, and the fields that may have changed since it was written."""
    from atlas_ref.config.changes import CHANGEABLE
    from atlas_ref.storage.run_directory import RunDirectory

    yield ready.directory.preflight, CHANGEABLE if ready.checkpoint else ()
    source = ready.checkpoint.run_directory if ready.checkpoint else None
    if source is not None:
        yield RunDirectory(source).preflight, CHANGEABLE


def _fresh_certificate(config: "RunConfig", binding: "Binding", budget: "Budget") -> "Certificate":
    """Run every gate and print what they found; leave with exit code 3 unless all of them pass."""
    from cli.gate_report import print_results
    from preflight.certificate import issue, shortcomings
    from preflight.explanation import one_line
    from preflight.gates import gates_of

    gates = gates_of(config)
    certificate = issue(binding, config.train.seed, budget, examine(config, budget, gates))
    print_results(certificate.gates)
    if problems := tuple(shortcomings(certificate.gates, gates)):
        if why := one_line(config, certificate.gates):
            say(why, err=True)
        raise refused(
            f"preflight: {'; '.join(problems)}. Nothing was trained; `atlas preflight --json` shows the evidence, and "
            '--skip-preflight "REASON" trains all the same.'
        )
    keep(certificate)
    return certificate


def examine(config: "RunConfig", budget: "Budget", gates: "Mapping[str, Gate]") -> "tuple[GateResult, ...]":
    """Run gates on the healthy subject; a probe that stops being finite is a refusal too."""
    from rich.console import Console

    from atlas_ref.training.arithmetic import without_denormals
    from atlas_ref.training.clipping import NonFiniteError
    from preflight.subject import HEALTHY

    results: list[GateResult] = []
    console = Console(stderr=True)
    for name, gate in gates.items():
        try:
            with console.status(name), without_denormals():
                results.append(gate(config, HEALTHY, config.train.seed, budget))
        except NonFiniteError as error:
            raise refused(f"preflight: {name}: {error}") from error
    return tuple(results)


def keep(certificate: "Certificate") -> None:
    """Put a certificate into the user's cache; one that cannot be written is no reason to stop."""
    from preflight.certificate import cache_file, save_certificate

    path = cache_file(certificate.binding)
    try:
        save_certificate(certificate, path)
    except OSError as error:
        say(f"the certificate is not kept in {path}: {error.strerror}", err=True)


def refused(message: str) -> typer.Exit:
    """Say why a run may not start, and return the exit to raise."""
    say(f"Error: {message}", err=True)
    return typer.Exit(REFUSED_EXIT_CODE)


def checked_reason(reason: str | None) -> str | None:
    """Return a reason on one line, or None where none was given; raise UserError for one that nobody can read."""
    if reason is None:
        return None
    words = " ".join(reason.split())
    problem = "it is too long" if len(words) > MOST_REASON else unreadable(words)
    if problem is not None:
        raise UserError(
            "--skip-preflight needs a reason, which is stored in the run and shown in every report of it: "
            f"at most {MOST_REASON:,} characters of text that can be read, but {problem}."
        )
    return words
