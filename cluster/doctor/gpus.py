"""Whether PyTorch can use the GPUs. It is asked in a process of its own, and only where there are some."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml

from cluster.doctor.finding import Finding

LIMIT_S = 90.0
"""Seconds for this check: PyTorch opens each GPU, on machines where nobody else keeps the driver awake."""
ASK_TORCH = """
import json, torch
there = torch.cuda.is_available()
for number in range(torch.cuda.device_count() if there else 0):
    torch.ones(2, device=f"cuda:{number}").sum().item()
nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
version = ".".join(map(str, torch.cuda.nccl.version())) if there and nccl else ""
print(json.dumps([torch.version.cuda, torch.cuda.device_count() if there else 0, version]))
"""
DRIVER = "install a newer NVIDIA driver, or the PyTorch of the driver's CUDA version (https://pytorch.org/get-started)"


def gpus(ray_counts: float | None = None) -> Finding:
    """GPUs, driver, CUDA and NCCL.

    Args:
        ray_counts: GPUs that Ray counts on this node. There, a task that asks for no GPU sees none, so what is
            visible to this process is not looked at.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _without_driver(str(error))
    names = [pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())]
    cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    driver = f"driver {pynvml.nvmlSystemGetDriverVersion()} for CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    found = f"{', '.join(f'{names.count(name)} x {name}' for name in dict.fromkeys(names))}, {driver}"
    if ray_counts is not None and ray_counts > len(names):
        return Finding("broken", f"{found}; Ray counts {ray_counts:g}", f"start the node with --num-gpus={len(names)}")
    return _with_torch(found, all_of_them=ray_counts is not None)


def _without_driver(reason: str) -> Finding:
    if cards := _nvidia_cards():
        return Finding(
            "warning",
            f"{cards} NVIDIA GPUs, and no driver that this process can use ({reason}): labs train on CPUs",
            "install NVIDIA's driver; start a container with docker run --gpus all, a pod with nvidia.com/gpu",
        )
    return Finding("ok", "none: labs train on CPUs")


def _with_torch(found: str, *, all_of_them: bool) -> Finding:
    """What PyTorch says to the GPUs that NVIDIA's driver has."""
    hidden = {"CUDA_VISIBLE_DEVICES"} if all_of_them else set()
    said = subprocess.run(
        [sys.executable, "-c", ASK_TORCH],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    if said.returncode:
        return Finding("broken", f"{found}; PyTorch can't use them ({said.stderr.strip().splitlines()[-1]})", DRIVER)
    answer: list[Any] = json.loads(said.stdout.splitlines()[-1])
    cuda, usable, nccl = answer
    if cuda is None:
        return Finding("broken", f"{found}; the installed PyTorch is for CPUs alone", "install a PyTorch with CUDA")
    if not usable and not all_of_them and os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return Finding("warning", f"{found}; CUDA_VISIBLE_DEVICES hides them", "unset it to train on GPUs")
    if not usable:
        return Finding("broken", f"{found}; PyTorch for CUDA {cuda} can't use them", DRIVER)
    if not nccl:
        return Finding("warning", f"{found}; no NCCL, which several workers need", "install a PyTorch with NCCL")
    return Finding("ok", f"{found}; PyTorch for CUDA {cuda} with NCCL {nccl} uses {usable}")


def _nvidia_cards() -> int:
    """GPUs of NVIDIA on this machine's bus, with a driver or without."""
    cards = 0
    for device in Path("/sys/bus/pci/devices").glob("*"):
        vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text()
        cards += vendor == "0x10de" and kind.startswith("0x03")
    return cards
