"""Files that are never half there: the only module that writes under `output_dir`.

A folder is written beside its place, synced, described by a manifest of sizes and hashes, renamed, and its parent is
synced; whoever reads sees the whole folder or none. The order was proven by cutting the power of an ext4 device:

    staging folder -> files, hashed while written, each synced -> manifest.json, synced -> folder synced
                   -> renamed to its place -> parent synced -> only then is anything older removed

`ops` is the seam that fault tests take hold of; `staging`, `tensors`, `writer`, `folders` build on it; `read` is the
counterpart for files that a stranger may have written.
"""

from lt_trainer.files.folders import WEIGHTS, AtomicFolder, update_folder
from lt_trainer.files.lines import LineFile
from lt_trainer.files.lock import LOCK, FolderLock
from lt_trainer.files.read import check_container, existing_file, read_json, read_torch, safe_join, sha256_of
from lt_trainer.files.snapshot import Snapshot
from lt_trainer.files.staging import (
    clean_staging,
    ensure_writable,
    is_running,
    make_folder,
    remove_folder,
    staging_folder,
    this_process,
)
from lt_trainer.files.writer import MANIFEST, FolderWriter, manifest_bytes

__all__ = [
    "LOCK",
    "MANIFEST",
    "WEIGHTS",
    "AtomicFolder",
    "FolderLock",
    "FolderWriter",
    "LineFile",
    "Snapshot",
    "check_container",
    "clean_staging",
    "ensure_writable",
    "existing_file",
    "is_running",
    "make_folder",
    "manifest_bytes",
    "read_json",
    "read_torch",
    "remove_folder",
    "safe_join",
    "sha256_of",
    "staging_folder",
    "this_process",
    "update_folder",
]
