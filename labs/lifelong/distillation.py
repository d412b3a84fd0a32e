"""Learning without forgetting: the network before a task is the teacher of the network that learns the task."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs.core.run import Run
from labs.lifelong.method import Batches, Method, parameter_vector, unflatten

TEMPERATURE = 2.0
"""T, which divides the teacher's and the student's logits, as in the paper."""


class LwF(Method):
    """Learning without forgetting (Li & Hoiem, arXiv:1606.09282): distillation on the new task's images.

    Needs no image or label of an old task, but the parameters of the network before the present one. The softmax is
    over the classes of the old tasks.
    """

    teacher: torch.Tensor
    seen: torch.Tensor

    def __init__(self, net: nn.Module, run: Run, strength: float, classes: int) -> None:
        super().__init__(run)
        self.strength = strength
        self.register_buffer("teacher", parameter_vector(net))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def penalty(self, net: nn.Module, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if not self.seen.any():
            return logits.new_zeros(())
        names = [name for name, _ in net.named_parameters()]
        parameters = dict(zip(names, unflatten(self.teacher, net), strict=True))
        with torch.no_grad():
            teacher_logits = functional_call(net, parameters, (x,))
        # lambda * T^2 * KL(teacher_T || student_T)
        student = (logits[:, self.seen] / TEMPERATURE).log_softmax(1)
        teacher = (teacher_logits[:, self.seen] / TEMPERATURE).log_softmax(1)
        return self.strength * TEMPERATURE**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)

    def after_task(self, net: nn.Module, dataset: TensorDataset, batches: Batches) -> None:
        self.teacher.copy_(parameter_vector(net))
        self.seen[dataset.tensors[1].unique()] = True
