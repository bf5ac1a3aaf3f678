"""Faults of the metrics of circularity."""

from typing import Final

import numpy as np

from spec_tests.chapters.metrics.oracle import order
from spec_tests.faults.fault import Arrays, Config, Fault, with_outputs
from spec_tests.port import Array, Op

FIT: Final = Op.CIRCULAR_FIT
FOURIER: Final = Op.FOURIER_CONCENTRATION


def _mirror_excluded(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Compares one half of the mirrored spectrum with all of it: a perfect circle scores a half."""
    return {"concentration": 0.5 * outputs["concentration"]}


def _lowest_frequencies(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Counts the first frequencies, not the strongest."""
    energy = (np.abs(np.fft.rfft(x["embedding"], axis=0)) ** 2).sum(-1)[1:]
    return {"concentration": _share(energy[: int(config["top"])], energy)}


def _mean_counted(config: Config, x: Arrays, _: Arrays) -> Arrays:
    energy = (np.abs(np.fft.rfft(x["embedding"], axis=0)) ** 2).sum(-1)
    return {"concentration": _share(np.sort(energy[1:])[::-1][: int(config["top"])], energy)}


def _share(part: Array, energy: Array) -> Array:
    return np.asarray(part.sum() / energy.sum() if energy.any() else 0.0)


def _centre(z: Array) -> tuple[Array, float]:
    design = np.concatenate([2.0 * z, np.ones((len(z), 1))], axis=1)
    solution = np.linalg.lstsq(design, (z**2).sum(1), rcond=None)[0]
    return solution[:2], float(np.sqrt(solution[2] + (solution[:2] ** 2).sum()))


def _plane(embedding: Array) -> Array:
    centred = embedding.astype(np.float64) - embedding.mean(0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)


def _spread_of_residuals(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Takes the standard deviation of the absolute residuals: 0.74 for Gaussian noise."""
    z = _plane(x["embedding"])
    centre, radius = _centre(z)
    residual = np.abs(np.hypot(*(z - centre).T) - radius)
    return {"fit": np.asarray(max(0.0, 1.0 - residual.std() / radius))}


def _first_columns(_: Config, x: Arrays, __: Arrays) -> Arrays:
    """Takes two columns for the two main components."""
    z = x["embedding"][:, :2] - x["embedding"][:, :2].mean(0)
    centre, _radius = _centre(z)
    return {"order": np.asarray(order(np.arctan2(*(z - centre).T[::-1])))}


def _angles_unpermuted(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Permutes the points and asks how round they are: the null is the statistic itself."""
    return {"null": np.full_like(outputs["null"], outputs["order"])}


def _not_centred(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = x["embedding"].astype(np.float64)
    z = z @ np.linalg.svd(z, full_matrices=False)[2][:2].T
    return {"order": np.asarray(order(np.arctan2(z[:, 1], z[:, 0])))}


NOISE_PASSES = "source: a measure of circles that noise passes: mirror frequencies, spread of residuals"
CIRCLE_STATISTICS = "porting: the statistics of the circle"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "grok-mirror-excluded",
        "GROK-2",
        FOURIER,
        "test_metrics:test_a_circle_at_any_frequency_scores_one",
        with_outputs(_mirror_excluded),
        NOISE_PASSES,
    ),
    Fault(
        "grok-lowest-frequencies",
        "GROK-1",
        FOURIER,
        "test_metrics:test_concentration_is_the_share_of_the_strongest_frequencies",
        with_outputs(_lowest_frequencies),
        NOISE_PASSES,
    ),
    Fault(
        "grok-mean-counted",
        "GROK-3",
        FOURIER,
        "test_metrics:test_an_impulse_has_a_flat_spectrum_and_a_constant_none",
        with_outputs(_mean_counted),
        NOISE_PASSES,
    ),
    Fault(
        "grok-spread-of-residuals",
        "GROK-4",
        FIT,
        "test_metrics:test_the_fit_is_that_of_the_least_squares_circle",
        with_outputs(_spread_of_residuals),
        NOISE_PASSES,
    ),
    Fault(
        "grok-first-two-columns",
        "GROK-5",
        FIT,
        "test_metrics:test_the_order_is_the_strongest_frequency_of_the_angles",
        with_outputs(_first_columns),
        CIRCLE_STATISTICS,
    ),
    Fault(
        "grok-null-is-the-statistic",
        "GROK-6",
        FIT,
        "test_metrics:test_the_order_of_a_circle_exceeds_that_of_its_permutations",
        with_outputs(_angles_unpermuted),
        CIRCLE_STATISTICS,
    ),
    Fault(
        "grok-not-centred",
        "GROK-7",
        FIT,
        "test_metrics:test_scale_shift_and_rotation_change_nothing",
        with_outputs(_not_centred),
        CIRCLE_STATISTICS,
    ),
)
