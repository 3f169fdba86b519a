"""`check`: the gate and the preflight, with each verdict and its remedy."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace

from pipeline.errors import GateRefusal
from pipeline.gate import gigabytes, read_machine, to_row
from pipeline.gpus import Gpu, open_nvml
from pipeline.packages import package_checks
from pipeline.preflight import judge, read_surroundings
from pipeline.profiles import base_recipe, find_profile
from pipeline.recipe import Recipe
from pipeline.run import home
from tui.output import Output

_MARKS = {"pass": "ok  ", "warn": "warn", "refuse": "NO  "}


def check_command(arguments: Namespace, output: Output) -> int:
    """`embedsmith check`: exit 0 when a GPU passes the gate, or none is needed; 3 otherwise."""
    profile = find_profile(arguments.profile or Recipe().profile)
    key_variable = base_recipe(profile).sdg.key_variable
    surroundings = read_surroundings(home(), key_variable, os.environ, profile)
    report = judge(read_machine(open_nvml(), os.environ), surroundings)
    report = replace(report, checks=(*report.checks, *package_checks()))
    for gpu in report.gpus:
        output.say(_gpu_line(gpu))
    if report.gpus:
        output.say()
    for check in report.checks:
        output.say(f"{_MARKS[check.verdict]}  {check.name}: {check.detail}")
        if check.remedy:
            output.say(f"      -> {check.remedy}")
    output.record("check", to_row(report))
    return 0 if report.open or not profile.gated else GateRefusal.exit_code


def _gpu_line(gpu: Gpu) -> str:
    major, minor = gpu.compute_capability
    return (
        f"GPU {gpu.index}  {gpu.name}  {gpu.architecture}  compute capability {major}.{minor}  "
        f"{gigabytes(gpu.memory_total)}, {gigabytes(gpu.memory_free)} free  driver {gpu.driver}"
    )
