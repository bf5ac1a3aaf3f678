"""What one process of a conformance run knows: results of its cases, and in the end the report and the exit code.

Each process judges its own items; a result travels with pytest's own report of the item, so that the process which
gives out the work (with `-n`) holds all of them at the end. Without `--port` nothing is judged: pytest's own exit codes
stand. With it the codes are those of `Verdict`, and 2 for wrong usage.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from pydantic import TypeAdapter

from atlas_ref.errors import UserError
from spec_tests.contract.contain import contained
from spec_tests.contract.outcome import PortError
from spec_tests.process.load import COMMAND, load_port
from spec_tests.report.assemble import Run, assemble
from spec_tests.report.collect import case_id, crashed, is_case, result_of
from spec_tests.report.guard import BROKEN, INTERRUPTED, Witness
from spec_tests.report.harmless import harmless_output, make_harmless
from spec_tests.report.late import Latecomers
from spec_tests.report.manifest import read_manifest, vector_problems
from spec_tests.report.model import Report, Result
from spec_tests.report.options import Options
from spec_tests.report.probe import understated
from spec_tests.report.scope import EVERYTHING, ScopedPort
from spec_tests.report.selection import places_that_ask, selects_everything
from spec_tests.report.summary import print_summary
from spec_tests.report.write import write_report
from spec_tests.report.xfail import Expectations, read_expected, write_expected
from spec_tests.tally import TALLY

PROPERTY: Final = "atlas"
COLLECTED: Final = "atlas_collected"
"""Under these names pytest's reports carry results, and what a process collected."""
_RESULTS: Final = TypeAdapter(tuple[Result, ...])

USAGE: Final = 2
DEATHS: Final = 3
"""Processes of the suite that a port may take with it, a case each; one more ends the run."""


