"""The pytest plugin: every conformance case becomes a result, all results a report, and the report an exit code.

Each process judges its own items; a result travels with pytest's own report of the item, so that the process which
gives out the work (with `-n`) holds all of them at the end. Without `--port` the plugin only watches: pytest's own
exit codes stand. With it the codes are those of `Verdict`, and 2 for wrong usage.

In the source tree spec_tests/conftest.py brings the plugin. pytest reads the conftest of an installed package too late
for options: `pytest -p spec_tests.report.plugin --pyargs spec_tests --port ...` names the plugin itself.
"""

from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from _pytest.outcomes import Exit
from pydantic import ValidationError

from atlas_ref.errors import UserError
from spec_tests.ports.load import load_port
from spec_tests.report.assemble import Run, assemble
from spec_tests.report.collect import case_id, crashed, is_case, result_of
from spec_tests.report.manifest import read_manifest, vector_problems
from spec_tests.report.model import DeclarationRecord, Report, Result, Verdict
from spec_tests.report.options import Options, add_options
from spec_tests.report.probe import understated
from spec_tests.report.scope import Scope, ScopedPort
from spec_tests.report.selection import selects_everything
from spec_tests.report.summary import print_summary
from spec_tests.report.write import write_report
from spec_tests.report.xfail import Expectations, read_expected, write_expected

PROPERTY: Final = "atlas"
COLLECTED: Final = "atlas_collected"
NAME: Final = "atlas-conformance"

USAGE: Final = 2
BROKEN: Final = Verdict.INTEGRITY.exit_code


class Error(Exit):
    """The end before the first test: pytest prints the name of this class and the sentence, and exits with the code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, returncode=code)


class Conformance:
    """What one process of a run knows."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._options = Options.of(config)
        self.port = self._load()
        self._manifest = read_manifest()
        self._entries = self._manifest.asked(Scope())
        self._asked = self._manifest.asked(self._options.scope)
        self._results: dict[str, Result] = {}
        self._collected: dict[str, str] = {}
        self._crashes: dict[str, str] = {}
        self._problems: list[str] = []
        self._stopped = False
        self._report: Report | None = None
        self._started = datetime.now(UTC)

    def _load(self) -> ScopedPort:
        name = self._options.port
        try:
            port = ScopedPort(load_port(name), self._options.scope)
            DeclarationRecord.of(port.declared).model_dump_json()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"--port {name}: it does not start ({type(error).__name__}: {error}).") from error
        return port

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the cases that are asked and, unless a port was named, the suite's tests of itself."""
        cases = {item: case_id(item) for item in items if is_case(item)}
        left_out = {item for item, name in cases.items() if name in self._entries and name not in self._asked}
        if self._options.given:
            left_out |= set(items) - cases.keys()
        self._collected = {item.nodeid: name for item, name in cases.items() if item not in left_out}
        if left_out:
            config.hook.pytest_deselected(items=list(left_out))
            items[:] = [item for item in items if item not in left_out]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin a new case."""
        self.port.forget()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Spare a port the cases of which it declares no operation at all: the inputs alone take their time."""
        entry = self._entries.get(case_id(item)) if is_case(item) else None
        if entry and not self.port.declare().operations.intersection(entry.operations):
            names = ", ".join(entry.operations)
            pytest.skip(f"port '{self.port.declare().name}' declares no operation of {names}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the result of a case to pytest's report of it."""
        report = yield
        if is_case(item) and (call.when == "call" or (call.when == "setup" and not report.passed)):
            result = result_of(item, call, self.port, self._entries.get(case_id(item)))
            report.user_properties = [*report.user_properties, (PROPERTY, result.model_dump_json())]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result that comes with a report; a process that died has none."""
        found = dict(report.user_properties).get(PROPERTY)
        if isinstance(found, str):
            result = Result.model_validate_json(found)
            self._results[result.id] = result
        elif report.failed and report.when not in ("setup", "call", "teardown"):
            self._crashes[report.nodeid] = str(report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep that a file of tests could not be read: its cases are missing."""
        if report.failed:
            self._problems.append(f"{report.nodeid} could not be collected")

    def pytest_keyboard_interrupt(self) -> None:
        """Judge nothing after an interruption: pytest's own code says what happened."""
        self._stopped = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what a worker collected."""
        self._collected |= getattr(node, "workeroutput", {}).get(COLLECTED, {})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Hand over what was collected, or judge the run."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[COLLECTED] = self._collected
        elif exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            session.exitstatus = BROKEN
        elif self._options.wanted and not self._stopped and not session.config.option.collectonly:
            self._judge(session)
        self._close()

    def _judge(self, session: pytest.Session) -> None:
        """Write the report, and put its exit code in the place of pytest's unless something else failed too."""
        self._report = report = assemble(self._run())
        if self._options.directory:
            write_report(report, self._options.directory)
        code = report.verdict.exit_code
        failed_elsewhere = session.testsfailed > sum(result.failed for result in report.results)
        if self._options.given:
            session.exitstatus = 1 if code in (0, 3) and failed_elsewhere else code

    def _run(self) -> Run:
        results = tuple({**dict(self._crashed()), **self._results}.values())
        return Run(
            port=self._options.port,
            declared=self.port.declared,
            scope=self._options.scope,
            manifest=self._manifest,
            results=results,
            collected=frozenset(self._collected.values()),
            whole=selects_everything(self._config),
            started=self._started,
            seconds=(datetime.now(UTC) - self._started).total_seconds(),
            expected=self._expected(results),
            problems=(*self._problems, *vector_problems(self._manifest)),
            understated=self._understated(),
        )

    def _expected(self, results: Sequence[Result]) -> Expectations:
        if self._options.xfail and self._options.update:
            write_expected(self._options.xfail, self._options.expected, results)
            return read_expected(self._options.xfail)
        return self._options.expected

    def _understated(self) -> tuple[str, ...]:
        try:
            return tuple(understated(self.port.port, self._options.scope))
        except UserError:
            # Stored vectors that cannot be read are a problem of their own, and are reported as one.
            return ()

    def _crashed(self) -> Iterator[tuple[str, Result]]:
        for node, reason in self._crashes.items():
            name = self._collected.get(node)
            if name:
                yield name, crashed(name, node, self._options.port, self._entries.get(name), reason)

    def _close(self) -> None:
        close = getattr(self.port.port, "close", None)
        if callable(close):
            close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the short form of the report."""
        if self._report is not None:
            print_summary(self._report, terminalreporter)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, where the plugin is named on the command line."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Install the plugin, where it is named on the command line."""
    install(config)


def install(config: pytest.Config) -> ScopedPort:
    """Register the plugin once and return the port; leave with one sentence where there is nothing to run."""
    installed = config.pluginmanager.get_plugin(NAME)
    if isinstance(installed, Conformance):
        return installed.port
    config.addinivalue_line("markers", "spec(*ids): the numbered sentences of docs/spec that the test holds")
    config.addinivalue_line("markers", "case(id, level, op, numerics, requirements): a stored vector in one precision")
    plugin = _started(config)
    config.pluginmanager.register(plugin, NAME)
    return plugin.port


def _started(config: pytest.Config) -> Conformance:
    try:
        return Conformance(config)
    except UserError as error:
        raise Error(str(error), USAGE) from error
    except OSError as error:
        raise Error(f"{error.filename}: {error.strerror}", USAGE) from error
    except ValidationError as error:
        raise Error(f"the manifest of the suite cannot be read ({error.errors()[0]['msg']}).", BROKEN) from error
