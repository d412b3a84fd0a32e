"""Every preset at the course's size: its network takes two real steps, and the sample's has the sample's parameters.

Presets whose networks are the same to the layer share the steps. The labs whose presets differ in how they train and
not in the network, lifelong, meta and rl, train at the course's size in their own modules.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import labs
from labs.bert import pretrained_models
from labs.classification.frames import PAD as NO_LABEL
from labs.gan import losses
from labs.gan.networks import NOISE_DIM
from labs.self_attention.am_softmax import am_softmax
from labs.transformer.token_batches import BOS, EOS, PAD
from labs.transformer.training import smoothed_loss

BERT_LAYER = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
PARAMETERS = {
    "regression": 117 * 16 + 16 + 16 * 8 + 8 + 8 + 1,  # 117 columns, 16, 8 and 1 units, with biases
    "classification": 40 * 256 + 257 * 256 + 257 * 41,  # 39 -> 256 -> 256 -> 41 with biases
    "cnn": 12_833_803,
    "self-attention": 125_896,
    "transformer": 11_251_968,
    "gan": 5_142_080 + 2_766_529,  # generator and discriminator
    "bert": (21128 + 512 + 2 + 2) * 768 + 12 * BERT_LAYER + 768 * 2 + 2,  # two logits a token, no pooler
    "anomaly": sum(a * b + b for a, b in pairwise([12288, 128, 64, 12, 3, 12, 64, 128, 12288])),
    "attack": 1_730_714,  # a residual network of 110 layers
    "adaptation": 2_142_336 + 530_442 + 1_055_233,  # feature extractor, label predictor and domain classifier
    "rl": 8 * 16 + 16 + 16 * 16 + 16 + 16 * 4 + 4,
    "compression": 87_907,
    "lifelong": 1_462_538,
    "meta": 640 + 3 * 36_928 + 4 * 128 + 325,  # four blocks of 64 channels and a linear layer
}
"""Lab -> parameters of the course's sample code."""
SAMPLE = {"anomaly": "fcn"}
"""Lab -> preset with one of the sample's networks, where simple is like the sample's default only in kind."""


@pytest.mark.parametrize("lab", PARAMETERS)
def test_simple_at_course_size_has_the_samples_parameters(lab: str) -> None:
    """The first preset is the course's sample."""
    record = labs.get(lab)
    assert record.scale(SAMPLE.get(lab, next(iter(record.presets))), "course")["parameters"] == PARAMETERS[lab]


def images(side: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)


def regression(config: Any, model: Any) -> torch.Tensor:
    inputs, _ = model.prepare(torch.randn(2, 117))
    return model(inputs).square().mean()


def classification(config: Any, model: Any) -> torch.Tensor:
    """Two utterances of 8 and 5 frames."""
    lengths = torch.tensor([8, 5])
    logits = model(torch.randn(2, 8, config.context * 39), lengths)
    labels = torch.randint(0, 41, (2, 8)).masked_fill(torch.arange(8) >= lengths[:, None], NO_LABEL)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_LABEL)


def self_attention(config: Any, model: Any) -> torch.Tensor:
    return am_softmax(model(torch.randn(2, config.crop, 40)), torch.tensor([0, 599]), config.margin, config.scale)


def transformer(config: Any, model: Any) -> torch.Tensor:
    source, target = torch.tensor([[9, 99, EOS], [7999, EOS, PAD]]), torch.tensor([[BOS, 5, EOS], [BOS, EOS, PAD]])
    return smoothed_loss(model(source, target[:, :-1]), target[:, 1:], 0.1)


