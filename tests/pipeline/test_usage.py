"""A GPU's memory and load at one moment, whatever NVML answers."""

import pynvml
import pytest
from fake_nvml import FakeNvml, Slice, a100, h200

from pipeline import usage
from pipeline.gpus import open_nvml
from pipeline.usage import GpuUsage, read_usage

GB = 10**9


def test_memory_load_and_temperature_of_the_gpu_that_is_named():
    nvml = FakeNvml(a100(), h200("GPU-busy", free=50 * GB, load=97, temperature=64))
    assert read_usage(nvml, "GPU-busy") == GpuUsage(
        memory_used=150_754_820_096 - 50 * GB,
        memory_total=150_754_820_096,
        utilisation_percent=97,
        temperature=64,
    )
    assert nvml.started == 0


def test_a_mig_device_has_memory_and_no_load():
    whole = Slice("MIG-whole", "A100 MIG 7g.80gb", 85 * GB, free=5 * GB)
    found = read_usage(FakeNvml(a100(slices=(None, whole))), "MIG-whole")
    assert found == GpuUsage(80 * GB, 85 * GB, None, None)


@pytest.mark.parametrize("call", ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature"])
def test_what_a_card_does_not_tell_is_left_open(call):
    card = h200("GPU-x", errors={call: pynvml.NVML_ERROR_NOT_SUPPORTED})
    found = read_usage(FakeNvml(card), "GPU-x")
    assert (found.utilisation_percent is None) == (call == "nvmlDeviceGetUtilizationRates")
    assert (found.temperature is None) == (call == "nvmlDeviceGetTemperature")


@pytest.mark.parametrize(
    "nvml",
    [
        FakeNvml(h200(), errors={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}),
        FakeNvml(h200("GPU-other")),
        FakeNvml(h200("GPU-x", errors={"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_GPU_IS_LOST})),
    ],
    ids=["no driver", "no such GPU", "a GPU that is lost"],
)
def test_nothing_is_raised_whatever_nvml_says(nvml):
    assert read_usage(nvml, "GPU-x") is None
    assert nvml.started == 0


def test_the_real_library_is_asked_and_answers():
    assert pynvml.NVML_TEMPERATURE_GPU == usage._TEMPERATURE_GPU
    assert read_usage(open_nvml(), "GPU-00000000-0000-0000-0000-000000000000") is None
