"""Springs on the weights: what holds a network near what it knew, and five ways to measure how stiff each spring is.

All keep one importance for each weight around the newest weights, not a spring per task: memory is two networks'
however many tasks come. Each task enters once; the course's sample adds the earlier sums again at each task.

Of several workers each measures its own share of a batch. Gradients are averaged before they are squared or made
absolute: what counts is the gradient of the global batch, whatever the number of workers.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.utils.data import TensorDataset

from labs.core.run import Run

Batches = Iterable[tuple[torch.Tensor, ...]]


class Guard(nn.Module):
    """No guard at all, and the moments at which one can act. What it remembers is in its `state_dict`.

    Methods get the bare network, not DDP's wrapper. Draws from `draws`, which is seeded by whoever trains, are the same
    on all workers, so that all remember the same.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run, self.draws = run, torch.Generator()

    def mix(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The images and labels that are trained on in place of this worker's share of a batch."""
        return x, y

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """What is added to the loss; scalar."""
        return logits.new_zeros(())

    def before_step(self, net: nn.Module) -> None:
        """Look at the gradients of loss and penalty, all workers' mean, or change them."""

    def after_step(self, net: nn.Module) -> None:
        """Look at the weights that the optimizer's step led to."""

    def after_task(self, net: nn.Module, data: TensorDataset, batches: Batches) -> None:
        """Remember a task just learnt: `data` has all of its images, `batches` some of this worker's share."""


def weights(net: nn.Module) -> torch.Tensor:
    """A copy of all weights, (P,)."""
    return parameters_to_vector(net.parameters()).detach()


def gradients(net: nn.Module) -> torch.Tensor:
    """A copy of the gradients that a backward pass left, (P,)."""
    return parameters_to_vector([parameter.grad for parameter in net.parameters() if parameter.grad is not None])


def gradient(value: torch.Tensor, net: nn.Module) -> torch.Tensor:
    """A scalar's gradient in all weights, (P,); the scalar's graph stays."""
    parts = torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


class Springs(Guard):
    """strength x sum of importance x (theta - theta*)^2, without a factor 1/2; theta* are the newest task's weights."""

    anchor: torch.Tensor
    importance: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float) -> None:
        super().__init__(run)
        self.strength = strength
        self.register_buffer("anchor", weights(net))
        self.register_buffer("importance", torch.zeros_like(self.anchor))

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        moved = parameters_to_vector(net.parameters()) - self.anchor
        return self.strength * (self.importance * moved**2).sum()

    def after_task(self, net: nn.Module, data: TensorDataset, batches: Batches) -> None:
        self.importance.copy_(self.updated(net, batches))
        self.anchor.copy_(weights(net))

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        """The importances from now on, (P,)."""
        raise NotImplementedError

    def mean(self, batches: Batches, measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The mean over mini-batches of what `measure(x, y)` gives for one, (P,)."""
        total, count = torch.zeros_like(self.importance), 0
        for x, y in batches:
            total += measure(x, y)
            count += 1
        return total / count


class EWC(Springs):
    """Elastic weight consolidation: an empirical Fisher diagonal, as the course has it. Needs labels.

    A mini-batch's gradient of the mean negative log-likelihood at the true labels, squared, averaged over mini-batches;
    so lambda depends on the batch size.
    """

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def fisher(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.run.average(gradient(F.cross_entropy(net(x), y), net)) ** 2

        return self.importance + self.mean(batches, fisher)


class MAS(Springs):
    """Memory aware synapses, the global version: how much a weight changes the output. Needs no labels.

    The absolute gradient of the outputs' squared L2 norm, its mean over a mini-batch, averaged over mini-batches.
    """

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def sensitivity(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return self.run.average(gradient((net(x) ** 2).sum(1).mean(), net)).abs()

        return self.importance + self.mean(batches, sensitivity)


class SCP(Springs):
    """Sliced Cramer preservation: how much a weight moves the outputs' distribution, seen from random sides. No labels.

    The mini-batch's mean output is projected on random directions of the unit sphere, and each projection's gradient is
    squared; then means over projections and mini-batches. The sample squares the gradient of the projections' mean
    instead, which for 100 of them is about a hundredth.
    """

    def __init__(self, net: nn.Module, run: Run, strength: float, projections: int) -> None:
        super().__init__(net, run, strength)
        self.projections = projections

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def slices(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            output = net(x).mean(0)
            sides = F.normalize(torch.randn(self.projections, len(output), generator=self.draws)).to(output)
            jacobian = self.run.average(torch.stack([gradient(one, net) for one in output]))
            # The mean over sides s of (s J)^2 is the diagonal of J^T (mean of s s^T) J: no backward pass per side.
            return (jacobian * (sides.T @ sides / len(sides) @ jacobian)).sum(0)

        return self.importance + self.mean(batches, slices)


class SI(Springs):
    """Synaptic intelligence: what each weight's way through the task did for the loss. Needs labels, while training.

    The path integral is the sum over steps of -gradient x movement, with the gradient of the task's loss alone; its
    sum over weights is about what the loss fell by. Importance is the integral over the squared distance + damping.
    """

    path: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, damping: float) -> None:
        super().__init__(net, run, strength)
        self.damping = damping
        self.register_buffer("path", torch.zeros_like(self.anchor))

    def before_step(self, net: nn.Module) -> None:
        self.before = weights(net)
        pull = 2 * self.strength * self.importance * (self.before - self.anchor)
        self.gradient = gradients(net) - pull

    def after_step(self, net: nn.Module) -> None:
        self.path -= self.gradient * (weights(net) - self.before)

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        # A weight whose way made the loss larger isn't important; a negative spring would push it away.
        importance = self.path.relu() / ((weights(net) - self.anchor) ** 2 + self.damping)
        self.path.zero_()
        return self.importance + importance


class RWalk(SI):
    """Riemannian walk: a running Fisher plus a path integral over distance in the Fisher's metric. Needs labels.

    Each step adds -gradient x movement / (Fisher x movement^2 / 2 + damping) to a weight's score; a task's score and
    the earlier ones' are averaged. Both parts are scaled to [0, 1] before they are added, as the paper does.
    """

    fisher: torch.Tensor
    score: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, damping: float, fisher_update: float) -> None:
        super().__init__(net, run, strength, damping)
        self.fisher_update = fisher_update
        for name in ("fisher", "score"):
            self.register_buffer(name, torch.zeros_like(self.anchor))

    def after_step(self, net: nn.Module) -> None:
        self.fisher.lerp_(self.gradient**2, self.fisher_update)
        moved = weights(net) - self.before
        self.path -= self.gradient * moved / (self.fisher * moved**2 / 2 + self.damping)

    def updated(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        new = self.path.relu()
        self.score.copy_((self.score + new) / 2 if self.score.any() else new)
        self.path.zero_()
        return self.fisher / self.fisher.max() + self.score / self.score.max()
