"""Before homework 7: a small BERT learns Chinese by filling gaps, so that it can learn to read from few questions.

Task
    Guess the characters that are hidden in a text. What comes out is a folder as Hugging Face's libraries read it, the
    pre-trained model of the bert lab where none is to be had from the hub.
Data
    `labs.bert.corpus`: texts whose first sentence says once more what the rest tells. Model and tokenizer see a text as
    they will see a question and its paragraph: [CLS] first sentence [SEP] rest [SEP].
Metric
    Accuracy of the predictions, higher is better, a share of the hidden characters. No thresholds: the course downloads
    its models.
Presets
    spans        spans of characters are hidden, so that a name or a year has to be looked up where the text says it
                 again (SpanBERT; whole-word masking without a dictionary).
    characters   every character is hidden by chance, as in BERT.
    Positions are rotary (RoFormer), since a minute is not enough to learn what position 30 has to do with position 31;
    and attention begins by looking at equal characters and passing them on (mimetic initialisation), without which
    as short a training does not come to look anything up.
Papers
    Devlin et al., BERT (arXiv:1810.04805); Joshi et al., SpanBERT (arXiv:1907.10529); Cui et al., Whole Word Masking
    for Chinese BERT (arXiv:1906.08101); Su et al., RoFormer (arXiv:2104.09864);
    Trockman and Kolter, Mimetic Initialization of Self-Attention Layers (arXiv:2305.09828).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.bert import corpus, tiny_bert
from labs.bert.corpus import cut
from labs.bert.tiny_bert import MARKS, MASK, PAD, SPECIAL, tokenizer
from labs.core import shards
from labs.core.config import Config
from labs.core.curves import draw
from labs.core.lab import Lab
from labs.core.loader import BatchDataset
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.text import texts
from labs.shared.text.pretrained import quiet
from labs.shared.text.windows import Layout, model_inputs

if TYPE_CHECKING:
    from transformers import BertTokenizer, RoFormerForMaskedLM

METRIC = COURSE["bert-pretrain"].metric
IGNORED = -100
"""Label of a token that is not to be guessed."""
COURSE_CHARACTERS = 6000
"""About as many as Traditional Chinese text has, for counting parameters."""


class PretrainingConfig(Config):
    masking: Literal["characters", "spans"] = "characters"
    """What is hidden: characters by chance, or spans of them."""
    share: float = Field(0.15, gt=0, lt=1)
    """Share of the characters that is hidden, or, with spans, a little less, since spans overlap."""
    longest: int = Field(4, ge=1)
    """Most characters of a span, which has one to so many; no effect with `masking=characters`."""
    layers: int = Field(6, ge=1)
    """Layers of the network."""
    hidden: int = Field(384, ge=2)
    """Size of a character's vector, an even multiple of `heads`."""
    heads: int = Field(6, ge=1)
    """Heads of the attention."""
    ff: int = Field(1536, ge=1)
    """Channels inside a feed-forward part."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations, and of attention weights, dropped in training."""
    first: int = Field(40, ge=1)
    """Characters that are kept of a text's first sentence."""
    rest: int = Field(150, ge=1)
    """Characters that are kept of the rest."""
    lr: float = Field(5e-4, gt=0)
    """Highest learning rate of AdamW; it rises for a twentieth of the training and falls to 0 on a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    batch_size: int = Field(64, ge=1)
    """Texts of a global batch."""
    epochs: int = Field(10, ge=1)
    """Passes over the texts, each with other gaps."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden {self.hidden} must be an even multiple of heads {self.heads}")
        return self


def network(config: PretrainingConfig, tokens: int) -> "RoFormerForMaskedLM":
    """Guesses the hidden ones of a vocabulary of so many tokens."""
    c = config
    return tiny_bert.blank(tiny_bert.shape(tokens, c.layers, c.hidden, c.heads, c.ff, c.dropout))


