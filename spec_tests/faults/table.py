"""docs/faults.md: every fault of the catalogue with its origin, and the known defects that no operation here can have.

python -m spec_tests.faults.table > docs/faults.md
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import EVERY_PROFILE
from spec_tests.faults.generated.catalogue import GENERATED, KINDS

ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "preflight and data": (
        "a seed gate both of whose arms start at random, because the seeding is never called",
        "a baton-pass test without a control at chunk starts that are no boundary, which an untrained model passes",
        "an ablation judged by absolute perplexity: noise passes at 72,000, nothing passes at 20",
        "a proof of life that is satisfied by multiplying the input by ten",
        "rows that hold consecutive chunks, so that state is handed to text that does not follow",
        "shard lengths that differ between the preflight script and the training run",
    ),
    "kill switches and telemetry": (
        "one counter for all layers, reset by any healthy one: five dead of six never fire",
        "patience counted in checks and not in steps",
        "conditions on `step % interval == 0` or on one exact step, which strides and resumed runs miss",
        "a saturation penalty computed from a buffer, without a gradient",
        "checks that run after the gradients are gone, or look for an attribute that no block has",
        "a collapse alarm that reads the gate after its floor, so that it cannot fire",
        "thresholds that no value of the metric can reach",
        "telemetry that changes counters in evaluation",
    ),
    "training and configuration": (
        "writes once a micro-batch under gradient accumulation",
        "validation that changes the memory",
        "retention of 0.999 a forward pass on normalisation gains that nothing resets",
        "retention that starts at one half: a half-life of one token",
        "fields of the configuration that are checked and never read; presets that win over them",
        "a scheduler that writes a key which the optimiser does not read",
        "parameter groups chosen by a part of a name that other parameters share",
        "rows of an embedding that no token used, moved by momentum",
        "a polarisation loss whose gradient is zero at its maximum",
        "a regulariser that produces the optimum it is said to find",
    ),
    "blocks and language models": (
        "losses that are not shifted: every token sees its target",
        "an ignored index that the masks do not use",
        "recursions of a refiner that attend without a mask",
        "a halting head that gets no gradient and always takes four steps",
        "what the memory of `mac` writes: the output of attention, not its input",
        "a schedule of floors that only applies in a mode the trainer never sets",
    ),
    "rules that this specification does not have": (
        "Moneta's link function as printed, Yaad's jump at the threshold, Memora's axis of softmax",
        "the decay of the self-referential step, eta or eta / (1 + eta ||x||^2)",
        "the optimiser M3 of nested learning: literal sums or averages, place of eps, which chunk the slow term enters",
        "the local memories of TNT: what a shard starts from, which query they read",
    ),
    "no difference in any result": (
        "Newton-Schulz of a tall matrix without transposing it: (X X^T) X = X (X^T X), slower and nothing else",
        "places of the window before the document counted as zero pairs: a zero key has no gradient",
        "one clip of the gradient norm before a normalised update: the length cancels",
    ),
}


MADE: Final = f"""{len(GENERATED)} more faults are made from the table of operations: each kind in every place that an
operation has for it. `atlas selfproof --part generated` puts each to the stored cases, then to the test that
`spec_tests/selfproof/noticed.toml` names and to the others of its operation, in every profile in which it can show.
What changes nothing that the specification speaks of stands with its reason in `argued.toml` beside it; an argument
whose fault is noticed is refused."""

HEAD: Final = f"""# Seeded faults

Written by `python -m spec_tests.faults.table`; `spec_tests/faults/test_faults.py` fails when it is not up to date.

Each fault is a whole port that is sound but for one operation. The test named beside it must fail under it, in `f64`,
`f32` and `bf16_io`, by what it computes and not by the form of its answer.

{len(CATALOGUE)} faults. Origins: *source*, what a source system or a public implementation really does or did;
*misreading*, what the papers leave open, print in several ways or misprint; *porting*, what goes wrong when a sound
model is written again.

| fault | clause | operation | origin | killed by |
|---|---|---|---|---|"""


def lines() -> Iterator[str]:
    """Yield the lines of the page."""
    yield HEAD
    for fault in CATALOGUE:
        cells = (fault.id, fault.requirement, fault.op, fault.origin, fault.killed_by.replace(":", ": "))
        yield f"| {' | '.join(cells)} |"
    yield from restricted()
    yield from generated()
    yield ""
    yield "## Defects that no operation of the table can have"
    for place, defects in ELSEWHERE.items():
        yield from ("", f"Of {place}:", "")
        yield from (f"- {defect}" for defect in defects)


def generated() -> Iterator[str]:
    """Yield the section of the faults that are made from the table of operations: a line a kind."""
    yield from ("", "## Faults that nobody has to invent", "", MADE, "")
    yield from ("| kind | what is wrong | operations | faults |", "|---|---|---|---|")
    for kind in KINDS:
        faults = [fault for fault in GENERATED if fault.kind == kind.name]
        yield f"| {kind.name} | {kind.what} | {len({fault.op for fault in faults})} | {len(faults)} |"


def restricted() -> Iterator[str]:
    """Yield the section of the faults that are not looked for in every profile, if there are any."""
    few = [fault for fault in CATALOGUE if set(fault.numerics) != set(EVERY_PROFILE)]
    if few:
        yield from ("", "## Faults that some profile cannot show", "")
        yield from (f"- {fault.id} ({', '.join(fault.numerics)} only): {fault.argument}" for fault in few)


def page() -> str:
    """Return the page."""
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
