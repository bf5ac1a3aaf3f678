"""The pytest plugin: every conformance case becomes a result, all results a report, and the report an exit code.

In the source tree spec_tests/conftest.py brings the plugin. pytest reads the conftest of an installed package too late
for options: `pytest -p spec_tests.report.plugin --pyargs spec_tests --port ...` names the plugin itself.
"""

from typing import Final

import pytest
from _pytest.outcomes import Exit
from pydantic import ValidationError

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from spec_tests.report.conformance import USAGE, Conformance
from spec_tests.report.guard import BROKEN, Witness
from spec_tests.report.launch import run_again, starts_again
from spec_tests.report.listener import Listener
from spec_tests.report.options import add_options, asks_reference_everything, names_port
from spec_tests.report.scope import ScopedPort

NAME: Final = "atlas-conformance"
FEW: Final = 200
"""Questions below which the start of other processes takes longer than they save."""


class Error(Exit):
    """The end before the first test: pytest prints the name of this class and the sentence, and exits with the code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(visible(message, lines=True), returncode=code)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, where the plugin is named on the command line."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Run the command line in a process of its own, where a port could end this one."""
    return None if config.pluginmanager.has_plugin(NAME) else run_again(config)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return 0, for one process alone, where `auto` would start others for few questions; None for all processors."""
    if not names_port(config) or starts_again(config):
        return None
    try:
        questions = _installed(config).questions
    except Error:
        # Said where pytest can say it: in `pytest_configure`.
        return 0
    return 0 if questions is not None and questions < FEW else None


def pytest_configure(config: pytest.Config) -> None:
    """Install the plugin, where it is named on the command line."""
    install(config)


def install(config: pytest.Config) -> ScopedPort:
    """Register the plugin once and return the port; leave with one sentence where there is nothing to run."""
    return _installed(config).port


def _installed(config: pytest.Config) -> Conformance:
    installed = config.pluginmanager.get_plugin(NAME)
    if isinstance(installed, Conformance):
        return installed
    config.addinivalue_line("markers", "spec(*ids): the numbered sentences of docs/spec that the test holds")
    config.addinivalue_line("markers", "since(version): the first version of the specification that has the case")
    config.addinivalue_line("markers", "long: takes seconds; a quick run asks the reference in one precision")
    config.addinivalue_line("markers", "case(id, level, op, numerics, requirements): a stored vector in one precision")
    witness = Witness.appointed()
    try:
        plugin = _started(config, witness)
    except Error as error:
        if witness and error.returncode is not None:
            witness.give(error.returncode, error.returncode)
        raise
    config.pluginmanager.register(plugin, NAME)
    if asks_reference_everything(config):
        config.pluginmanager.register(Listener())
    return plugin


def _started(config: pytest.Config, witness: Witness | None) -> Conformance:
    try:
        return Conformance(config, witness)
    except UserError as error:
        raise Error(str(error), USAGE) from error
    except OSError as error:
        raise Error(f"{error.filename}: {error.strerror}", USAGE) from error
    except ValidationError as error:
        raise Error(f"the manifest of the suite cannot be read ({error.errors()[0]['msg']}).", BROKEN) from error
