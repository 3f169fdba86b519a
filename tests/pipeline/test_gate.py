"""The gate against many machines, told by a fake NVML at the library's boundary."""

import inspect
import json
import subprocess
import sys

import pynvml
import pytest
from fake_nvml import FakeNvml, Slice, a100, a100_40, h200, rtx_6000_ada, t4, v100

from pipeline.errors import GateRefusal, MissingPart
from pipeline.gate import Check, pin, read_machine, require_gpu, to_row
from pipeline.preflight import (
    DISK_ADVISED,
    RAM_ADVISED,
    Surroundings,
    judge,
    preflight,
    read_surroundings,
)

HALF = 43_000_000_000


def look(*cards, visible=None, **machine):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return read_machine(FakeNvml(*cards, **machine), environment)


def check(report, name):
    return next(check for check in report.checks if check.name.startswith(name))


def mig_a100(*slices, **changes):
    card = a100(slices=slices, **changes)
    card.mig = 1
    return card


@pytest.mark.parametrize(
    ("card", "architecture"),
    [(a100(), "Ampere"), (h200(), "Hopper")],
    ids=["A100-80", "H200"],
)
def test_a_card_of_80_gb_from_ampere_on_opens_the_gate(card, architecture):
    report = look(card)
    assert report.open
    assert report.chosen.uuid == card.uuid
    assert report.chosen.architecture == architecture
    assert report.chosen.driver == "580.95.05"
    assert check(report, "gate") == Check("gate", "pass", f"GPU 0 {card.name} will be used")
    assert require_gpu(report) is report.chosen


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (t4(), "compute capability 7.5 is below 8.0 and 16.1 GB is below 80 GB"),
        (v100(), "compute capability 7.0 is below 8.0 and 34.3 GB is below 80 GB"),
        (a100_40(), "42.9 GB is below 80 GB"),
        (rtx_6000_ada(), "51.5 GB is below 80 GB"),
    ],
    ids=["T4", "V100-32", "A100-40", "RTX 6000 Ada"],
)
def test_a_smaller_or_older_card_is_refused_with_its_reason(card, reason):
    report = look(card)
    assert not report.open
    assert report.gpus[0].refusal == reason
    mine = check(report, f"GPU 0 {card.name}")
    assert (mine.verdict, mine.detail) == ("refuse", reason)
    assert mine.remedy == "This GPU can't be used, whatever the settings."
    with pytest.raises(GateRefusal) as caught:
        require_gpu(report)
    assert caught.value.exit_code == 3
    assert card.name in caught.value.happened
    assert reason in caught.value.happened
    assert "embedsmith rehearse" in caught.value.next_step


@pytest.mark.parametrize(
    ("total", "opens"),
    [(80_000_000_000, True), (79_999_999_999, False)],
)
def test_the_line_is_80e9_bytes(total, opens):
    card = h200()
    card.total = total
    report = look(card)
    assert report.open is opens
    if not opens:
        assert report.gpus[0].refusal == "79.9 GB is below 80 GB"


@pytest.mark.parametrize(
    ("capability", "opens"), [((7, 9), False), ((8, 0), True), ((10, 0), True)]
)
def test_the_line_is_compute_capability_8(capability, opens):
    card = h200()
    card.capability = capability
    assert look(card).open is opens


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "Install the NVIDIA driver."),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Load the NVIDIA driver"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "Reboot"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_UNKNOWN, "nvidia-smi"),
    ],
)
@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_missing_or_broken_driver_is_refused_with_what_to_do(call, code, remedy):
    nvml = FakeNvml(h200(), errors={call: code})
    report = read_machine(nvml, {})
    assert not report.open
    mine = check(report, "NVIDIA driver")
    assert mine.verdict == "refuse"
    assert remedy in mine.remedy
    with pytest.raises(GateRefusal) as caught:
        require_gpu(report)
    assert remedy in caught.value.next_step
    assert "embedsmith rehearse" in caught.value.next_step
    assert nvml.started == 0


def test_a_driver_without_a_gpu_is_refused():
    report = look()
    assert check(report, "GPU").detail == "the NVIDIA driver sees none"
    with pytest.raises(GateRefusal, match="the NVIDIA driver sees none"):
        require_gpu(report)


def test_of_several_gpus_the_one_that_qualifies_is_chosen():
    report = look(t4(), a100_40(), h200(), rtx_6000_ada())
    assert report.chosen.uuid == "GPU-h200"
    assert [bool(gpu.refusal) for gpu in report.gpus] == [True, True, False, True]
    assert check(report, "GPU 0").verdict == "warn"


def test_of_several_that_qualify_the_one_with_most_free_memory_is_chosen():
    full, empty = a100("GPU-full", free=10**9), a100("GPU-empty", free=8 * 10**10)
    assert look(full, empty).chosen.uuid == "GPU-empty"
    assert look(empty, full).chosen.uuid == "GPU-empty"


