"""Writes what `transformers` does in each script to recorded.json: `python -m tests.traces.record`."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path

from tests.traces.scripts import SCRIPTS, run

RECORDED = Path(__file__).with_name("recorded.json")


def main() -> None:
    """Records all scripts anew, one line each."""
    import transformers

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    lines = [f'"version": {json.dumps(transformers.__version__)}']
    for name in SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(f"{json.dumps(name)}: {json.dumps(run(name, transformers, Path(folder)))}")
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
