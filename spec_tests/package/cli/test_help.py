"""What `--help` says, as a reader of any terminal sees it."""

import pytest

from spec_tests.package.micro.command import Atlas


def summaries(atlas: Atlas, *group: str) -> dict[str, str]:
    """Return the commands that the help of a group lists, with what it says of each; nothing for a command."""
    listed = atlas(*group, "--help").out.partition("Commands:\n")[2].splitlines()
    return {name: words.strip() for name, _, words in (line.strip().partition(" ") for line in listed)}


@pytest.mark.parametrize("width", [80, 140])
def test_every_command_of_every_group_has_a_summary_that_is_whole(
    width: int, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a first sentence that is too long, which the list of commands cuts off; a command without one."""
    monkeypatch.setenv("COLUMNS", str(width))
    found = summaries(atlas)
    assert {"train", "preflight", "runs", "config", "port", "vectors"} <= set(found)
    within = {f"{name} {inner}": words for name in found for inner, words in summaries(atlas, name).items()}
    assert {"config show", "port check", "vectors export"} <= set(within)
    for name, words in {**found, **within}.items():
        assert words.endswith("."), name
        assert not words.endswith("..."), name
