"""Write the page on published models from their presets, with the errors measured anew.

python -m benchmarks.models --out docs/models.md
"""

import argparse
from pathlib import Path

from atlas_ref.config import model_names
from spec_tests.package.memory.models_page import errors, page


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="Write the page on published models from their presets.")
    parser.add_argument("--out", type=Path, default=Path("docs/models.md"), help="the page")
    options = parser.parse_args()
    options.out.write_text(page({name: errors(name) for name in model_names()}), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
