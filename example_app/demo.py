"""`python -m example_app.demo`. It lies in scripts/, as a tool of this repository and no part of the order desk."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "demo.py"), run_name="__main__")
