"""Grokfast in its published setting, modular multiplication, beside a baseline that has the same weight decay.

    python -m benchmarks.grokfast_multiplication [--seeds 0 1 2] [--device cuda] [--most 60000] [--arms NAME ...]
        [--jobs 1] [--seconds 3600]

Published (2405.20233): 39,890 iterations to 95% of validation without and 910 with the filter; but there the filter
comes with an L2 penalty of 0.005 too, which the baseline does not have. Four arms here tell the two apart, and two more
have the optimiser of this project, with the same decoupled decay of 1 in both:

    plain               no filter, no penalty           (the published baseline)
    plain, L2           no filter, penalty 0.005
    grokfast            filter, no penalty
    grokfast, L2        filter, penalty 0.005           (the published method)
    muon, decay         Muon for matrices of the layers and AdamW for the rest, no filter
    mugrokfast, decay   the same behind the filter      (`training.mugrokfast`)

Setting: x y mod 97 for y >= 1, 9,312 pairs of which half are trained on; tokens [x, *, y, =], the answer at the last;
two layers of width 128 with 4 heads, LayerNorm before and GELU, learned positions; batches of 512 in a new order each
round; torch's Adam with betas 0.9 and 0.98, rate 1e-3 after 10 steps of warm-up, the penalty coupled as Adam has it;
filter g + 2 mu with mu <- 0.98 mu + 0.02 g. A run ends at the first of its validations (every 10 steps) with 95%.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atlas_ref.config import load_config
from atlas_ref.optim.grokfast import filtered
from atlas_ref.training.optimiser import optimiser_of, with_mugrokfast
from benchmarks.report import machine, write_results

PRIME, WIDTH, HEADS, LAYERS, BATCH = 97, 128, 4, 2, 512
RATE, WARMUP, ALPHA, STRENGTH, PENALTY = 1e-3, 10, 0.98, 2.0, 0.005
EVERY, ENOUGH = 10, 0.95
ARMS = {
    "plain": (0.0, 0.0),
    "plain, L2": (0.0, PENALTY),
    "grokfast": (STRENGTH, 0.0),
    "grokfast, L2": (STRENGTH, PENALTY),
    "muon, decay": (0.0, 0.0),
    "mugrokfast, decay": (STRENGTH, 0.0),
}
"""Strength of the filter, and penalty."""
MUON_RATE, DECAY = 2e-3, 1.0


@dataclass(frozen=True)
class Run:
    """When an arm knew the training pairs and the others, in steps; None where it never did."""

    arm: str
    seed: int
    trained_at: int | None
    validated_at: int | None
    steps: int
    seconds: float
    train: float
    validation: float


class Decoder(nn.Module):
    """A causal transformer with LayerNorm before each part, whose last token answers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PRIME + 2, WIDTH)
        self.position = nn.Embedding(4, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, PRIME, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the answers, [batch, PRIME]."""
        time = tokens.shape[1]
        mask = torch.ones(time, time, dtype=torch.bool, device=tokens.device).triu(1)
        x: Tensor = self.embedding(tokens) + self.position.weight[:time]
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        logits: Tensor = self.head(self.norm(x[:, -1]))
        return logits


def pairs(seed: int, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Return tokens, answers and how many of them, the first, are trained on."""
    x, y = torch.meshgrid(torch.arange(PRIME), torch.arange(1, PRIME), indexing="ij")
    order = torch.randperm(x.numel(), generator=torch.Generator().manual_seed(seed))
    x, y = x.flatten()[order], y.flatten()[order]
    tokens = torch.stack([x, torch.full_like(x, PRIME), y, torch.full_like(x, PRIME + 1)], 1)
    return tokens.to(device), (x * y % PRIME).to(device), x.numel() // 2


def train(arm: str, seed: int, most: int, seconds: float, device: torch.device) -> Run:
    """Train an arm until it knows what it was not trained on, for `most` steps or `seconds` at most."""
    strength, penalty = ARMS[arm]
    torch.manual_seed(seed)
    model = Decoder().to(device)
    step_with = muon_steps(model, strength) if "decay" in arm else adam_steps(model, strength, penalty)
    tokens, answers, half = pairs(seed, device)
    draw = torch.Generator().manual_seed(seed + 1)
    order, began, trained, step, found = torch.empty(0, dtype=torch.long), time.monotonic(), None, 0, (0.0, 0.0)
    while step < most and (step % EVERY or time.monotonic() - began < seconds):
        if len(order) < BATCH:
            order = torch.randperm(half, generator=draw)
        chosen, order = order[:BATCH].to(device), order[BATCH:]
        step += 1
        model.zero_grad()
        torch.autograd.backward(cross_entropy(model(tokens[chosen]), answers[chosen]))
        step_with(min(1.0, step / WARMUP))
        if step % EVERY == 0:
            found = (accuracy(model, tokens[:half], answers[:half]), accuracy(model, tokens[half:], answers[half:]))
            trained = step if trained is None and found[0] >= ENOUGH else trained
            if found[1] >= ENOUGH:
                break
    validated = step if found[1] >= ENOUGH else None
    return Run(arm, seed, trained, validated, step, time.monotonic() - began, *found)


def adam_steps(model: nn.Module, strength: float, penalty: float) -> Callable[[float], None]:
    """Return a step of Adam at a share of its rate, behind a filter where it has a strength."""
    optimiser = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.98), weight_decay=penalty, fused=True)
    slow = dict[nn.Parameter, Tensor]()

    def step(share: float) -> None:
        optimiser.param_groups[0]["lr"] = RATE * share
        if strength:
            filter_gradients(model, slow, strength)
        optimiser.step()

    return step