def test_of_equals_the_first_is_chosen():
    assert look(a100("GPU-one"), a100("GPU-two")).chosen.uuid == "GPU-one"


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetMigMode",
    ],
)
def test_an_error_on_one_gpu_refuses_that_one_and_no_other(call):
    lost = h200("GPU-lost", errors={call: pynvml.NVML_ERROR_GPU_IS_LOST})
    report = look(lost, a100())
    assert report.chosen.uuid == "GPU-a100"
    assert report.gpus[0].refusal == "NVML can't read it: GPU is lost"
    assert "nvidia-smi -i 0" in check(report, "GPU 0").remedy
    alone = look(lost)
    assert not alone.open
    with pytest.raises(GateRefusal, match="GPU is lost"):
        require_gpu(alone)


def test_what_was_read_before_an_error_is_kept_for_the_message():
    card = h200(errors={"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_NOT_SUPPORTED})
    gpu = look(card).gpus[0]
    assert (gpu.name, gpu.uuid) == ("NVIDIA H200", "GPU-h200")
    assert gpu.fault == "Not Supported"


@pytest.mark.parametrize("error", ["mismatch", "nvmlDeviceGetComputeRunningProcesses"])
def test_processes_that_cannot_be_read_refuse_nothing(error):
    report = look(h200(errors={error: pynvml.NVML_ERROR_NO_PERMISSION}))
    assert report.open
    assert report.chosen.processes is None


def test_a_driver_too_old_for_an_architecture_or_mig_refuses_nothing():
    missing = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    report = look(
        h200(errors={"nvmlDeviceGetArchitecture": missing, "nvmlDeviceGetMigMode": missing})
    )
    assert report.open
    assert report.chosen.architecture == "unknown"


def test_a_card_in_mig_mode_counts_by_its_devices_and_not_by_itself():
    halves = (Slice("MIG-1", "A100 MIG 3g.40gb", HALF), None, Slice("MIG-2", "x", HALF))
    report = look(mig_a100(*halves))
    assert not report.open
    assert [(gpu.uuid, gpu.mig) for gpu in report.gpus] == [
        ("GPU-a100", False),
        ("MIG-1", True),
        ("MIG-2", True),
    ]
    assert "MIG mode" in report.gpus[0].refusal
    assert report.gpus[1].refusal == "43 GB is below 80 GB"
    assert "-mig 0" in check(report, "GPU 0 NVIDIA A100").remedy


def test_a_mig_device_that_is_large_enough_is_chosen_by_its_own_uuid():
    whole = Slice("MIG-whole", "A100 MIG 7g.80gb", 85_000_000_000, pids=(7,))
    report = look(t4(), mig_a100(whole))
    assert report.chosen.uuid == "MIG-whole"
    assert report.chosen.memory_total == 85_000_000_000
    assert report.chosen.compute_capability == (8, 0)
    assert report.chosen.processes == (7,)
    assert pin(report.chosen)["CUDA_VISIBLE_DEVICES"] == "MIG-whole"


@pytest.mark.parametrize("call", ["nvmlDeviceGetMigDeviceHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_an_error_on_one_mig_device_refuses_that_one_and_no_other(call):
    broken = Slice("MIG-b", "x", 85 * 10**9, errors={call: pynvml.NVML_ERROR_UNKNOWN})
    report = look(mig_a100(broken, Slice("MIG-good", "x", 85 * 10**9)))
    assert report.chosen.uuid == "MIG-good"
    assert report.gpus[1].refusal == "NVML can't read it: Unknown Error"


def test_a_card_in_mig_mode_without_devices_says_how_to_make_one():
    report = look(mig_a100())
    assert not report.open
    assert "Make one MIG device of 80 GB or more" in check(report, "GPU 0").remedy


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, ["GPU-aaa1", "GPU-aab2", "GPU-ccc3"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", ["GPU-aaa1"]),
        ("2,0", ["GPU-aaa1", "GPU-ccc3"]),
        (" 1 , 2 ", ["GPU-aab2", "GPU-ccc3"]),
        ("1,-1,2", ["GPU-aab2"]),
        ("1,9,2", ["GPU-aab2"]),
        ("9,1", []),
        ("1,1", []),
        ("GPU-aab2", ["GPU-aab2"]),
        ("GPU-c", ["GPU-ccc3"]),
        ("GPU-aa", []),
        ("GPU-ccc3,GPU-aa,GPU-aab2", ["GPU-ccc3"]),
        ("GPU-nothing", []),
        ("MIG-nothing", []),
    ],
)
def test_cuda_visible_devices_hides_as_cuda_does(visible, seen):
    report = look(a100("GPU-aaa1"), a100("GPU-aab2"), a100("GPU-ccc3"), visible=visible)
    assert len(report.gpus) == 3
    assert [gpu.uuid for gpu in report.gpus if gpu.visible] == seen
    assert report.open is bool(seen)
    assert not seen or report.chosen.uuid == seen[0]


def test_a_hidden_gpu_is_listed_refused_and_its_remedy_named():
    report = look(h200(), visible="")
    assert report.gpus[0].refusal == "CUDA_VISIBLE_DEVICES hides it"
    assert check(report, "GPU 0").remedy == "Unset CUDA_VISIBLE_DEVICES, or name GPU-h200 in it."
    with pytest.raises(GateRefusal, match="CUDA_VISIBLE_DEVICES hides it"):
        require_gpu(report)


def test_a_hidden_gpu_loses_to_a_visible_one_with_less_memory():
    assert look(h200(), a100(), visible="1").chosen.uuid == "GPU-a100"


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("MIG-b", ["MIG-b"]),
        ("MIG-", []),
        ("0", ["GPU-a100", "MIG-a", "MIG-b"]),
        ("GPU-a1", ["GPU-a100", "MIG-a", "MIG-b"]),
        ("1", ["GPU-h200"]),
    ],
)
def test_cuda_visible_devices_names_mig_devices_and_their_cards(visible, seen):
    card = mig_a100(Slice("MIG-a", "x", HALF), Slice("MIG-b", "x", 85 * 10**9))
    report = look(card, h200(), visible=visible)
    assert [gpu.uuid for gpu in report.gpus if gpu.visible] == seen


def test_no_other_variable_opens_the_gate():
    environment = {
        "EMBEDSMITH_GATE": "off",
        "EMBEDSMITH_SKIP_GATE": "1",
        "CUDA_VISIBLE_DEVICES": "0",
        "CI": "true",
    }
    assert not read_machine(FakeNvml(t4()), environment).open
    assert set(inspect.signature(require_gpu).parameters) == {"report"}


def test_pinning_again_gives_the_same_gpu():
    first = look(h200("GPU-x"), a100("GPU-y"))
    pinned = pin(first.chosen)
    again = read_machine(FakeNvml(h200("GPU-x"), a100("GPU-y")), pinned)
    assert again.chosen == first.chosen
    assert pinned["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_the_report_is_json():
    row = json.loads(json.dumps(to_row(look(t4(), h200()))))
    assert (row["open"], row["chosen"]) == (True, "GPU-h200")
    assert row["gpus"][0]["compute_capability"] == [7, 5]
    assert {check["verdict"] for check in row["checks"]} == {"pass", "warn"}
    shut = to_row(look(t4()))
    assert (shut["open"], shut["chosen"]) == (False, None)


def test_importing_the_gate_loads_neither_torch_nor_nvml():
    code = (
        "import sys, pipeline.gate, pipeline.gpus, pipeline.preflight\n"
        "print([m for m in ('torch', 'numpy', 'pynvml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def surroundings(tmp_path, **changes):
    plenty = {
        "folder": tmp_path,
        "disk_free": DISK_ADVISED,
        "ram_total": RAM_ADVISED,
        "docker": "28.2.2",
        "key_variable": "NVIDIA_API_KEY",
        "key_present": True,
    }
    return Surroundings(**plenty | changes)


def test_good_surroundings_pass_every_check(tmp_path):
    report = judge(look(h200()), surroundings(tmp_path))
    assert {check.verdict for check in report.checks} == {"pass"}


@pytest.mark.parametrize(
    ("name", "changes", "remedy"),
    [
        ("disk", {"disk_free": DISK_ADVISED - 1}, "EMBEDSMITH_HOME"),
        ("RAM", {"ram_total": RAM_ADVISED - 1}, "128 GB are advised"),
        (
            "docker",
            {"docker": MissingPart("no daemon", safe="", next_step="Start it")},
            "Start it",
        ),
        ("API key", {"key_present": False}, "Export NVIDIA_API_KEY"),
    ],
)
def test_poor_surroundings_warn_and_never_refuse(tmp_path, name, changes, remedy):
    poor = surroundings(tmp_path, **changes)
    report = judge(look(h200()), poor)
    assert report.open
    mine = check(report, name)
    assert mine.verdict == "warn"
    assert remedy in mine.remedy
    assert [c.name for c in preflight(poor) if c.verdict == "warn"] == [name]


def test_other_processes_and_an_old_driver_warn(tmp_path):
    report = judge(look(h200(pids=(912, 44)), driver="535.129.03"), surroundings(tmp_path))
    assert report.open
    assert check(report, "GPU's processes").detail == "processes 44, 912 compute on it"
    assert check(report, "GPU's processes").verdict == "warn"
    assert check(report, "driver").verdict == "warn"
    assert "CUDA 13" in check(report, "driver").remedy


def test_unreadable_processes_warn(tmp_path):
    report = judge(look(h200(errors={"mismatch": 0})), surroundings(tmp_path))
    assert check(report, "GPU's processes") == Check(
        "GPU's processes", "warn", "can't be read", "Look at `nvidia-smi` yourself."
    )


def test_surroundings_are_read_for_a_folder_that_is_not_there_yet(tmp_path):
    secret = "nvapi-0123456789"
    environment = {"PATH": str(tmp_path), "NVIDIA_API_KEY": secret}
    found = read_surroundings(tmp_path / "not" / "yet", "NVIDIA_API_KEY", environment)
    assert found.disk_free > 0
    assert found.ram_total > 10**8
    assert found.key_present
    assert isinstance(found.docker, MissingPart)
    assert secret not in repr(preflight(found))
    assert not read_surroundings(tmp_path, "OTHER_KEY", environment).key_present
