"""The tables of what one pass over pairs recalls; the setting is that of `one_pass`.

python -m benchmarks.one_pass_tables [--tables outliers exponents window capacity links]
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atlas_ref.functional.polynomial import initial_coefficients, polynomial_features
from atlas_ref.memory.bias import Bias
from atlas_ref.memory.link import Link, linked
from atlas_ref.memory.ridge import fresh_ridge_state, ridge_scan
from benchmarks.one_pass import PLAIN, Pairs, draw, recalled, residual

SEEDS = 10
DIM = 32
Row = tuple[str, ...]

BIASES: dict[str, Bias] = {
    "l2": Bias(),
    "huber_norm, threshold 1": Bias("huber_norm"),
    "huber_coordinate, threshold 1": Bias("huber_coordinate"),
    "lp, p = 1.5": Bias("lp", exponent=1.5),
    "lp, p = 3": Bias("lp", exponent=3.0),
    "robust, Delta 1": Bias("robust"),
}


def outliers() -> Iterator[Row]:
    """Yield how well clean pairs are recalled where 5% of the values are written 50-fold, and without outliers."""
    yield "bias", *(f"{n} pairs, {what}" for n in (16, 32) for what in ("clean", "outliers"))
    for name, bias in BIASES.items():
        rule = replace(PLAIN, bias=bias)
        drawn = (draw(n, DIM, SEEDS, outliers=share) for n in (16, 32) for share in (0.0, 0.05))
        yield name, *(f"{residual(recalled(rule, pairs), pairs):.2f}" for pairs in drawn)


def exponents() -> Iterator[Row]:
    """Yield the recall of 16 pairs under `lp` by exponent: clean, with Gaussian noise, and with outliers."""
    settings: dict[str, dict[str, float]] = {
        "clean": {},
        "noise 0.5": {"noise": 0.5},
        "noise 1": {"noise": 1.0},
        "outliers": {"outliers": 0.05},
    }
    yield "p", *settings
    for p in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0):
        rule = replace(PLAIN, bias=Bias("lp", exponent=p))
        drawn = (draw(16, DIM, SEEDS, **setting) for setting in settings.values())
        yield f"{p:g}", *(f"{residual(recalled(rule, pairs), pairs):.3f}" for pairs in drawn)


def windows() -> Iterator[Row]:
    """Yield the recall under the Omega loss by the length of its window, plain and under Newton-Schulz."""
    lengths = (1, 2, 4, 8, 16)
    yield "pairs", "write", *(f"c = {length}" for length in lengths)
    for n in (16, 32, 48):
        pairs = draw(n, DIM, SEEDS)
        for write, rule in (("gradient", PLAIN), ("Newton-Schulz", replace(PLAIN, name="atlas"))):
            found = (residual(recalled(rule, pairs, window=length), pairs) for length in lengths)
            yield str(n), write, *(f"{share:.3f}" for share in found)


def capacity() -> Iterator[Row]:
    """Yield the recall of a ridge memory, least squares and one-pass writes below, at and above the rank of the keys.

    Keys are 8 wide, their features up to degree 1, 2 and 3 are 8, 44 and 164, of rank 8, 44 and 156 on unit keys; a
    value is one of 64 unit words of width 16.
    """
    yield "rank", "pairs", "least squares", "ridge", "delta", "Hebbian", "words right: ridge", "delta", "Hebbian"
    for degree, rank in ((1, 8), (2, 44), (3, 156)):
        for n in (rank // 2, rank, rank * 5 // 4, rank * 2):
            pairs, words, wanted = _words(n, degree)
            exact, ridge = _least_squares(pairs), _ridge(pairs)
            delta = recalled(replace(PLAIN, name="delta"), pairs)
            dot = recalled(replace(PLAIN, bias=Bias("dot")), pairs)
            shares = (residual(reads, pairs) for reads in (exact, ridge, delta, dot))
            right = (_right(reads, words, wanted) for reads in (ridge, delta, dot))
            yield str(rank), str(n), *(f"{x:.2g}" for x in shares), *(f"{x:.2f}" for x in right)


def _words(n: int, degree: int) -> tuple[Pairs, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    keys = normalize(torch.randn(SEEDS, n, 8, generator=generator, dtype=torch.float64), dim=-1)
    words = normalize(torch.randn(64, 16, generator=generator, dtype=torch.float64), dim=-1)
    wanted = torch.randint(64, (SEEDS, n), generator=generator)
    coefficients = torch.tensor(initial_coefficients(degree), dtype=torch.float64)
    lifted = normalize(polynomial_features(keys, coefficients, "monomial_weighted"), dim=-1)
    return Pairs(lifted, words[wanted], words[wanted], torch.ones(SEEDS, n, dtype=torch.bool)), words, wanted


def _least_squares(pairs: Pairs) -> Tensor:
    reads: Tensor = pairs.keys @ torch.linalg.pinv(pairs.keys) @ pairs.values
    return reads.unsqueeze(0)


def _ridge(pairs: Pairs) -> Tensor:
    """Return what the memory that solves for all pairs reads, with a regulariser of 1e-12."""
    keys, values = pairs.keys.unsqueeze(2), pairs.values.unsqueeze(2)
    one = torch.ones(keys.shape[:3], dtype=keys.dtype)
    small = torch.full((1, keys.shape[-1]), 1e-12, dtype=keys.dtype)
    state = fresh_ridge_state(SEEDS, 1, keys.shape[-1], values.shape[-1], keys)
    _, after = ridge_scan(keys, values, keys, one, one, small, None, state)
    read, _ = ridge_scan(keys, values, keys, one, 0.0 * one, small, None, after)
    return read.movedim(2, 0)


def _right(reads: Tensor, words: Tensor, wanted: Tensor) -> float:
    """Return the share of reads whose nearest word is the one that was written, at the best step."""
    found = (reads @ words.mT).argmax(-1) == wanted
    return float(found.double().mean((-2, -1)).max())


def links() -> Iterator[Row]:
    """Yield what Moneta's link as printed and the exact one do to size and to recall, by exponent."""
    yield "link", "q", "size of W(2A) by that of W(A)", "size of W(A), A of size 0.01", "16 pairs", "32 pairs"
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
    for name in ("lq", "lq_printed"):
        for q in (2.0, 3.0, 4.0, 5.0):
            link = Link(name, exponent=q)
            size = linked(link, 2.0 * state).norm() / linked(link, state).norm()
            small = linked(link, 0.01 * state / state.norm()).norm()
            drawn = (draw(n, DIM, SEEDS) for n in (16, 32))
            shares = (residual(recalled(replace(PLAIN, link=link), pairs), pairs) for pairs in drawn)
            yield name, f"{q:g}", f"{size:.3g}", f"{small:.3g}", *(f"{share:.3g}" for share in shares)


TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "outliers": outliers,
    "exponents": exponents,
    "window": windows,
    "capacity": capacity,
    "links": links,
}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description="Print what one pass over pairs recalls.")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    for name in parser.parse_args().tables:
        print(f"\n{name}\n")
        for number, row in enumerate(TABLES[name]()):
            print(f"| {' | '.join(row)} |", flush=True)
            if number == 0:
                print(f"|{'---|' * len(row)}")


if __name__ == "__main__":
    main()
