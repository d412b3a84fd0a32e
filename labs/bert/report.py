"""The report of homework 7."""

from pathlib import Path

from labs.bert.data import Split
from labs.bert.figures import NAMES, Row, compare, plot_rules
from labs.core import curves
from labs.core.cost import count_parameters
from labs.core.lab import Lab
from labs.core.report import Report
from labs.shared.text.reader import Reader


def write(lab: Lab, folder: Path, out: Path, reader: Reader, dev: Split) -> None:
    """Write the report of a run's folder, and the table of rules as `rules.csv`."""
    config, report = lab.read_config(folder), Report(lab, folder, out)

    report.question("a")
    report.text(f"""The sample takes the token with the best start logit and the one with the best end logit, each by
                itself ({NAMES["separate"]}), so that the end may lie before the start. The other rule takes the pair
                with the highest sum of both logits among all valid spans, those that do not end before they start and
                are not too long ({NAMES["joint"]}). A smaller stride makes windows overlap, so that an answer is whole
                in one of them. This run's submission uses `search={config.search}` and
                `doc_stride={config.doc_stride}`.""")
    rows = compare(reader, dev)
    report.figure("rules", plot_rules(rows), "Exact match of each rule, at several strides.")
    report.table(Row._fields, rows, file="rules.csv")

    report.question("b")
    name = config.pretrained_model or "the small BERT of lab bert-pretrain"
    masking = getattr(reader.members[0].config, "masking", "")  # of lab bert-pretrain alone
    name += f", masking {masking}" if masking else ""
    best = max(curves.history(folder, "val/exact_match")[1])
    header = ("pre-trained model", "parameters", "validation exact match at best")
    report.table(header, [(name, count_parameters(reader), best)])
    panels = [
        ("loss, nats", {"train/loss": "training loss"}),
        ("fraction", {"val/exact_match": "exact match", "val/f1": "F1 in characters"}),
    ]
    report.figure("curves", curves.figure(folder, "Fine-tuning", panels), "Learning curves.")
    report.text("""`labs pipeline run bert-report` fine-tunes two models of lab bert-pretrain in the same way, and
                `labs compare --pipeline bert-report --lab bert` sets them side by side. BERT masks single characters
                (`characters`), which their neighbours often give away; the second one masks runs of characters
                (`spans`), as Chinese RoBERTa masks whole words. RoBERTa also trains longer, and without the prediction
                of the next sentence; MacBERT replaces masked words by similar ones instead of [MASK], which fine-tuning
                never sees. `pretrained_model` takes models like these by name, such as `hfl/chinese-macbert-base`.""")
    report.write()
