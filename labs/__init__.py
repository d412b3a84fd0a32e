"""What is learnt: the labs of NTU's Machine Learning course (Spring 2022, Hung-yi Lee) in plain PyTorch.

`labs.get("cnn")` gives a lab's record. A lab's module is imported only when it is asked for, because torch takes
seconds to import.
"""

from importlib import import_module

from labs.errors import BadInput, choices
from labs.lab import Lab

MODULES = {
    "regression": "labs.regression",
    "classification": "labs.classification",
    "cnn": "labs.cnn",
    "self-attention": "labs.self_attention",
    "transformer": "labs.transformer",
    "gan": "labs.gan",
    "bert-pretrain": "labs.pretraining",
    "bert": "labs.bert",
    "anomaly": "labs.anomaly",
    "explain": "labs.explain",
    "attack": "labs.attack",
    "adaptation": "labs.adaptation",
    "rl": "labs.reinforcement",
    "compression": "labs.compression",
    "lifelong": "labs.lifelong",
    "meta": "labs.meta",
}
"""Lab name -> module with its `LAB` record, in the order of the course."""


def names() -> list[str]:
    """Names of all labs, in the order of the course."""
    return list(MODULES)


def get(name: str) -> Lab:
    """The record of one lab; `BadInput` with the valid names for an unknown one."""
    if name not in MODULES:
        raise BadInput(f"unknown lab {name!r}: {choices(MODULES, name)}")
    lab: Lab = import_module(MODULES[name]).LAB
    return lab
