from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import threading

import pytest

from lt_trainer.tokenization import AutoTokenizer

# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_saved_folder_loads_in_transformers(ours, theirs, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    kwargs = {"padding": True, "truncation": True, "return_offsets_mapping": True}
    assert dict(again(texts, **kwargs)) == dict(theirs(texts, **kwargs))
    assert again.special_tokens_map == theirs.special_tokens_map
    assert again.model_max_length == theirs.model_max_length
    assert again.model_input_names == theirs.model_input_names


def test_a_folder_of_transformers_loads_here(ours, theirs, texts, tmp_path):
    theirs.add_tokens(["goodfilm"])
    theirs(texts, padding="max_length", truncation=True, max_length=8)  # leaves its limits in tokenizer.json
    theirs.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    rows = ["a goodfilm", *texts]
    assert dict(again(rows)) == dict(theirs(rows))
    assert again.special_tokens_map == theirs.special_tokens_map
    assert len(again) == len(theirs)


def test_a_folder_of_ours_loads_here(ours, texts, tmp_path):
    ours.add_tokens(["goodfilm"])
    ours.add_special_tokens({"mask_token": "<m>", "extra_special_tokens": ["<x>"]})
    ours.padding_side = "left"
    ours.model_max_length = 12
    ours.chat_template = "{{ messages }}"
    paths = ours.save_pretrained(tmp_path / "new")
    again = AutoTokenizer.from_pretrained(tmp_path / "new")
    rows = ["a goodfilm <m> <x>", *texts]
    assert dict(again(rows, padding=True, truncation=True)) == dict(ours(rows, padding=True, truncation=True))
    assert again.special_tokens_map == ours.special_tokens_map
    assert again.extra_special_tokens == ["<x>"]
    assert again.chat_template == "{{ messages }}"
    assert again.to_files() == ours.to_files()
    assert sorted(os.path.basename(path) for path in paths) == sorted(os.listdir(tmp_path / "new"))


def test_saved_settings_name_no_path(ours, tmp_path):
    ours.save_pretrained(tmp_path)
    text = (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")
    assert str(tmp_path.parent) not in text
    assert ours.name_or_path not in text
    assert json.loads(text)["tokenizer_class"] != "TokenizersBackend"  # which transformers 4 does not know


def test_a_prefix_stands_before_each_name(words_only, tmp_path):
    words_only.save_pretrained(tmp_path / "a", filename_prefix="en")
    assert sorted(os.listdir(tmp_path / "a")) == ["en-tokenizer.json", "en-tokenizer_config.json"]


# --- copies and fingerprints ------------------------------------------------------------------------------------------


def use(tokenizer, texts):
    tokenizer(texts, padding="max_length", truncation=True, max_length=9, stride=2)
    tokenizer(texts, padding=True, split_special_tokens=True, padding_side="left")
    tokenizer("word " * 200)
    tokenizer.pad(tokenizer(texts))


def test_a_pickle_is_the_same_before_and_after_use(ours, texts):
    before = pickle.dumps(ours)
    use(ours, texts)
    assert pickle.dumps(ours) == before
    again = pickle.loads(before)
    assert pickle.dumps(again) == before
    assert dict(again(texts)) == dict(ours(texts))


def test_fingerprints_follow_the_content(ours, folders, kind, texts, tmp_path):
    from datasets.fingerprint import Hasher

    def encode(rows):
        return ours(rows["text"])

    first, first_of_call = Hasher.hash(ours), Hasher.hash(encode)
    use(ours, texts)
    assert Hasher.hash(ours) == first
    assert Hasher.hash(encode) == first_of_call
    ours.save_pretrained(tmp_path)
    assert Hasher.hash(AutoTokenizer.from_pretrained(folders[kind])) == first
    assert Hasher.hash(AutoTokenizer.from_pretrained(folders[kind], model_max_length=9)) != first
    ours.add_tokens(["goodfilm"])
    assert Hasher.hash(ours) != first


def test_fingerprints_are_the_same_in_another_process(folders):
    from datasets.fingerprint import Hasher

    code = (
        "import sys; from datasets.fingerprint import Hasher; from lt_trainer.tokenization import AutoTokenizer; "
        "print(Hasher.hash(AutoTokenizer.from_pretrained(sys.argv[1])))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(folders["uncased"])],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == Hasher.hash(AutoTokenizer.from_pretrained(folders["uncased"]))


def test_a_deep_copy_stands_alone(words_only):
    twin = copy.deepcopy(words_only)
    twin.add_tokens(["new"])
    twin.pad_token = "[SEP]"
    assert len(words_only) == len(twin) - 1 == 11
    assert words_only.pad_token == "[PAD]"
    assert twin.name_or_path == words_only.name_or_path


# --- processes and threads --------------------------------------------------------------------------------------------

FORKING = """
import os, sys
from datasets import Dataset
from lt_trainer.tokenization import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
expected = tokenizer(["good film"] * 50)["input_ids"]
child = os.fork()
if child == 0:
    os._exit(tokenizer(["good film"] * 50)["input_ids"] != expected)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert "TOKENIZERS_PARALLELISM" not in os.environ
assert tokenizer(["good film"] * 50)["input_ids"] == expected
data = Dataset.from_dict({"text": ["good film"] * 50})
mapped = data.map(lambda rows: tokenizer(rows["text"]), batched=True, batch_size=5, num_proc=2)
assert mapped["input_ids"][:] == expected
"""


def test_processes_forked_after_use_are_quiet(folders, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    run = subprocess.run(
        [sys.executable, "-c", FORKING, str(folders["uncased"])],
        env={**environment, "HF_DATASETS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "forked" not in run.stderr


def test_threads_do_not_see_each_others_limits(ours, texts):
    lengths = [4, 7, 11, 16]
    rows = texts * 20
    expected = {length: ours(rows, truncation=True, max_length=length)["input_ids"] for length in lengths}
    wrong: list[int] = []

    def work(length):
        for _ in range(20):
            if ours(rows, truncation=True, max_length=length)["input_ids"] != expected[length]:
                wrong.append(length)

    threads = [threading.Thread(target=work, args=(length,)) for length in lengths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
