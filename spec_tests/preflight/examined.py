"""Configurations of two steps, and the certificates that a cache keeps of them."""

from pathlib import Path

from atlas_ref.config import RunConfig
from spec_tests.package.micro.runs import micro_config


def short_config(*overrides: str) -> RunConfig:
    return micro_config("train.max_steps=2", *overrides)


def in_cache(cache: Path) -> list[Path]:
    return list(cache.rglob("*.json"))
