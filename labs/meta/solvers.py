"""The solvers: inner loop, meta-loss and predictions of each algorithm, with its equations.

theta are the parameters that all tasks begin with, alpha is `inner_lr`; L_support and L_query are a task's mean
cross-entropies on its two sets.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from labs.meta.config import MetaConfig
from labs.meta.data import WAYS
from labs.meta.networks import ConvNet

VMAP_WIDTH = 32
"""Widest network with which a CPU is faster on all tasks at once than on one after the other: it takes half the time
with 16 channels. Between 32 and 64 neither is clearly ahead."""
Parameters = dict[str, Tensor]
"""A network's parameters by name."""


class Learner(nn.Module):
    """A network with its solver.

    It has no forward: the solvers use `functional_call` on the bare network, without DDP.
    """

    def __init__(self, config: MetaConfig) -> None:
        super().__init__()
        self.config = config
        self.net = ConvNet(config.width, 0 if config.solver == "prototypes" else WAYS)

    def logits(self, support: Tensor, query: Tensor, steps: Sequence[int]) -> Tensor:
        """Tasks, (T, 5, 28, 28) each, -> logits (T, len(steps), 2, 5, 5) of `query_logits`."""
        of_one_task = partial(query_logits, self.net, dict(self.net.named_parameters()), self.config, steps)
        return map_tasks(of_one_task, self.config.batching, self.config.width, support, query)


def adapt(net: nn.Module, parameters: Parameters, images: Tensor, config: MetaConfig, steps: int) -> Parameters:
    """The inner loop: gradient descent from theta on a task's images (n * 5, 28, 28), whose labels run 0 to 4.

    The result is a differentiable function of `parameters`: exactly, second derivatives included, or with `fomaml` and
    `reptile` to first order, as if the inner gradients were constants.
    """
    adapted = {name: p for name, p in parameters.items() if config.solver != "anil" or name.startswith("head.")}
    labels = torch.arange(len(images), device=images.device) % WAYS

    def support_loss(adapted: Parameters) -> Tensor:
        return F.cross_entropy(functional_call(net, {**parameters, **adapted}, images), labels)

    first_order = config.solver in ("fomaml", "reptile")
    for _ in range(steps):
        # theta' <- theta' - alpha grad L_support(theta'), from theta' = theta   (MAML, Finn et al., arXiv:1703.03400)
        # of the last layer alone with ANIL (Raghu et al., arXiv:1909.09157)
        point = {name: p.detach() for name, p in adapted.items()} if first_order else adapted
        gradients = grad(support_loss)(point)
        adapted = {name: p - config.inner_lr * gradients[name] for name, p in adapted.items()}
    return {**parameters, **adapted}


def meta_loss(net: nn.Module, parameters: Parameters, config: MetaConfig, support: Tensor, query: Tensor) -> Tensor:
    """The loss of one task, a scalar function of theta (`parameters`); support and query are (5, 28, 28)."""
    labels = torch.arange(WAYS, device=support.device)
    forward = partial(functional_call, net)
    if config.solver == "transfer":
        # L = CE(f_theta(x), y), without inner loop or query
        return F.cross_entropy(forward(parameters, support), labels)
    if config.solver == "prototypes":
        # L = CE(softmax(-d(f_theta(x), c_k)), y)
        logits = prototype_logits(forward(parameters, support), forward(parameters, query))
        return F.cross_entropy(logits, labels)
    if config.solver == "reptile":
        # Reptile's update is theta <- theta + epsilon (theta' - theta), with theta' from all images of the task (Nichol
        # et al., arXiv:1803.02999). L = 1/2 ||theta - theta'||^2 has the gradient theta - theta' for constant theta'.
        adapted = adapt(net, parameters, torch.cat([support, query]), config, config.inner_steps)
        return torch.stack([0.5 * (p - adapted[name].detach()).square().sum() for name, p in parameters.items()]).sum()
    # L = L_query(theta'(theta)); its gradient goes through the inner loop (MAML, ANIL) or not (first-order MAML)
    adapted = adapt(net, parameters, support, config, config.inner_steps)
    return F.cross_entropy(forward(adapted, query), labels)


def query_logits(
    net: nn.Module, parameters: Parameters, config: MetaConfig, steps: Sequence[int], support: Tensor, query: Tensor
) -> Tensor:
    """Logits (len(steps), 2, 5, 5) of a task's queries (5, 28, 28): transductive, then inductive.

    Transductive: the queries are normalised by their own batch statistics; inductive: by those of the support set.

    Args:
        steps: ascending numbers of inner steps after which the queries are classified.
    """
    outputs = []
    for taken, step in pairwise((0, *steps)):
        if config.solver != "prototypes":
            parameters = adapt(net, parameters, support, config, step - taken)
        transductive = functional_call(net, parameters, query)
        inductive = functional_call(net, parameters, (torch.cat([support, query]), len(support)))[len(support) :]
        outputs.append(torch.stack([transductive, inductive]))
    if config.solver == "prototypes":
        return prototype_logits(functional_call(net, parameters, support), torch.stack(outputs))
    return torch.stack(outputs)


def prototype_logits(support: Tensor, query: Tensor) -> Tensor:
    """Embeddings, support (N, D) and query (..., Q, D), -> logits (..., Q, N).

    p(y = k | x) = softmax_k(-d(f(x), c_k)), d the squared Euclidean distance (Snell et al., arXiv:1703.05175, eq. 2).
    With one support image of each class its embedding is the prototype c_k.
    """
    return -(query[..., None, :] - support).square().sum(-1)


def map_tasks(function: Callable[..., Tensor], batching: str, width: int, *tasks: Tensor) -> Tensor:
    """The stacked results of `function` for each task (a slice of each tensor).

    Args:
        batching: `vmap` for all tasks at once, `loop` for one after the other, `auto` for the faster of the two; the
            results are the same.
        width: channels of the network, which `auto` goes by on a CPU.
    """
    if batching == "vmap" or (batching == "auto" and (tasks[0].is_cuda or width <= VMAP_WIDTH)):
        return vmap(function)(*tasks)
    return torch.stack([function(*task) for task in zip(*tasks, strict=True)])
