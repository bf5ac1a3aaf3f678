"""Python: MBPP writes a function, CodeXGLUE says what one is for. Code is text here; none of it is executed."""

import io
import re
import tokenize

from atlas_ref.data.adapters.row import Example, Row, Skip

PARAGRAPH = re.compile(r"\n[ \t]*\n")


def mbpp(row: Row) -> Example | Skip:
    """The task and the first of its tests, which names the function; then the code.

    The task is `text` in the full set and `prompt` in the sanitised one; all tests, and what they need before them,
    are the checks of the example.
    """
    task, code, tests = row.text("text", "prompt"), row.text("code"), row.list_of("test_list")
    if not task or not code:
        return Skip.BLANK
    if not tests:
        return Skip.NO_TEST
    code = _newlines(code).strip("\n")
    return Example(f"{task}\n{tests[0]}", code, code, checks=(*_before_tests(row), *tests))


def _before_tests(row: Row) -> list[str]:
    """What a test needs: a text in the full set, a list of imports in the sanitised one, either of which may lack."""
    setup = [row.text("test_setup_code")] if "test_setup_code" in row.fields else []
    imports = row.list_of("test_imports") if "test_imports" in row.fields else []
    return [_newlines(part) for part in (*imports, *setup) if part.strip()]


def codexglue(row: Row) -> Example | Skip:
    """A function without its docstring; then the first paragraph of the docstring, on one line."""
    if "language" in row.fields and row.text("language") != "python":
        return Skip.NOT_PYTHON
    code, docstring = _newlines(row.text("code")), _newlines(row.text("docstring"))
    said = " ".join(PARAGRAPH.split(docstring.strip(), maxsplit=1)[0].split())
    if not code or not said:
        return Skip.BLANK
    bare = without_docstring(code)
    return Skip.UNREADABLE if bare is None else Example(bare, said, said)


def without_docstring(code: str) -> str | None:
    """Return the source of a function without its docstring, None for what has no first statement.

    Only tokens are looked at, up to the first statement of the body: the collection has Python 2 too, which no parser
    of today reads.
    """
    place = _first_string(code)
    if place is None or place == NO_STRING:
        return code if place else None
    first, last = place
    lines = code.split("\n")
    before, after = lines[first[0] - 1][: first[1]], lines[last[0] - 1][last[1] :]
    kept = [before + after.lstrip(" \t;")] if before.strip() or after.strip() else []
    return "\n".join((*lines[: first[0] - 1], *kept, *lines[last[0] :]))


Span = tuple[tuple[int, int], tuple[int, int]]
NO_STRING: Span = ((0, 0), (0, 0))
"""The place of no string: lines count from 1."""
QUIET = (tokenize.NEWLINE, tokenize.INDENT, tokenize.NL, tokenize.COMMENT)


def _first_string(code: str) -> Span | None:
    """Where the first statement of a function stands if it is a string, NO_STRING if it is not, None without one."""
    depth, begun, inside = 0, False, False
    try:
        for kind, text, start, end, _ in tokenize.generate_tokens(io.StringIO(code).readline):
            if inside and kind not in QUIET:
                return (start, end) if kind == tokenize.STRING else NO_STRING
            begun |= kind == tokenize.NAME and text == "def"
            if kind == tokenize.OP:
                depth += (text in "([{") - (text in ")]}")
                inside |= begun and depth == 0 and text == ":"
    except (tokenize.TokenError, SyntaxError):
        return None
    return None


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
