"""The report of homework 9."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from labs.core.lab import Lab
from labs.core.report import Report
from labs.explain.hidden_state_file import TextStates
from labs.explain.text_figures import answering_head, layer_table, text_figures


def write(
    lab: Lab,
    folder: Path,
    out: Path,
    figures: Mapping[str, Figure],
    methods: Sequence[Mapping[str, Any]],
    states: TextStates | None,
    texts: dict[str, Any],
) -> None:
    """Write the report of a run's folder, and its tables as `methods.csv` and `layers.csv`.

    Args:
        figures: those of `labs.explain.figures.image_figures`.
        methods: a row of scores for each attribution method.
        states: of the texts; None where the data have none.
        texts: content of `labs.explain.texts`'s file.
    """
    report = Report(lab, folder, out)
    _write_images(report, figures, methods)
    if states is not None:
        _write_texts(report, states, texts)
    else:
        for letter in "cde":
            report.question(letter)
            report.text("The data of this run have no texts (`texts.json`).")
    _write_choices(report, {str(row["method"]): row for row in methods})
    report.write()


def _write_images(report: Report, figures: Mapping[str, Figure], methods: Sequence[Mapping[str, Any]]) -> None:
    report.question("a")
    report.figure("methods", figures["methods"], "Attribution maps of the predicted class, a row for each method.")
    report.table(list(methods[0]), (list(row.values()) for row in methods), file="methods.csv")
    report.text("""The table has means over some validation images. `mass_accuracy` and `pointing`: how much
                of all positive attribution, and how often its largest value, lies on the object. `deletion` (lower is
                better) and `insertion`: areas under the class's probability. `sanity`: the correlation with the maps
                of a classifier with random weights, which should be near 0.""")

    report.question("b")
    report.figure("filters", figures["filters"], "Two filters: their activations, and images that maximise them.")
    report.text("""The activation of an early filter has a higher resolution than that of a late one, which is coarse
                because each of its values stands for a large part of the image.""")


def _write_texts(report: Report, states: TextStates, texts: dict[str, Any]) -> None:
    figures, first = text_figures(states, texts), states.questions[0]
    table = layer_table(states, [sentence["meaning"] for sentence in texts["sentences"]])

    report.question("c")
    report.figure("attention", figures["attention"], "Attention of every layer and head.")
    layer, head = answering_head(first)
    report.text(f"""Head {head + 1} of layer {layer + 1} has the most attention from the question to the answer. The
                first question is: {texts["questions"][0]["question"]}""")
    report.figure("attention_tokens", figures["attention_tokens"], "That head, token by token.")
    report.text("Tokens by number: " + ", ".join(f"{n} `{text}`" for n, text in enumerate(first.tokens)))

    report.question("d")
    report.figure(
        "embeddings", figures["embeddings"], "Hidden states, a row for each question, a column for each layer."
    )
    report.text("""By layer, 0 being the embeddings: the fraction of the question's attention that goes to the answer
                in the head with the most of it; the silhouette coefficient of question, context and answer, -1 to 1,
                which is high where they are apart; and `meaning_gap`, which the next question explains.""")
    report.table(list(table[0]), (list(row.values()) for row in table), file="layers.csv")

    report.question("e")
    report.figure(
        "similarity", figures["similarity"], "Similarity and distance of the character in each two sentences."
    )
    gaps = [row["meaning_gap"] for row in table]
    best = max(range(len(gaps)), key=gaps.__getitem__)
    report.text(f"""The character is {texts["character"]}. Its cosine similarity between sentences of one meaning
                exceeds that between sentences of different meanings by {gaps[best]:.4f} in layer {best}, where the gap
                is largest.""")
    rows = [(n, sentence["text"], sentence["meaning"]) for n, sentence in enumerate(texts["sentences"])]
    report.table(("sentence", "text", "meaning"), rows)


def _write_choices(report: Report, methods: Mapping[str, Mapping[str, Any]]) -> None:
    report.question("f")
    steadiest = max(methods, key=lambda name: float(methods[name]["sanity"]))
    report.text(f"""{steadiest}: the rank correlation between its maps of the trained and of the random weights,
                `sanity` in the table of question (a), is the highest, {methods[steadiest]["sanity"]:.3f}. What
                a map shows for random weights comes from the image and the method, not from what was learnt.""")

    report.question("g")
    plain, smooth = ({name: round(methods[method][name], 3) for name in ("deletion", "insertion")}
                     for method in ("saliency", "smoothgrad"))  # fmt: skip
    better = {"deletion": smooth["deletion"] < plain["deletion"], "insertion": smooth["insertion"] > plain["insertion"]}
    chosen = " and ".join(name for name, improves in better.items() if improves)
    report.text(f"""By {chosen or "neither"}, to three decimals: deletion (lower is better) is {plain["deletion"]} with
                saliency and {smooth["deletion"]} with SmoothGrad, insertion (higher is better) {plain["insertion"]} and
                {smooth["insertion"]}.""")
