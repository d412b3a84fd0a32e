"""What is learnt: the labs of NTU's Machine Learning course (Spring 2022, Hung-yi Lee) in plain PyTorch.

`labs.get("cnn")` gives a lab's record. A lab's module is imported only when it is asked for, because torch takes
seconds to import.
"""

from importlib import import_module

from labs.core.errors import BadInput, choices
from labs.core.lab import Lab

MODULES = {
    "regression": "labs.regression.lesson",
    "classification": "labs.classification.lesson",
    "cnn": "labs.cnn.lesson",
    "self-attention": "labs.self_attention.lesson",
    "transformer": "labs.transformer.lesson",
    "gan": "labs.gan.lesson",
    "bert-pretrain": "labs.bert.pretraining",
    "bert": "labs.bert.lesson",
    "anomaly": "labs.anomaly.lesson",
    "explain": "labs.explain.lesson",
    "attack": "labs.attack.lesson",
    "adaptation": "labs.adaptation.lesson",
    "rl": "labs.rl.lesson",
    "compression": "labs.compression.lesson",
    "lifelong": "labs.lifelong.lesson",
    "meta": "labs.meta.lesson",
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
