"""`atlas kernels build`: compiled once, said where, and one sentence where no compiler is."""

from pathlib import Path

import pytest

from atlas_ref.compiling import NoCompilerError
from atlas_ref.memory.kernels import cpu_library
from spec_tests.package.micro.command import Atlas
from spec_tests.ports.kernels import build_for_cpu


def test_the_command_builds_them_once_and_without_a_compiler_says_so(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kills: a traceback; a command that compiles again what is there."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    failed = atlas("kernels", "build")
    assert failed.code == 2
    sentence = (
        "the library of kernels for a CPU needs a C++17 compiler; no-such-compiler not found (CXX names another)."
    )
    assert failed.err.split() == ["Error:", *sentence.split()]
    monkeypatch.undo()
    try:
        built = build_for_cpu()
    except NoCompilerError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("ATLAS_KERNELS", str(tmp_path))
    place = tmp_path / built.name
    place.write_bytes(built.read_bytes())
    before = place.stat().st_mtime_ns
    done = atlas("kernels", "build")
    assert (done.code, place.stat().st_mtime_ns) == (0, before)
    assert place.name in done.out.replace("\n", "")
    cpu_library._built.cache_clear()
