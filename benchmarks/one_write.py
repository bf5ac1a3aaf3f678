"""What one write does to the error of its pair, for the memory of every published model as its preset starts it.

    python -m benchmarks.one_write [--models NAME ...] [--change FIELD=VALUE ...] [--pairs 8]

A memory that recalls what it saw once must change, by one write, what it reads for that key. Unit keys and values are
written in order into the memory of the preset `recall` with the model's own, with the gates and M_0 of the first
training step, and then every key is read. Shown are the share of a pair's error that its own write removes, and the
cosine of what is read with the value after all pairs: at the preset's step, and at the best of steps 1/256, 1/128 ...
16,384 times as large, as far as everything stays finite.
"""

import argparse

import torch
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from atlas_ref.blocks.fast_memory import FastMemory, Start, Tokens
from atlas_ref.blocks.gates import GateHeads
from atlas_ref.config import load_config, model_names
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.functional.polynomial import initial_coefficients, polynomial_features
from atlas_ref.memory.layout import make_plan
from benchmarks.report import machine, print_table, write_results

HEADS = 64
"""Independent memories, which are the draws."""
FACTORS = tuple(2.0**power for power in range(-8, 15))
WIDTH = 8


def draws(config: MemoryConfig, pairs: int) -> tuple[Tensor, Tensor, Start]:
    """Return unit keys and values [1, pairs, HEADS, dim], and what the memories start from."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    kinds = config.features
    plain = normalize(normal(1, pairs, HEADS, config.key_dim), dim=-1)
    keys = polynomial_features(plain, torch.tensor(initial_coefficients(kinds.degree)), kinds.basis)
    values = normalize(normal(1, pairs, HEADS, config.value_dim), dim=-1)
    if config.algorithm == "ridge":
        return keys, values, Start((), torch.full((HEADS, keys.shape[-1]), config.ridge_init), None)
    initial = tuple(config.initial_std * normal(HEADS, *s) for s in config.matrices())
    return keys, values, Start(initial, None, None)


def read_after(config: MemoryConfig, keys: Tensor, values: Tensor, start: Start, factor: float) -> Tensor:
    """Return what every key reads after all were written, [1, pairs, HEADS, values]; `factor` enlarges the steps."""
    memory, pairs = FastMemory(config, keys.shape[-1]), keys.shape[1]
    gates = GateHeads(WIDTH, HEADS, keys.shape[-1], config)
    gates.initialise(torch.Generator().manual_seed(0), 0.0)
    with torch.no_grad():
        made = gates(torch.zeros(1, pairs, WIDTH))
        made = made._replace(step=factor * made.step)
        state = memory.fresh(start, 1, keys)
        plan = make_plan(state.position, None, pairs, config.chunk)
        state = memory.run(Tokens(keys, values, keys, made, None, plan), start, state, writes=True).state
        plan = make_plan(state.position, None, pairs, config.chunk)
        return memory.run(Tokens(keys, values, keys, made, None, plan), start, state, writes=False).reads


def removed(config: MemoryConfig, factor: float) -> float:
    """Return the mean share of a pair's error that its write takes away, along the error."""
    keys, values, start = draws(config, 1)
    memory = FastMemory(config, keys.shape[-1])
    state = memory.fresh(start, 1, keys)
    plan = make_plan(state.position, None, 1, config.chunk)
    gates = GateHeads(WIDTH, HEADS, keys.shape[-1], config)
    with torch.no_grad():
        unread = Tokens(keys, values, keys, gates(torch.zeros(1, 1, WIDTH)), None, plan)
        before = memory.run(unread, start, state, writes=False).reads - values
    after = read_after(config, keys, values, start, factor) - values
    return float(((before - after) * before).sum(-1).div(before.square().sum(-1)).mean())


def recalled(config: MemoryConfig, pairs: int, factor: float) -> float:
    """Return the mean cosine of reads and values after all pairs; minus infinity where anything is not finite."""
    keys, values, start = draws(config, pairs)
    cosine = cosine_similarity(read_after(config, keys, values, start, factor), values, dim=-1).mean()
    return float(cosine) if cosine.isfinite() else float("-inf")


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description="What one write does to the error of its pair.")
    parser.add_argument("--models", nargs="+", choices=model_names(), default=list(model_names()), metavar="NAME")
    parser.add_argument("--change", nargs="+", default=[], metavar="FIELD=VALUE", help="fields of model.memory")
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = [f"model.memory.{change}" for change in options.change]
    table, rows = Table(title=f"One write, and {options.pairs} pairs written once"), []
    for heading in ("model", "error removed", "cosine", "at the best step", "which is larger by"):
        table.add_column(heading)
    for name in options.models:
        config = load_config(f"recall+{name}", changes).model.memory
        found = {factor: recalled(config, options.pairs, factor) for factor in FACTORS}
        best = max(found, key=lambda factor: found[factor])
        row = (name, removed(config, 1.0), found[1.0], found[best], best)
        rows.append(row)
        table.add_row(name, f"{row[1]:.4f}", f"{row[2]:.3f}", f"{row[3]:.3f}", f"{best:g}")
    print_table(table)
    print(f"wrote {write_results('one_write', {'machine': machine(1), 'changes': changes, 'rows': rows})}")


if __name__ == "__main__":
    main()
