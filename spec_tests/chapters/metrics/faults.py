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


def _powers(x: Arrays) -> Array:
    """Return the energy of every frequency of every column, mirror images apart."""
    return np.asarray(np.abs(np.fft.fft(x["embedding"].astype(np.float64), axis=0)) ** 2)


def _strongest(energy: Array, config: Config) -> Arrays:
    return {"concentration": _share(np.sort(energy)[::-1][: int(config["top"])], energy)}


def _mean_of_columns(config: Config, x: Arrays, _: Arrays) -> Arrays:
    half = _powers(x)[1 : len(x["embedding"]) // 2 + 1]
    shares = [_strongest(column, config)["concentration"] for column in half.T]
    return {"concentration": np.asarray(np.mean(shares))}


def _mirrors_apart(config: Config, x: Arrays, _: Arrays) -> Arrays:
    return _strongest(_powers(x).sum(-1)[1:], config)


def _half_twice(config: Config, x: Arrays, _: Arrays) -> Arrays:
    """Sum one half of the spectrum as it is: p/2, which has no mirror image, weighs double."""
    return _strongest(_powers(x).sum(-1)[1 : len(x["embedding"]) // 2 + 1], config)


def _zeros_divide(_: Config, x: Arrays, outputs: Arrays) -> Arrays:
    return {} if x["embedding"].any() else {"concentration": np.asarray(np.nan)}


def _fitted(z: Array, centre: Array, radius: float) -> Array:
    distance = np.hypot(*(z - centre).T)
    return np.asarray(1.0 - np.sqrt(((distance - radius) ** 2).mean()) / radius)


def _unbounded(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = _plane(x["embedding"])
    return {"fit": _fitted(z, *_centre(z))}


def _mean_as_centre(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = _plane(x["embedding"])
    radius = float(np.hypot(*z.T).mean())
    return {"fit": np.maximum(0.0, _fitted(z, np.zeros(2), radius))}


def _fit_of_columns(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = x["embedding"][:, :2].astype(np.float64)
    return {"fit": np.maximum(0.0, _fitted(z, *_centre(z)))}


def _first_frequency(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = _plane(x["embedding"])
    angle = np.arctan2(*(z - _centre(z)[0]).T[::-1])
    turned = angle - 2.0 * np.pi * np.arange(len(z)) / len(z)
    return {"order": np.asarray(np.abs(np.exp(1j * turned).mean()))}


def _not_relative(_: Config, x: Arrays, __: Arrays) -> Arrays:
    z = _plane(x["embedding"])
    centre, radius = _centre(z)
    return {"fit": np.maximum(0.0, 1.0 - radius * (1.0 - _fitted(z, centre, radius)))}


SHARE = "test_metrics:test_concentration_is_the_share_of_the_strongest_frequencies"
FITTED = "test_metrics:test_the_fit_is_that_of_the_least_squares_circle"
ORDERED = "test_metrics:test_the_order_is_the_strongest_frequency_of_the_angles"
MOVED = "test_metrics:test_scale_shift_and_rotation_change_nothing"
HEAVY = "test_metrics_at_the_edges:test_points_that_are_no_circle_at_all_fit_by_zero"

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
        "GROK-1a",
        FOURIER,
        "test_metrics:test_concentration_is_the_share_of_the_strongest_frequencies",
        with_outputs(_lowest_frequencies),
        NOISE_PASSES,
    ),
    Fault(
        "grok-mean-counted",
        "GROK-3a",
        FOURIER,
        "test_metrics:test_an_impulse_has_a_flat_spectrum_and_a_constant_none",
        with_outputs(_mean_counted),
        NOISE_PASSES,
    ),
    Fault(
        "grok-spread-of-residuals",
        "GROK-4a",
        FIT,
        "test_metrics:test_the_fit_is_that_of_the_least_squares_circle",
        with_outputs(_spread_of_residuals),
        NOISE_PASSES,
    ),
    Fault(
        "grok-first-two-columns",
        "GROK-5b",
        FIT,
        "test_metrics:test_the_order_is_the_strongest_frequency_of_the_angles",
        with_outputs(_first_columns),
        CIRCLE_STATISTICS,
    ),
    Fault(
        "grok-null-is-the-statistic",
        "GROK-6a",
        FIT,
        "test_metrics:test_the_order_of_a_circle_exceeds_that_of_its_permutations",
        with_outputs(_angles_unpermuted),
        CIRCLE_STATISTICS,
    ),
    Fault(
        "grok-not-centred",
        "GROK-7b",
        FIT,
        "test_metrics:test_scale_shift_and_rotation_change_nothing",
        with_outputs(_not_centred),
        CIRCLE_STATISTICS,
    ),
    Fault("grok-mean-in-the-total", "GROK-1b", FOURIER, SHARE, with_outputs(_mean_counted), NOISE_PASSES),
    Fault("grok-mean-of-columns", "GROK-1c", FOURIER, SHARE, with_outputs(_mean_of_columns), NOISE_PASSES),
    Fault("grok-mirrors-apart", "GROK-1d", FOURIER, SHARE, with_outputs(_mirrors_apart), NOISE_PASSES),
    Fault("grok-half-frequency-twice", "GROK-1e", FOURIER, SHARE, with_outputs(_half_twice), NOISE_PASSES),
    Fault(
        "grok-zeros-divide",
        "GROK-3b",
        FOURIER,
        "test_metrics:test_an_impulse_has_a_flat_spectrum_and_a_constant_none",
        with_outputs(_zeros_divide),
        "porting: a division by zero, or its derivative",
    ),
    Fault("grok-fit-below-zero", "GROK-4b", FIT, HEAVY, with_outputs(_unbounded), CIRCLE_STATISTICS),
    Fault("grok-centre-is-the-mean", "GROK-4c", FIT, FITTED, with_outputs(_mean_as_centre), CIRCLE_STATISTICS),
    Fault("grok-fit-of-two-columns", "GROK-4d", FIT, FITTED, with_outputs(_fit_of_columns), CIRCLE_STATISTICS),
    Fault("grok-first-frequency-only", "GROK-5a", FIT, ORDERED, with_outputs(_first_frequency), CIRCLE_STATISTICS),
    Fault(
        "grok-order-is-the-null",
        "GROK-6b",
        FIT,
        "test_metrics:test_the_order_of_a_circle_exceeds_that_of_its_permutations",
        with_outputs(lambda _, __, y: {"order": np.asarray(y["null"].mean())}),
        CIRCLE_STATISTICS,
    ),
    Fault("grok-residual-not-relative", "GROK-7a", FIT, MOVED, with_outputs(_not_relative), CIRCLE_STATISTICS),
    Fault("grok-order-of-two-columns", "GROK-7c", FIT, MOVED, with_outputs(_first_columns), CIRCLE_STATISTICS),
)
