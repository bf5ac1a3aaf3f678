"""One implementation after another: what is asked, and what is absent with its reason."""

import pytest

from atlas_ref.errors import UserError
from spec_tests.matrix import asking
from spec_tests.matrix.asking import row_of
from spec_tests.matrix.catalogue import Implementation
from spec_tests.port import Numerics
from spec_tests.report.launch import Launch


def implementation(port: str, **fields: object) -> Implementation:
    """Return an implementation of the suite's own environment."""
    usual = {"name": "tiny", "page": "https://example.org", "numerics": (Numerics.F32,)}
    return Implementation.model_validate({**usual, "port": port, **fields})


def test_what_has_no_adapter_or_does_not_start_is_absent_and_says_why() -> None:
    """Kills: a traceback in the place of a row; a port that is not there counted as one that passes nothing."""
    row = row_of(implementation("", unasked="its key is its value"))
    assert (row.absent, row.chapters, row.declaration) == ("its key is its value", {}, None)
    row = row_of(implementation("no_such_module:Port"))
    assert row.absent.startswith("its port does not start: ")
    assert "no_such_module" in row.absent


def test_another_python_and_what_cannot_be_prepared_are_said_before_a_port_is_started() -> None:
    """Kills: a compiler that fails as a traceback; a version compared as text, where 3.9 comes after 3.12."""
    assert row_of(implementation("a:B", python=(9, 9))).absent.startswith("it needs Python 9.9, and this is ")
    assert "does not start" in row_of(implementation("no_such_module:Port", python=(3, 9))).absent
    assert row_of(implementation("a:B", prepare=f"{__name__}:fails")).absent == "no compiler"


def fails() -> None:
    """Raise what a port raises that cannot be compiled."""
    raise UserError("no compiler")


def test_a_suite_that_is_not_whole_gives_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a broken suite that is published as an implementation that is absent."""
    monkeypatch.setattr(asking, "declared", lambda command: frozenset())
    monkeypatch.setattr(Launch, "run", lambda self, quiet: 4)
    with pytest.raises(UserError, match=r"^tiny: the suite is not whole"):
        row_of(implementation("a:B"))


@pytest.mark.exhaustive
def test_a_tiny_implementation_gets_the_row_that_it_deserves() -> None:
    row = row_of(implementation("spec_tests.process.example:ExamplePort"))
    assert row.absent == ""
    assert row.declaration is not None
    assert row.declaration.operations == ("l2_normalize",)
    cell = row.chapters["normalize"]["f32"]
    assert cell.passed > 3
    assert (cell.failed, cell.first) == (0, None)
    assert set(row.chapters) <= {"normalize", "calls"}
