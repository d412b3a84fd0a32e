"""Promises of the bert lab: its span search, its metrics, its training on a pre-trained model, its submission."""

import csv
import itertools
import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from labs.bert import data, pretraining
from labs.bert.data import Split
from labs.bert.lesson import LAB, PRETRAINED, evaluate, learning_rate, predict
from labs.bert.metrics import character_f1, exact_match, trivial_answer
from labs.bert.tiny_bert import SPECIAL_TOKENS, new_tokenizer
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.explain.hidden_states import encode
from labs.shared.text.answering import predict_answers
from labs.shared.text.questions import Question
from labs.shared.text.reader import InferenceSettings, Reader
from labs.shared.text.span_search import joint_search, separate_search
from pipelines.spec import SPECS, read_spec
from tests.labs.folders import fault_of_submission
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on

Upstream = Mapping[str, Path]
"""Role -> the run that a run needs."""


def fit(folder: Path, data_dir: Path, upstream: Upstream, preset: str = "boss", **overrides: object) -> None:
    LAB.fit(LAB.resolve(preset, "tiny", overrides), Run(folder, data_dir, seed=3, upstream=upstream))


@pytest.fixture(scope="module")
def finished(store: Store) -> Path:
    return store.finished("bert", "boss")


def same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-5, except for two biases that shift all logits of a window equally, which changes no probability:
    their gradients are rounding errors, which Adam scales up to steps."""
    for name, weight in expected.items():
        if not name.endswith(("qa_outputs.bias", "layer.0.output.LayerNorm.bias")):
            torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=1e-4)


# --- search and metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [1, 3, 9])
def test_joint_search_is_brute_force(longest: int) -> None:
    """The best sum of logits over all spans first <= last < first + longest that begin and end with allowed tokens."""
    generator = torch.Generator().manual_seed(0)
    logits, allowed = torch.randn(20, 2, 9, generator=generator), torch.rand(20, 9, generator=generator) < 0.7
    allowed[:, 4] = True
    scores, first, last = joint_search(logits, allowed, longest)
    for row in range(20):
        pairs = [
            (logits[row, 0, a] + logits[row, 1, b], a, b)
            for a, b in itertools.product(range(9), range(9))
            if allowed[row, a] and allowed[row, b] and a <= b < a + longest
        ]
        assert (scores[row], first[row], last[row]) == max(pairs)


def test_separate_search_may_end_before_it_begins() -> None:
    """The sample's rule; the answer is empty then."""
    logits = torch.tensor([[[0.0, 1.0, 5.0], [0.0, 4.0, 1.0]]])
    assert [part.item() for part in separate_search(logits)] == [9.0, 2, 1]


class Oracle(torch.nn.Module):
    """Logits of 5 where a given answer begins and ends in a window, and of 0 elsewhere."""

    def __init__(self, tokenizer: Any, answer: str) -> None:
        super().__init__()
        self.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))  # its device is taken as the model's
        self.config = SimpleNamespace(type_vocab_size=2)
        self.answer = tokenizer.encode(answer, add_special_tokens=False).ids

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> Any:
        first, last = torch.zeros(2, *input_ids.shape)
        for row, tokens in enumerate(input_ids.tolist()):
            for place in range(len(tokens)):
                if tokens[place : place + len(self.answer)] == self.answer:
                    first[row, place], last[row, place + len(self.answer) - 1] = 5, 5
        return SimpleNamespace(start_logits=first, end_logits=last)


PARAGRAPH = "林文德是王家豪的老師。陳彧明，1874年生，是張志的老師，死於1913年。"
TOKENIZER = new_tokenizer("林文德是王家豪的老師。陳明，年生張志死於0123456789").backend_tokenizer


def found(answer: str, **settings: Any) -> str:
    """The prediction from windows of 12 tokens when the logits point to `answer`."""
    defaults = {"question_tokens": 9, "paragraph_tokens": 12, "doc_stride": 12, "search": "joint",
                "max_answer_tokens": 9, "negative_fraction": 0.0}  # fmt: skip
    return predicted(Oracle(TOKENIZER, answer), InferenceSettings(**{**defaults, **settings}))


