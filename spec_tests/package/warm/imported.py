"""What children of tests import, most of them: named to pytest as a plugin, so that it rewrites what it always does.

Nothing here is a test, or a plugin that a child names.
"""

import hypothesis.extra.numpy
import safetensors.torch
import torch
import torch._dynamo
import torch.distributed.run
import typer.main

import atlas_ref.training.loop
import cli.console
import cli.main
import cli.train
import spec_tests.ports.reference
import spec_tests.report.listener

MODULES = (
    atlas_ref.training,
    cli.main,
    hypothesis.extra.numpy,
    safetensors.torch,
    spec_tests.ports,
    spec_tests.report,
    torch._dynamo,  # What an optimiser imports at its first step.
    torch.distributed.run,
    typer.main,
)

torch.set_num_threads(1)
