"""Homework 4, Self-Attention: speaker identification.

Task
    Classify an utterance of any length by its speaker. Pre-trained weights and extra recordings are forbidden.
Data
    `labs.self_attention.data`: log-mel spectrograms from VoxCeleb2; 600 speakers, 56,666 training utterances, of which
    a tenth is held out for validation, and 8,000 test utterances.
Metric
    Accuracy, the fraction of test utterances with the right speaker; higher is better. Course's public thresholds:
    simple 0.60824, medium 0.70375, strong 0.77750, boss 0.86500.
Ladder
    simple   the course's sample: one Transformer layer, mean pooling; crops of 128 frames; AdamW with warm-up and
             cosine decay of the learning rate.
    medium   a deeper Transformer with more heads and layer normalisation before each sublayer (pre-LN).
    strong   Conformer blocks, which add a convolution to the attention, after subsampling to every fourth frame.
    boss     self-attentive pooling, and the additive margin softmax (AM-softmax) as the loss.
    The cheaper variants of attention from the lecture can be used in each preset (`attention`), and so can SpecAugment
    (`time_mask`, `frequency_mask`) and test-time crops (`test_crops`).
Report
    (a)  How do variants of the Transformer change its attention, and what does that cost?
    (b)  Why does a convolution improve a Transformer, as in the Conformer?
Papers
    Vaswani et al., Attention Is All You Need (arXiv:1706.03762); Gulati et al., Conformer (arXiv:2005.08100); Safari et
    al., Self-Attention Encoding and Pooling for Speaker Recognition (arXiv:2008.01077); Wang et al., Additive Margin
    Softmax (arXiv:1801.05599); Park et al., SpecAugment (arXiv:1904.08779). Those of the variants of attention:
    `labs.self_attention.attention`.
"""

from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn

from labs import COURSE
from labs.core import shards, submission
from labs.core.lab import Lab
from labs.core.loader import hold_out
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_shape, load_weights
from labs.self_attention import data, report
from labs.self_attention.am_softmax import am_softmax
from labs.self_attention.attention import Kind
from labs.self_attention.config import SelfAttentionConfig
from labs.self_attention.crops import Buckets, Crops
from labs.self_attention.demo import DEMO
from labs.self_attention.networks import SpeakerNet
from labs.self_attention.spec_augment import spec_augment

METRIC = COURSE["self-attention"].metric
CONFORMER = {"encoder": "conformer", "subsampling": True, "heads": 4}


def train(config: SelfAttentionConfig, run: Run) -> None:
    facts = shards.manifest(run.data_dir)["facts"]
    all_labels = shards.ArrowDataset(run.data_dir, "train", ("label",)).columns[0].all()
    held_out, training = hold_out(len(all_labels), config.validation, run.seed)
    crops = Crops(run.data_dir, training, config.crop, run.seed)
    validation = Buckets(run.data_dir, "train", held_out)
    shape = {"mels": facts["mels"], "classes": len(facts["speakers"])}
    run.write_shape(**shape)
    model = run.wrap(SpeakerNet(config, **shape))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(crops, config.batch_size, train=True)
    margin = config.margin if config.loss == "am-softmax" else 0.0

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        # Draw a new crop of each utterance.
        crops.redraw(epoch)
        train_loss = Meter()
        for step, (frames, lengths, labels) in enumerate(batches):
            # Set the learning rate of this step: linear warm-up, cosine decay.
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, config.lr * warmup_cosine(done, config.warmup))
            # SpecAugment: hide some frames and some mel bands.
            if config.time_mask or config.frequency_mask:
                frames = spec_augment(frames, lengths, config.time_mask, config.frequency_mask)
            # Cross-entropy, with AM-softmax after subtracting the margin from the true speaker's cosine.
            loss = am_softmax(model(frames, lengths), labels, margin, config.scale)
            # Update the weights.
            optimizer.zero_grad()
            run.backward(loss)
            run.step(optimizer)
            train_loss.add(loss, len(labels))
        # Validate, keep the best weights.
        run.log({"train/loss": run.mean(train_loss.sum, train_loss.count)})
        run.log({"val/accuracy": evaluate(model, validation, all_labels[held_out], run)})
        run.best(METRIC, model)


def evaluate(model: nn.Module, utterances: Buckets, labels: torch.Tensor, run: Run) -> float:
    """Accuracy on whole utterances. (On random crops, as in the sample, it varies: 0.674 to 0.688 for one model.)

    Args:
        labels: (n,) of the utterances, in their order.
    """
    correct = Meter()
    with run.evaluation(model) as net:
        for frames, lengths, indices in run.loader(utterances, 1):  # a sample of `Buckets` is a whole batch
            predictions = net(frames, lengths).argmax(1).cpu()
            correct.add_sum((predictions == labels[indices.cpu()]).sum(), len(indices))
    return run.mean(correct.sum, correct.count)


