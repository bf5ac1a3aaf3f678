"""Whether a command line selects every case, and what its options mean."""

from collections.abc import Callable
from pathlib import Path

import jaxtyping
import pytest

from atlas_ref.errors import UserError
from spec_tests import signatures
from spec_tests.port import Numerics
from spec_tests.process.load import REFERENCE
from spec_tests.report.conformance import Conformance
from spec_tests.report.launch import SETTINGS
from spec_tests.report.manifest import SUITE
from spec_tests.report.options import Options
from spec_tests.report.scope import Scope
from spec_tests.report.selection import chapter_files, selects_everything

pytest_plugins = ["pytester"]

CHAPTERS = [str(path) for path in chapter_files()]
CHAPTER = CHAPTERS[0]
NOTHING = "--port=spec_tests.report.samples:NothingPort"


def config_of(pytester: pytest.Pytester, *arguments: str) -> pytest.Config:
    return pytester.parseconfig("-c", str(SETTINGS), f"--confcutdir={SUITE}", *arguments)


@pytest.mark.parametrize(
    ("arguments", "everything"),
    [
        ([str(SUITE)], True),
        ([str(SUITE), "-v", "--level=L2"], True),
        (CHAPTERS, True),
        (CHAPTERS[1:], False),
        ([CHAPTER], False),
        ([f"{SUITE}/report"], False),
        ([str(SUITE), "-k", "norm"], False),
        ([str(SUITE), "-m", "spec"], False),
        ([str(SUITE), "-x"], False),
        ([str(SUITE), f"--deselect={CHAPTER}"], False),
        ([str(SUITE), f"--ignore={CHAPTER}"], False),
        ([*CHAPTERS[1:], f"{CHAPTER}::test_one"], False),
        (["--pyargs", "spec_tests"], True),
        (["--pyargs", "spec_tests.vectors.test_vectors"], False),
    ],
)
def test_only_a_command_line_that_leaves_nothing_out_selects_everything(
    pytester: pytest.Pytester, arguments: list[str], everything: bool
) -> None:
    assert selects_everything(config_of(pytester, *arguments)) is everything


def test_options_are_read_once_and_a_named_port_is_judged(pytester: pytest.Pytester, tmp_path: Path) -> None:
    list_ = tmp_path / "x.toml"
    list_.write_text('[a]\nclass = "fail"\nreason = "b"\n')
    arguments = ["--level=l2", "--numerics=f32 f64", f"--report={tmp_path}/new", f"--xfail={list_}"]
    options = Options.of(config_of(pytester, str(SUITE), f"--port={REFERENCE}", *arguments))
    assert options.scope == Scope(2, (Numerics.F64, Numerics.F32))
    assert options.expected["a"].reason == "b"
    assert (tmp_path / "new").is_dir()
    assert options.given
    assert options.wanted


def test_without_a_port_nothing_is_judged(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATLAS_PORT", raising=False)
    options = Options.of(config_of(pytester, str(SUITE)))
    assert (options.port, options.given, options.wanted, options.scope.whole) == (REFERENCE, False, False, True)


def test_a_port_named_by_the_environment_is_judged(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_PORT", REFERENCE)
    assert Options.of(config_of(pytester, str(SUITE))).given


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--level=L9"], "--level L9"),
        (["--numerics=f16"], "--numerics f16"),
        (["--update-xfail"], "--xfail FILE"),
        (["--xfail=x.toml", "--update-xfail", "--level=L2"], "drop the selection"),
        (["--xfail=x.toml", "--update-xfail", "-k", "norm"], "drop the selection"),
        (["--xfail=x.toml", "--update-xfail", "--explore"], "drop the selection"),
    ],
)
def test_options_without_a_meaning_are_refused(pytester: pytest.Pytester, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Options.of(config_of(pytester, str(SUITE), *arguments))


def test_a_list_that_is_not_there_is_refused_unless_it_is_to_be_written(pytester: pytest.Pytester) -> None:
    arguments = [str(SUITE), "--xfail=x.toml"]
    with pytest.raises(UserError, match=r"x\.toml: does not exist"):
        Options.of(config_of(pytester, *arguments))
    assert Options.of(config_of(pytester, *arguments, "--update-xfail")).expected == {}


def test_every_chapter_file_is_found_and_no_other() -> None:
    names = {path.stem for path in chapter_files()}
    assert {"test_vectors", "test_newton_schulz", "test_memory_grad"} <= names
    assert names.isdisjoint({"test_faults", "test_trace", "test_driver"})


def test_a_run_that_judges_a_port_reads_the_files_that_ask_one_and_no_other(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: the whole package read in every process, for tests of which none is run; a file of cases left unread."""
    monkeypatch.delenv("ATLAS_PORT", raising=False)
    asking = [SUITE, *map(Path, CHAPTERS), *(Path(path).parent for path in CHAPTERS)]
    others = [SUITE / "package", SUITE / "package" / "test_house.py", SUITE / "chapters" / "test_chapters.py"]
    judged = Conformance(config_of(pytester, str(SUITE), NOTHING), None)
    assert {judged.pytest_ignore_collect(path) for path in asking} == {None}
    assert {judged.pytest_ignore_collect(path) for path in others} == {True}
    whole = Conformance(config_of(pytester, str(SUITE)), None)
    assert {whole.pytest_ignore_collect(path) for path in (*asking, *others)} == {None}


@pytest.mark.parametrize(("arguments", "unchecked"), [([NOTHING], True), ([], False)])
def test_only_a_run_that_judges_a_port_leaves_the_shapes_of_the_reference_unchecked(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, arguments: list[str], unchecked: bool
) -> None:
    """Kills: the suite of this package without its checks; a check that stays off in the next run of the process."""
    monkeypatch.delenv("ATLAS_PORT", raising=False)
    config, ends = config_of(pytester, str(SUITE), *arguments), list[Callable[[], object]]()
    monkeypatch.setattr(config, "add_cleanup", ends.append)
    signatures.pytest_configure(config)
    assert jaxtyping.config.jaxtyping_disable is unchecked
    for end in ends:
        end()
    assert jaxtyping.config.jaxtyping_disable is False
