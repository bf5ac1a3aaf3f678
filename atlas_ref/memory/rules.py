"""The write rules as data: where the step size enters, and whether the momentum is orthogonalised.

Every rule is one pair of recurrences over the windowed gradient g_t (decision `write-rules`):

    S_t = theta_t S_{t-1} + intake_t g_t,        M_t = alpha_t M_{t-1} + release_t U(S_t).

| rule             | intake | release | U  | source                                      |
|------------------|--------|---------|----|---------------------------------------------|
| `titans`         | -eta   | 1       | id | Titans 2501.00663 Eq. 9-10, 13-14           |
| `omega`          | 1      | -eta    | id | ATLAS 2505.23735 Eq. 9-10 with momentum      |
| `delta`          | 1      | -eta    | id | `omega` with c = 1 and theta = 0             |
| `atlas`          | 1      | -eta    | NS | ATLAS Eq. 32-33                              |
| `atlas_appendix` | -eta   | 1       | NS | ATLAS App. D, Eq. 57-58                      |

Notation: alpha = retention, theta = momentum decay, eta = step size, gamma = window weights, c = window length,
b = chunk length, NS = Newton-Schulz. All gates are per token and head; `gate_axis` may give retention one for each
row (value) or column (feature) of the matrix.

What MIRAS (2504.13173) adds stands in files of its own: M is a dual state whose `link` is the memory that is read, g_t
the gradient of the loss that `bias` names. Three more axes change a write of `delta`, or the retention:

    error_at = retained      g_t is taken at alpha_t M_{t-1} (Gated DeltaNet 2412.06464), not at M_{t-1}
    algorithm = implicit     M_t minimises 1/2 ||M - alpha M_{t-1}||^2 / w + 1/2 ||M k - v||^2 with w = 2 ls gamma eta
                             (Longhorn 2407.14207): the retained g_t over 1 + w ||k||^2, stable for every eta >= 0
    retention = proximal_elastic
                             M_t = soft(alpha_t M_{t-1} + release_t U(S_t), lambda eta_t), soft(x, l) = sign(x) max(0,
                             |x| - l), lambda the link's `level` (MIRAS Eq. 22): linear in no dual state

`step_scale` says what a step size means. `literal` is the rule as printed. `mass` (a decision of this project, and the
default of the presets) bounds the total weight with which stale gradients act, so that a write never overshoots:

    gamma / c,   intake (1 - theta),   eta / (b + N h) with h = theta_max / (1 - theta_max),
    grad_i / max(1, kappa_i),   NS started at S / (||S||_F + p'(0)).

A gradient taken at an anchor acts during the b tokens of its chunk and, through momentum, about h writes longer, which
is N h tokens where one token in N writes (`functional.ttl`);
b is `step_chunk` where that is given: a memory that is served in other chunks than it was trained in keeps its steps.
kappa_i bounds the curvature of the inner loss in token i (||f(k_i)||^2 for the matrix memory), as in normalised LMS;
`factors.curvature` has it for every architecture but `mlp_glu`.
p'(0), the slope of the Newton-Schulz polynomial at zero, makes NS a map of slope at most one: singular values of S
beyond about one are brought near one, smaller ones are kept. As printed NS has a slope of 1/||S||, so that a memory
that has learnt its pairs (S -> 0) jumps about its target and its outer gradient explodes.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.newton_schulz import NORM_EPS, CoefficientSet, newton_schulz, slope_at_zero
from atlas_ref.functional.ttl import writing_tokens
from atlas_ref.functional.window import WindowBoundary, visible_window
from atlas_ref.memory.bias import Bias
from atlas_ref.memory.link import Link, shrunk
from atlas_ref.memory.meaning import reasons_against

RuleName = Literal["titans", "atlas", "atlas_appendix", "omega", "delta"]
StepScale = Literal["literal", "mass"]
ReadTime = Literal["post", "pre", "anchor"]
ArchitectureName = Literal["matrix", "mlp", "linear_norm", "mlp_norm", "mlp_glu"]
RetentionName = Literal["dual", "proximal_elastic"]
ErrorPlace = Literal["previous", "retained"]
GateAxis = Literal["head", "rows", "columns"]
Algorithm = Literal["gd", "implicit"]

STEP_IN_MOMENTUM: dict[RuleName, bool] = {
    "titans": True,
    "atlas": False,
    "atlas_appendix": True,
    "omega": False,
    "delta": False,
}
ORTHOGONALISED: frozenset[RuleName] = frozenset({"atlas", "atlas_appendix"})


@dataclass(frozen=True)
class MemoryRule:
    """Everything that decides what a write and a read mean; each field is a key of the configuration."""

    architecture: ArchitectureName
    name: RuleName
    chunk: int
    boundary: WindowBoundary
    read: ReadTime
    loss_scale: float
    step_scale: StepScale
    momentum_max: float
    coefficients: CoefficientSet
    newton_schulz_steps: int
    update_every: int = 1
    bias: Bias = field(default_factory=Bias)
    link: Link = field(default_factory=Link)
    retention: RetentionName = "dual"
    error_at: ErrorPlace = "previous"
    gate_axis: GateAxis = "head"
    algorithm: Algorithm = "gd"
    step_chunk: int = 0
    """chunk whose length divides the step of `mass`; 0: `chunk`"""

    def __post_init__(self) -> None:
        """Refuse what has no meaning, in one sentence with the reason."""
        if self.update_every < 1:
            raise UserError(f"memory rule: the memory is written every {self.update_every} tokens, valid is 1 or more")
        for reason in reasons_against(self.axes()):
            raise UserError(f"memory rule: {reason}")

    def axes(self) -> dict[str, object]:
        """Return what the table of `meaning` speaks of."""
        return {
            "architecture": self.architecture,
            "rule": self.name,
            "chunk": self.chunk,
            "window_boundary": self.boundary,
            "update_every": self.update_every,
            "step_scale": self.step_scale,
            "bias": self.bias.name,
            "link": self.link.name,
            "retention": self.retention,
            "error_at": self.error_at,
            "gate_axis": self.gate_axis,
            "algorithm": self.algorithm,
        }

    @property
    def orthogonalised(self) -> bool:
        """Whether the write applies Newton-Schulz to the momentum."""
        return self.name in ORTHOGONALISED

    @property
    def normalised(self) -> bool:
        """Whether the gradient of a token is divided by its curvature."""
        return self.step_scale == "mass"

    @property
    def at_retained(self) -> bool:
        """Whether the error of a token is taken at the memory that it retains; an implicit step knows no other."""
        return self.error_at == "retained" or self.algorithm == "implicit"


class Gates(NamedTuple):
    """The data-dependent coefficients of each token and head, as the network makes them.

    `retention` has an axis more with the `gate_axis` rows (one for each value) or columns (one for each feature);
    `threshold` is delta >= 0 of the biases that have one.
    """

    retention: Float[Tensor, "batch time heads *axis"]
    momentum: Float[Tensor, "batch time heads"]
    step: Float[Tensor, "batch time heads"]
    window: Float[Tensor, "batch time heads window"]
    threshold: Float[Tensor, "batch time heads"] | None = None


class WriteCoefficients(NamedTuple):
    """The same after rule and step scale: what the two recurrences of the module docstring consume.

    `step` is eta as the rule scales it, for what is proportional to it besides the gradient; 0 where nothing is
    written.
    """

    retention: Float[Tensor, "batch time heads *axis"]
    momentum: Float[Tensor, "batch time heads"]
    intake: Float[Tensor, "batch time heads"]
    release: Float[Tensor, "batch time heads"]
    window: Float[Tensor, "batch time heads window"]
    step: Float[Tensor, "batch time heads"]
    threshold: Float[Tensor, "batch time heads"] | None

    def at(self, t: int | slice) -> "WriteCoefficients":
        """Return those of token t alone, without the axis of time, or of a slice of tokens."""
        if isinstance(t, slice):
            return WriteCoefficients._make(None if x is None else x[:, t] for x in self)
        return WriteCoefficients._make(None if x is None else x.select(1, t) for x in self)


def write_coefficients(
    rule: MemoryRule,
    gates: Gates,
    position: Int[Tensor, "batch time"],
    writes: bool = True,
    hidden: Bool[Tensor, "batch time window"] | None = None,
) -> WriteCoefficients:
    """Return intake, release and visible window weights of each token for `rule` (table of the module docstring).

    A token that does not write keeps M and S exactly: retention and momentum 1, intake and release 0. Its window
    weights stay, for the token that writes its loss; without `writes` (the warm-up) no token has any.

    `position` is the 0-based index of a token in its document, and `hidden` what follows from it (`visible_window`),
    where that is known. `delta` has no momentum whatever its gate says.
    UserError is raised if it is given a window of more than the token itself, and if gates are missing or too many.
    """
    _refuse_gates(rule, gates)
    window = visible_window(gates.window, position, rule.chunk, rule.boundary, hidden)
    momentum = torch.zeros_like(gates.momentum) if rule.name == "delta" else gates.momentum
    # psi is linear in 2 loss_scale (`bias`): the gradient of loss_scale * ||M f - v||^2 is 2 loss_scale (M f - v) f^T.
    if rule.loss_scale != 0.5:
        window = window * (2.0 * rule.loss_scale)
    step = gates.step
    if rule.step_scale == "literal":
        fresh = torch.ones_like(momentum)
    else:
        horizon = 0.0 if rule.name == "delta" else rule.momentum_max / (1.0 - rule.momentum_max)
        step, fresh = step / ((rule.step_chunk or rule.chunk) + rule.update_every * horizon), 1.0 - momentum
        window = window / window.shape[-1] if window.shape[-1] > 1 else window
    intake, release = (-fresh * step, torch.ones_like(step)) if STEP_IN_MOMENTUM[rule.name] else (fresh, -step)
    threshold = gates.threshold if rule.bias.has_threshold else None
    found = WriteCoefficients(gates.retention, momentum, intake, release, window, step, threshold)
    if not writes:
        return _kept(found, torch.zeros_like(position, dtype=torch.bool))._replace(window=torch.zeros_like(window))
    return found if rule.update_every == 1 else _kept(found, writing_tokens(position, rule.update_every))


def _refuse_gates(rule: MemoryRule, gates: Gates) -> None:
    """Raise UserError where the gates are not those of the rule."""
    if rule.name == "delta" and gates.window.shape[-1] != 1:
        raise UserError(f"rule 'delta' writes one token at a time: its window is {gates.window.shape[-1]}, valid is 1")
    axes = 3 if rule.gate_axis == "head" else 4
    if gates.retention.ndim != axes:
        raise UserError(
            f"gate_axis '{rule.gate_axis}': retention has the shape {list(gates.retention.shape)}, valid are {axes} "
            "axes"
        )
    if rule.bias.has_threshold and gates.threshold is None:
        raise UserError(f"bias '{rule.bias.name}' needs a threshold of each token and head, and the gates have none")


def _kept(found: WriteCoefficients, writing: Bool[Tensor, "batch time"]) -> WriteCoefficients:
    """Return the coefficients with those of a token that keeps M and S wherever a token does not write."""
    on = writing.unsqueeze(-1)
    return found._replace(
        retention=torch.where(on if found.retention.ndim == 3 else on.unsqueeze(-1), found.retention, 1.0),
        momentum=torch.where(on, found.momentum, 1.0),
        intake=torch.where(on, found.intake, 0.0),
        release=torch.where(on, found.release, 0.0),
        step=torch.where(on, found.step, 0.0),
    )


def retained(
    rule: MemoryRule, retention: Float[Tensor, "batch heads *axis"], weights: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return alpha o M of each matrix: alpha is one number, one of each row, or one of each column of it."""
    if rule.gate_axis == "head":
        spread = retention[..., None, None]
    else:
        spread = retention.unsqueeze(-1 if rule.gate_axis == "rows" else -2)
    return tuple(spread * matrix for matrix in weights)


