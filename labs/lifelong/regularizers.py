"""Regularizers: a quadratic penalty on changes of the parameters, and five measures of a parameter's importance.

There is one importance for each parameter, and one anchor, the parameters after the newest task: the memory is that of
two networks, however many tasks there are. Each task's importance is added once; the course's sample adds the earlier
sums again at each task.

With several workers each measures its own part of a batch. Gradients are averaged over the workers before they are
squared or made absolute, so that the importance is that of the global batch, whatever the number of workers.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.utils.data import TensorDataset

from labs.core.run import Run
from labs.lifelong.method import Batches, Method, gradient, gradient_vector, parameter_vector


class QuadraticPenalty(Method):
    """The base class of the regularizers. `anchor` is theta*, the parameters after the newest task."""

    anchor: torch.Tensor
    importance: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float) -> None:
        super().__init__(run)
        self.strength = strength
        self.register_buffer("anchor", parameter_vector(net))
        self.register_buffer("importance", torch.zeros_like(self.anchor))

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        # lambda * sum over i of Omega_i (theta_i - theta*_i)^2, without the papers' factor 1/2, as in the course
        change = parameters_to_vector(net.parameters()) - self.anchor
        return self.strength * (self.importance * change**2).sum()

    def after_task(self, net: nn.Module, dataset: TensorDataset, batches: Batches) -> None:
        self.importance.copy_(self.updated_importance(net, batches))
        self.anchor.copy_(parameter_vector(net))

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        """The importance (P,) of each parameter for all tasks so far, the one just finished included."""
        raise NotImplementedError

    def mean(self, batches: Batches, measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The mean of `measure(x, y)`, (P,), over mini-batches."""
        total, count = torch.zeros_like(self.importance), 0
        for x, y in batches:
            total += measure(x, y)
            count += 1
        return total / count


class EWC(QuadraticPenalty):
    """Elastic weight consolidation (Kirkpatrick et al., arXiv:1612.00796): the diagonal of the empirical Fisher.

    Needs labels. As in the course the gradient of a mini-batch's mean log-likelihood is squared, not that of each
    image: the useful lambda depends on the batch size.
    """

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def fisher(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            # F_i = E over mini-batches of (mean over the images of d log p(y | x, theta) / d theta_i)^2
            return self.run.average(gradient(F.cross_entropy(net(x), y), net)) ** 2

        return self.importance + self.mean(batches, fisher)


class MAS(QuadraticPenalty):
    """Memory aware synapses (Aljundi et al., arXiv:1711.09601), global version: the sensitivity of the outputs.

    Needs no labels. The gradient is that of a mini-batch's mean.
    """

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def sensitivity(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            # Omega_i = E over mini-batches of |mean over the images of d ||f(x)||_2^2 / d theta_i|
            return self.run.average(gradient((net(x) ** 2).sum(1).mean(), net)).abs()

        return self.importance + self.mean(batches, sensitivity)


class SCP(QuadraticPenalty):
    """Sliced Cramer preservation (Kolouri et al., ICLR 2020): the sensitivity of the outputs' distribution.

    Needs no labels. A mini-batch's mean output is projected on random directions of the unit sphere, and the gradient
    of each projection is squared, then averaged over directions and mini-batches. The course's sample squares the
    gradient of the projections' mean instead, which with 100 directions gives about a hundredth.
    """

    def __init__(self, net: nn.Module, run: Run, strength: float, projections: int) -> None:
        super().__init__(net, run, strength)
        self.projections = projections

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        def sliced(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            # Omega_i = E over v of (d (v . mean f(x)) / d theta_i)^2, v uniform on the unit sphere
            output = net(x).mean(0)
            directions = torch.randn(self.projections, len(output), generator=self.generator)
            directions = F.normalize(directions).to(output)
            jacobian = self.run.average(torch.stack([gradient(component, net) for component in output]))
            # With J the Jacobian, E[(v J)_i^2] is the diagonal of J^T E[v^T v] J: ten backward passes, one for each
            # output, in place of one for each direction.
            return (jacobian * (directions.T @ directions / len(directions) @ jacobian)).sum(0)

        return self.importance + self.mean(batches, sliced)


class SI(QuadraticPenalty):
    """Synaptic intelligence (Zenke et al., arXiv:1703.04200): each parameter's contribution to the fall of the loss.

    Needs labels, during training only. `path` is the path integral omega of the present task, with the gradient of the
    task's loss alone; its sum over the parameters approximates the fall of the loss.
    """

    path: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, damping: float) -> None:
        super().__init__(net, run, strength)
        self.damping = damping
        self.register_buffer("path", torch.zeros_like(self.anchor))

    def before_step(self, net: nn.Module) -> None:
        self.before = parameter_vector(net)
        # g = grad(L + penalty) - grad penalty, with grad penalty = 2 lambda Omega (theta - theta*)
        penalty_gradient = 2 * self.strength * self.importance * (self.before - self.anchor)
        self.loss_gradient = gradient_vector(net) - penalty_gradient

    def after_step(self, net: nn.Module) -> None:
        # omega_i = sum over steps of -g_i (theta_i after - theta_i before)   (eq. 3)
        self.path -= self.loss_gradient * (parameter_vector(net) - self.before)

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        # Omega_i = sum over tasks of omega_i / ((theta_i - theta*_i)^2 + xi), xi = damping   (eq. 5). A negative omega,
        # of a parameter whose change raised the loss, counts as 0: a negative importance would reward further change.
        importance = self.path.relu() / ((parameter_vector(net) - self.anchor) ** 2 + self.damping)
        self.path.zero_()
        return self.importance + importance


class RWalk(SI):
    """Riemannian walk (Chaudhry et al., arXiv:1801.10112): a running Fisher plus a score from the path integral.

    Needs labels, during training only. The score of a task is averaged with that of the earlier ones. Fisher and score
    are each scaled to [0, 1] before they are added, as in the paper.
    """

    fisher: torch.Tensor
    score: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, damping: float, fisher_update: float) -> None:
        super().__init__(net, run, strength, damping)
        self.fisher_update = fisher_update
        for name in ("fisher", "score"):
            self.register_buffer(name, torch.zeros_like(self.anchor))

    def after_step(self, net: nn.Module) -> None:
        # F_i <- alpha g_i^2 + (1 - alpha) F_i, alpha = fisher_update
        self.fisher.lerp_(self.loss_gradient**2, self.fisher_update)
        # s_i = sum over steps of -g_i change_i / (F_i change_i^2 / 2 + epsilon), epsilon = damping
        change = parameter_vector(net) - self.before
        self.path -= self.loss_gradient * change / (self.fisher * change**2 / 2 + self.damping)

    def updated_importance(self, net: nn.Module, batches: Batches) -> torch.Tensor:
        # Omega = F / max F + s / max s
        new = self.path.relu()
        self.score.copy_((self.score + new) / 2 if self.score.any() else new)
        self.path.zero_()
        return self.fisher / self.fisher.max() + self.score / self.score.max()
