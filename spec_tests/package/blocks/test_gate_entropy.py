"""The entropy of a gate: that of its definition, with a derivative wherever the gate is, saturated or not."""

import numpy as np
import torch

from atlas_ref.blocks.backbone_memory import gate_entropy


def test_the_entropy_of_a_saturated_gate_has_its_value_and_derivative_in_single_precision() -> None:
    """Kills: a logarithm of a gate that rounds to 0 or 1, whose derivative is infinity times 0: no gradient is finite
    from the step on at which the first gate of a run saturates; the wrong sign on one side.
    """
    values = [-2e4, -120.0, -18.0, -1.3, 0.0, 0.4, 2.7, 17.5, 90.0, 1e30]
    logits = torch.tensor(values, requires_grad=True)
    entropy = gate_entropy(logits)
    (found,) = torch.autograd.grad(entropy * len(values), logits)

    small = np.exp(-np.abs(np.array(values)))
    share = small / (1.0 + small)
    one = np.log1p(small) + np.abs(np.array([a if abs(a) < 1e3 else 0.0 for a in values])) * share
    slope = -np.array(values) * share * (1.0 - share)
    np.testing.assert_allclose(entropy.item(), one.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.numpy(), slope, rtol=2e-5, atol=1e-12)
    plain = 1.0 / (1.0 + np.exp(-np.array(values[3:7])))
    np.testing.assert_allclose(one[3:7], -plain * np.log(plain) - (1 - plain) * np.log(1 - plain), rtol=1e-12)
