"""How Ray Train workers find and reach each other: over the network that joins the cluster's nodes, and no other.

PyTorch on its own listens for its workers on every interface of a machine, and takes the one that the hostname resolves
to, which on Debian is a loopback address that no other node reaches. Ray's own `TorchConfig` leaves both as they are.
It also has Ray Train's controller import PyTorch, which takes two seconds and has no use; so this module does not.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import ray
from ray._common.network_utils import build_address
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

LOOPBACK = "127.0.0.1"
FORMING_S, LEAVING_S = 1800.0, 30.0
"""How long workers wait for each other in a collective, and how long they may take to leave the group."""


def rendezvous_file() -> Path:
    """A file that is not there yet, in Ray's own folder: where Ray ends at once, nobody is left to remove it."""
    return Path(ray._private.worker._global_node.get_session_dir_path()) / f"workers-{uuid4().hex}"


@dataclass
class ProcessGroup(BackendConfig):  # type: ignore[misc]
    """The process group of PyTorch, on the interface of the nodes' own addresses.

    Where the cluster is this machine alone, the workers find each other through a file, so that no port is open.

    Attributes:
        backend: `gloo` or `nccl`; `TorchTrainer` sets it.
        file: where the workers of one machine find each other.
    """

    backend: str | None = None
    file: Path = field(default_factory=rendezvous_file)

    @property
    def backend_cls(self) -> type["_Backend"]:
        return _Backend


class _Backend(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True  # as Ray's own: NCCL reaches the other workers' devices

    def on_start(self, worker_group, backend_config: ProcessGroup) -> None:  # type: ignore[no-untyped-def]
        addresses = worker_group.execute(use_interface_of_node)
        if set(addresses) == {LOOPBACK}:
            url = backend_config.file.as_uri()
        else:
            url = f"tcp://{build_address(*worker_group.execute_single(0, get_address_and_port))}"
        size = len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, join, backend_config.backend, url, rank, size)
            for rank in range(size)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group, backend_config: ProcessGroup) -> None:  # type: ignore[no-untyped-def]
        try:
            ray.get(worker_group.execute_async(leave), timeout=LEAVING_S)
        finally:  # it raises where a worker was killed
            backend_config.file.unlink(missing_ok=True)


def join(backend: str, url: str, rank: int, size: int) -> None:
    """Form the group together with the other workers, each of which calls this."""
    import torch.distributed as dist

    dist.init_process_group(backend, init_method=url, rank=rank, world_size=size, timeout=timedelta(seconds=FORMING_S))


def leave() -> None:
    """Leave the group, before the worker's process ends."""
    import torch.distributed as dist

    if dist.is_initialized():  # it is not where the group could not be formed
        dist.destroy_process_group()


def use_interface_of_node() -> str:
    """Let gloo and NCCL in this process take the interface that has the node's address, unless the user names one.

    Returns:
        The node's address.
    """
    import psutil

    address: str = ray.util.get_node_ip_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if address in (each.address for each in addresses):
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)
    return address
