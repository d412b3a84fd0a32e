"""What is learnt: the labs of NTU's Machine Learning course (Spring 2022, Hung-yi Lee) in plain PyTorch.

`COURSE` is the table of contents, read in milliseconds. `labs.get("cnn")` imports a lab and gives its record; a lab is
imported only then, because torch takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from labs.core.errors import BadInput, choices
from labs.core.heading import Heading, Metric

if TYPE_CHECKING:
    from labs.core.lab import Lab

LADDER = ("simple", "medium", "strong", "boss")
"""The course's four baselines."""


def _baselines(*thresholds: float) -> dict[str, float]:
    return dict(zip(LADDER, thresholds, strict=True))


COURSE = {
    heading.name: heading
    for heading in (
        Heading(
            "regression", 1, "COVID-19 positive rate",
            Metric(
                "mse", "min", "squared %", _baselines(2.28371, 1.49430, 1.05728, 0.86161),
                course_counts={"train": 2699, "test": 1078},
            ),
            LADDER, "labs.regression.lesson",
        ),
        Heading(
            "classification", 2, "Phoneme classification",
            Metric(
                "accuracy", "max", "", _baselines(0.45797, 0.69747, 0.75028, 0.82324),
                course_counts={"train_utterances": 4286, "test_utterances": 1078},
            ),
            LADDER, "labs.classification.lesson",
        ),
        Heading(
            "cnn", 3, "Food classification",
            Metric(
                "accuracy", "max", "", _baselines(0.50099, 0.73207, 0.81872, 0.88446), "test",
                {"train": 9866, "validation": 3430, "test": 3347},
            ),
            LADDER, "labs.cnn.lesson",
        ),
        Heading(
            "self-attention", 4, "Speaker identification",
            Metric(
                "accuracy", "max", "", _baselines(0.60824, 0.70375, 0.77750, 0.86500), "test",
                {"train": 56666, "test": 8000},
            ),
            LADDER, "labs.self_attention.lesson",
        ),
        Heading(
            "transformer", 5, "Translation from English to Traditional Chinese",
            Metric("bleu", "max", "", _baselines(14.58, 18.04, 25.20, 29.13), course_counts={"test_en": 4000}),
            LADDER, "labs.transformer.lesson",
        ),
        Heading(
            "gan", 6, "Generative adversarial networks",
            Metric("fid", "min", "", _baselines(30000, 12000, 10000, 9000)),
            (*LADDER, "cycle"), "labs.gan.lesson",
        ),
        Heading(
            "bert-pretrain", 7, "A small BERT, pre-trained on text alone", Metric("accuracy", "max"),
            ("spans", "characters", "statements"), "labs.bert.pretraining",
        ),
        Heading(
            "bert", 7, "Extractive question answering in Chinese",
            Metric(
                "exact_match", "max", "", _baselines(0.45139, 0.65792, 0.78136, 0.84388), "test",
                {"train": 31690, "dev": 4131, "test": 4957},
            ),
            LADDER, "labs.bert.lesson",
        ),
        Heading(
            "anomaly", 8, "Anomaly detection",
            Metric("auc", "max", "", _baselines(0.52970, 0.72895, 0.77196, 0.79506)),
            (*LADDER, "fcn"), "labs.anomaly.lesson",
        ),
        Heading(
            "explain", 9, "Explainable AI", Metric("mass_accuracy", "max"),
            ("saliency", "smoothgrad", "integrated-gradients", "lime", "gradcam"), "labs.explain.lesson",
        ),
        Heading(
            "attack", 10, "Black-box adversarial attack",
            Metric("accuracy", "min", "", _baselines(0.70, 0.50, 0.30, 0.15), "attack"),
            LADDER, "labs.attack.lesson",
        ),
        Heading(
            "adaptation", 11, "Domain adaptation",
            Metric("accuracy", "max", "", _baselines(0.44616, 0.64576, 0.75840, 0.80640), "target"),
            (*LADDER, "source-only", "mcd"), "labs.adaptation.lesson",
        ),
        Heading("rl", 12, "LunarLander", Metric("return", "max", "points"), (*LADDER, "a2c", "dqn"), "labs.rl.lesson"),
        Heading(
            "compression", 13, "Network compression",
            Metric(
                "accuracy", "max", "", _baselines(0.44820, 0.64840, 0.82370, 0.85159), "test",
                {"train": 9866, "validation": 3430, "test": 3347},
            ),
            LADDER, "labs.compression.lesson",
        ),
        Heading(
            "lifelong", 14, "Rotated digits in sequence", Metric("accuracy", "max", share_of="test"),
            ("baseline", "ewc", "mas", "si", "rwalk", "scp", "lwf", "agem", "replay", "joint"),
            "labs.lifelong.lesson",
        ),
        Heading(
            "meta", 15, "Learning to learn characters",
            Metric("accuracy", "max", "", _baselines(0.6, 0.7, 0.9, 0.95), course_counts={"test": 640}),
            (*LADDER, "anil", "reptile", "prototypes"), "labs.meta.lesson",
        ),
    )
}  # fmt: skip
"""Lab name -> its line in the table of contents, in the order of the course."""


def names() -> list[str]:
    """Names of all labs, in the order of the course."""
    return list(COURSE)


def heading(name: str) -> Heading:
    """A lab's line in the table of contents, without importing the lab; `BadInput` for an unknown name."""
    if name not in COURSE:
        raise BadInput(f"unknown lab {name!r}: {choices(COURSE, name)}")
    return COURSE[name]


def get(name: str) -> "Lab":
    """The record of one lab; `BadInput` with the valid names for an unknown one."""
    lab: Lab = import_module(heading(name).module).LAB
    return lab
