"""Tests of `atlas_ref.storage`."""