def predicted(member: Any, settings: InferenceSettings) -> str:
    reader = Reader([member], TOKENIZER, SPECIAL_TOKENS, settings)
    return predict_answers(reader, [Question(0, 0, "誰？", 0, 0)], [PARAGRAPH])[0]


@pytest.mark.parametrize("search", ["separate", "joint"])
def test_an_answer_in_any_window_is_found(search: str) -> None:
    """Windows without it have a lower score."""
    for answer in ("林文德", "王家豪", "1913年", "張志"):
        assert found(answer, search=search, doc_stride=6) == answer


def test_overlap_finds_what_a_window_s_end_cuts() -> None:
    """陳彧明 is tokens 11 to 13, on both sides of the first window's end."""
    assert found("陳彧明") != "陳彧明"
    assert found("陳彧明", doc_stride=6) == "陳彧明"


def test_unknown_characters_are_not_lost() -> None:
    """The sample's decoding gives [UNK] for 彧; the token's offsets give the character."""
    assert found("陳彧明", doc_stride=6, search="separate") == "陳[UNK]明"
    assert found("陳彧明", doc_stride=6, search="joint") == "陳彧明"


def test_no_answer_is_longer_than_allowed() -> None:
    """Whatever the logits are."""
    assert found("林文德是王", max_answer_tokens=9) == "林文德是王"
    assert len(found("林文德是王", max_answer_tokens=3)) <= 3


class NullScoring(Oracle):
    """An oracle with higher logits, 7, on a wrong token of windows without the answer, and there still higher ones, 9,
    on [CLS]."""

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> Any:
        output = super().forward(input_ids, **inputs)
        without = output.start_logits.amax(1) < 5
        for logits in (output.start_logits, output.end_logits):
            logits[without, 11], logits[without, 0] = 7, 9
        return output


@pytest.mark.parametrize("search", ["separate", "joint"])
def test_a_window_without_an_answer_gives_none(search: Any) -> None:
    """After training with negative windows, spans are compared by their margin over [CLS]; by the logits alone the
    wrong window would win."""
    for negative_fraction, right in ((0.0, False), (0.3, True)):
        settings = InferenceSettings(9, 12, 6, search, 9, negative_fraction)
        assert (predicted(NullScoring(TOKENIZER, "1913年"), settings) == "1913年") == right


def test_members_logits_are_averaged() -> None:
    """The ensemble's logits are the mean of its two members' logits."""
    tokens = torch.tensor([[2, 5, 3, 6, 7, 3]])
    members: list[Any] = [Oracle(TOKENIZER, text) for text in ("文", "德")]
    settings = InferenceSettings(9, 12, 12, "joint", 9, 0.0)
    together = Reader(members, TOKENIZER, SPECIAL_TOKENS, settings)(tokens, tokens, tokens)
    alone = [Reader([member], TOKENIZER, SPECIAL_TOKENS, settings)(tokens, tokens, tokens) for member in members]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)


def test_metrics_count_characters() -> None:
    """Computed by hand: commas and spaces do not count, a repeated character counts as often as it occurs."""
    assert exact_match(["1,874 年", "林", "", "林文"], ["1874年", "林文", "王", "林"]) == pytest.approx(1 / 4)
    assert character_f1(["林林文"], ["林文文德"]) == pytest.approx(2 * 2 / 7)
    assert character_f1(["林林文文"], ["林文文德"]) == pytest.approx(2 * 3 / 8)
    assert character_f1(["", "甲", "1,0"], ["乙", "甲", "10"]) == pytest.approx(2 / 3)


