"""A chapter is its folder: whatever stands in one is known everywhere, and no list names it."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

from spec_tests.discovery import modules_of_tests, words
from spec_tests.report.sentences import NO_CHAPTERS, spec_directory

FURNITURE: Final = {
    "__init__": '"""A chapter that adds one."""',
    "operation": """
        from spec_tests.contract.schema import Operation, state
        from spec_tests.port import Op
        ROWS = (Operation(Op.MEMORY_CACHE, 6, {}, (state("x", "batch"),), (state("y", "batch"),)),)
        """,
    "oracle": """
        from spec_tests.port import Op
        ANSWERS = {Op.MEMORY_CACHE: lambda config, x, sums: {"y": x["x"] + 1.0}}
        """,
    "cases": """
        import numpy as np
        from spec_tests.port import Op
        from spec_tests.vectors.source import Family
        STORED = (Family("MORE", Op.MEMORY_CACHE).case(1, "MORE-1", "two rows", {}, {"x": np.array([1.0, 2.0])}),)
        """,
    "faults": """
        from spec_tests.faults.fault import Fault, with_outputs
        from spec_tests.port import Op
        SAME = with_outputs(lambda config, x, outputs: {"y": x["x"]})
        FAULTS = (
            Fault("more-adds-nothing", "MORE-1", Op.MEMORY_CACHE, "test_more:test_one_is_added", SAME, "porting: one"),
        )
        """,
    "test_more": """
        import pytest
        from spec_tests.contract.driver import precisions, run
        from spec_tests.port import Op

        @pytest.mark.spec("MORE-1")
        def test_one_is_added(port):
            for numerics in precisions(port):
                result = run(port, Op.MEMORY_CACHE, numerics, {"x": [1.0, 2.0]})
                result.assert_close("y", result.inputs["x"] + 1.0)
        """,
}
ASKED: Final = """
    import sys
    import spec_tests.chapters
    spec_tests.chapters.__path__.append(sys.argv[1])
    from spec_tests.faults.catalogue import CATALOGUE
    from spec_tests.faults.fault import FaultyPort, claimed_test
    from spec_tests.contract.operations import OPERATIONS
    from spec_tests.port import Numerics, Op
    from spec_tests.ports.numpy import NumpyPort
    from spec_tests.report.selection import chapter_files
    from spec_tests.report.trace import read_tests
    from spec_tests.vectors.sources import SOURCES

    (fault,) = (fault for fault in CATALOGUE if fault.op == Op.MEMORY_CACHE)
    claimed_test(fault)(port=NumpyPort())
    try:
        claimed_test(fault)(port=FaultyPort(NumpyPort(), fault, Numerics.F64))
    except AssertionError:
        print("killed", fault.id)
    print("row", *(output.name for output in OPERATIONS[Op.MEMORY_CACHE].outputs))
    print("declared", Op.MEMORY_CACHE in NumpyPort().declare().operations)
    print("stored", *(source.id for source in SOURCES if source.op == Op.MEMORY_CACHE))
    print("tests", *(test.name for test in read_tests() if "MORE-1" in test.sentences))
    print("asked", *(path.name for path in chapter_files() if path.is_relative_to(sys.argv[1])))
    """


def test_a_chapter_in_a_folder_of_its_own_is_picked_up_whole(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name, text in FURNITURE.items():
        (tmp_path / "more" / f"{name}.py").write_text(dedent(text))
    command = [sys.executable, "-c", dedent(ASKED), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == [
        "killed more-adds-nothing",
        "row y",
        "declared True",
        "stored ATL-MORE-001",
        "tests test_more:test_one_is_added",
        "asked test_more.py",
    ], found.stderr


def test_every_chapter_has_tests_named_by_its_word() -> None:
    assert {f"test_{word}" for word in words()} <= modules_of_tests().keys()
    for name, module in modules_of_tests().items():
        assert name.startswith(f"test_{module.split('.')[-2]}"), f"{module} does not begin with the word of its chapter"


def test_every_chapter_has_a_page_of_the_specification_and_every_page_a_chapter() -> None:
    place = spec_directory()
    assert place is not None
    assert {page.stem for page in place.glob("*.md") if page.stem not in NO_CHAPTERS} == set(words())
