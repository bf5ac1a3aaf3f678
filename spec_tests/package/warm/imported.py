"""What children of tests import, most of them: named to pytest as a plugin, so that it rewrites what it always does.

Nothing here is a test, or a plugin that a child names.
"""

import hypothesis.extra.numpy
import safetensors.torch
import torch
import torch.optim

import cli.main
import spec_tests.ports.reference
import spec_tests.report.listener

MODULES = (hypothesis.extra.numpy, safetensors.torch, torch.optim, cli.main, spec_tests.ports, spec_tests.report)

torch.set_num_threads(1)