def muon_steps(model: nn.Module, strength: float) -> Callable[[float], None]:
    """Return a step of Muon and AdamW at a share of their rates, behind a filter where it has a strength."""
    fields = (f"learning_rate={RATE}", f"muon_learning_rate={MUON_RATE}", f"weight_decay={DECAY}", "beta2=0.98")
    filters = (f"mugrokfast.strength={strength}", f"mugrokfast.alpha={ALPHA}")
    rates = ("min_learning_rate=0.0", "name='mugrokfast'")
    optim = load_config("phase1", [f"optim.{field}" for field in (*fields, *filters, *rates)]).optim
    named = dict(model.named_parameters())
    matrices = {name for name, parameter in named.items() if name.startswith("layers.") and parameter.ndim == 2}
    optimiser = optimiser_of(named, matrices, optim)
    return (with_mugrokfast(optimiser, named, {}, optim.mugrokfast) if strength else optimiser).step


@torch.no_grad()
def filter_gradients(model: nn.Module, slow: dict[nn.Parameter, Tensor], strength: float) -> None:
    """Replace every gradient by g + strength mu (`optim.grokfast`)."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            made, average = filtered(parameter.grad, slow.get(parameter), ALPHA, strength)
            # Copied: before the second step the average is the gradient itself.
            parameter.grad, slow[parameter] = made, average.clone()


@torch.no_grad()
def accuracy(model: nn.Module, tokens: Tensor, answers: Tensor) -> float:
    """Return the share of right answers."""
    model.eval()
    right = (model(tokens).argmax(-1) == answers).float().mean()
    model.train()
    return float(right)


def main() -> None:
    """Train, print and keep each run."""
    parser = argparse.ArgumentParser(description="Steps to 95% of modular multiplication, with and without Grokfast.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights, split and order")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="NAME", help="which arms")
    parser.add_argument("--most", type=int, default=60_000, help="most steps of a run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor, for each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=3600.0, help="most seconds of a run")
    options = parser.parse_args()
    runs: list[Run] = []
    device = torch.device(options.device)
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (options.threads,)) as pool:
        asked = [(arm, seed) for seed in options.seeds for arm in options.arms]
        futures = [pool.submit(train, arm, seed, options.most, options.seconds, device) for arm, seed in asked]
        for future in as_completed(futures):
            run = future.result()
            runs.append(run)
            print(
                f"seed {run.seed}, {run.arm}: 95% of validation at {run.validated_at}, "
                f"of training at {run.trained_at}; {run.steps} steps in {run.seconds:.0f} s, "
                f"validation {run.validation:.3f}",
                flush=True,
            )
            rows = [asdict(each) for each in runs]
            path = write_results("grokfast_multiplication", {"machine": machine(options.threads), "rows": rows})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
