"""Homework 7, BERT: answer Chinese questions with a span of a paragraph.

Task
    Fine-tune a pre-trained model to predict an answer's first and last token, in windows that fit its input length.
Data
    `labs.bert.data`: 31,690 training, 4131 validation and 4957 test questions, on 10,524, 1490 and 1586 paragraphs; or
    generated biographies of invented people (`labs.shared.text.passages`): each fact is a clause about one person. The
    generated text of `bert-pretrain` asks and answers questions in the same words, unlike that of a public BERT.
Metric
    Exact match, the fraction of questions answered to the character; higher is better. Course's public thresholds:
    simple 0.45139, medium 0.65792, strong 0.78136, boss 0.84388. `f1`, the overlap in characters, is logged beside it.
Ladder
    simple   the course's sample: windows without overlap; training windows centred on the answer; a constant learning
             rate; the tokens with the best start and the best end logit, chosen separately and decoded.
    medium   the learning rate warms up and decays linearly to 0; windows overlap, so that an answer cut by the end of
             one window is whole in another. Every training window is still centred on its answer, so a model can learn
             to prefer the middle of its input instead of the clause about the person in the question. On generated
             data it does: after four epochs the training loss is .001, but the exact match only .74.
    strong   better preprocessing: the answer lies anywhere in its training window, and some windows (negatives) have
             none, so a model must match question and clause. It learns this abruptly, and not in every run (see
             `labs/README.md`). At size `course` also another pre-trained model. Trains longer, as in the course.
    boss     better post-processing: the best valid span, start and end chosen jointly, copied from the paragraph's own
             characters; and the averaged logits of several fine-tuned models (an ensemble).
Report
    (a)  By which rule, other than the sample's, do start and end logits become a span, and what does it gain?
    (b)  How good is a second pre-trained model, and how does it differ from BERT?
Papers
    Devlin et al., BERT (arXiv:1810.04805); Shao et al., DRCD (arXiv:1806.00920); Cui et al., Whole Word Masking for
    Chinese BERT (arXiv:1906.08101); Cui et al., MacBERT (arXiv:2004.13922).
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from labs import COURSE
from labs.bert import data, demo, pretrained_models, pretraining, report
from labs.bert.metrics import character_f1, check_answers, exact_match, normalise, trivial_answer
from labs.bert.training_windows import AnswerPosition, TrainingWindows
from labs.core import submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.text.answering import best_answers, predict_answers
from labs.shared.text.questions import Question, SlidingWindows, TokenizedQuestions
from labs.shared.text.reader import InferenceSettings, Reader, Search, model_inputs

METRIC = COURSE["bert"].metric
PRETRAINED = "pretrained"
"""Role of the run that this lab needs."""
HEADER = ("ID", "Answer")


class BertConfig(Config):
    pretrained_model: str = ""
    """Pre-trained model: a local folder or a name on the Hugging Face hub; empty for the run that this lab needs."""
    members: int = Field(1, ge=1)
    """Models of the ensemble, each fine-tuned with its own head and training windows; their logits are averaged."""
    question_tokens: int = Field(40, ge=1)
    """Maximum length of a question in tokens; longer questions are truncated."""
    paragraph_tokens: int = Field(150, ge=1)
    """Maximum length of a window of the paragraph in tokens."""
    doc_stride: int = Field(150, ge=1)
    """Tokens from the start of one window to the start of the next; no effect on training windows."""
    answer_position: AnswerPosition = "centre"
    """Where a training window has its answer: in the middle, or at a random place."""
    negative_fraction: float = Field(0.0, ge=0, lt=1)
    """Fraction of training windows without the answer, whose target is [CLS]. Above 0, the score of a span is its
    margin over the score of [CLS], which makes windows comparable."""
    search: Search = "separate"
    """Span of a window: the best start and the best end chosen separately, decoded, with [UNK] for unknown characters;
    or the best valid span, in the paragraph's own characters."""
    max_answer_tokens: int = Field(30, ge=1)
    """Maximum length of an answer in tokens; no effect with `search=separate`."""
    schedule: Literal["constant", "linear"] = "constant"
    """Learning rate: constant, or linear warmup to `lr` and linear decay to 0."""
    warmup: float = Field(0.1, gt=0, lt=1)
    """Fraction of the training in which the learning rate rises; no effect with `schedule=constant`."""
    lr: float = Field(1e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of AdamW."""
    clip: float = Field(1.0, gt=0)
    """Maximum norm of the gradient."""
    batch_size: int = Field(32, ge=1)
    """Questions of a global batch, over all workers."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches of a worker's part of a batch, whose gradients add up: more of them need less memory."""
    epochs: int = Field(1, ge=1)
    """Passes over the training questions."""

    @model_validator(mode="after")
    def _windows_cover_the_paragraph(self) -> Self:
        if self.doc_stride > self.paragraph_tokens:
            raise ValueError(f"doc_stride {self.doc_stride} must be at most paragraph_tokens {self.paragraph_tokens}: "
                             "otherwise some tokens are in no window")  # fmt: skip
        return self


def learning_rate(config: BertConfig, done: float) -> float:
    """Learning rate when a fraction `done` of the training, 0 to 1, is over."""
    if config.schedule == "constant":
        return config.lr
    # lr * done / warmup, then lr * (1 - done) / (1 - warmup)
    return config.lr * min(done / config.warmup, (1 - done) / (1 - config.warmup))


def train(config: BertConfig, run: Run) -> None:
    reader = pretrained_reader(config, run)
    training, dev = data.Split(run.data_dir, "train"), data.Split(run.data_dir, "dev")
    texts = TokenizedQuestions(training.questions, training.paragraphs, reader.tokenizer, config.question_tokens)
    models: list[Any] = [run.wrap(member) for member in reader.members]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=config.lr, weight_decay=config.weight_decay) for m in models]
    state = {f"model{i}": model for i, model in enumerate(models)}
    state |= {f"optimizer{i}": optimizer for i, optimizer in enumerate(optimizers)}

    for epoch in run.epochs(config.epochs, state=state):
        losses = Meter()
        # Each member of the ensemble takes one pass over the questions.
        for member, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            # 1. Draw a window of each question's paragraph, with another seed for each member in each epoch.
            seed = (run.seed * 1000 + epoch) * 100 + member
            windows = TrainingWindows(texts, reader.special_tokens, config.paragraph_tokens, config.answer_position,
                                      config.negative_fraction, seed)  # fmt: skip
            batches = run.loader(windows, config.batch_size, train=True)
            for step, batch in enumerate(batches):
                # 2. Set the learning rate of this step.
                done = (epoch + (step + 0.5) / len(batches)) / config.epochs
                set_rate(optimizer, learning_rate(config, done))

                # 3. Add up the micro-batches' gradients.
                optimizer.zero_grad()
                parts = list(zip(*(column.chunk(config.accumulation) for column in batch), strict=True))
                for *inputs, first, last in run.micro_batches(model, parts):
                    named = model_inputs(unwrap(model), *inputs)
                    # L = (CE(start logits, first) + CE(end logits, last)) / 2 in transformers; the paper takes the sum
                    loss = model(**named, start_positions=first, end_positions=last).loss
                    run.backward(loss * len(first) / len(batch[0]))
                    losses.add(loss, len(first))

                # 4. Clip the gradient and update the weights.
                run.clip_gradients(optimizer, config.clip)
                run.step(optimizer)

        # 5. Validate the ensemble, and keep the weights with the best exact match.
        run.log({"train/loss": run.mean(losses.sum, losses.count), **evaluate(reader, dev, run)})
        run.best(METRIC, reader)