def test_metrics_are_those_of_squad_in_characters() -> None:
    """As SQuAD's scorer gives them for 200 pairs whose characters are its words."""
    from torchmetrics.functional.text import squad

    draw = random.Random(0)
    answers = ["".join(draw.choices("林文德1874年《》", k=draw.randint(1, 6))) for _ in range(200)]
    predictions = [
        draw.choice([each, each[:2], each + "年", "".join(draw.sample(each, len(each)))]) for each in answers
    ]
    theirs = squad(
        [{"prediction_text": " ".join(text), "id": str(n)} for n, text in enumerate(predictions)],
        [{"answers": {"answer_start": [0], "text": [" ".join(text)]}, "id": str(n)} for n, text in enumerate(answers)],
    )
    assert 100 * exact_match(predictions, answers) == pytest.approx(float(theirs["exact_match"]))
    assert 100 * character_f1(predictions, answers) == pytest.approx(float(theirs["f1"]))


def test_the_trivial_answer_is_of_the_most_similar_clause() -> None:
    """The clause with most of the question's characters, without those characters."""
    assert trivial_answer("王家豪的老師是誰？", PARAGRAPH) == "林文德"
    assert trivial_answer("誰死於1913？", PARAGRAPH) == "年"


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    """Linearly with `schedule=linear`; otherwise it is constant."""
    config = LAB.resolve("medium", "course")
    assert [learning_rate(config, done) for done in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 5e-5, 1e-4, 5e-5, 0])
    assert {learning_rate(LAB.resolve("simple", "course"), done) for done in (0, 0.5, 1)} == {1e-4}


# --- report ---------------------------------------------------------------------------------------------------------


def test_the_reports_pipeline_fine_tunes_both_pretrained_models_alike() -> None:
    """One config, with the same seeds; the needed runs differ in what they mask and in nothing else."""
    _, nodes = read_spec(SPECS / "bert-report.yaml")
    by_name = {node.name: node for node in nodes}
    tuned = [node for node in nodes if node.lab == "bert"]
    assert len({node.config for node in tuned}) == 1
    needed: dict[str, list[int]] = {}
    for node in tuned:
        needed.setdefault(node.needs[PRETRAINED], []).append(node.seed)
    spans, characters = (by_name[name].config.model_dump() for name in needed)
    assert (spans["masking"], {**spans, "masking": "characters"}) == ("spans", characters)
    assert {tuple(sorted(seeds)) for seeds in needed.values()} == {(0, 1, 2)}


def test_the_report_says_what_the_pretrained_model_masked(finished: Path) -> None:
    assert "| the small BERT of lab bert-pretrain, masking spans |" in (finished / "deliver/report.md").read_text()


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_a_valid_submission(finished: Path, source: Path, data_dir: Path) -> None:
    """A row for each test question, in order, without commas; scored against the answers; the report's files."""
    file = finished / "deliver/result.csv"
    assert LAB.check_submission(file) == []
    rows = list(csv.reader(file.open()))
    questions = json.loads((source / data.FILES["test"]).read_text())["questions"]
    assert rows[0] == ["ID", "Answer"]
    assert [row[0] for row in rows[1:]] == [str(question["id"]) for question in questions]
    assert not any("," in row[1] for row in rows)
    answers = [q["answer_text"] for q in json.loads((source / data.ANSWERS).read_text())["questions"]]
    scores = LAB.score(finished / "deliver", data_dir)
    assert scores["test/exact_match"] == exact_match([row[1] for row in rows[1:]], answers)
    assert 0 < scores["test/trivial"] < 0.6


def test_the_report_has_each_rule_at_each_stride(finished: Path) -> None:
    """The sample's rule and the joint one, for strides of 32, 16 and 8 tokens."""
    rows = list(csv.DictReader((finished / "deliver/rules.csv").open()))
    assert {(row["search"], row["doc_stride"]) for row in rows} == {
        (search, stride) for search in ("separate", "joint") for stride in ("32", "16", "8")
    }
    assert all(0 <= float(row["exact_match"]) <= float(row["f1"]) <= 1 for row in rows)


