"""Two of the axes of a memory: the attentional bias, which is its inner loss, and the link between dual and weights."""

from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section

THRESHOLDED = ("huber_coordinate", "huber_norm", "yaad_printed", "robust")
"""The attentional biases that have a threshold, which the network makes of each token and head."""


class BiasConfig(Section):
    """The attentional bias: what a write makes smaller (MIRAS 2504.13173 Section 5.1)."""

    kind: Literal["l2", "dot", "lp", "huber_coordinate", "huber_norm", "yaad_printed", "robust"]
    """the inner loss: squared error, dot product, a power of errors, three of Huber's kind, robust to shifts"""
    exponent: float = Field(ge=1.0, le=16.0)
    """p of lp"""
    smoothing: float = Field(gt=0.0, le=1.0)
    """errors below it count as squares in lp and robust, so that their slope is continuous"""
    threshold_init: float = Field(gt=0.0, le=1000.0)
    """at the start, the error of each token from which Huber's losses are linear, or the shift of robust"""


class LinkConfig(Section):
    """The link: the weights that are read, as a function of the dual state that is written (MIRAS Section 5.2)."""

    kind: Literal["identity", "lq", "lq_printed", "softmax", "sigmoid", "soft_threshold"]
    """identity; the mirror map of an lq norm, exact or as printed; softmax of each row; sigmoid; shrinkage"""
    exponent: float = Field(ge=2.0, le=16.0)
    """q of lq"""
    scale: float = Field(gt=0.0, le=1e4)
    """what the rows of softmax sum to"""
    level: float = Field(ge=0.0, le=100.0)
    """what soft_threshold takes off; of retention = "proximal_elastic", a step of one"""
