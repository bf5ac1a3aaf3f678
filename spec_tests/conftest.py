"""Choice of the port under test, and one thread and one hypothesis profile for every run."""

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from spec_tests.drawing.inputs import draw_afresh
from spec_tests.port import Port
from spec_tests.process.life import hearing_interrupts
from spec_tests.report import plugin
from spec_tests.report.options import add_options, drawn_from, names_port, option
from spec_tests.report.scope import ScopedPort
from spec_tests.sampling import EXHAUSTIVE, in_one, parted, repeated

# More threads make small tensors slower. A port that does not use torch never waits for its import.
os.environ["OMP_NUM_THREADS"] = "1"
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)
if not os.path.exists("/dev/nvidia0"):
    # Triton reads this where it is imported, which torch may do long before the kernels are asked (`ports.kernels`).
    os.environ.setdefault("TRITON_INTERPRET", "1")
# What a user has compiled decides nothing here: on a CPU `auto` is the reference, in processes that tests start too.
os.environ["ATLAS_KERNELS"] = os.path.join(os.path.dirname(__file__), "kernels-of-nobody")
# Tests start hundreds of Python processes, each of which would compile this package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("ci")

PORT = pytest.StashKey[ScopedPort]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add `--port` and the other options of a conformance run, unless the plugin was named on the command line."""
    if not pluginmanager.is_registered(plugin):
        add_options(parser)
    parser.addoption(f"--{EXHAUSTIVE}", action="store_true", help=f"run the tests marked {EXHAUSTIVE} too")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage among what stays: modules and tests, looked through again and again, take 5% of a run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        # Nothing that tests make waits long: at every 700 objects, as usual, Python looks for it 4% of the time.
        gc.set_threshold(20_000)
        gc.enable()


def everything(config: pytest.Config) -> bool:
    """Return whether the tests marked `exhaustive` run too."""
    return config.getoption(f"--{EXHAUSTIVE}", default=False) or EXHAUSTIVE in config.option.markexpr


def judged(config: pytest.Config) -> bool:
    """Return whether the run says something of a port, of which nothing is left out."""
    return names_port(config) or option(config, "--report") is not None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only repeats a property on more values, unless it is asked for; of a port nothing is."""
    kept, left_out = (items, []) if everything(config) else parted(items, () if judged(config) else repeated(items))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Have a port that is judged run in a process of its own; the tests of one file share what they prepare."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no" and not names_port(config):
        config.option.dist, config.option.loadscopereorder = "loadfile", False
    return plugin.pytest_cmdline_main(config)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Ask few questions in one process."""
    return plugin.pytest_xdist_auto_num_workers(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the long lists of parameters to the processes in parts."""
    from spec_tests.spreading import file_by_file

    return file_by_file(config, log) if config.option.dist == "loadfile" else None


def pytest_configure(config: pytest.Config) -> None:
    """Load the port once, before any test: a name that leads nowhere is one usage error, not one error a test."""
    config.addinivalue_line("markers", f"{EXHAUSTIVE}: a property on more values; `make ci` runs it")
    config.stash[PORT] = plugin.install(config)
    seed = drawn_from(config)
    if seed is not None:
        settings.load_profile("explore")
        draw_afresh(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Hear Ctrl-C in every test: a script's job in the background begins deaf to it, and so does what it starts."""
    with hearing_interrupts():
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ask the reference in one precision what takes seconds, unless everything is asked."""
    config, port = item.config, item.config.stash[PORT]
    asked = port.scope.numerics
    shortened = item.get_closest_marker("long") is not None and not (everything(config) or judged(config))
    port.ask_in(in_one(item, asked) if shortened else asked)


@pytest.fixture(scope="session")
def port(request: pytest.FixtureRequest) -> Port:
    """The implementation under test, which declares what this run asks of it."""
    return request.config.stash[PORT]
