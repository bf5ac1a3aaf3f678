"""docs/spec/trm.md in numpy: one token and one head at a time; what stops a gradient takes the real part."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

Net = Callable[[Array], Array]


def normed(x: Array, eps: float, sums: Sums) -> Array:
    """Return a vector over the root of its mean square plus eps."""
    return np.asarray(x / np.sqrt(sums.total(x * x) / len(x) + eps))


def joined(u: Array, given: Array) -> Array:
    """Return what a part of the network hands on: what it got, and what it gives to it."""
    return np.asarray(u + given)


def seen(time: int, position: int, window: int, count: int) -> list[int]:
    """Return the tokens, of `count` in a row, that token `time` sees, which is at `position` of its document."""
    del count
    return list(range(max(0, time - min(position, window - 1)), time + 1))


def attended(rows: Array, t: int, tokens: list[int], x: Arrays, sums: Sums) -> Array:
    """Return what attention gives token t of `rows` [time, model] that sees `tokens`."""
    total = np.zeros_like(rows[t])
    for query, key, value, output in zip(x["query"], x["key"], x["value"], np.moveaxis(x["output"], 1, 0), strict=True):
        asked = sums.matvec(query, rows[t])
        scores = sums.dot(asked, sums.matvec(key, rows[tokens])) / np.sqrt(len(query))
        weights = np.exp(scores - scores.real.max())
        mixed = sums.total(weights[:, None] * sums.matvec(value, rows[tokens]), axis=0)
        total = total + sums.matvec(output, mixed / sums.total(weights))
    return np.asarray(total)


def evaluated(u: Array, position: Array, x: Arrays, window: int, eps: float, sums: Sums) -> Array:
    """Return net(u) of one row [time, model]."""
    made = []
    for t, vector in enumerate(u):
        tokens = seen(t, int(position[t]), window, len(u))
        h = normed(joined(vector, attended(u, t, tokens, x, sums)), eps, sums)
        opened = sums.matvec(x["gate"], h)
        inner = opened / (1.0 + np.exp(-opened)) * sums.matvec(x["up"], h)
        made.append(normed(joined(h, sums.matvec(x["down"], inner)), eps, sums))
    return np.array(made).reshape(u.shape)


def refined(net: Net, x: Array, y: Array, z: Array) -> Array:
    """Return the next latent."""
    return net(z + y + x)


def updated(net: Net, y: Array, z: Array) -> Array:
    """Return the next answer."""
    return net(y + z)


def recursion(net: Net, x: Array, y: Array, z: Array, micro_steps: int) -> tuple[Array, Array]:
    """Return answer and latent after one recursion."""
    for _ in range(micro_steps):
        z = refined(net, x, y, z)
    return updated(net, y, z), z


def is_learned(number: int, without: int) -> bool:
    """Return whether recursion `number`, from 0, carries a gradient."""
    return number >= without


def row_of(config: Config, x: Arrays, row: int, sums: Sums) -> tuple[Array, Array]:
    """Return y and z of one row after all recursions."""
    micro_steps, without = int(config["micro_steps"]), int(config["no_grad_recursions"])
    window, eps = int(config["window"]), float(config["norm_eps"])
    features, y, z = (x[name][row] for name in ("x", "y", "z"))
    fixed = {name: value if value.dtype.kind == "i" else value.real for name, value in x.items()}
    for number in range(int(config["recursions"])):
        learned = is_learned(number, without)
        given, known = (x, features) if learned else (fixed, features.real)

        def net(u: Array, given: Arrays = given) -> Array:
            return evaluated(u, x["position"][row], given, window, eps, sums)

        y, z = recursion(net, known, y if learned else y.real, z if learned else z.real, micro_steps)
    return y, z


def _trm_recursion(config: Config, x: Arrays, sums: Sums) -> Arrays:
    rows = [row_of(config, x, row, sums) for row in range(len(x["x"]))]
    kind = np.result_type(*(value for value in x.values() if value.dtype.kind != "i"))
    shape = x["x"].shape
    y, z = (np.array([pair[which] for pair in rows], dtype=kind).reshape(shape) for which in (0, 1))
    return {"latent": z, "answer": y}


def _supervised_loss(_: Config, x: Arrays, sums: Sums) -> Arrays:
    whole = sums.total(x["weights"])
    return {"loss": np.array([sums.dot(x["weights"], row) / whole for row in x["losses"]])}


ANSWERS: Final[Mapping[Op, Function]] = {Op.TRM_RECURSION: _trm_recursion, Op.SUPERVISED_LOSS: _supervised_loss}
