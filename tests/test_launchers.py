"""Between a launcher and a run: ports, commands that cannot be run again, what accelerate leaves."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from lt_trainer import launchers


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "MASTER_PORT", "LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(ConnectionError, match=f"MASTER_PORT={port}: expected a free port"):
            launchers.check_port()
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # there the launcher itself listens
        launchers.check_port()
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    launchers.check_port()


@pytest.mark.parametrize(("where", "named"), [(["-c"], "python -c"), ([], "standard input")])
def test_code_without_a_file_cannot_be_run_once_a_device(tmp_path, where: list[str], named: str) -> None:
    code = f"from tests.faults import runs\nruns.build({str(tmp_path / 'run')!r}, devices=2).train()\n"
    given = {"input": code} if not where else {}
    command = [sys.executable, *where, *([code] if where else ["-"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **given)
    assert done.returncode != 0
    assert "ConfigurationError" in done.stderr
    assert "2 devices need a process each" in done.stderr
    assert named in done.stderr


def test_a_file_and_a_module_can_be_run_again() -> None:
    assert launchers.why_not_again() is None  # pytest's own


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["accelerate", "launch", "--num_processes", "2", "train.py"], 2),
        (["accelerate", "launch", "--num-processes=4", "train.py"], 4),
        (["accelerate", "launch", "--num_processes", "1", "train.py"], 1),
        (["accelerate", "launch", "--config_file", "FILE", "train.py"], 3),
        (["accelerate", "launch", "--config_file=FILE", "train.py"], 3),
        (["accelerate", "launch", "train.py"], 3),
    ],
)
def test_processes_that_accelerate_was_asked_for(tmp_path, monkeypatch, command: list[str], expected: int) -> None:
    settings = tmp_path / "accelerate" / "default_config.yaml"
    settings.parent.mkdir()
    settings.write_text("distributed_type: 'NO'\nnum_machines: 1\nnum_processes: 3\nuse_cpu: true\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(launchers, "_parent_command", lambda: [w.replace("FILE", str(settings)) for w in command])
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    notes = launchers.notes_on_accelerate()
    assert len(notes) == (expected > 1)
    assert all(f"asked for {expected} processes and started one" in note for note in notes)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(expected))  # it started them
    assert launchers.notes_on_accelerate() == []


def test_without_accelerate_there_is_nothing_to_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "_parent_command", lambda: ["accelerate", "launch", "--num_processes", "2"])
    assert launchers.notes_on_accelerate() == []


def test_engines_that_accelerate_was_configured_for_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "_parent_command", list)
    monkeypatch.setenv("HF_HOME", "/nowhere")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert launchers.notes_on_accelerate() == [
        "accelerate config asks for FSDP: set fsdp='full_shard' in TrainingArguments: the arguments decide that here"
    ]


@pytest.mark.slow
def test_accelerate_that_starts_one_process_warns(tmp_path) -> None:
    pytest.importorskip("accelerate")
    script = tmp_path / "train.py"
    script.write_text(f"from tests.faults import runs\nruns.build({str(tmp_path / 'run')!r}).train()\n")
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "was asked for 2 processes and started one" in done.stderr
