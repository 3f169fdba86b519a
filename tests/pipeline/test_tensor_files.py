"""Tensors on the disk: what the operating system refuses is an OSError."""

from __future__ import annotations

import errno

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.tensor_files import save_tensors


def test_tensors_come_back(tmp_path):
    tensors = {"a": torch.rand(3, 2), "b": torch.arange(4)}
    save_tensors(tensors, tmp_path / "x.safetensors")
    again = load_file(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], value) for name, value in tensors.items())


def test_what_the_operating_system_refuses_has_its_number(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save_tensors({"a": torch.zeros(2)}, tmp_path / "missing" / "x.safetensors")
    assert caught.value.errno == errno.ENOENT
    assert isinstance(caught.value.__cause__, SafetensorError), "what was said first is kept"


def test_what_the_library_refuses_itself_stays_as_it_is(tmp_path):
    shared = torch.zeros(2)
    with pytest.raises(RuntimeError, match="share memory"):
        save_tensors({"a": shared, "b": shared}, tmp_path / "x.safetensors")
