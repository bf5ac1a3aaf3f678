"""Grokking, watched: what the log has of it, that a phase is one of the whole run, and that nothing else changes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas_ref.metrics.grokking_phases import SOURCE
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from atlas_ref.training.run import load_model
from atlas_ref.watching.grokking import PERMUTATIONS, Measured, measure_embedding, permutations, phases, read_measured
from spec_tests.package.micro.arithmetic import ONE_HOT, arithmetic_config, transformer_config
from spec_tests.package.micro.runs import (
    SKIPPED,
    Listener,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

LOGGED = {
    "train/accuracy",
    "val/accuracy",
    "grokking/concentration",
    "grokking/concentration_null",
    "grokking/circular_fit",
    "grokking/circular_order",
    "grokking/circular_order_null",
    "grokking/weight_norm",
    "grokking/phase",
}


def concentration(rows: np.ndarray) -> float:
    """Return the share of the five strongest frequencies, term by term; the number of rows is odd."""
    p = len(rows)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(1, p // 2 + 1), np.arange(p)) / p)
    energy = (np.abs(wave @ rows) ** 2).sum(1)
    return float(np.sort(energy)[-5:].sum() / energy.sum())


def test_every_validation_is_logged_with_what_there_is_to_know(tmp_path: Path) -> None:
    """Against the saved weights, by loops. Kills: accuracy of the batch before its step; the norm of one tensor; the
    concentration of the head; a measurement that is skipped where no loss is logged."""
    # 13 numbers have six frequencies, of which five are counted; 169 pairs, of which 101 are trained on.
    p = ("data.arithmetic.modulus=13", "model.vocab_size=13", "train.batch_size=101")
    start(arithmetic_config(*p), tmp_path)
    lines = metric_lines(tmp_path)
    assert [line["step"] for line in lines if line.keys() >= LOGGED] == [2, 4, 6, 8, 10, 12]
    assert all(set(line) & LOGGED in (set(), LOGGED) for line in lines)

    last, model = lines[-1], load_model(find_checkpoint(tmp_path), torch.device("cpu"))
    table, w_in, w_out = (p.detach().double().numpy() for p in model.parameters())
    sums = table[:, None] + table[None]
    right = (((sums @ w_in.T) ** 2) @ w_out.T).argmax(-1) == np.add.outer(np.arange(13), np.arange(13)) % 13
    known = round(101 * last["train/accuracy"]) + round(68 * last["val/accuracy"])
    assert known == right.sum()
    assert last["grokking/weight_norm"] == pytest.approx(math.sqrt(sum((x**2).sum() for x in (table, w_in, w_out))))
    wide = np.random.default_rng(0).normal(size=(23, 4))
    assert measure_embedding(torch.from_numpy(wide))["grokking/concentration"] == pytest.approx(concentration(wide))
    assert last["grokking/concentration"] == pytest.approx(concentration(table))


def test_the_embedding_is_that_of_the_numbers_in_every_family(tmp_path: Path) -> None:
    """Kills: the row of the equals sign among the numbers; one place of one-hot numbers; rows for columns."""
    thirteen = ("data.arithmetic.modulus=13", "train.batch_size=101")
    start(transformer_config(*thirteen, "model.vocab_size=14"), tmp_path / "transformer")
    start(arithmetic_config(*thirteen, "model.vocab_size=13", *ONE_HOT), tmp_path / "one-hot")
    tables = {"transformer": "embedding.weight", "one-hot": "hidden.0.weight"}
    for name, parameter in tables.items():
        model = load_model(find_checkpoint(tmp_path / name), torch.device("cpu"))
        table = model.get_parameter(parameter).detach().double().numpy()
        rows = table[:13] if name == "transformer" else np.concatenate([table[:, :13], table[:, 13:]]).T
        found = metric_lines(tmp_path / name)[-1]["grokking/concentration"]
        assert found == pytest.approx(concentration(rows)), name


def test_a_null_is_what_ninety_nine_other_orders_in_a_hundred_stay_below() -> None:
    """Kills: a null of other rows, of their mean, of fewer frequencies; orders that all runs draw anew."""
    rows = np.random.default_rng(1).normal(size=(23, 4))
    orders = permutations(23)
    assert orders.shape == (PERMUTATIONS, 23)
    assert len({tuple(order) for order in orders.tolist()}) == PERMUTATIONS
    assert torch.equal(permutations.__wrapped__(23), orders)
    null = [concentration(rows[order]) for order in orders.numpy()]
    found = measure_embedding(torch.from_numpy(rows))
    assert found["grokking/concentration_null"] == pytest.approx(np.quantile(null, 0.99))


def test_a_circle_is_beyond_chance_and_noise_is_not() -> None:
    """Kills: the null in the place of the value."""
    angle = 2 * math.pi * 5 * torch.arange(23, dtype=torch.float64) / 23
    circle = measure_embedding(torch.stack([angle.cos(), angle.sin()], 1))
    assert circle["grokking/concentration"] == pytest.approx(1.0)
    assert circle["grokking/circular_order"] == pytest.approx(1.0)
    assert circle["grokking/concentration_null"] < 0.95
    assert circle["grokking/circular_order_null"] < 0.7


def test_every_sign_of_the_embedding_crosses_its_threshold_on_the_way_from_noise_to_a_circle() -> None:
    """Concentration its null, then the 0.3, 0.6 and 0.8 of the source; the order its null; roundness what noise has.

    Kills: a sign that cannot reach what is asked of it, as of the source system's none could; one that noise reaches.
    """
    angle = 2 * math.pi * 5 * torch.arange(97, dtype=torch.float64) / 97
    circle = torch.nn.functional.pad(torch.stack([angle.cos(), angle.sin()], 1), (0, 6))
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(97, 8)))
    found = [measure_embedding(part * circle + (1.0 - part) * noise) for part in (0.0, 0.5, 0.6, 0.7, 0.8, 0.95)]
    signs = [each["grokking/concentration"] for each in found]
    beyond = [
        (each["grokking/concentration"] > each["grokking/concentration_null"])
        + sum(each["grokking/concentration"] > least for least in SOURCE)
        for each in found
    ]
    assert signs == sorted(signs)
    assert beyond == [0, 1, 2, 2, 3, 4]
    ordered = [each["grokking/circular_order"] > each["grokking/circular_order_null"] for each in found]
    assert (ordered[0], ordered[-1]) == (False, True)
    assert found[0]["grokking/circular_fit"] < 0.6 < 0.9 < found[-1]["grokking/circular_fit"]


def test_every_accuracy_crosses_its_threshold_and_the_norm_turns() -> None:
    """A phase each, where one number more is on the other side. Kills: a threshold that is another; > for >=."""
    steps = range(100, 700, 100)
    flat = {"concentration": 0.12, "null": 0.125, "norm": 9.0}

    def last(**changed: float | list[float]) -> int:
        parts = {"training": 1.0, "validation": 0.2, **flat, **changed}
        columns = [x if isinstance(x, list) else [x] * 6 for x in parts.values()]
        return phases([Measured(step, *values) for step, *values in zip(steps, *columns, strict=True)])[-1]

    rising, falling = [0.2, 0.22, 0.24, 0.26, 0.28, 0.3], [9.0, 8.5, 8.0, 7.5, 7.0, 6.5]
    assert (last(training=0.9899), last(training=0.99)) == (0, 1)
    assert (last(validation=0.5), last(validation=0.4999)) == (0, 1)
    assert (last(concentration=rising), last(concentration=rising, norm=falling)) == (1, 2)
    dissolved, formed = ([*rising[:-1], value] for value in (0.125, 0.1251))
    assert (last(concentration=dissolved, norm=falling), last(concentration=formed, norm=falling)) == (1, 2)
    right = {"concentration": rising, "norm": falling}
    assert (last(**right, validation=0.8999), last(**right, validation=0.9)) == (2, 3)
    assert (last(norm=falling, validation=0.8999), last(norm=falling, validation=0.9)) == (0, 3)
    late = [0.2, 0.2, 0.2, 0.95, 0.95, 0.95]
    assert (last(validation=late), last(validation=[*late[:-1], 0.9499])) == (4, 1)


def test_phases_are_found_in_what_was_measured() -> None:
    """Memorised at 100, circuits from 300, cleanup at 900, grokked at the third in a row; an empty log has none.

    Kills: training and validation taken for each other; the null for the concentration; counts for steps.
    """
    steps = range(100, 1300, 100)
    right = [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.93, 0.97, 0.98, 0.99]
    found = [0.12, 0.12, 0.15, 0.17, 0.2, 0.23, 0.25, 0.28, 0.3, 0.31, 0.32, 0.33]
    run = [Measured(n, 1.0, v, c, 0.125, 90.0 - n / 50) for n, v, c in zip(steps, right, found, strict=True)]
    assert phases(run) == [1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 4]
    assert phases([]) == []


def test_a_run_that_goes_on_finds_the_phases_of_one_that_never_stopped(tmp_path: Path) -> None:
    """Kills: a history that begins again with the process; one with measurements from after the checkpoint."""
    config = arithmetic_config("train.max_steps=40", "data.arithmetic.share=0.9", "train.batch_size=44")
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(31))
    go_on(config, tmp_path / "parts")
    whole, parts = (without_timing(metric_lines(tmp_path / name)) for name in ("whole", "parts"))
    assert parts == whole
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    measured = read_measured(tmp_path / "whole" / "metrics.jsonl")
    assert [line["grokking/phase"] for line in whole if "grokking/phase" in line] == phases(measured)
    assert len(measured) == 20


def test_a_new_phase_is_said_once(tmp_path: Path) -> None:
    """Kills: a phase that is said at every validation, or never."""
    listener = Listener()
    # Enough steps for 15 pairs to be known by heart.
    start(
        arithmetic_config("train.max_steps=60", "data.arithmetic.share=0.3", "train.batch_size=15"),
        tmp_path,
        reporter=listener,
    )
    logged = [line["grokking/phase"] for line in metric_lines(tmp_path) if "grokking/phase" in line]
    changes = sum(now != before for before, now in zip([0.0, *logged], logged, strict=False))
    said = [text for text in listener.said if "in training" in text]
    assert changes >= 1
    assert len(said) == changes


def test_a_run_that_goes_on_says_no_phase_again(tmp_path: Path) -> None:
    """Kills: a process that knows nothing of the measurements in the log."""
    config = arithmetic_config("train.max_steps=60", "data.arithmetic.share=0.3", "train.batch_size=15")
    whole, first, second = Listener(), Listener(), Listener()
    start(config, tmp_path / "whole", reporter=whole)
    start(config, tmp_path / "parts", stop_before(55), reporter=first)
    ready = get_ready(config, RunDirectory(tmp_path / "parts"), find_checkpoint(tmp_path / "parts"), over_unsaved=False)
    train(ready, Admission(None, SKIPPED), second, lambda: False)
    said = [[text for text in each.said if "in training" in text] for each in (whole, first, second)]
    assert said[0] == said[1] + said[2]
    assert said[1]


def test_a_run_on_text_has_nothing_of_it(tmp_path: Path) -> None:
    """Kills: a watch that takes every source for one whose questions are known."""
    start(micro_config(), tmp_path)
    assert not any(key.startswith("grokking/") or key == "train/accuracy" for x in metric_lines(tmp_path) for key in x)
