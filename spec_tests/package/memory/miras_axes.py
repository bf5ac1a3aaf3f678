"""Options that together ask for every value of every axis, alone and with those that it meets."""

from dataclasses import replace
from typing import Final

from spec_tests.package.memory.miras_loop import Options

USUAL: Final = Options()
BIASES: Final = {
    "dot": replace(USUAL, bias="dot"),
    "lp 3": replace(USUAL, bias="lp", p=3.0, s=0.1, loss_scale=1.0),
    "lp 1.5": replace(USUAL, bias="lp", p=1.5, s=0.2, rule="titans"),
    "huber_coordinate": replace(USUAL, bias="huber_coordinate", window=3),
    "huber_norm": replace(USUAL, bias="huber_norm", loss_scale=1.0),
    "huber_norm every 2": replace(USUAL, bias="huber_norm", chunk=4, every=2),
    "yaad_printed": replace(USUAL, bias="yaad_printed"),
    "robust": replace(USUAL, bias="robust", s=0.1, window=1),
    "lp 3 by mass": replace(USUAL, bias="lp", p=3.0, s=0.1, mass=True),
    "robust by mass": replace(USUAL, bias="robust", s=0.1, mass=True, rule="titans"),
    "huber_norm mlp": replace(USUAL, bias="huber_norm", architecture="mlp"),
    "lp 3 mlp_norm": replace(USUAL, bias="lp", p=3.0, s=0.1, architecture="mlp_norm", window=1),
}
ARCHITECTURES: Final = {
    "mlp": replace(USUAL, architecture="mlp", rule="titans"),
    "linear_norm": replace(USUAL, architecture="linear_norm"),
    "mlp_norm": replace(USUAL, architecture="mlp_norm", read="pre"),
    "linear_norm by mass": replace(USUAL, architecture="linear_norm", mass=True),
    "mlp_norm by mass": replace(USUAL, architecture="mlp_norm", mass=True, rule="titans"),
    "mlp_norm, lp 3 by mass": replace(USUAL, architecture="mlp_norm", bias="lp", p=3.0, s=0.1, mass=True),
    "mlp_glu": replace(USUAL, architecture="mlp_glu", rule="titans"),
}
FORMED: Final = {
    "lq": replace(USUAL, link="lq", q=4.0),
    "lq 2.5 titans": replace(USUAL, link="lq", q=2.5, rule="titans", read="pre"),
    "lq_printed": replace(USUAL, link="lq_printed", q=3.0),
    "softmax": replace(USUAL, link="softmax", scale=1.5),
    "softmax rows, a write in 2": replace(USUAL, link="softmax", gate_axis="rows", chunk=4, every=2),
    "sigmoid": replace(USUAL, link="sigmoid", rule="titans"),
    "soft_threshold": replace(USUAL, link="soft_threshold", level=0.2),
    "rows": replace(USUAL, gate_axis="rows", rule="titans"),
    "columns": replace(USUAL, gate_axis="columns", read="pre"),
    "columns, chunks of one": replace(USUAL, gate_axis="columns", chunk=1, window=1),
    "moneta": replace(USUAL, architecture="mlp_norm", bias="lp", p=3.0, s=0.1, link="lq", q=4.0, window=1),
    "yaad": replace(USUAL, bias="huber_norm", gate_axis="rows"),
    "memora": replace(USUAL, architecture="mlp_norm", link="softmax", chunk=4),
}
RETAINED: Final = {
    "gated deltanet": replace(USUAL, rule="delta", chunk=1, window=1, error_at="retained"),
    "gated deltanet by mass": replace(USUAL, rule="delta", chunk=1, window=1, error_at="retained", mass=True),
    "kda": replace(USUAL, rule="delta", chunk=1, window=1, error_at="retained", gate_axis="columns"),
    "retained rows": replace(USUAL, rule="delta", chunk=1, window=1, error_at="retained", gate_axis="rows"),
    "implicit": replace(USUAL, rule="delta", chunk=1, window=1, algorithm="implicit", loss_scale=1.0, read="pre"),
    "implicit columns": replace(USUAL, rule="delta", chunk=1, window=1, algorithm="implicit", gate_axis="columns"),
    "delta of columns": replace(USUAL, rule="delta", chunk=1, window=1, gate_axis="columns"),
    "delta": replace(USUAL, rule="delta", chunk=1, window=1),
}
PROXIMAL: Final = {
    "proximal": replace(USUAL, retention="proximal_elastic", level=0.3),
    "proximal titans": replace(USUAL, retention="proximal_elastic", level=0.3, rule="titans", chunk=4, every=2),
}
AXES: Final = BIASES | ARCHITECTURES | FORMED | RETAINED | PROXIMAL
