"""`atlas preflight`: the gates that a run must pass before it trains, and the certificate that they did."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas_ref.errors import UserError
from cli.admission import REFUSED_EXIT_CODE
from cli.checkpoints import Device
from cli.completion import complete_preset
from cli.console import folded, prose_width, say
from cli.explained import tell_why
from cli.overrides import DataKey, DataPath, Overrides, as_overrides, data_fields, refuse_contradictions

if TYPE_CHECKING:
    from atlas_ref.config import RunConfig
    from preflight.certificate import Certificate
    from preflight.gates import Gate
    from preflight.subject import Budget

DEFAULT_CONFIG = "tiny"
SEEDED = "seed-competition"


def preflight(
    config: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A preset or a TOML file.", autocompletion=complete_preset)
    ] = DEFAULT_CONFIG,
    gate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A gate to run; may be repeated.", show_default="all")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run, and of what the gates draw.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
    data: DataPath = None,
    data_key: DataKey = None,
    overrides: Overrides = None,
    probe_steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of each probe.")] = None,
    batches: Annotated[int | None, typer.Option(min=1, help="Measurements behind each interval.")] = None,
    sequence_length: Annotated[int | None, typer.Option(min=1, help="Tokens in a row of a probe.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows of a batch of a probe.")] = None,
    seed_from: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="A trained model of this config, for the gate seed-competition."),
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Show every check of every gate.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the certificate.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which field is to blame, and look for a change that passes.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there too, such as DIR/preflight.json of a run.")
    ] = None,
) -> None:
    """Run the gates that a configuration must pass to train.

    A line a gate says what it found; every check of a gate that does not pass is shown. Exit 0 when every gate passes
    and 3 when one does not.
    """
    import torch

    from atlas_ref.config import load_config
    from atlas_ref.places import check_file
    from atlas_ref.training.run import select_device
    from preflight.certificate import is_certificate, save_certificate

    fields = {"train.seed": seed, "train.device": device, **data_fields(data, data_key)}
    refuse_contradictions(overrides, fields)
    loaded = load_config(config, [*(overrides or ()), *as_overrides(fields)])
    if out is not None:
        check_file(out, "--out", is_certificate)
    torch.set_num_threads(loaded.train.threads)
    budget = chosen_budget(loaded, probe_steps, batches, sequence_length, batch_size)
    certificate = certify(
        loaded, select_device(loaded.train.device).type, budget, chosen_gates(gate, seed_from, loaded)
    )
    # Before it is printed: whoever reads the output may have gone.
    if out is not None:
        save_certificate(certificate, out)
    print_found(certificate, details=details, as_json=as_json)
    if explain:
        tell_why(certificate, loaded, quiet=as_json)
    conclude(certificate, loaded, as_json)


def print_found(certificate: "Certificate", *, details: bool, as_json: bool) -> None:
    """Print the certificate, or for a person what the gates found, in which chunks, and what PASS means."""
    from cli.gate_report import print_results
    from preflight.certificate import examined

    if as_json:
        typer.echo(certificate.to_json(), nl=False)
        return
    print_results(certificate.gates, details=details)
    for told in filter(None, (examined(certificate.binding), certificate.meaning)):
        typer.echo("\n".join(folded(told, prose_width())))
    if not details:
        typer.echo("atlas preflight --details shows every check")


def chosen_gates(names: list[str] | None, donor: Path | None, config: "RunConfig") -> "dict[str, Gate]":
    """Return the gates to run, each once and in their order; raise UserError for a name that is none.

    A donor is a checkpoint whose memory the gate seed-competition takes for its seed.
    """
    from functools import partial

    from atlas_ref.storage.checkpoint import find_checkpoint
    from preflight.gates import gates_of
    from preflight.seed_competition import check_donor, seed_competition

    gates = gates_of(config)
    for name in names or ():
        if name not in gates:
            raise UserError(f'--gate "{name}": is not a gate; the gates are {", ".join(gates)}.')
    chosen = {name: gate for name, gate in gates.items() if names is None or name in names}
    if donor is not None:
        if SEEDED not in chosen:
            raise UserError(f"--seed-from is for the gate {SEEDED}, which is not to be run.")
        checkpoint = find_checkpoint(donor)
        check_donor(checkpoint, config)
        checkpoint.verify()
        chosen[SEEDED] = partial(seed_competition, donor=checkpoint)
    return chosen


def chosen_budget(config: "RunConfig", *chosen: int | None) -> "Budget":
    """Return the budget: what was chosen, in the order of its fields, and the config's own for the rest."""
    from dataclasses import astuple

    from preflight.budget import default_budget
    from preflight.subject import Budget

    return Budget(
        *(own if value is None else value for own, value in zip(astuple(default_budget(config)), chosen, strict=True))
    )


def certify(config: "RunConfig", device: str, budget: "Budget", gates: "dict[str, Gate]") -> "Certificate":
    """Run gates and return the certificate of what they found."""
    from cli.admission import examine
    from preflight.certificate import bind, issue
    from preflight.subject import HEALTHY

    return issue(bind(config, device, HEALTHY.name), config.train.seed, budget, examine(config, budget, gates))


def conclude(certificate: "Certificate", config: "RunConfig", quiet: bool) -> None:
    """Keep a certificate that lets a run start; leave with exit code 3 where a gate that was run did not pass."""
    from cli.admission import keep
    from preflight.budget import savings
    from preflight.certificate import shortcomings
    from preflight.gates import gates_of

    run = [result.gate for result in certificate.gates]
    if problems := tuple(shortcomings(certificate.gates, run)):
        say(f"Error: preflight: {'; '.join(problems)}.", err=True)
        raise typer.Exit(REFUSED_EXIT_CODE)
    missing = ["not every gate was run"] if run != list(gates_of(config)) else []
    if missing := [*missing, *savings(certificate.budget, config)]:
        if not quiet:
            typer.echo(f"{'; '.join(missing)}: this is no certificate to train with")
    else:
        keep(certificate)
