"""Configurations as people have them: what an editor puts in front, and sentences that say what to type."""

import re
from pathlib import Path

import pytest

from atlas_ref.config import load_config, to_toml
from atlas_ref.errors import UserError
from cli.overrides import data_fields


def test_a_config_with_a_byte_order_mark_is_the_same_config(tmp_path: Path) -> None:
    """Kills: decoding without a look at the mark that Windows editors write."""
    path = tmp_path / "marked.toml"
    path.write_text("\ufeff" + to_toml(load_config("tiny")), encoding="utf-8")

    assert load_config(str(path)) == load_config("tiny")


TEXT = ("data.source='path'", "data.path='f.txt'")


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [("tiny", ("data.tokenizer='bpe'",)), ("recall", TEXT), ("tiny", ("data.source='recall'",))],
)
def test_what_the_sentence_about_the_vocabulary_says_to_add_is_all_that_was_missing(
    preset: str, overrides: tuple[str, ...]
) -> None:
    """Kills: naming the number without the field to put it in."""
    with pytest.raises(UserError) as caught:
        load_config(preset, overrides)
    advice = re.search(r"add --set (\S+)\.$", str(caught.value))
    assert advice is not None

    load_config(preset, [*overrides, advice[1]])


@pytest.mark.parametrize("text", ["", "\ufeff", " \n"])
def test_an_empty_config_is_said_to_be_empty(text: str, tmp_path: Path) -> None:
    """Kills: five lines that name every field of every section."""
    path = tmp_path / "empty.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=r"^\S+empty\.toml: is empty; [^\n]+$"):
        load_config(str(path))


def test_data_whose_name_is_not_utf8_are_refused_by_that_name() -> None:
    """Kills: a file that is said not to exist, since a configuration cannot hold its name."""
    with pytest.raises(UserError, match=r"caf\\udce9\.txt.*must be UTF-8"):
        data_fields(Path("caf\udce9.txt"), None)
