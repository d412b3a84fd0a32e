"""How Ray Train workers find and reach each other: over the network that joins the cluster's nodes, and no other.

PyTorch on its own listens for its workers on every interface of a machine, and takes the one that the hostname resolves
to, which on Debian is a loopback address that no other node reaches.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import ray
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

LOOPBACK = "127.0.0.1"


@dataclass
class ProcessGroup(TorchConfig):  # type: ignore[misc]
    """Ray's way to form the process group, on the interface of the nodes' own addresses.

    Where the cluster is this machine alone, the workers find each other through a file, so that no port is open.
    """

    @property
    def backend_cls(self) -> type["_Backend"]:
        return _Backend


class _Backend(_TorchBackend):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        # In Ray's own folder: where Ray ends at once, nobody is left to remove the file.
        self.file = Path(ray._private.worker._global_node.get_session_dir_path()) / f"workers-{uuid4().hex}"

    def on_start(self, worker_group, backend_config) -> None:  # type: ignore[no-untyped-def]
        addresses = worker_group.execute(use_interface_of_node)
        if set(addresses) != {LOOPBACK}:
            super().on_start(worker_group, backend_config)
            return
        worker_group.execute(_set_torch_distributed_env_vars)
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        joining = [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend="nccl" if gpus else "gloo",
                world_rank=rank,
                world_size=len(worker_group),
                init_method=self.file.as_uri(),
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group, backend_config: BackendConfig) -> None:  # type: ignore[no-untyped-def]
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:  # it raises where a worker was killed
            self.file.unlink(missing_ok=True)


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
