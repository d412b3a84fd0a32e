"""Sampling the machine's load never ends a run."""

from pathlib import Path

import pytest

from labs.core import events
from pipelines import system_load
from pipelines.system_load import GPU_PEAK, PEAK, SYSTEM, LoadSampler


def test_a_gpu_without_utilisation_is_sampled_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MIG, vGPU and WSL have none: NVML raises an error of its own."""

    def no_utilisation(gpu: int) -> int:
        raise RuntimeError("Not Supported")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 1)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda gpu: (1e6, 3e6))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 5e6)
    monkeypatch.setattr("torch.cuda.utilization", no_utilisation)
    with LoadSampler(tmp_path):
        pass
    (event,) = events.read(tmp_path / SYSTEM)
    gpu = {name: value for name, value in event["metrics"].items() if "gpu" in name}
    assert gpu == {"system/gpu_1_memory_usage_megabytes": 2.0, GPU_PEAK: 5.0}


def test_a_continued_run_keeps_the_most_memory_that_it_ever_had(tmp_path: Path) -> None:
    (tmp_path / SYSTEM).mkdir()
    events.append(tmp_path / SYSTEM, {"time": 1.0, "step": 1, "metrics": {PEAK: 1e9}})
    with LoadSampler(tmp_path):
        pass
    assert [event["metrics"][PEAK] for event in events.read(tmp_path / SYSTEM)] == [1e9, 1e9]


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(system_load.events, "append", no_space)
    with LoadSampler(tmp_path):
        pass