def pretrained_reader(config: BertConfig, run: Run) -> Reader:
    """The pre-trained model, once for each member of the ensemble, each with an untrained head of its own."""
    name = config.pretrained_model or str(run.upstream(PRETRAINED) / "deliver")
    reader, model_config = pretrained_models.load_reader(name, config.members, inference_settings(config))
    shape = {"model": model_config.to_dict(), "tokenizer": reader.tokenizer.to_str()}
    run.write_shape(**shape, special_tokens=reader.special_tokens)
    return reader


def inference_settings(config: BertConfig) -> InferenceSettings:
    return InferenceSettings(**{field.name: getattr(config, field.name) for field in fields(InferenceSettings)})


def evaluate(reader: Reader, dev: data.Split, run: Run) -> dict[str, float]:
    """Exact match and F1 over all validation questions, which are spread over the workers."""
    settings = reader.settings
    with run.evaluation(reader) as net:
        texts = TokenizedQuestions(dev.questions, dev.paragraphs, net.tokenizer, settings.question_tokens)
        windows = SlidingWindows(texts, net.special_tokens, settings.paragraph_tokens, settings.doc_stride)
        own = best_answers(net, texts, run.loader(windows, 64))
    best = dict(run.gather(list(own.items())))
    predictions, answers = [best[number].text for number in range(len(best))], dev.answers()
    return {"val/exact_match": exact_match(predictions, answers), "val/f1": character_f1(predictions, answers)}


def load(folder: Path) -> Reader:
    config = LAB.read_config(folder)
    reader = pretrained_models.new_reader(config.members, inference_settings(config), **load_shape(folder))
    return load_weights(folder, reader)


def predict(model: Reader, inputs: np.ndarray) -> np.ndarray:
    """(B, 2) strings, a question and its paragraph -> (B,) strings, the answers."""
    questions = [Question(number, number, text, -1, -1) for number, text in enumerate(inputs[:, 0].tolist())]
    return np.array(predict_answers(model, questions, inputs[:, 1].tolist()))