def released(
    rule: MemoryRule,
    write: WriteCoefficients,
    weights: tuple[Float[Tensor, "batch heads _out _in"], ...],
    momentum: tuple[Float[Tensor, "batch heads _out _in"], ...],
) -> tuple[Float[Tensor, "batch heads _out _in"], ...]:
    """Return M_t = alpha_t o M_{t-1} + release_t U(S_t) of each matrix, shrunk where retention is `proximal_elastic`.

    `write` holds the coefficients of one token, `weights` are M_{t-1} and `momentum` is S_t (module docstring).
    """
    release = write.release[..., None, None]
    kept = retained(rule, write.retention, weights)
    after = tuple(torch.addcmul(m, release, update(rule, s)) for m, s in zip(kept, momentum, strict=True))
    if rule.retention != "proximal_elastic":
        return after
    level = (rule.link.level * write.step)[..., None, None]
    return tuple(shrunk(matrix, level) for matrix in after)


def implicit_weight(weight: Tensor, step: Tensor, square: Tensor) -> Tensor:
    """Return gamma / (1 + eta gamma ||k||^2): with it a step taken at alpha M is the implicit step (Longhorn)."""
    return weight / (1.0 + weight * (step * square))


def update(rule: MemoryRule, momentum: Float[Tensor, "*batch out in"]) -> Float[Tensor, "*batch out in"]:
    """Return U(S): the momentum, or for `atlas` and `atlas_appendix` its Newton-Schulz iteration."""
    if not rule.orthogonalised:
        return momentum
    return newton_schulz(momentum, rule.newton_schulz_steps, rule.coefficients, offset(rule))


def offset(rule: MemoryRule) -> float:
    """Return what the start of Newton-Schulz adds to the norm: p'(0) under `mass`, else next to nothing."""
    return slope_at_zero(rule.coefficients, rule.newton_schulz_steps) if rule.normalised else NORM_EPS
