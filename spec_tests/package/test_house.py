"""The rooms of the house: no import goes in a circle, and none leads back up."""

from pathlib import Path

import pytest

from spec_tests.package.house import ROOT, arrows, rows

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="the whole house is in the source tree")


def test_every_import_between_rooms_leads_down() -> None:
    found = arrows()
    height = {room: number for number, row in enumerate(rows(found)) for room in row}
    assert len(height) > 10, "the rooms were not found"
    assert all(height[room] < height[other] for room, used in found.items() for other in used)


def test_the_implementation_knows_nothing_of_the_others_and_a_chapter_reaches_it_through_ports_only() -> None:
    found = arrows()
    inside = {room for room in found if room.startswith("atlas_ref.")}
    assert len(inside) > 10, "the rooms of the implementation were not found"
    assert all(found[room] <= inside for room in inside)
    assert not inside & (found["spec_tests.chapters"] | found["spec_tests.oracle"] | found["spec_tests.port"])
    assert not any("cli" in used for room, used in found.items() if room not in ("cli", "benchmarks"))


def test_a_circle_of_rooms_is_refused(tmp_path: Path) -> None:
    for name, other in (("preflight", "cli"), ("cli", "preflight")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(f"from {other}.a import b\n")
    with pytest.raises(ValueError, match="a circle of rooms is among cli, preflight"):
        rows(arrows(tmp_path))
