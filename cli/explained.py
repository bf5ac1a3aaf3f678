"""Why preflight does not let a run start: what is to blame, and what passes."""

from typing import TYPE_CHECKING

from atlas_ref.wording import counted
from cli.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas_ref.config import RunConfig
    from preflight.certificate import Certificate
    from preflight.explanation import Explanation


def tell_why(certificate: "Certificate", config: "RunConfig", *, quiet: bool) -> None:
    """Say what is to blame for each check that did not pass, and what passes; on standard error if `quiet`."""
    from rich.console import Console

    from atlas_ref.training.arithmetic import without_denormals
    from preflight.explanation import explain
    from preflight.result import Verdict
    from preflight.subject import HEALTHY

    if all(result.verdict is Verdict.PASS for result in certificate.gates):
        say("nothing to explain: every gate passed", err=quiet)
        return
    with Console(stderr=True).status("explain"), without_denormals():
        found = explain(config, certificate.gates, HEALTHY)
    for line in lines_of(found):
        say(line, err=quiet)


def lines_of(found: "Explanation") -> "Iterator[str]":
    """Yield a line for each check that did not pass, and one for the nearest configuration that does."""
    for gate, check, field, _ in found.blames:
        blamed = f"most likely {field}" if field else "no field is known to blame"
        yield f"{gate}: {check.name} ({check.statistic:.3g} against {check.threshold:.3g}): {blamed}"
    tried = f"{counted(found.tried, 'change')} tried"
    if found.passing is None:
        yield f"nothing that was tried passes: {tried}"
    else:
        yield f"passes with {' '.join(f'--set {change}' for change in found.passing)} ({tried})"