def load(folder: Path) -> SpeakerNet:
    return load_weights(folder, SpeakerNet(LAB.read_config(folder), **load_shape(folder)))


def predict(model: SpeakerNet, inputs: np.ndarray) -> np.ndarray:
    """Log-mel spectrograms (B, T, mels) float32 -> probabilities (B, speakers) float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.test_logits(torch.from_numpy(inputs).to(device)).softmax(1).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    utterances = Buckets(data_dir, "test")
    frames: np.ndarray = utterances.pad(utterances.starts[:2], utterances.lengths.min().expand(2)).numpy()
    return frames


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `output.csv` (header `Id,Category`: file names in the order of `testdata.json`, names of speakers) and the
    report, which measures time and memory of each kind of attention."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, utterances, facts = load(folder).to(device), Buckets(data_dir, "test"), shards.manifest(data_dir)["facts"]
    predictions = torch.empty(len(utterances.rows), dtype=torch.int64)
    with torch.no_grad():
        for number in range(len(utterances)):
            frames, lengths, indices = utterances[torch.tensor([number])]
            predictions[indices] = model.test_logits(frames.to(device), lengths.to(device)).argmax(1).cpu()
    names = [facts["speakers"][label] for label in predictions.tolist()]
    submission.write(out / LAB.submission, data.SUBMISSION_HEADER, zip(facts["test_ids"], names, strict=True))
    report.write(LAB, folder, out, device)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / data.ANSWERS
    if not answers.exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    most_frequent = shards.manifest(data_dir)["facts"]["speakers"][int(labels.mode().values)]
    return submission.accuracy(delivered / LAB.submission, submission.predictions(answers), most_frequent)


def space() -> dict[str, dict[str, object]]:
    return {  # each number of heads divides each d_model, so that all samples are valid
        "encoder": {"type": "choice", "values": ["transformer", "conformer"]},
        "layers": {"type": "randint", "low": 1, "high": 5},
        "d_model": {"type": "choice", "values": [40, 64, 80, 128, 256]},
        "heads": {"type": "choice", "values": [1, 2, 4, 8]},
        "ff": {"type": "choice", "values": [128, 256, 512]},
        "norm_first": {"type": "choice", "values": [False, True], "when": {"encoder": "transformer"}},
        "conv_kernel": {"type": "choice", "values": [3, 7, 15, 31], "when": {"encoder": "conformer"}},
        "attention": {"type": "choice", "values": list(get_args(Kind))},
        "window": {"type": "choice", "values": [4, 8, 16, 32]},
        "dropout": {"type": "uniform", "low": 0.0, "high": 0.3},
        "pooling": {"type": "choice", "values": ["mean", "attentive"]},
        "loss": {"type": "choice", "values": ["softmax", "am-softmax"]},
        "margin": {"type": "uniform", "low": 0.0, "high": 0.4, "when": {"loss": "am-softmax"}},
        "scale": {"type": "uniform", "low": 10.0, "high": 40.0, "when": {"loss": "am-softmax"}},
        "crop": {"type": "choice", "values": [64, 96, 128, 192, 256]},
        "time_mask": {"type": "choice", "values": [0, 8, 16, 32]},
        "frequency_mask": {"type": "choice", "values": [0, 4, 8, 16]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 5e-3},
        "weight_decay": {"type": "loguniform", "low": 1e-4, "high": 1e-1},
        "warmup": {"type": "uniform", "low": 0.01, "high": 0.3},
        "batch_size": {"type": "choice", "values": [16, 32, 64]},
        "epochs": {"type": "randint", "low": 5, "high": 50},
    }


LAB = Lab(
    heading=COURSE["self-attention"],
    config=SelfAttentionConfig,
    presets={
        "simple": {},
        "medium": {"layers": 2, "heads": 4, "norm_first": True},
        "strong": CONFORMER,
        "boss": {**CONFORMER, "dropout": 0.2, "pooling": "attentive", "loss": "am-softmax"},
    },
    sizes={
        "tiny": {"d_model": 16, "ff": 32, "crop": 64, "epochs": 3},
        "small": {"crop": 64, "conv_kernel": 7, "batch_size": 16, "epochs": 24, "warmup": 0.1},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=DEMO,
    deliver=deliver,
    check_submission=data.check_submission,
    score=score,
    submission="output.csv",
    space=space,
    network=lambda config: SpeakerNet(config, 40, 600),
    data=data,
    tuned={
        ("simple", "small"): {"epochs": 20},
        **{(preset, "small"): {"layers": 2, "crop": 96, "lr": 2e-3, "epochs": 45} for preset in ("strong", "boss")},
        **{(preset, "course"): {"layers": 4} for preset in ("medium", "strong", "boss")},
    },
    seconds={"tiny": 2, "small": 40, "course": 14400},
)