def gan(config: Any, model: Any) -> torch.Tensor:
    """Of the critic, through the generator; with CycleGAN, of both critics, through both generators."""
    real = torch.rand(2, 3, 64, 64)
    if config.generator == "cyclegan":
        translated = [generator(real) for generator in model.generator]
        return sum(critic(image).square().mean() for critic, image in zip(model.critic, translated, strict=True))
    fake = model(torch.randn(2, NOISE_DIM))
    loss = losses.critic_loss(config.loss, model.critic(real), model.critic(fake))
    if config.constraint == "gradient-penalty":
        loss = loss + losses.gradient_penalty(model.critic, real, fake.detach(), torch.rand(2))
    return loss


def bert_pretrain(config: Any, model: Any) -> torch.Tensor:
    tokens = torch.randint(5, 6000, (2, 193))
    return model(input_ids=tokens, labels=tokens).loss


def bert(config: Any, models: Iterable[Any]) -> torch.Tensor:
    (model,) = models
    output = model(input_ids=torch.randint(5, 21128, (2, 193)))
    return F.cross_entropy(output.start_logits, torch.tensor([60, 90])) + output.end_logits.square().mean()


def anomaly(config: Any, model: Any) -> torch.Tensor:
    faces = torch.rand(2, 3, 64, 64)
    loss = F.mse_loss(model.autoencoder(faces).reconstruction, faces) + model.compare(faces)[1].mean()
    return loss if model.discriminator is None else loss + model.discriminator(faces).mean()


def attack(config: Any, model: Any) -> torch.Tensor:
    logits = model(images(32).float())
    return F.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 9]).repeat(len(logits)))


def adaptation(config: Any, model: Any) -> torch.Tensor:
    if config.discrepancy_steps:
        logits = model(torch.rand(2, 1, 32, 32))
        return F.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 9]).repeat(len(logits)))
    labels, domains = model(torch.rand(2, 1, 32, 32), 0.5)
    return F.cross_entropy(labels.flatten(0, 1), torch.tensor([0, 9]).repeat(len(labels))) + domains.sigmoid().mean()


LOSSES: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "regression": regression,
    "classification": classification,
    "cnn": lambda config, model: F.cross_entropy(model(images(128)), torch.tensor([0, 10])),
    "self-attention": self_attention,
    "transformer": transformer,
    "gan": gan,
    "bert-pretrain": bert_pretrain,
    "bert": bert,
    "anomaly": anomaly,
    "attack": attack,
    "adaptation": adaptation,
    "compression": lambda config, model: F.cross_entropy(model(images(160)), torch.tensor([0, 10])),
}
"""Lab -> loss of a network on two samples of the course's shape."""


def distinct(lab: str, **overrides: object) -> list[Any]:
    """Configs of the presets at the course's size, one for each network and, with the GAN, each loss."""
    record, found = labs.get(lab), {}
    for preset in record.presets:
        config = record.resolve(preset, "course", overrides)
        with torch.device("meta"):
            network = repr(record.network(config))
        found.setdefault((network, getattr(config, "loss", ""), getattr(config, "constraint", "")), config)
    return list(found.values())


@pytest.mark.parametrize("lab", [name for name in LOSSES if name != "bert"])
def test_course_size_takes_two_steps(lab: str) -> None:
    """Every preset's network builds at the course's size, and two optimizer steps on two samples change every matrix of
    weights; the loss is finite."""
    for config in distinct(lab):
        take_two_steps(lab, config)


def test_bert_at_course_size_takes_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two of the twelve layers, which are all alike, and one member of the ensemble: with all it takes minutes."""
    load_config = pretrained_models.load_config

    def shallow(name: str) -> Any:
        config = load_config(name)
        config.num_hidden_layers = 2
        return config

    monkeypatch.setattr(pretrained_models, "load_config", shallow)
    for config in distinct("bert", members=1):
        take_two_steps("bert", config)


def take_two_steps(lab: str, config: Any) -> None:
    torch.manual_seed(0)
    model: nn.Module = labs.get(lab).network(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and p.dim() > 1}
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    for _ in range(2):
        loss = LOSSES[lab](config, model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss), config
    assert not [name for name, weight in trained.items() if torch.equal(weight, before[name])], config
