"""The bf16 gain: what freezes and what does not, with AdamW of torch against its closed form in float64.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math

import pytest

from spec_tests.package.functional.gain_storage import START, Form, closed_form, follow

STEPS = 1000
HALF_ULP = {"raw": 2.0**-6, "log": 2.0**-8}
"""In bfloat16, of a gain of 5 and of its logarithm, 1.61."""


@pytest.mark.parametrize("storage", ["bf16", "bf16, fp32 moments"])
@pytest.mark.parametrize("form", ["raw", "log"])
def test_a_gain_in_pure_bf16_never_moves_at_small_rates(storage: str, form: Form) -> None:
    """Kills: storage that is not bfloat16; a logarithm held to be a cure; moments held to be the cause."""
    for rate in (1e-4, 1e-3):
        path = follow(storage, form, rate, STEPS)
        assert path.frozen_at == 0
        assert path.gain == pytest.approx(START, rel=1e-3)
        assert path.path_error == pytest.approx(1.0, abs=1e-2)
        assert path.value_error > 0.01


@pytest.mark.parametrize("form", ["raw", "log"])
def test_a_step_survives_exactly_when_it_exceeds_half_an_ulp(form: Form) -> None:
    """Kills: the source's figures, 0.04 at 5 and 0.013 at its logarithm."""
    for share, moves in ((0.98, False), (1.02, True)):
        path = follow("bf16, fp32 moments", form, share * HALF_ULP[form], 1)
        assert (path.means[1] > path.means[0]) == moves


def test_a_hundredfold_rate_moves_the_logarithm_at_the_wrong_speed_until_it_freezes() -> None:
    """Kills: the cure of the source held to be one. A step of 0.01 becomes 1 ulp: 0.0078, then 0.0156, then nothing."""
    path = follow("bf16", "log", 1e-2, STEPS)
    logs = [math.log(gain) for gain in path.means]
    assert logs[40] - logs[0] == pytest.approx(40 * 2.0**-7)
    assert logs[120] - logs[80] == pytest.approx(40 * 2.0**-6)
    assert path.frozen_at == (2.0 - 1.609375) * 2**7 + 2.0 * 2**6
    assert logs[-1] == pytest.approx(4.0)


@pytest.mark.parametrize("form", ["raw", "log"])
def test_float32_and_rounding_at_random_keep_within_one_percent_of_the_way(form: Form) -> None:
    """Kills: rounding to nearest called random; a master that is rounded at each step. Rounding at random is exact in
    the mean of many gains, while each one strays.
    """
    for rate in (1e-4, 1e-3):
        master = follow("fp32 master", form, rate, STEPS)
        assert master.path_error < 0.01
        assert master.frozen_at is None
        many = follow("stochastic rounding", form, rate, STEPS, entries=1 << 14)
        assert abs(many.bias) < 0.01
        assert many.frozen_at is None
        # A random walk of steps with the variance rate (ulp - rate), while the ulp stays the same.
        if rate == 1e-4:
            ulp = 2 * HALF_ULP[form]
            assert many.path_error * STEPS * rate == pytest.approx(math.sqrt(STEPS * rate * (ulp - rate)), rel=0.05)


@pytest.mark.parametrize("form", ["raw", "log"])
def test_kahan_is_never_further_than_half_an_ulp(form: Form) -> None:
    """Kills: compensation that is dropped, added twice or of the wrong sign."""
    for rate in (1e-4, 1e-3):
        path = follow("Kahan", form, rate, STEPS)
        way = closed_form(form, rate, STEPS) - closed_form(form, rate, 0)
        ulp = 2.0 ** (math.floor(math.log2(closed_form(form, rate, STEPS))) - 7)
        assert path.path_error * way <= 0.5 * ulp + 0.01 * way
        assert path.value_error < 0.01
        assert path.frozen_at is None
