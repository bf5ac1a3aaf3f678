"""What a new port is made of in each language: its own file, and of the whole ports here what a first one needs.

Whoever writes it owns it: the files are copies, and nothing of them is read from this package again.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from atlas_ref.errors import UserError

PORTS: Final = Path(__file__).parents[1]
WORKFLOW: Final = ".github/workflows/conformance.yml"
README: Final = """# A port of the ATLAS specification

    {commands}

`check` says whether the two understand each other, `conform` what passes, fails and is absent. One operation passes,
`l2_normalize`, so the run ends with 3, "incomplete". The next one is a function in `{file}` and its name beside the
first; `atlas port table` prints the arrays and the configuration of every operation, docs/spec of the suite says what
each means.

`{workflow}` asks the same in CI; `conformance/badge.svg` of its report is a badge for this page.
"""


@dataclass(frozen=True)
class Skeleton:
    """A language: the file that is written on, the port that it is, what comes before it is asked, what lies beside it.

    `copied` names files below `spec_tests/ports`, `requires` packages that the port needs and the suite does not.
    """

    file: str
    port: str
    before: str = ""
    copied: tuple[str, ...] = ()
    requires: str = ""

    @property
    def commands(self) -> tuple[str, ...]:
        """Return what to type in the folder, in order."""
        before = (self.before,) if self.before else ()
        port = shlex.quote(self.port)
        return (*before, f"atlas port check {port}", f"atlas conform --port {port} --level L0 --report conformance")


LANGUAGES: Final[Mapping[str, Skeleton]] = {
    "python": Skeleton("my_port.py", "my_port:MyPort", 'export PYTHONPATH="$PWD"'),
    "triton": Skeleton("my_port.py", "my_port:MyPort", 'export PYTHONPATH="$PWD"', requires="torch triton"),
    "cpp": Skeleton(
        "my_port.cpp",
        "cmd:./my_port",
        "make",
        (
            "skeletons/cpp/Makefile",
            *(f"cpp/{name}.hpp" for name in ("call", "errors", "json", "program", "safetensors", "tensor")),
        ),
    ),
    "javascript": Skeleton(
        "my_port.js",
        "cmd:node my_port.js",
        copied=tuple(f"javascript/{name}.js" for name in ("call", "program", "safetensors", "tensor")),
    ),
}


def write_skeleton(language: str, folder: Path) -> Skeleton:
    """Write a port of one operation into a folder, which is made where it is not; UserError where a file is there."""
    skeleton = LANGUAGES[language]
    texts = {Path(name).name: (PORTS / name).read_text(encoding="utf-8") for name in skeleton.copied}
    texts[skeleton.file] = (PORTS / "skeletons" / language / skeleton.file).read_text(encoding="utf-8")
    texts[WORKFLOW] = _workflow(skeleton)
    texts["README.md"] = README.format(file=skeleton.file, workflow=WORKFLOW, commands="\n    ".join(skeleton.commands))
    if there := sorted(name for name in texts if (folder / name).exists()):
        raise UserError(f"{folder}: holds {there[0]} already; name a folder without it.")
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return skeleton


def _workflow(skeleton: Skeleton) -> str:
    """Return the workflow with this port in it."""
    text = (PORTS / "skeletons" / "conformance.yml").read_text(encoding="utf-8")
    built = skeleton.before and skeleton.port.startswith("cmd:")
    build = f"      - run: {skeleton.before}\n" if built else ""
    text = text.replace("          port: my_port:MyPort\n", f"          port: {skeleton.port}\n")
    needs = f"          requires: {skeleton.requires}\n" if skeleton.requires else ""
    return text.replace("      # build\n", build).replace("          level: L0\n", f"          level: L0\n{needs}")