class Conformance:
    """What one process of a run knows."""

    def __init__(self, config: pytest.Config, witness: Witness | None) -> None:
        self._config = config
        self._witness = witness
        self._options = Options.of(config)
        self.port = self._load()
        self._scope = self.port.scope
        self._latecomers = Latecomers(self.port.port, process=self._options.port.startswith(COMMAND))
        self._manifest = read_manifest()
        self._entries = self._manifest.asked(EVERYTHING)
        self._asked = self._manifest.asked(self._scope)
        self._results: dict[str, Result] = {}
        self._collected: dict[str, str] = {}
        self._told = not hasattr(config, "workerinput")
        self._crashes: dict[str, str] = {}
        self._problems: list[str] = []
        self._deaths = 0
        self._stopped = False
        self._nothing = False
        self._report: Report | None = None
        self._ends: tuple[int, int] | None = None
        self._started = datetime.now(UTC)
        if self._options.given and getattr(config.option, "maxworkerrestart", "") is None:
            config.option.maxworkerrestart = str(DEATHS)

    @property
    def questions(self) -> int | None:
        """Return how many cases the port will be asked at most, None where the manifest does not say."""
        declared = self.port.declare().operations
        asked = sum(bool(declared.intersection(entry.operations)) for entry in self._asked.values())
        return asked if self._manifest.cases and self._options.seed is None else None

    def _load(self) -> ScopedPort:
        name = self._options.port
        self._stand("while the port was loaded")
        with harmless_output(self._config):
            port = load_port(name)
            try:
                return contained("it", lambda: ScopedPort(port, self._options.scope), passing=(UserError,))
            except PortError as error:
                raise UserError(f"--port {name}: it does not start: {error}.") from error
            except UserError as error:
                raise UserError(f"--port {name}: {error}") from error

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Read no file that asks no port, where one was named: that takes seconds, and packages it can spare."""
        return True if self._options.given and collection_path not in places_that_ask() else None

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
        TALLY.begin()
        self._latecomers.begin()
        self._stand(f"during {item.nodeid}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        """Skip a case that leaves nothing to ask; where the port has none of its operations, before its inputs."""
        entry = self._entries.get(case_id(item)) if is_case(item) else None
        if entry and not self.port.declare().operations.intersection(entry.operations):
            names = ", ".join(entry.operations)
            pytest.skip(f"port '{self.port.declare().name}' declares no operation of {names}")
        yield
        if is_case(item) and not TALLY.asked:
            # A loop over nothing passes whatever the port does: that is no pass.
            pytest.skip(TALLY.reason)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the result of a case to pytest's report of it, and to the first one what this process collected."""
        report = yield
        if is_case(item) and (call.when == "call" or (call.when == "setup" and not report.passed)):
            found = result_of(item, call, self.port, self._entries.get(case_id(item)))
            report.user_properties = [*report.user_properties, (PROPERTY, _text(self._latecomers.settle(found)))]
        if self._options.given:
            make_harmless(report)
        if not self._told:
            # Early: a process that dies says nothing at its end.
            self._told = True
            report.user_properties = [*report.user_properties, (COLLECTED, json.dumps(self._collected))]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what comes with a report; a process that died has no result."""
        given = dict(report.user_properties)
        self._collected |= json.loads(str(given.get(COLLECTED, "{}")))
        if PROPERTY in given:
            self._keep(given[PROPERTY])
        elif report.failed and report.when not in ("setup", "call", "teardown"):
            self._crashes[report.nodeid] = str(report.longrepr)

    def _keep(self, text: object) -> None:
        self._results |= {result.id: result for result in _RESULTS.validate_json(str(text))}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep that a file of tests could not be read: its cases are missing."""
        if report.failed:
            self._problems.append(f"{report.nodeid} could not be collected")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Judge nothing after Ctrl-C; pytest ends a run that it gives up in the same way."""
        self._stopped = not isinstance(excinfo.value, pytest.Session.Interrupted)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Count the processes that died, and take the last word of one that did not."""
        self._deaths += error is not None
        self._keep(getattr(node, "workeroutput", {}).get(PROPERTY, "[]"))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Judge the run, unless this process only asks for another one."""
        late = _text(self._latecomers.rest())
        output = getattr(self._config, "workeroutput", None)
        if output is None:
            self._keep(late)
            code = self._code(session, exitstatus)
            self._ends = code, int(session.exitstatus)
        else:
            output[PROPERTY] = late
        self._close()

    def _code(self, session: pytest.Session, exitstatus: int) -> int:
        """Return the exit code for whoever started the run; pytest's own gives way to it where pytest lets it."""
        if exitstatus == pytest.ExitCode.USAGE_ERROR:
            return USAGE
        if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            session.exitstatus = BROKEN
        elif self._stopped:
            return INTERRUPTED
        elif self._options.wanted and not session.config.option.collectonly:
            if self._chose_nothing():
                self._nothing = True
                session.exitstatus = USAGE
            else:
                self._judge(session)
        return int(session.exitstatus)

    def _chose_nothing(self) -> bool:
        """Return whether the run found no case because its command line leaves all of them out."""
        found = self._collected or self._problems or self._deaths
        return self._options.given and not found and not selects_everything(self._config)

    def _judge(self, session: pytest.Session) -> None:
        """Write the report, and put its exit code in the place of pytest's unless something else failed too."""
        self._stand("while the report was made")
        self._report = report = assemble(self._run())
        if self._options.directory:
            write_report(report, self._options.directory)
        code = report.verdict.exit_code
        failed_elsewhere = session.testsfailed > sum(result.failed for result in report.results)
        if self._options.given:
            session.exitstatus = 1 if code in (0, 3) and failed_elsewhere else code

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Give the word, after everything else."""
        if self._witness and self._ends:
            self._witness.give(*self._ends, self._report)

    def _stand(self, place: str) -> None:
        if self._witness:
            self._witness.stand(place)

    def _run(self) -> Run:
        results = tuple({**dict(self._crashed()), **self._results}.values())
        return Run(
            port=self._options.port,
            declared=self.port.declared,
            scope=self._scope,
            manifest=self._manifest,
            results=results,
            collected=frozenset(self._collected.values()),
            whole=selects_everything(self._config),
            started=self._started,
            seconds=(datetime.now(UTC) - self._started).total_seconds(),
            expected=self._expected(results),
            problems=(*self._problems, *vector_problems(self._manifest)),
            # A port that ends processes would end this one too.
            understated=() if self._deaths else self._understated(),
            given_up=self._given_up(),
            seed=self._options.seed,
        )

    def _expected(self, results: Sequence[Result]) -> Expectations:
        if self._options.xfail and self._options.update:
            write_expected(self._options.xfail, self._options.expected, results)
            return read_expected(self._options.xfail)
        return self._options.expected

    def _understated(self) -> tuple[str, ...]:
        try:
            with harmless_output(self._config):
                return tuple(understated(self.port.port, self.port.declared, self._scope))
        except UserError:
            # Stored vectors that cannot be read are a problem of their own, and are reported as one.
            return ()

    def _given_up(self) -> str:
        if self._deaths <= int(getattr(self._config.option, "maxworkerrestart", None) or self._deaths):
            return ""
        return (
            f"{self._deaths} processes of the suite died while they asked the port, and another start of one would "
            "take longer than the answer is worth; behind cmd:PROGRAM a port ends its own process alone"
        )

    def _crashed(self) -> Iterator[tuple[str, Result]]:
        for node, reason in self._crashes.items():
            name = self._collected.get(node)
            if name:
                yield name, crashed(name, node, self._options.port, self._entries.get(name), reason, self._options.seed)

    def _close(self) -> None:
        close = getattr(self.port.port, "close", None)
        if callable(close):
            with suppress(PortError):
                contained("it", close)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the short form of the report, or why there is none."""
        if self._report is not None:
            print_summary(self._report, terminalreporter)
        elif self._nothing:
            terminalreporter.write_line("Error: no case of the suite is among the tests chosen.", red=True)


def _text(results: tuple[Result, ...]) -> str:
    return _RESULTS.dump_json(results).decode()
