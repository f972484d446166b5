"""What goes wrong between a launcher and a run, said before processes wait for each other."""

from __future__ import annotations

import os
import re
import socket
import sys
from itertools import pairwise
from pathlib import Path

_ACCELERATE_SAYS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed: set deepspeed='ds_config.json' in TrainingArguments",
    "ACCELERATE_USE_FSDP": "FSDP: set fsdp='full_shard' in TrainingArguments",
}


def why_not_again() -> str | None:
    """Why the command of this process cannot be run again, once a device; None where it can."""
    main = sys.modules.get("__main__")
    if getattr(main, "__spec__", None) is not None or os.path.isfile(sys.argv[0] if sys.argv else ""):
        return None
    where = "python -c" if sys.argv[:1] == ["-c"] else "an interactive session or standard input"
    return f"this code comes from {where}"


def check_port() -> None:
    """Says which port is taken.

    Raises:
        ConnectionError: something else listens at MASTER_PORT of this machine, where this process is to listen.
    """
    port = os.environ.get("MASTER_PORT")
    if port is None or "TORCHELASTIC_RUN_ID" in os.environ:
        return  # Lightning looks for a free one where none is named, and torchrun listens there by itself
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", int(port)))
        except OSError as error:
            raise ConnectionError(
                f"MASTER_PORT={port}: expected a free port of this machine, received one that is in use ({error}); "
                "set another, or unset it and one is found"
            ) from error


def notes_on_accelerate() -> list[str]:
    """What `accelerate launch` was told and does not come true, each as a sentence; nothing where it all does."""
    if "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return []
    notes = [
        f"accelerate config asks for {what}: the arguments decide that here"
        for name, what in _ACCELERATE_SAYS.items()
        if os.environ.get(name, "").lower() in ("true", "1")
    ]
    asked = None if "LOCAL_WORLD_SIZE" in os.environ else _num_processes(_parent_command())
    if asked is not None and asked > 1:
        notes.append(
            f"accelerate launch was asked for {asked} processes and started one, as it does on a CPU without MPI: pass "
            f"--multi_gpu (on CPUs too) and --num_processes {asked}, or start torchrun --nproc_per_node={asked}"
        )
    return notes


def _parent_command() -> list[str]:
    """The words of the command that started this process; none where the system does not tell."""
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _num_processes(command: list[str]) -> int | None:
    """Processes that an `accelerate launch` asks for: on its line, or in its file of settings."""
    words = [part for word in command for part in word.replace("-", "_").split("=", 1)]
    if "__num_processes" in words[:-1]:
        value = words[words.index("__num_processes") + 1]
        return int(value) if value.isdigit() else None
    plain = [part for word in command for part in word.split("=", 1)]
    named = [after for word, after in pairwise(plain) if word in ("--config_file", "--config-file")]
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    try:
        text = Path(named[0] if named else home / "accelerate" / "default_config.yaml").read_text()
    except OSError:
        return None
    found = re.search(r"^num_processes:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None
