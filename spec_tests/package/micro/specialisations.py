"""The three specialisations small enough to train within a test: thresholds, slots and surprise stay theirs."""

from atlas_ref.config.specialisations import OWN
from spec_tests.package.micro.cognate import MICRO, RELAY

_CHANGED = (*MICRO, *RELAY, "data.tokenizer='bpe'", "data.context_batches=1", "train.max_steps=2")
_FIELDS = {override.partition("=")[0]: override for override in _CHANGED}
SMALL = tuple(override for field, override in _FIELDS.items() if field not in OWN)
"""Overrides that turn each into a small run on relay; the last of a field counts."""
