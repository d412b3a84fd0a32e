"""Maximum classifier discrepancy (MCD; Saito et al., arXiv:1712.02560).

A feature extractor G has two label predictors, F_1 and F_2, which begin with other weights. Both learn the photographs'
labels. Where a drawing's features are unlike those of photographs, the two may disagree; they are trained to disagree
there as much as they can, and G is trained to move these features to where they agree. The classes' boundaries take
part in this, which a domain classifier doesn't know.
"""

import torch
from torch import nn
from torch.nn import functional as F

from labs.adaptation.config import AdaptationConfig
from labs.adaptation.domains import drawings, photographs
from labs.adaptation.figures import save_features, stages_at
from labs.adaptation.networks import DiscrepancyNet
from labs.adaptation.validation import view_agreement
from labs.adaptation.views import random_view
from labs.core import shards
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import unwrap


def train(config: AdaptationConfig, run: Run) -> None:
    """On each batch the paper's steps A, B and C; the weights of the last epoch are kept."""
    thresholds = (config.canny_low, config.canny_high) if config.edges else None
    source, target = photographs(run.data_dir, thresholds), drawings(run.data_dir)
    classes = shards.manifest(run.data_dir)["facts"]["classes"]
    run.write_shape(classes=classes)
    wrapped = run.wrap(DiscrepancyNet(config.width, classes).to(memory_format=torch.channels_last))
    networks: DiscrepancyNet = unwrap(wrapped)  # type: ignore[assignment]  # each step trains a part of it
    extractor, predictors = networks.extractor, networks.predictors
    optimizers = [torch.optim.Adam(part.parameters(), lr=config.lr) for part in (extractor, predictors)]
    of_extractor, of_predictors = optimizers
    state = {"networks": wrapped, "of_extractor": of_extractor, "of_predictors": of_predictors}
    source_batches = run.loader(source, config.batch_size, train=True)
    target_batches = run.loader(target, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state=state):
        train_loss, apart, correct = Meter(), Meter(), Meter()
        for (photos, labels), (sketches, _) in zip(source_batches, target_batches, strict=False):
            # Photographs and drawings in one batch, so that batch norm normalises both domains alike; augmentation.
            images, count = random_view(torch.cat([photos, sketches]), config.rotation, config.augment), len(labels)
            # Step A. G, F_1 and F_2 learn the photographs:  min over G, F_1, F_2 of L(X_s, Y_s)   (eq. 3)
            logits = networks(images)
            loss = label_loss(logits[:, :count], labels)
            update(loss, networks, optimizers, run)
            # Step B. F_1 and F_2 learn to disagree on drawings, and still to classify the photographs:
            #         min over F_1, F_2 of L(X_s, Y_s) - L_adv(X_t)   (eq. 4)
            both = networks(images)
            update(label_loss(both[:, :count], labels) - discrepancy(both[:, count:]), predictors, [of_predictors], run)
            # Step C. G learns to make them agree, n times:  min over G of L_adv(X_t)   (eq. 6)
            for _ in range(config.discrepancy_steps):
                disagreement = discrepancy(networks(images)[:, count:])
                update(disagreement, extractor, [of_extractor], run)
            train_loss.add(loss, count)
            apart.add(disagreement, count)
            correct.add_sum((logits.mean(0)[:count].argmax(1) == labels).sum(), count)
        run.log({"train/loss": run.mean(train_loss.sum, train_loss.count)})
        run.log({"train/discrepancy": run.mean(apart.sum, apart.count)})
        run.log({"train/accuracy": run.mean(correct.sum, correct.count)})
        run.log({"val/accuracy": view_agreement(networks, target, classes, run)})
        run.keep(networks)
        save_features(networks, source, target, stages_at(epoch + 1, config.epochs), config.plotted, run)


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L(X_s, Y_s): the cross-entropy, summed over both predictors; logits (2, B, C), labels (B,)."""
    return F.cross_entropy(logits[0], labels) + F.cross_entropy(logits[1], labels)


def discrepancy(logits: torch.Tensor) -> torch.Tensor:
    """L_adv = E[d(p_1, p_2)], with d(p_1, p_2) = 1/K sum_k |p_1k - p_2k|  (eq. 2 and 5); logits (2, B, C)."""
    first, second = logits.softmax(2)
    mean: torch.Tensor = (first - second).abs().mean()
    return mean


def update(loss: torch.Tensor, part: nn.Module, optimizers: list[torch.optim.Adam], run: Run) -> None:
    """One step of this part's optimizers alone; the gradients of the other part are not computed."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    run.backward(loss, inputs=list(part.parameters()))
    run.sync_gradients(part)
    for optimizer in optimizers:
        run.step(optimizer)
