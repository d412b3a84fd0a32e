"""Ways to keep old tasks that are no springs on the weights: a few of their images, or what the old network says."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs.core.run import Run
from labs.lifelong.regularizers import Batches, Guard, gradient, gradients, weights

TEMPERATURE = 2.0
"""What logits are divided by before old and new ones are compared, as in Learning without Forgetting."""


class Memory(nn.Module):
    """Some images (N, 28, 28) uint8 and labels (N,) of each finished task; a state of fixed shape, so that it loads."""

    images: torch.Tensor
    labels: torch.Tensor
    filled: torch.Tensor

    def __init__(self, tasks: int, each: int, side: int) -> None:
        super().__init__()
        self.each = each
        self.register_buffer("images", torch.zeros(tasks * each, side, side, dtype=torch.uint8))
        self.register_buffer("labels", torch.zeros(tasks * each, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def add(self, data: TensorDataset, draws: torch.Generator) -> None:
        """Keep `each` images of a task, or all if it has fewer."""
        images, labels = data[torch.randperm(len(data), generator=draws)[: self.each]]
        start, end = int(self.filled), int(self.filled) + len(images)
        self.images[start:end], self.labels[start:end] = images, labels
        self.filled.fill_(end)

    def draw(self, count: int, draws: torch.Generator, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
        """This worker's share of `count` images and labels, drawn with replacement from all tasks'."""
        chosen = torch.randint(int(self.filled), (count,), generator=draws)[run.rank :: run.world_size]
        chosen = chosen.to(self.images.device)
        return self.images[chosen], self.labels[chosen]


class Replay(Guard):
    """Experience replay: to each batch come as many old images, from a small memory."""

    def __init__(self, run: Run, memory: Memory) -> None:
        super().__init__(run)
        self.memory = memory

    def mix(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.memory.filled:
            return x, y
        old_x, old_y = self.memory.draw(len(x) * self.run.world_size, self.draws, self.run)
        return torch.cat([x, old_x]), torch.cat([y, old_y])

    def after_task(self, net: nn.Module, data: TensorDataset, batches: Batches) -> None:
        self.memory.add(data, self.draws)


class AGEM(Replay):
    """Averaged gradient episodic memory: a step may not make the loss on the memory larger, to first order.

    Where the task's gradient g and the memory's r disagree (g r < 0), g loses its part along r. The memory's gradient
    is measured on as many images as a batch has, drawn anew for each step.
    """

    def __init__(self, run: Run, memory: Memory, batch_size: int) -> None:
        super().__init__(run, memory)
        self.batch_size = batch_size

    def mix(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, y

    def before_step(self, net: nn.Module) -> None:
        if not self.memory.filled:
            return
        x, y = self.memory.draw(self.batch_size, self.draws, self.run)
        reference = self.run.average(gradient(F.cross_entropy(net(x), y), net))
        turned = project(gradients(net), reference)
        for parameter, part in zip(net.parameters(), split_like(turned, net), strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part)


class LwF(Guard):
    """Learning without forgetting: on the new task's images the network shall still say what it said before the task.

    strength x T^2 x KL(old || new) at temperature T, over the classes seen before. Needs no image and no label of an
    old task, but the network as it was.
    """

    old: torch.Tensor
    seen: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, classes: int) -> None:
        super().__init__(run)
        self.strength = strength
        self.register_buffer("old", weights(net))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if not self.seen.any():
            return logits.new_zeros(())
        names = [name for name, _ in net.named_parameters()]
        with torch.no_grad():
            said = functional_call(net, dict(zip(names, split_like(self.old, net), strict=True)), (x,))
        new, old = ((part[:, self.seen] / TEMPERATURE).log_softmax(1) for part in (logits, said))
        return self.strength * TEMPERATURE**2 * F.kl_div(new, old, reduction="batchmean", log_target=True)

    def after_task(self, net: nn.Module, data: TensorDataset, batches: Batches) -> None:
        self.old.copy_(weights(net))
        self.seen[data.tensors[1].unique()] = True


def project(task: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The gradient (P,) nearest to the task's that doesn't point against the reference."""
    overlap = task @ reference
    return task if overlap >= 0 else task - overlap / (reference @ reference) * reference


def split_like(vector: torch.Tensor, net: nn.Module) -> list[torch.Tensor]:
    """A vector (P,) cut into tensors of the network's parameters' shapes."""
    parts = vector.split([parameter.numel() for parameter in net.parameters()])
    return [part.view_as(parameter) for part, parameter in zip(parts, net.parameters(), strict=True)]
