"""Homework 7, BERT: answer Chinese questions with a span of a paragraph.

Task
    Fine-tune a pre-trained model to find where an answer begins and ends. Paragraphs are longer than what the model
    reads at once, so it reads windows of them.
Data
    `labs.shared.text.drcd`: 31,690 questions about 10,524 paragraphs to train on, 4131 to validate, 4957 to answer.
Metric
    Exact match, higher is better, a share of the questions. Course's public thresholds: simple 0.45139, medium 0.65792,
    strong 0.78136, boss 0.84388. Beside it `f1`, overlap in characters, is logged.
Ladder
    simple   the course's sample: windows that do not overlap, in training with the answer in the middle; a constant
             learning rate; the best first and the best last token, each for itself, decoded.
    medium   the learning rate rises and falls to 0; windows overlap, so that no answer is cut in two, and one has it in
             the middle. More is not to be had this way: where every training window has its answer in the middle, to
             look there is enough, and whose life a clause tells is never learnt.
    strong   better preprocessing: in training the answer may stand anywhere in its window, and some windows have none,
             so that a question's person has to be looked for, which is learnt suddenly, and not in every run; at size
             course another pre-trained model too. Trains longer, as in the course.
    boss     better post-processing: the best pair of first and last token that is an answer at all, taken from the
             paragraph's own characters; the scores of several fine-tuned models are averaged.
Pre-trained model
    `checkpoint` is a local folder or a name of the Hugging Face hub; where it is empty, the run of the bert-pretrain
    lab that this one needs.
Papers
    Devlin et al., BERT (arXiv:1810.04805), whose answer to what can't be answered is [CLS]; Shao et al., DRCD
    (arXiv:1806.00920); Cui et al., Whole Word Masking for Chinese BERT (arXiv:1906.08101); Cui et al., MacBERT
    (arXiv:2004.13922).
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from labs import COURSE
from labs.bert import figures, pretraining
from labs.bert.answers import character_f1, check_answers, exact_match, nearest, plain
from labs.core import submission
from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.text import drcd
from labs.shared.text import pretrained as checkpoints
from labs.shared.text.answering import answer, answers
from labs.shared.text.drcd import Asked, Question
from labs.shared.text.pretrained import Marks
from labs.shared.text.windows import EveryWindow, OneWindow, Placement, Reader, Rules, Search, Texts, model_inputs

METRIC = COURSE["bert"].metric
PRETRAINED = "pretrained"
"""Role of the run that is needed."""
HEADER = ("ID", "Answer")


class BertConfig(Config):
    checkpoint: str = ""
    """Pre-trained model: a local folder or a name of the Hugging Face hub; empty for the run that is needed."""
    members: int = Field(1, ge=1)
    """Models that are fine-tuned, each with a head and windows of its own, and whose scores are averaged."""
    question_tokens: int = Field(40, ge=1)
    """Most tokens of a question; what is longer is cut."""
    paragraph_tokens: int = Field(150, ge=1)
    """Tokens of a window of the paragraph."""
    doc_stride: int = Field(150, ge=1)
    """Tokens from the beginning of a window to that of the next when answers are looked for."""
    placement: Placement = "centre"
    """Where a training window has its answer: in the middle, or anywhere."""
    negatives: float = Field(0.0, ge=0, lt=1)
    """Share of training windows without the answer, where the first token, [CLS], is to be chosen. Above 0, a window's
    answer is scored by how much better it is than that, so that windows can be compared."""
    search: Search = "separate"
    """How a window's answer is found: the best first and the best last token, decoded, with [UNK] for unknown ones; or
    the best pair of them that is an answer, in the paragraph's own characters."""
    longest: int = Field(30, ge=1)
    """Most tokens of an answer; no effect with `search=separate`."""
    schedule: Literal["constant", "linear"] = "constant"
    """The learning rate stays `lr`, or rises to it and falls to 0, on straight lines."""
    warmup: float = Field(0.1, gt=0, lt=1)
    """Share of the training in which the rate rises; no effect with `schedule=constant`."""
    lr: float = Field(1e-4, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    batch_size: int = Field(32, ge=1)
    """Questions of a global batch, over all workers."""
    accumulation: int = Field(1, ge=1)
    """Parts that a batch is cut into, one forward each, where it does not fit into memory."""
    epochs: int = Field(1, ge=1)
    """Passes over the questions."""

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.doc_stride > self.paragraph_tokens:
            raise ValueError(f"doc_stride {self.doc_stride} must be at most paragraph_tokens {self.paragraph_tokens}: "
                             "else some tokens are in no window")  # fmt: skip
        return self


def rate(config: BertConfig, done: float) -> float:
    """Learning rate when a share of the training, 0 to 1, is done."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * min(done / config.warmup, (1 - done) / (1 - config.warmup))


def train(config: BertConfig, run: Run) -> None:
    reader = pretrained(config, run)
    asked, dev = Asked(run.data_dir, "train"), Asked(run.data_dir, "dev")
    texts = Texts(asked.questions, asked.paragraphs, reader.tokenizer, config.question_tokens)
    models: list[Any] = [run.wrap(member) for member in reader.members]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=config.lr, weight_decay=config.weight_decay) for m in models]
    state = {f"model{i}": model for i, model in enumerate(models)}
    state |= {f"optimizer{i}": optimizer for i, optimizer in enumerate(optimizers)}

    for epoch in run.epochs(config.epochs, state=state):
        loss_sum, count = torch.zeros((), device=run.device), 0
        for member, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            seed = (run.seed * 1000 + epoch) * 100 + member
            windows = OneWindow(texts, reader.layout, config.placement, config.negatives, seed)
            batches = run.loader(windows, config.batch_size, train=True)
            for step, batch in enumerate(batches):
                set_rate(optimizer, rate(config, (epoch + (step + 0.5) / len(batches)) / config.epochs))
                optimizer.zero_grad()
                # Equal parts on every worker, so that each waits for the others as often.
                for part in zip(*(column.chunk(config.accumulation) for column in batch), strict=True):
                    *inputs, first, last = part
                    named = model_inputs(unwrap(model), *inputs)
                    loss = model(**named, start_positions=first, end_positions=last).loss * len(first)
                    (loss / len(batch[0])).backward()
                    loss_sum += loss.detach()
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                count += len(batch[0])
        run.log({"train/loss": run.mean(loss_sum, count), **evaluate(reader, dev, run)})
        run.best(METRIC, reader)


def pretrained(config: BertConfig, run: Run) -> Reader:
    """The pre-trained model, as many times as there are members, each with a head of its own.

    Raises:
        BadInput: it can't be had, or reads fewer tokens than a question and a window take.
    """
    name = config.checkpoint or str(run.upstream(PRETRAINED) / "deliver")
    shape = checkpoints.shape(name)
    most, needed = shape.max_position_embeddings, config.question_tokens + config.paragraph_tokens + 3
    if needed > most:
        raise BadInput(f"question_tokens {config.question_tokens}, paragraph_tokens {config.paragraph_tokens} and 3 "
                       f"marks are {needed} tokens, but checkpoint {name!r} reads at most {most}")  # fmt: skip
    tokenizer, marks = checkpoints.tokenizer(name)
    run.write_shape(model=shape.to_dict(), tokenizer=tokenizer.to_str(), marks=marks)
    members = [checkpoints.reader(name).train() for _ in range(config.members)]
    return Reader(members, tokenizer, marks, rules(config))


def rules(config: BertConfig) -> Rules:
    return Rules(**{field.name: getattr(config, field.name) for field in fields(Rules)})


def evaluate(reader: Reader, dev: Asked, run: Run) -> dict[str, float]:
    """Exact match and F1 over all questions."""
    with run.evaluation(reader) as net:
        texts = Texts(dev.questions, dev.paragraphs, net.tokenizer, net.rules.question_tokens)
        own = answer(net, texts, run.loader(EveryWindow(texts, net.layout, net.rules.doc_stride), 64))
    found = dict(run.gather(list(own.items())))
    said, right = [found[number].text for number in range(len(found))], dev.answers()
    return {"val/exact_match": exact_match(said, right), "val/f1": character_f1(said, right)}


def load(folder: Path) -> Reader:
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    shape, config = load_shape(folder), LAB.read_config(folder)
    model = AutoConfig.for_model(**shape["model"])
    members = [checkpoints.blank_reader(model) for _ in range(config.members)]
    tokenizer = Tokenizer.from_str(shape["tokenizer"])
    return load_weights(folder, Reader(members, tokenizer, Marks(*shape["marks"]), rules(config)))


def predict(model: Reader, inputs: np.ndarray) -> np.ndarray:
    """(B, 2) texts, a question and its paragraph -> (B,) answers, texts."""
    questions = [Question(number, number, text, -1, -1) for number, text in enumerate(inputs[:, 0].tolist())]
    return np.array(answers(model, questions, inputs[:, 1].tolist()))


def example(data_dir: Path) -> np.ndarray:
    dev = Asked(data_dir, "dev")
    return np.array([[question.text, dev.paragraphs[question.paragraph]] for question in dev.questions[:2]])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `result.csv` (`ID,Answer`, without commas in the answers), and for the report `rules.csv` and `rules.png`:
    what each rule of finding the answer is worth on validation questions, by how far windows overlap; `curves.png`."""
    reader = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    test = Asked(data_dir, "test")
    said = answers(reader, test.questions, test.paragraphs)
    submission.write(out / LAB.submission, HEADER, zip((q.id for q in test.questions), map(plain, said), strict=True))
    figures.write_rules(out, reader, Asked(data_dir, "dev"))
    figures.plot_curves(folder).savefig(out / "curves.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    """The ids are the test set's own, in its order: here each must be an integer that stands once."""
    return check_answers(file, HEADER)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """`test/trivial` is the exact match of taking, of the clause most like the question, what the question lacks."""
    known = drcd.read_answers(data_dir)
    if known is None:
        return {}
    right, asked = known
    said, trivial = submission.predictions(delivered / LAB.submission), [nearest(*texts) for texts in asked]
    return {
        "test/exact_match": exact_match(said, right),
        "test/f1": character_f1(said, right),
        "test/trivial": exact_match(trivial, right),
    }


def network(config: BertConfig) -> nn.Module:
    """All members; where no checkpoint is named, as the bert-pretrain lab makes them at size small."""
    small = pretraining.PretrainingConfig.model_validate(pretraining.SIZES["small"])
    shape = checkpoints.shape(config.checkpoint) if config.checkpoint else pretraining.network(small, 200).config
    return nn.ModuleList([checkpoints.blank_reader(shape) for _ in range(config.members)])


def space() -> dict[str, dict[str, object]]:
    return {  # each stride fits each window
        "lr": {"type": "loguniform", "low": 2e-5, "high": 3e-3},
        "schedule": {"type": "choice", "values": ["constant", "linear"]},
        "warmup": {"type": "uniform", "low": 0.02, "high": 0.3, "when": {"schedule": "linear"}},
        "placement": {"type": "choice", "values": ["centre", "anywhere"]},
        "negatives": {"type": "uniform", "low": 0.0, "high": 0.5},
        "paragraph_tokens": {"type": "choice", "values": [48, 64, 96]},
        "doc_stride": {"type": "choice", "values": [16, 24, 32, 48]},
        "search": {"type": "choice", "values": ["separate", "joint"]},
        "longest": {"type": "randint", "low": 4, "high": 31, "when": {"search": "joint"}},
        "batch_size": {"type": "choice", "values": [8, 16, 32]},
        "accumulation": {"type": "choice", "values": [1, 2]},
        "epochs": {"type": "randint", "low": 1, "high": 5},
    }


RISE_AND_FALL = {"schedule": "linear"}
PREPROCESSING = {"placement": "anywhere", "negatives": 0.3}
LAB = Lab(
    heading=COURSE["bert"],
    config=BertConfig,
    presets={
        "simple": {},
        "medium": RISE_AND_FALL,
        "strong": {**RISE_AND_FALL, **PREPROCESSING},
        "boss": {**RISE_AND_FALL, **PREPROCESSING, "search": "joint", "members": 2},
    },
    sizes={
        "tiny": {"question_tokens": 14, "paragraph_tokens": 32, "doc_stride": 32, "longest": 8, "lr": 1e-3,
                 "batch_size": 16, "epochs": 2},
        "small": {"question_tokens": 20, "paragraph_tokens": 48, "doc_stride": 48, "longest": 8, "lr": 1e-3,
                  "batch_size": 16, "epochs": 3},
        "course": {"checkpoint": "bert-base-chinese"},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="result.csv",
    space=space,
    network=network,
    data=drcd,
    tuned={
        **{(preset, "tiny"): {"doc_stride": 16} for preset in ("medium", "strong", "boss")},
        ("medium", "small"): {"doc_stride": 12, "lr": 1.5e-3},
        **{(preset, "small"): {"doc_stride": 24, "lr": 1.5e-3, "epochs": 8} for preset in ("strong", "boss")},
        ("medium", "course"): {"doc_stride": 50},
        ("strong", "course"): {"doc_stride": 50, "checkpoint": "hfl/chinese-macbert-base", "lr": 3e-5, "epochs": 2},
        ("boss", "course"): {"doc_stride": 50, "checkpoint": "hfl/chinese-macbert-large", "lr": 2e-5, "epochs": 2,
                             "accumulation": 4},
    },
    needs={PRETRAINED: "bert-pretrain"},
    seconds={"tiny": 2, "small": 60, "course": 1200},
)  # fmt: skip
