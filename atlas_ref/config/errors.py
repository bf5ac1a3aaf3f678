"""From a pydantic validation error to sentences: the dotted name, the file, what is there and what would be valid."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from atlas_ref.config.toml import MOST_SHOWN, shortened, toml_value, written

FAMILIES = ("atlas", "cognate", "perceptron", "transformer")
"""What pydantic puts behind `model` in a location: the family that it took the section to be of, in their order."""
MOST_LINES = 100
"""Errors that are told one by one: more than there are fields."""
BEGUN = 4
"""Letters that begin a part of a name, and tell it."""
SLIP = 0.7
"""Likeness of two last parts of which one may be a slip of the other."""
MOST_BITS = 256
"""Integers beyond are not spelt out: Python refuses to do so for long ones."""


def describe(error: ValidationError, root: type[BaseModel], origin: str, overrides: Sequence[str]) -> Iterator[str]:
    """Yield one line for each error; a value that an override set is blamed on the override, not on the file.

    A file with more than MOST_LINES errors is another file: the others are only counted.
    """
    problems = error.errors(include_url=False)
    for problem in problems[:MOST_LINES]:
        location, family = _without_tag(tuple(str(part) for part in problem["loc"]))
        name = ".".join(location)
        source = _source(name, origin, overrides)
        if problem["type"] == "value_error":
            yield from (f"{origin}: {sentence}." for sentence in str(problem["ctx"]["error"]).splitlines())
        elif problem["type"] == "missing":
            yield f"{source}: {name} is missing; it must be {_valid(*_at(root, location))}."
        elif problem["type"] == "extra_forbidden":
            guess = nearest(name, dotted_names(root, family))
            yield f"{source}: {shortened(name)} is not a known field; did you mean {guess}?"
        else:
            yield f"{source}: {name} is {_shown(problem['input'])}; it must be {_valid(*_at(root, location))}."
    if len(problems) > MOST_LINES:
        yield f"{origin}: {len(problems) - MOST_LINES:,} more fields are wrong."


def dotted_names(root: type[BaseModel], family: str = FAMILIES[0]) -> list[str]:
    """Every section and field below `root`, such as `model` and `model.memory.chunk`, for a model of a family."""
    names: list[str] = []
    for own, field in root.model_fields.items():
        name = written(own, field)
        names.append(name)
        sections = sections_of(field)
        if sections:
            below = sections[FAMILIES.index(family)] if len(sections) > 1 else sections[0]
            names.extend(f"{name}.{other}" for other in dotted_names(below))
    return names


def _without_tag(location: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return a location without the family of models that may follow its first part, and that family."""
    if len(location) > 1 and location[0] == "model" and location[1] in FAMILIES:
        return location[:1] + location[2:], location[1]
    return location, FAMILIES[0]


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that a person most likely meant.

    A slip of a letter in the same section, or the same last part in another one; then initials in the same section
    (`optim.lr`) or a part of a name (`model.memory.windw`); then the most similar text.
    """
    return max(known, key=lambda candidate: _similarity(name[:MOST_SHOWN], candidate))


def _source(name: str, origin: str, overrides: Sequence[str]) -> str:
    """What set the field or section: the last override at, above or below it, else the file."""
    for override in reversed(overrides):
        changed = override.partition("=")[0].strip()
        if f"{changed}.".startswith(f"{name}.") or f"{name}.".startswith(f"{changed}."):
            return f"override {shortened(override)} of {origin}"
    return origin


def _similarity(name: str, candidate: str) -> float:
    alike = difflib.SequenceMatcher(None, name, candidate).ratio()
    section, _, last = name.rpartition(".")
    candidate_section, _, candidate_last = candidate.rpartition(".")
    initials = "".join(word[0] for word in candidate_last.split("_"))
    slip = alike > 0.9 and difflib.SequenceMatcher(None, last, candidate_last).ratio() > SLIP
    if last == candidate_last or (section == candidate_section and slip):
        return 2.0 + alike
    begun = section and BEGUN < len(last) <= len(candidate_last) and last[:BEGUN] in candidate_last
    if section == candidate_section and (begun or last == initials):
        return 1.0 + alike
    return alike


def _at(root: type[BaseModel], location: Sequence[str]) -> list[FieldInfo]:
    """The fields at a location, several where several families have one of its name.

    Every part but the last names a section, and numbers behind it an entry of a list.
    """
    found = [_fields(root)[location[0]]]
    for part in (part for part in location[1:] if not part.isdigit()):
        found = [fields[part] for field in found for below in sections_of(field) if part in (fields := _fields(below))]
    return found


def _fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by the names that a file has for them."""
    return {written(name, field): field for name, field in section.model_fields.items()}


def sections_of(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the sections that a field may hold: none for a value, several for a model of any family."""
    kinds = [get_args(kind)[0] if hasattr(kind, "__metadata__") else kind for kind in get_args(field.annotation)]
    return [kind for kind in (*kinds, field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _valid(field: FieldInfo, *others: FieldInfo) -> str:
    """What a field accepts, in words; of several with choices, what any of them does."""
    if sections := sections_of(field):
        return f"a table with the fields {', or '.join(', '.join(section.model_fields) for section in sections)}"
    if get_origin(field.annotation) is Literal:
        choices = [
            choice
            for each in (field, *others)
            if get_origin(each.annotation) is Literal
            for choice in get_args(each.annotation)
        ]
        return "one of " + ", ".join(toml_value(choice) for choice in dict.fromkeys(choices))
    if field.annotation is bool:
        return "true or false"
    if get_origin(field.annotation) is tuple:
        entry = get_args(field.annotation)[0]
        kind = "integers" if entry.__origin__ is int else "finite numbers"
        return f"a list of {kind}, each {_interval(_all_bounds(entry.__metadata__[0].metadata))}"
    bounds = _all_bounds(field.metadata)
    if field.annotation is str:
        return f"Unicode text of at most {bounds['max_length']} characters"
    kind = "an integer" if field.annotation is int else "a finite number"
    return f"{kind} {_interval(bounds)}"


def _all_bounds(rules: Sequence[object]) -> dict[str, Any]:
    return {key: value for rule in rules for key, value in _bounds(rule).items()}


def _bounds(rule: object) -> Mapping[str, Any]:
    names = ("gt", "ge", "lt", "le", "max_length")
    return {name: getattr(rule, name) for name in names if hasattr(rule, name)}


def _interval(bounds: Mapping[str, Any]) -> str:
    words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
    return " and ".join(f"{words[name]} {bounds[name]}" for name in words if name in bounds)


def _shown(value: object) -> str:
    """A value as the file has it, with its type where that is the likely mistake, and never long."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        text = f"an integer of {value.bit_length():,} bits"
    elif isinstance(value, bool | int | float):
        text = toml_value(value)
    elif isinstance(value, str):
        text = f"the text {toml_value(value)}"
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, list | tuple):
        return "a list"
    else:
        text = f"the date or time {value}"
    return shortened(text)
