"""Memory that is full: which errors mean it, and what is offered."""

import json
import subprocess
import sys

import pytest
import torch

from pipeline.attempt import sentences
from pipeline.errors import BadInput, StageFailure
from pipeline.memory import is_out_of_memory, memory_failures, out_of_memory
from pipeline.recipe import Recipe, apply


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA driver error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . not enough memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_which_errors_mean_that_memory_is_full(error, full):
    assert is_out_of_memory(error) is full


def test_torch_itself_says_so_where_the_machine_is_too_small():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("setting", "device", "value", "remedy"),
    [
        ("finetune.micro_batch_size", "cuda", 8, {"finetune.micro_batch_size": 4}),
        ("finetune.micro_batch_size", "cuda", 0, {"finetune.micro_batch_size": 4}),
        ("finetune.micro_batch_size", "cpu", 0, {"finetune.micro_batch_size": 4}),
        ("finetune.micro_batch_size", "cpu", 3, {"finetune.micro_batch_size": 1}),
        ("finetune.micro_batch_size", "cuda", 1, {}),
        ("encoder.batch_size", "cuda", 32, {"encoder.batch_size": 16}),
        ("encoder.batch_size", "cuda", 1, {}),
        ("encoder.batch_size", "cpu", 32, {}),
    ],
)
def test_the_smaller_setting_is_offered_where_there_is_one(setting, device, value, remedy):
    recipe = apply(Recipe(), {setting: value}, "test")
    failure = out_of_memory(recipe, device, setting)
    assert failure.remedy == remedy
    assert f"{setting} = {value}" in failure.happened
    assert ("what the machine chose" in failure.happened) is (value == 0)
    assert "Halve" not in failure.next_step, "half of what the machine chose is no half of 0"
    for name, smaller in remedy.items():
        assert f"--set {name}={smaller}" in failure.next_step
        apply(recipe, remedy, "test")
    if not remedy:
        assert "encoder.passage_tokens" in failure.next_step
    assert json.loads(json.dumps(sentences(failure)))["remedy"] == remedy


def test_the_innermost_work_is_named_and_other_errors_pass():
    recipe = Recipe()
    with (
        pytest.raises(StageFailure, match="encoding"),
        memory_failures(recipe, "cuda", "finetune.micro_batch_size"),
        memory_failures(recipe, "cuda", "encoder.batch_size"),
    ):
        raise MemoryError
    for error in (RuntimeError("shapes"), BadInput("bad", safe="all", next_step="mend")):
        with (
            pytest.raises(type(error)) as caught,
            memory_failures(recipe, "cpu", "encoder.batch_size"),
        ):
            raise error
        assert caught.value is error


def test_a_failure_without_a_remedy_says_so_in_the_journal():
    assert sentences(BadInput("bad", safe="all", next_step="mend"))["remedy"] == {}


def test_torch_is_not_imported():
    code = "import sys, pipeline.memory; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