def test_the_best_weights_are_kept(finished: Path, data_dir: Path, tmp_path: Path) -> None:
    """The final weights have the best validation value of the run, computed again from them."""
    found = evaluate(LAB.load(finished), Split(data_dir, "dev"), Run(tmp_path, data_dir))
    best = json.loads((finished / "result.json").read_text())["metrics"]["best/value"]
    assert found["val/exact_match"] == pytest.approx(best)


def test_the_answers_score_1(source: Path, data_dir: Path, tmp_path: Path) -> None:
    """The answers themselves are a perfect submission; without answers nothing is scored."""
    questions = json.loads((source / data.ANSWERS).read_text())["questions"]
    lines = [f"{question['id']},{question['answer_text']}" for question in questions]
    (tmp_path / "result.csv").write_text("\n".join(["ID,Answer", *lines, ""]))
    scores = LAB.score(tmp_path, data_dir)
    assert (scores["test/exact_match"], scores["test/f1"]) == (1, 1)
    assert LAB.score(tmp_path, tmp_path) == {}


def test_fine_tuning_starts_from_the_pre_trained_weights(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """With a learning rate near 0 the encoder stays that of the run that is needed; each member has its own head."""
    fit(tmp_path, data_dir, upstream, lr=1e-30, weight_decay=0, epochs=1)
    own, members = pretraining.load(upstream[PRETRAINED]).roformer.state_dict(), LAB.load(tmp_path).members
    for member in members:
        assert all(torch.equal(weight, own[name]) for name, weight in member.roformer.state_dict().items())
    assert not torch.equal(members[0].qa_outputs.weight, members[1].qa_outputs.weight)


def test_micro_batches_learn_what_the_batch_learns(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """Accumulated gradients of unequal micro-batches are the gradients of the whole batch."""
    for parts in (1, 3):
        fit(tmp_path / str(parts), data_dir, upstream, "strong", accumulation=parts, epochs=1)
    one, three = (LAB.load(tmp_path / str(parts)).state_dict() for parts in (1, 3))
    same_weights(three, one)


def test_two_workers_learn_what_one_learns(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """The ranks are bit-equal, and equal to one worker to 1e-5, with random windows; so are the validation values."""
    config = LAB.resolve("strong", "tiny", {"epochs": 1})
    (one,) = train_on(1, "bert", config, data_dir, tmp_path / "one", upstream)
    two = train_on(2, "bert", config, data_dir, tmp_path / "two", upstream)
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    same_weights(two[0], one)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


def test_a_batch_that_can_not_be_split_is_refused(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """The message has both numbers."""
    run = Run(tmp_path, data_dir, upstream=upstream)
    run.world_size = 3
    with pytest.raises(BadInput, match="batch size 16 can't be split evenly between 3 workers"):
        run.loader(torch.utils.data.TensorDataset(torch.arange(40)), 16, train=True)


def test_questions_can_be_learnt(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """Even after little pre-training, the loss falls well below that of a uniform choice among a window's tokens."""
    fit(tmp_path, data_dir, upstream, "strong", epochs=15, lr=5e-3)
    loss = json.loads((tmp_path / "result.json").read_text())["metrics"]["train/loss"]
    assert loss < 0.8 * np.log(32)


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """Pairs of texts give the answers of the submission."""
    inputs = LAB.example(data_dir)
    output = predict(LAB.load(finished), inputs)
    assert (inputs.shape, inputs.dtype.kind, output.shape, output.dtype.kind) == ((2, 2), "U", (2,), "U")
    test = Split(data_dir, "test")
    pairs = np.array([[q.text, test.paragraphs[q.paragraph]] for q in test.questions[:5]])
    submitted = [row["Answer"] for row in csv.DictReader((finished / "deliver/result.csv").open())][:5]
    assert predict(LAB.load(finished), pairs).tolist() == submitted


def test_hidden_states_and_attention_can_be_read(finished: Path) -> None:
    """Tokens with their characters, the hidden states of each layer, and attention weights that sum to 1."""
    question, context = "林文德的老師", "彧明是林文德的老師。"
    output = encode(LAB.load(finished), question, context)
    assert output.hidden_states.shape == (2, 19, 16)
    torch.testing.assert_close(output.attentions.sum(3), torch.ones(1, 2, 19))
    texts = [(question, context)[kind] for kind in output.token_type_ids.tolist()]
    for token, (start, end), text in zip(output.tokens, output.offsets, texts, strict=True):
        assert token in (text[start:end], "[CLS]", "[SEP]", "[UNK]")
    assert output.tokens[8] == "[UNK]"
    assert context[slice(*output.offsets[8])] == "彧"


# --- pre-trained models ----------------------------------------------------------------------------------------------


def test_a_local_folder_is_a_pre_trained_model(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """A BERT with absolute position embeddings and another vocabulary, instead of the run that is needed."""
    folder = tmp_path / "pretrained"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForQuestionAnswering(BertConfig(vocab_size=8, max_position_embeddings=60, **sizes))
    model.save_pretrained(folder)
    new_tokenizer("年生於").save_pretrained(folder)
    fit(tmp_path / "run", data_dir, upstream, pretrained_model=str(folder), lr=1e-30, weight_decay=0, epochs=1)
    member = LAB.load(tmp_path / "run").members[0]
    assert isinstance(member, BertForQuestionAnswering)
    torch.testing.assert_close(member.bert.state_dict(), model.bert.state_dict())


def test_too_long_windows_are_refused(data_dir: Path, upstream: Upstream, tmp_path: Path) -> None:
    """More tokens than the pre-trained model has positions: the message has the numbers."""
    with pytest.raises(BadInput, match="question_tokens 14, paragraph_tokens 500 and 3 special tokens are 517 tokens"):
        fit(tmp_path, data_dir, upstream, paragraph_tokens=500)


def test_a_missing_pre_trained_model_is_named(
    data_dir: Path, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without a connection to the hub, or a folder without a model: the message says what is expected."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    expected = {
        "nobody/nothing": "expected a folder with config.json, ",
        str(tmp_path / "empty"): "in this folder config",
    }
    for name, message in expected.items():
        with pytest.raises(BadInput, match=f"pretrained_model '{re.escape(name)}' can't be loaded: {message}"):
            fit(tmp_path / "run", data_dir, upstream, pretrained_model=name)


def test_simple_at_course_size_is_bert_base_chinese() -> None:
    """With as many tokens as the sample's windows have."""
    config = LAB.resolve("simple", "course")
    assert (config.pretrained_model, config.question_tokens + config.paragraph_tokens + 3) == ("bert-base-chinese", 193)


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,answer\n1,a\n", "result.csv line 1: the header must be 'ID,Answer'"),
        ("ID,Answer\n", "result.csv has no answers"),
        ("ID,Answer\n1,a\nx,b\n", "result.csv line 3: expected '<integer>,<answer without commas>', found 'x,b'"),
        ("ID,Answer\n1,a,b\n", "result.csv line 2: expected '<integer>,<answer without commas>', found '1,a,b'"),
        ('ID,Answer\n1,"a,b"\n', "result.csv line 2: the answer 'a,b' has a comma, expected none"),
        ("ID,Answer\n1,a\n1,b\n", "result.csv line 3: id 1 occurs twice"),
    ],
)
def test_a_bad_submission_is_named(content: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is one sentence with the line."""
    assert fault_of_submission(LAB, tmp_path, content) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"search": "best"}, "field 'search' is 'best'"),
        (
            {"doc_stride": 33},
            "doc_stride 33 must be at most paragraph_tokens 32: otherwise some tokens are in no window",
        ),
        ({"members": 0}, "field 'members' is 0"),
    ],
)
def test_a_wrong_field_is_named(overrides: dict[str, Any], message: str) -> None:
    """The message has the field, its value and what is expected."""
    with pytest.raises(BadInput, match=message):
        LAB.resolve("strong", "tiny", overrides)
