"""Rehearsal: a few images of each old task are kept and used again, which the course's rules do not allow."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs.core.run import Run
from labs.lifelong.method import Batches, Method, gradient, gradient_vector, unflatten


class EpisodicMemory(nn.Module):
    """Some images (N, 28, 28) uint8 and labels (N,) of each finished task; the first `filled` rows are in use.

    The buffers have a fixed shape, so that a checkpoint can be loaded into an empty memory.
    """

    images: torch.Tensor
    labels: torch.Tensor
    filled: torch.Tensor

    def __init__(self, tasks: int, per_task: int, side: int) -> None:
        super().__init__()
        self.per_task = per_task
        self.register_buffer("images", torch.zeros(tasks * per_task, side, side, dtype=torch.uint8))
        self.register_buffer("labels", torch.zeros(tasks * per_task, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def add(self, dataset: TensorDataset, generator: torch.Generator) -> None:
        """Keep `per_task` random images of a task, or all if it has fewer."""
        images, labels = dataset[torch.randperm(len(dataset), generator=generator)[: self.per_task]]
        start, end = int(self.filled), int(self.filled) + len(images)
        self.images[start:end], self.labels[start:end] = images, labels
        self.filled.fill_(end)

    def sample(self, count: int, generator: torch.Generator, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
        """This worker's part of `count` images and labels, sampled with replacement from those of all tasks."""
        rows = torch.randint(int(self.filled), (count,), generator=generator)[run.rank :: run.world_size]
        rows = rows.to(self.images.device)
        return self.images[rows], self.labels[rows]


class Replay(Method):
    """Experience replay with a tiny memory (Chaudhry et al., arXiv:1902.10486): each batch gets as many old images."""

    def __init__(self, run: Run, memory: EpisodicMemory) -> None:
        super().__init__(run)
        self.memory = memory

    def extend_batch(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.memory.filled:
            return x, y
        old_x, old_y = self.memory.sample(len(x) * self.run.world_size, self.generator, self.run)
        return torch.cat([x, old_x]), torch.cat([y, old_y])

    def after_task(self, net: nn.Module, dataset: TensorDataset, batches: Batches) -> None:
        self.memory.add(dataset, self.generator)


class AGEM(Method):
    """Averaged gradient episodic memory (Chaudhry et al., arXiv:1812.00420).

    To first order no step raises the loss on the memory. Its gradient, the reference, is computed on as many images as
    a batch has, sampled anew for each step.
    """

    def __init__(self, run: Run, memory: EpisodicMemory, batch_size: int) -> None:
        super().__init__(run)
        self.memory, self.batch_size = memory, batch_size

    def before_step(self, net: nn.Module) -> None:
        if not self.memory.filled:
            return
        x, y = self.memory.sample(self.batch_size, self.generator, self.run)
        reference = self.run.average(gradient(F.cross_entropy(net(x), y), net))
        projected = project(gradient_vector(net), reference)
        for parameter, values in zip(net.parameters(), unflatten(projected, net), strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(values)

    def after_task(self, net: nn.Module, dataset: TensorDataset, batches: Batches) -> None:
        self.memory.add(dataset, self.generator)


def project(task_gradient: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The vector (P,) nearest to the task's gradient whose dot product with the reference gradient is not negative."""
    product = task_gradient @ reference
    if product >= 0:
        return task_gradient
    # g~ = g - (g . g_ref / g_ref . g_ref) g_ref   (eq. 11)
    return task_gradient - product / (reference @ reference) * reference