def example(data_dir: Path) -> np.ndarray:
    dev = data.Split(data_dir, "dev")
    return np.array([[question.text, dev.paragraphs[question.paragraph]] for question in dev.questions[:2]])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `result.csv` (`ID,Answer`, without commas in the answers) and the report."""
    reader = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    test = data.Split(data_dir, "test")
    predictions = predict_answers(reader, test.questions, test.paragraphs)
    rows = zip((question.id for question in test.questions), map(normalise, predictions), strict=True)
    submission.write(out / LAB.submission, HEADER, rows)
    report.write(LAB, folder, out, reader, data.Split(data_dir, "dev"))


def check_submission(file: Path) -> list[str]:
    """The first fault of a submission file; the ids, in the order of the test set, are not compared with it."""
    return check_answers(file, HEADER)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Exact match and F1 on the test set; `test/trivial` is the exact match of `metrics.trivial_answer`."""
    known = data.read_answers(data_dir)
    if known is None:
        return {}
    answers, pairs = known
    predictions, trivial = submission.predictions(delivered / LAB.submission), [trivial_answer(*pair) for pair in pairs]
    return {
        "test/exact_match": exact_match(predictions, answers),
        "test/f1": character_f1(predictions, answers),
        "test/trivial": exact_match(trivial, answers),
    }


def network(config: BertConfig) -> nn.Module:
    """All members of the ensemble; without a `pretrained_model`, of the bert-pretrain lab's shape at size small."""
    if config.pretrained_model:
        model_config = pretrained_models.load_config(config.pretrained_model)
    else:
        small = pretraining.PretrainingConfig.model_validate(pretraining.SIZES["small"])
        model_config = pretraining.network(small, vocabulary_size=200).config
    return nn.ModuleList([pretrained_models.new_model(model_config) for _ in range(config.members)])


def space() -> dict[str, dict[str, object]]:
    return {  # every doc_stride is at most every paragraph_tokens
        "lr": {"type": "loguniform", "low": 2e-5, "high": 3e-3},
        "schedule": {"type": "choice", "values": ["constant", "linear"]},
        "warmup": {"type": "uniform", "low": 0.02, "high": 0.3, "when": {"schedule": "linear"}},
        "answer_position": {"type": "choice", "values": ["centre", "random"]},
        "negative_fraction": {"type": "uniform", "low": 0.0, "high": 0.5},
        "paragraph_tokens": {"type": "choice", "values": [48, 64, 96]},
        "doc_stride": {"type": "choice", "values": [16, 24, 32, 48]},
        "search": {"type": "choice", "values": ["separate", "joint"]},
        "max_answer_tokens": {"type": "randint", "low": 4, "high": 31, "when": {"search": "joint"}},
        "batch_size": {"type": "choice", "values": [8, 16, 32]},
        "accumulation": {"type": "choice", "values": [1, 2]},
        "epochs": {"type": "randint", "low": 1, "high": 5},
    }


LINEAR = {"schedule": "linear"}
PREPROCESSING = {"answer_position": "random", "negative_fraction": 0.3}
LAB = Lab(
    heading=COURSE["bert"],
    config=BertConfig,
    presets={
        "simple": {},
        "medium": LINEAR,
        "strong": {**LINEAR, **PREPROCESSING},
        "boss": {**LINEAR, **PREPROCESSING, "search": "joint", "members": 2},
    },
    sizes={
        "tiny": {"question_tokens": 14, "paragraph_tokens": 32, "doc_stride": 32, "max_answer_tokens": 8, "lr": 1e-3,
                 "batch_size": 16, "epochs": 2},
        "small": {"question_tokens": 20, "paragraph_tokens": 48, "doc_stride": 48, "max_answer_tokens": 8, "lr": 1e-3,
                  "batch_size": 16, "epochs": 3},
        "course": {"pretrained_model": "bert-base-chinese"},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=demo.DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="result.csv",
    space=space,
    network=network,
    data=data,
    tuned={
        **{(preset, "tiny"): {"doc_stride": 16} for preset in ("medium", "strong", "boss")},
        ("medium", "small"): {"doc_stride": 12, "lr": 1.5e-3},
        **{(preset, "small"): {"doc_stride": 24, "lr": 1.5e-3, "epochs": 8} for preset in ("strong", "boss")},
        ("medium", "course"): {"doc_stride": 50},
        ("strong", "course"): {"pretrained_model": "hfl/chinese-macbert-base", "doc_stride": 50, "lr": 3e-5,
                               "epochs": 2},
        ("boss", "course"): {"pretrained_model": "hfl/chinese-macbert-large", "doc_stride": 50, "lr": 2e-5,
                             "epochs": 2, "accumulation": 4},
    },
    needs={PRETRAINED: "bert-pretrain"},
    provided=lambda config, source: (PRETRAINED,) if config.pretrained_model else (),
    seconds={"tiny": 2, "small": 60, "course": 1200},
)  # fmt: skip
