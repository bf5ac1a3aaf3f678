"""How circular is an embedding of numbers: signs of the Fourier circuits of modular arithmetic (arXiv 2201.02177).

Deliberately different from the source system, in which no metric could reach its threshold: its Fourier concentration
compared one half of a mirrored spectrum with the whole, so that a perfect circle scored 0.5; its circular fit gave 0.74
to Gaussian noise. Here a perfect circle scores 1 in all three numbers, and the fit comes with a permutation null.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError


def fourier_concentration(embedding: Float[Tensor, "numbers dim"], top: int) -> Float[Tensor, ""]:
    """Return the share of the `top` strongest frequencies in all energy but the mean's (decision `circles`).

    Frequencies are those of the discrete Fourier transform over the p numbers, 1 .. p/2, each with its mirror image (so
    the last one of an even p counts once); energy is summed over `dim`. A circle in any plane scores 1 with `top` 1,
    white noise about top / (p/2). A constant embedding scores 0. Raises UserError for a `top` below 1.
    """
    check_top(top)
    return share_of_strongest(spectrum(embedding), top)


def check_top(top: int) -> None:
    """Raise UserError for a number of frequencies that is none."""
    if top < 1:
        raise UserError(f"fourier_concentration: top is {top}, but it must be 1 or more")


def share_of_strongest(energy: Float[Tensor, "*batch frequencies"], top: int) -> Float[Tensor, "*batch"]:
    """Return the share of the `top` largest energies in all of them, 0 where there is none."""
    total = energy.sum(-1)
    strongest = energy.topk(min(top, energy.shape[-1])).values.sum(-1)
    return torch.where(total > 0, strongest / total, 0.0)


def spectrum(embedding: Float[Tensor, "numbers dim"]) -> Float[Tensor, " frequencies"]:
    """Return the energy of each frequency 1 .. p/2 with its mirror image, summed over `dim` (decision `circles`)."""
    energy = torch.fft.rfft(embedding, dim=0).abs().square().sum(-1)[1:]
    return with_mirror_images(energy, len(embedding))


def with_mirror_images(
    energy: Float[Tensor, "*batch frequencies"], numbers: int
) -> Float[Tensor, "*batch frequencies"]:
    """Return energies of the frequencies 1 .. p/2 with that of their mirror images; p/2 is its own."""
    frequency = torch.arange(1, energy.shape[-1] + 1, device=energy.device)
    return torch.where(2 * frequency == numbers, energy, 2.0 * energy)


class CircularFit(NamedTuple):
    """How round, how well ordered, and the order that chance gives."""

    fit: Float[Tensor, ""]
    order: Float[Tensor, ""]
    null: Float[Tensor, " permutations"]


def circular_fit(
    embedding: Float[Tensor, "numbers dim"], permutations: Int[Tensor, "permutations numbers"]
) -> CircularFit:
    """Return the fit of a circle to the two main components, their angular order, and its null (decision `circles`).

    With z_n the centred projection on the two leading principal components, c and r the centre and radius of the
    algebraic least-squares circle |z|^2 = 2 c.z + const:  fit = max(0, 1 - rms(|z_n - c| - r) / r).
    With theta_n the angle of z_n - c:  order = max over k != 0 of |mean_n exp(i (theta_n - 2 pi k n / p))|.
    `null` is the order of the same angles under each permutation of the numbers. A circle at any frequency scores 1 in
    both; 0.5 is what noise gives in fit, so judge the order against its null.
    """
    centred = embedding - embedding.mean(0)
    _, _, components = torch.linalg.svd(centred, full_matrices=False)
    z = centred @ components[:2].mT
    design = torch.cat([2.0 * z, torch.ones_like(z[:, :1])], dim=-1)
    solution = torch.linalg.lstsq(design, z.square().sum(-1, keepdim=True)).solution.squeeze(-1)
    centre = solution[:2]
    radius = (solution[2] + centre.square().sum()).sqrt()
    distance = (z - centre).square().sum(-1).sqrt()
    fit = (1.0 - (distance - radius).square().mean().sqrt() / radius).clamp(min=0.0)
    phase = torch.complex(*((z - centre) / distance.unsqueeze(-1)).unbind(-1))
    return CircularFit(fit, _order(phase), _order(phase[permutations]))


def _order(phase: Tensor) -> Tensor:
    """Return the largest Fourier coefficient of unit phases [..., numbers], the constant one left out."""
    spectrum: Tensor = torch.fft.fft(phase, dim=-1).abs() / phase.shape[-1]
    return spectrum[..., 1:].amax(-1)
