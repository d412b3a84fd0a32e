"""One worker of a training run: its device, its rank, and the collective operations between the workers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from labs.core import precision as number_format
from labs.core.heading import Precision
from labs.core.weights import unwrap

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


class Worker:
    """This process among those that train one model together.

    The process group, if there is one, must exist before: rank and world size come from it. Without a group the
    worker is alone, and every collective operation returns what it was given.

    Args:
        device: where to compute; by default the first GPU, else the CPU.
        precision: number format of the training.
        compiled: whether networks are compiled by torch.compile.
        sync_batch_norm: whether batch norm on GPUs has the statistics of all workers.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        *,
        precision: Precision = "auto",
        compiled: bool = False,
        sync_batch_norm: bool = False,
    ) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision, self.compiled = number_format.choose(precision, self.device), compiled
        # Scales losses in fp16, whose smallest number most gradients would be below; leaves them alone otherwise.
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.sync_batch_norm = sync_batch_norm and self.device.type == "cuda" and self.world_size > 1

    def wrap(self, model: M, *, compilable: bool = True) -> M:
        """The model on this worker's device, in the run's precision, under DDP where there are several workers.

        All workers begin with rank 0's weights, since their random generators differ. Each worker keeps its own batch
        statistics until `evaluation` broadcasts rank 0's: a broadcast before every step would cost one more collective
        operation and change nothing that is kept.

        Args:
            model: a network, or a module without a forward that holds those networks that are called.
            compilable: whether torch.compile may have it: it can't compile what is differentiated twice.
        """
        if self.sync_batch_norm:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = model.to(self.device)
        for module in number_format.called_modules(model):
            if self.precision in number_format.DTYPES:
                number_format.add_autocast(module, self.device.type, number_format.DTYPES[self.precision])
            if self.compiled and compilable:
                module.compile()
        if self.world_size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        return cast(M, DistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False))

    def autocast(self) -> torch.autocast:
        """While entered, this worker computes in the run's precision; for what calls other methods of a network than
        its forward. Outputs may be of 16 bits."""
        dtype = number_format.DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def micro_batches(self, model: nn.Module, batches: Sequence[T]) -> Iterator[T]:
        """The micro-batches of one optimizer step: gradients add up, and the workers average them once, in the backward
        pass of the last one. Each worker has the same number of them."""
        *others, last = batches
        if isinstance(model, DistributedDataParallel):
            with model.no_sync():
                yield from others
        else:
            yield from others
        yield last

    def backward(self, loss: torch.Tensor, inputs: Sequence[torch.Tensor] | None = None) -> None:
        """Backpropagate the loss; `inputs` limits the parameters whose gradients are computed.

        In fp16 the gradients are those of the scaled loss until `unscale`, `clip_gradients` or `step`.
        """
        self._scaler.scale(loss).backward(inputs=inputs)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Undo the loss scaling of fp16, where gradients are read before the step; nothing to do in other formats."""
        self._scaler.unscale_(optimizer)

    def clip_gradients(self, optimizer: torch.optim.Optimizer, max_norm: float) -> torch.Tensor:
        """Shorten the gradient of all the optimizer's parameters to a norm of `max_norm`; returns its norm before."""
        self.unscale(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Update the weights; returns whether it did. In fp16 a step whose gradients overflowed is left out, and the
        loss scaled less."""
        scale = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= scale

    @contextmanager
    def evaluation(self, model: M) -> Iterator[M]:
        """The module without DDP, in eval mode, without gradients, with rank 0's buffers (batch statistics) everywhere.

        DDP's own forward would wait for as many forward passes on every worker, and the workers' parts of the
        validation set differ in length.
        """
        module = cast(M, unwrap(model))
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)
        was_training = module.training
        module.eval()
        with torch.no_grad():
            yield module
        module.train(was_training)

    def mean(self, total: torch.Tensor | float, count: torch.Tensor | float = 1) -> float:
        """Sum of the workers' totals divided by the sum of their counts: exact however samples are distributed."""
        pair = torch.stack([torch.as_tensor(x, dtype=torch.float64, device="cpu").detach() for x in (total, count)])
        if self.world_size > 1:
            pair = pair.to(self.device)
            dist.all_reduce(pair)
        return float(pair[0] / pair[1])

    def average(self, value: torch.Tensor) -> torch.Tensor:
        """The workers' mean of a tensor, left on the device: a loss that is divided by it makes no GPU wait."""
        if self.world_size == 1:
            return value
        total = value.to(torch.float32, copy=True)
        dist.all_reduce(total)
        return total / self.world_size

    def broadcast(self, value: torch.Tensor) -> torch.Tensor:
        """Rank 0's value, on every worker; all pass a tensor of the same shape and type."""
        if self.world_size == 1:
            return value
        value = value.to(self.device)
        dist.broadcast(value, 0)
        return value

    def gather(self, objects: list[Any]) -> list[Any]:
        """All workers' lists joined in the order of ranks, on every worker."""
        if self.world_size == 1:
            return objects
        parts: list[list[Any]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, objects)
        return [item for part in parts for item in part]

    def sync_gradients(self, model: nn.Module) -> None:
        """Average the gradients over the workers in one flat all-reduce.

        For losses that do not go through the forward of `wrap`'s model (`functional_call`, gradient penalties): DDP
        leaves their gradients unsynchronised without an error.
        """
        if self.world_size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def barrier(self) -> None:
        """Wait until every worker has called this."""
        if self.world_size > 1:
            dist.barrier()
