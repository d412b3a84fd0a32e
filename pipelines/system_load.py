"""Samples the load of the machine while a run trains on it, into the run's folder."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from labs.core import events

SYSTEM = "system"
"""Folder below a run's folder that holds the samples, as events."""
SAMPLE_EVERY_S = 5.0
PEAK, GPU_PEAK = "system/peak_process_memory_megabytes", "system/peak_gpu_memory_megabytes"
"""The most memory of the process in a sample so far, and the most that its tensors have taken on its GPU."""


class LoadSampler:
    """While entered, a thread samples the load of this machine every 5 s.

    The names are those of MLflow's own system metrics, so that its interface shows them as such. A worker samples, not
    the driver: the load that counts is that of the machine that does the work.
    """

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / SYSTEM
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._sample_until_ended, name="load-sampler", daemon=True)

    def __enter__(self) -> None:
        import torch

        self.folder.mkdir(exist_ok=True)
        before = events.read(self.folder)
        self.steps, self.peak = len(before), max((event["metrics"].get(PEAK, 0.0) for event in before), default=0.0)
        if torch.cuda.is_initialized():  # by an earlier job of this process
            with suppress(Exception):  # as in `_gpu_load`
                torch.cuda.reset_peak_memory_stats()
        psutil.cpu_percent()  # the first call starts the measurement
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join()
        self._sample()  # so that even a run of a second has one

    def _sample_until_ended(self) -> None:
        while not self.ended.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        memory, process = psutil.virtual_memory(), psutil.Process().memory_info().rss / 1e6
        self.peak = max(self.peak, process)
        metrics = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": process,
            PEAK: self.peak,
            **_gpu_load(),
        }
        self.steps += 1
        with suppress(OSError):  # a full disk ends the run at its next checkpoint, with that message
            events.append(self.folder, {"time": time.time(), "step": self.steps, "metrics": metrics})


def _gpu_load() -> dict[str, float]:
    """Memory and utilisation of the GPU that this process computes on; nothing where it computes on none.

    The driver does not tell everything everywhere: MIG, vGPU and WSL have no utilisation. What it refuses is left out.
    """
    import torch

    if not torch.cuda.is_initialized():  # asking about a GPU that the job does not use would open a context on it
        return {}
    gpu, load = torch.cuda.current_device(), {}
    with suppress(Exception):  # torch, NVML and CUDA each have errors of their own
        free, total = torch.cuda.mem_get_info(gpu)
        load[f"system/gpu_{gpu}_memory_usage_megabytes"] = (total - free) / 1e6
    with suppress(Exception):
        load[GPU_PEAK] = torch.cuda.max_memory_allocated() / 1e6
    with suppress(Exception):
        load[f"system/gpu_{gpu}_utilization_percentage"] = float(torch.cuda.utilization(gpu))
    return load