def hide(
    tokens: torch.Tensor, config: PretrainingConfig, vocabulary: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (N, T) with gaps, and labels (N, T): the hidden tokens, elsewhere `IGNORED`.

    As in BERT, of the hidden ones 8 in 10 become [MASK], 1 in 10 another token, and 1 in 10 stays as it is.
    """
    chosen = torch.rand(tokens.shape, generator=generator) < config.share
    if config.masking == "spans":
        mean = (1 + config.longest) / 2
        begins = torch.rand(tokens.shape, generator=generator) < config.share / mean
        length = torch.randint(1, config.longest + 1, tokens.shape, generator=generator)
        chosen = begins.clone()
        for further in range(1, config.longest):
            chosen[:, further:] |= (begins & (length > further))[:, :-further]
    chosen &= tokens >= len(SPECIAL)
    fate = torch.rand(tokens.shape, generator=generator)
    other = torch.randint(len(SPECIAL), vocabulary, tokens.shape, generator=generator)
    shown = torch.where(chosen & (fate < 0.8), MASK, tokens)
    shown = torch.where(chosen & (fate >= 0.9), other, shown)
    return shown, torch.where(chosen, tokens, IGNORED)


class Gaps(BatchDataset):
    """Texts with gaps that a seed draws: tokens, kinds, what is real, and labels, (B, T) each."""

    def __init__(
        self, columns: tuple[torch.Tensor, ...], config: PretrainingConfig, vocabulary: int, seed: int
    ) -> None:
        self.tokens, self.kinds, self.real = columns
        self.shown, self.labels = hide(self.tokens, config, vocabulary, torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.shown[indices], self.kinds[indices], self.real[indices], self.labels[indices]


def encoded(lines: list[str], config: PretrainingConfig, tokens: "BertTokenizer") -> tuple[torch.Tensor, ...]:
    """Tokens, kinds and what is real, (N, T) each."""
    parts = [tokens.backend_tokenizer.encode_batch(list(side), add_special_tokens=False)
             for side in zip(*map(cut, lines), strict=True)]  # fmt: skip
    pairs = [(torch.tensor(a.ids[: config.first]), torch.tensor(b.ids[: config.rest]))
             for a, b in zip(*parts, strict=True)]  # fmt: skip
    return Layout(MARKS, config.first, config.rest).columns(pairs)


def train(config: PretrainingConfig, run: Run) -> None:
    characters = shards.manifest(run.data_dir)["facts"]["characters"]
    run.write_shape(characters=characters)
    tokens = tokenizer(characters)
    training, dev = (encoded(texts.read(run.data_dir, split), config, tokens) for split in ("train", "dev"))
    validation = Gaps(dev, config, len(tokens), seed=0)
    model = run.wrap(network(config, len(tokens)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        gaps = Gaps(training, config, len(tokens), seed=run.seed * 10_000 + epoch)
        batches = run.loader(gaps, config.batch_size, train=True)
        loss_sum, count = torch.zeros(2, device=run.device)
        for step, (*inputs, labels) in enumerate(batches):
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, config.lr * warmup_cosine(done, warmup=0.05))
            logits = model(**model_inputs(unwrap(model), *inputs)).logits
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
            hidden = (labels != IGNORED).sum().float()
            optimizer.zero_grad()
            (loss / run.average(hidden).clamp(min=1)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum += loss.detach()
            count += hidden
        run.log({"train/loss": run.mean(loss_sum, count), "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def evaluate(model: nn.Module, gaps: Gaps, run: Run) -> float:
    """Share of the hidden characters that are guessed."""
    hits, count = torch.zeros(2, device=run.device)
    with run.evaluation(model) as net:
        for *inputs, labels in run.loader(gaps, 256):
            predictions = net(**model_inputs(net, *inputs)).logits.argmax(2)
            hits += (predictions == labels).sum()
            count += (labels != IGNORED).sum()
    return run.mean(hits, count)


def load(folder: Path) -> "RoFormerForMaskedLM":
    characters = load_shape(folder)["characters"]
    model = network(LAB.read_config(folder), len(tokenizer(characters)))
    return load_weights(folder, model)


def predict(model: "RoFormerForMaskedLM", inputs: np.ndarray) -> np.ndarray:
    """Tokens (B, T), int64, some of them [MASK] -> the likeliest token at each place (B, T), int64."""
    tokens = torch.from_numpy(inputs).to(model.device)
    with torch.no_grad():
        output: np.ndarray = (
            model(input_ids=tokens, attention_mask=tokens.ne(PAD).long()).logits.argmax(2).cpu().numpy()
        )
    return output


def example(data_dir: Path) -> np.ndarray:
    tokens = tokenizer(shards.manifest(data_dir)["facts"]["characters"])
    columns = encoded(texts.read(data_dir, "dev")[:2], PretrainingConfig.model_validate({}), tokens)
    inputs: np.ndarray = Gaps(columns, PretrainingConfig.model_validate({}), len(tokens), seed=0).shown.numpy()
    return inputs


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write the model and its tokenizer as a folder of Hugging Face's libraries (`model.safetensors`, `config.json` and
    the tokenizer's files), and the learning curves, `curves.png`."""
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    quiet()
    load(folder).save_pretrained(out)
    tokenizer(load_shape(folder)["characters"]).save_pretrained(out)
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    draw(axes, folder, {"train/loss": "training loss", "val/accuracy": "validation accuracy"})
    axes.set(xlabel="epoch")
    figure.savefig(out / "curves.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    """Whether the folder of the file can be read by Hugging Face's libraries."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    quiet()
    try:
        for kind in (AutoModelForMaskedLM, AutoTokenizer):
            kind.from_pretrained(file.parent, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return [f"{file.name}: expected a model in a folder with its config.json and tokenizer, found a fault: {error}"]
    return []


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Accuracy on text that was kept apart; `test/trivial` is that of guessing the commonest character throughout."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    lines = corpus.read_answers(data_dir)
    if lines is None:
        return {}
    tokens, config = AutoTokenizer.from_pretrained(delivered), PretrainingConfig.model_validate({})
    gaps = Gaps(encoded(lines, config, tokens), config, len(tokens), seed=0)
    model, hits = AutoModelForMaskedLM.from_pretrained(delivered).eval(), 0
    with torch.no_grad():
        for rows in torch.arange(len(gaps)).split(64):
            *inputs, labels = gaps[rows]
            hits += int((model(**model_inputs(model, *inputs)).logits.argmax(2) == labels).sum())
    hidden = gaps.labels[gaps.labels != IGNORED]
    return {"test/accuracy": hits / len(hidden), "test/trivial": float(hidden.bincount().max()) / len(hidden)}


def space() -> dict[str, dict[str, object]]:
    return {  # heads divide every size here, so each sample is valid
        "masking": {"type": "choice", "values": ["characters", "spans"]},
        "share": {"type": "uniform", "low": 0.1, "high": 0.4},
        "longest": {"type": "randint", "low": 2, "high": 7, "when": {"masking": "spans"}},
        "layers": {"type": "randint", "low": 2, "high": 5},
        "hidden": {"type": "choice", "values": [64, 96, 128]},
        "heads": {"type": "choice", "values": [2, 4]},
        "lr": {"type": "loguniform", "low": 2e-4, "high": 4e-3},
        "batch_size": {"type": "choice", "values": [16, 32, 64]},
    }


SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 1, "hidden": 16, "heads": 2, "ff": 32, "dropout": 0.0, "first": 40, "rest": 40, "lr": 2e-3,
             "batch_size": 16, "epochs": 2},
    "small": {"layers": 2, "hidden": 96, "heads": 4, "ff": 192, "dropout": 0.0, "first": 40, "rest": 56, "lr": 1.2e-3,
              "batch_size": 16, "epochs": 5, "share": 0.2},
    "course": {},
}  # fmt: skip
LAB = Lab(
    heading=COURSE["bert-pretrain"],
    config=PretrainingConfig,
    presets={"spans": {"masking": "spans", "share": 0.2}, "characters": {}},
    sizes=SIZES,
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="model.safetensors",
    space=space,
    network=lambda config: network(config, len(SPECIAL) + COURSE_CHARACTERS),
    data=corpus,
    seconds={"tiny": 2, "small": 60, "course": 14400},
)
