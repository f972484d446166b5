"""Headers written by hand, byte for byte: what a file may claim is bounded by what it holds."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lt_trainer.files import headers
from lt_trainer.files.headers import read_header

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, header: Any, values: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def entry(start: int, end: int, shape: list[int], dtype: str = "I32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


TWO = {"__metadata__": {"format": "pt"}, "late": entry(8, 12, [1]), "early": entry(0, 8, [2, 1])}
VALUES = struct.pack("<3i", 7, -1, 5)


def test_names_come_in_the_order_of_their_values(tmp_path: Path) -> None:
    assert [*read_header(write(tmp_path / "m", TWO, VALUES))] == ["early", "late"]


def test_an_entry_tells_dtype_shape_and_place(tmp_path: Path) -> None:
    path = write(tmp_path / "m", TWO, VALUES)
    stored = read_header(path)["late"]
    begin = path.stat().st_size - len(VALUES)
    assert (stored.dtype, stored.shape, stored.start) == (torch.int32, (1,), begin + 8)


def test_values_are_read_from_their_place(tmp_path: Path) -> None:
    stored = read_header(write(tmp_path / "m", TWO, VALUES))
    assert stored["early"].read().tolist() == [[7], [-1]]
    assert stored["late"].read().tolist() == [5]


def test_values_are_read_into_a_parameter_in_place(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"w": entry(0, 8, [2], "F32")}, struct.pack("<2f", 0.5, -2.0))
    weight = torch.nn.Parameter(torch.zeros(2))
    read_header(path)["w"].read_into(weight)
    assert weight.tolist() == [0.5, -2.0]


def test_an_empty_tensor_and_a_scalar_have_their_shapes(tmp_path: Path) -> None:
    path = write(tmp_path / "m", {"none": entry(0, 0, [0, 3]), "one": entry(0, 4, [])}, struct.pack("<i", 9))
    stored = read_header(path)
    assert stored["none"].read().shape == (0, 3)
    assert stored["one"].read().item() == 9


def test_a_file_without_tensors_is_a_file(tmp_path: Path) -> None:
    assert read_header(write(tmp_path / "m", {})) == {}


@pytest.mark.parametrize(
    ("header", "values", "problem"),
    [
        ({"w": entry(0, 4, [2])}, 4, r"'w' of shape \(2,\) and torch.int32 cannot lie in 4 bytes"),
        ({"w": entry(4, 8, [1])}, 8, "'w' begins at byte 4 of the values, expected 0"),
        ({"v": entry(0, 8, [2]), "w": entry(4, 8, [1])}, 8, "'w' begins at byte 4 of the values, expected 8"),
        ({"w": entry(0, 4, [1])}, 9, "describes 4 bytes of values and the file holds 9"),
        ({"w": entry(0, 4, [1])}, 3, "describes 4 bytes of values and the file holds 3"),
        ({"w": entry(0, 4, [-1])}, 4, "entry for 'w'"),
        ({"w": entry(0, 4, [True])}, 4, "entry for 'w'"),
        ({"w": entry(0, 4, [1], "I5")}, 4, "entry for 'w'"),
        ({"w": entry(0, 4, [1] * 65)}, 4, "entry for 'w'"),
        ({"w": entry(0, 2**63, [2**61])}, 4, "entry for 'w'"),
        ({"w": {"dtype": "I32"}}, 4, "entry for 'w'"),
        ({"w": 3}, 4, "entry for 'w'"),
        ([], 0, "expected an object as header, found list"),
        (b'{"w": 1, "w": 2}', 0, "a name stands twice"),
        (b"\xff\xfe", 0, "not JSON"),
        (b"[" * 100_000, 0, "not JSON"),
    ],
)
def test_a_claim_that_the_file_does_not_hold_is_refused(tmp_path: Path, header: Any, values: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_header(write(tmp_path / "m", header, bytes(values)))


def test_a_file_shorter_than_its_length_field_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\0" * 7)
    with pytest.raises(ValueError, match="has 7 bytes"):
        read_header(tmp_path / "m")


def test_a_header_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ValueError, match=f"claims a header of {2**62}"):
        read_header(tmp_path / "m")


def test_a_header_longer_than_any_honest_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "HEADER_BYTES", 10)
    with pytest.raises(ValueError, match="claims a header of 11"):
        read_header(write(tmp_path / "m", b"{" + b" " * 9 + b"}"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.safetensors is missing"):
        read_header(tmp_path / "m.safetensors")


def test_a_file_cut_after_its_header_was_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "m", TWO, VALUES)
    stored = read_header(path)["late"]
    with path.open("r+b") as file:
        file.truncate(stored.start + 2)
    with pytest.raises(ValueError, match="ended inside a tensor"):
        stored.read()
