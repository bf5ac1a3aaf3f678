"""Whether a port answers what it declares absent: a capability that is understated is worth knowing."""

from collections.abc import Iterator

from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.outcome import FormError, PortError, UndeclaredError
from spec_tests.port import Declaration, Op, Port
from spec_tests.report.scope import Scope
from spec_tests.vectors.case import Case, first_case


def understated(port: Port, declared: Declaration, scope: Scope) -> Iterator[str]:
    """Yield each operation in scope that the port answers in form though it does not declare it; each is asked once."""
    for op in Op:
        if op not in declared.operations and scope.holds(op):
            # One case of each, not all of them: what reads all takes as long as the start of a run.
            case = first_case(op)
            if case and answers(port, declared, case):
                yield op


def answers(port: Port, declared: Declaration, case: Case) -> bool:
    """Return whether the port answers a case in the form of the table, in the first precision it declares."""
    shared = [numerics for numerics in declared.numerics if numerics in case.numerics]
    if not shared:
        return False
    try:
        ask(port, case.op, case.config, prepare(case.op, shared[0], case.inputs, case.config), shared[0])
    except (FormError, PortError, UndeclaredError):
        return False
    return True
