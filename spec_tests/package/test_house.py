"""The rooms of the house: no import goes in a circle, none leads back up, and no file is long or named as a bucket."""

import re
from pathlib import Path

import pytest

from spec_tests.package.house import (
    LONGEST,
    MOST_LINES,
    ROOT,
    arrows,
    bucket_names,
    folders,
    importers,
    long_files,
    long_functions,
    needed,
    rows,
)

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


def test_no_python_file_is_longer_than_a_reader_takes_in_at_once() -> None:
    assert long_files() == {}


def test_every_name_says_what_it_is_about_and_none_is_a_bucket() -> None:
    assert bucket_names() == []


def test_a_long_file_a_long_function_and_a_bucket_are_found(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "long.py").write_text("x = 1\n" * (LONGEST + 1))
    (tmp_path / "cli" / "test_utils.py").write_text("x = 1\n" * LONGEST)
    assert long_files(tmp_path) == {"cli/long.py": LONGEST + 1}
    assert bucket_names(tmp_path) == ["cli/test_utils.py"]
    (tmp_path / "cli" / "long.py").write_text("def far() -> None:\n" + "    print()\n" * MOST_LINES)
    assert long_functions(tmp_path) == {"cli/long.py::far": MOST_LINES + 1}
    kernel = "@compiled\ndef far(\n    x: int,\n) -> None:\n" + "    print()\n" * (MOST_LINES + 1)
    (tmp_path / "cli" / "long.py").write_text(kernel)
    assert long_functions(tmp_path) == {"cli/long.py::far": MOST_LINES + 1}


def test_the_picture_leaves_out_what_a_longer_way_implies_and_nothing_else() -> None:
    assert needed({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_no_function_is_longer_than_a_screen() -> None:
    assert long_functions() == {}


@pytest.mark.parametrize(
    ("module", "room"),
    [("atlas_ref.models.atlas", "atlas_ref/models/"), ("atlas_ref.tasks.language", "atlas_ref/tasks/")],
)
def test_what_serves_every_family_and_task_names_none(module: str, room: str) -> None:
    """Kills: a loop, checkpoint, monitor, generator or gate that builds the first family or knows the first task."""
    found = importers(module)
    assert any(file.startswith(room) for file in found), "the module is imported nowhere"
    free = ("spec_tests/", "benchmarks/", "preflight/controls/", room)
    assert {file for file in found if not file.startswith(free)} == set()


def test_the_picture_shows_every_room_of_today() -> None:
    """Kills: a room that was made or moved after `python -m benchmarks.house` was last run."""
    drawn = set(re.findall(r">([a-z_/]+)</text>", (ROOT / "docs" / "images" / "house.svg").read_text(encoding="utf-8")))
    assert drawn == {room.replace(".", "/") for room in folders(arrows())}
