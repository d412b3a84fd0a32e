"""The base class of the methods against forgetting, and a network's parameters and gradients as vectors (P,)."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import TensorDataset

from labs.core.run import Run

Batches = Iterable[tuple[torch.Tensor, ...]]


class Method(nn.Module):
    """Plain fine-tuning, and the moments of the training at which a subclass acts. Its memory is in its `state_dict`.

    Methods get the bare network, not DDP's wrapper. Draws from `generator`, which the training loop seeds in each
    epoch, are the same on all workers, so that the memory is, too.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run, self.generator = run, torch.Generator()

    def extend_batch(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The images and labels to train on, given this worker's part of a batch of the new task."""
        return x, y

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """A scalar that is added to the loss."""
        return logits.new_zeros(())

    def before_step(self, net: nn.Module) -> None:
        """Called after the backward pass: read or change the gradients of loss and penalty, averaged over workers."""

    def after_step(self, net: nn.Module) -> None:
        """Called after the optimizer's step: read the new parameters."""

    def after_task(self, net: nn.Module, dataset: TensorDataset, batches: Batches) -> None:
        """Called after a task's last epoch: remember the task.

        Args:
            dataset: all images and labels of the task.
            batches: some mini-batches of it, of each this worker's part.
        """


def parameter_vector(net: nn.Module) -> torch.Tensor:
    """A copy of all parameters, (P,)."""
    return parameters_to_vector(net.parameters()).detach()


def gradient_vector(net: nn.Module) -> torch.Tensor:
    """A copy of the gradients that a backward pass has left in the parameters, (P,)."""
    return parameters_to_vector([parameter.grad for parameter in net.parameters() if parameter.grad is not None])


def gradient(value: torch.Tensor, net: nn.Module) -> torch.Tensor:
    """The gradient (P,) of a scalar in all parameters; keeps the scalar's graph."""
    tensors = torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
    return torch.cat([tensor.flatten() for tensor in tensors])


def unflatten(vector: torch.Tensor, net: nn.Module) -> list[torch.Tensor]:
    """A vector (P,) as a list of tensors in the shapes of the network's parameters."""
    slices = vector.split([parameter.numel() for parameter in net.parameters()])
    return [values.view_as(parameter) for values, parameter in zip(slices, net.parameters(), strict=True)]
