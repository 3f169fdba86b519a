"""The GPUs as NVML describes them, and the library that is asked."""

import sys

import pynvml
import pytest
from fake_nvml import FakeNvml, h200, t4

from pipeline import gate, gpus
from pipeline.errors import MissingPart
from pipeline.gpus import Nvml, open_nvml, read_gpus


def test_every_card_is_read_and_the_library_is_left_again():
    nvml = FakeNvml(t4(), h200())
    found = [(gpu.index, gpu.uuid, gpu.architecture) for gpu in read_gpus(nvml)]
    assert found == [(0, "GPU-t4", "Turing"), (1, "GPU-h200", "Hopper")]
    assert nvml.started == 0


def test_a_driver_that_doesnt_answer_is_left_again():
    nvml = FakeNvml(errors={"nvmlDeviceGetCount": pynvml.NVML_ERROR_UNKNOWN})
    with pytest.raises(pynvml.NVMLError):
        read_gpus(nvml)
    assert nvml.started == 0


def test_text_of_older_bindings_comes_as_bytes():
    (gpu,) = read_gpus(FakeNvml(h200(), bytes_text=True))
    assert (gpu.name, gpu.uuid, gpu.driver) == ("NVIDIA H200", "GPU-h200", "580.95.05")


def test_names_and_numbers_are_those_of_the_installed_library():
    for name in (*vars(Nvml), *Nvml.__annotations__):
        if name.startswith(("nvml", "NVML")):
            assert hasattr(pynvml, name), name
    for number, name in gpus._ARCHITECTURES.items():
        assert getattr(pynvml, f"NVML_DEVICE_ARCH_{name.upper()}") == number
    for name in (*gate._DRIVER_REMEDIES, *gpus._NO_MIG, "NVMLError_NotFound"):
        assert issubclass(getattr(pynvml, name), pynvml.NVMLError)
    assert pynvml.NVML_DEVICE_MIG_ENABLE == gpus._MIG_ENABLED


def test_the_real_library_is_asked_and_answers():
    report = gate.read_machine(open_nvml(), {})
    assert report.checks[0].verdict == ("pass" if report.open else "refuse")


def test_a_machine_without_the_binding_is_told_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MissingPart, match="nvidia-ml-py") as caught:
        open_nvml()
    assert "embedsmith rehearse" in caught.value.next_step
