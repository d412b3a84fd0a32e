"""Translating many sentences with a network: to see how good it is, and for the judge."""

from collections.abc import Iterable
from pathlib import Path

import torch

from labs.core.run import Run
from labs.transformer import data
from labs.transformer.bleu import bleu
from labs.transformer.decoding import Translator, beam_search, limits
from labs.transformer.networks import Network
from labs.transformer.token_batches import EOS, Batches, Pairs, Sentences


def translate(
    model: Translator, batches: Iterable[tuple[torch.Tensor, ...]], beam: int, length_penalty: float
) -> dict[int, list[int]]:
    """Number of each sentence of some `Batches` -> its translation, without `EOS`."""
    device = next(model.parameters()).device
    found: dict[int, list[int]] = {}
    with torch.no_grad():
        for source, _, which in batches:
            written, _ = beam_search(model, source.to(device), beam, length_penalty, limits(source).to(device))
            lines = zip(which.tolist(), written.tolist(), strict=True)
            found |= {number: line[: line.index(EOS)] for number, line in lines}
    return found


def evaluate(model: Network, pairs: Pairs, run: Run, tokens: int, length_penalty: float) -> float:
    """BLEU of the greedy translations of all workers' shares together."""
    with run.evaluation(model) as net:
        own = translate(net, run.loader(Batches(pairs[0], None, tokens), 1), 1, length_penalty)
    found = dict(run.gather(list(own.items())))
    vocabulary = data.vocabulary(run.data_dir)
    said = data.text(vocabulary, [found[number] for number in range(len(pairs[0]))])
    return bleu(said, data.text(vocabulary, [numbers.tolist() for numbers in pairs[1]]))


def submission(model: Network, data_dir: Path, tokens: int, beam: int, length_penalty: float) -> str:
    """A line for each sentence of the test set, in its order."""
    sources = Sentences(data_dir, "test_en").pieces
    batches = Batches(sources, None, tokens)
    each = (batches[torch.tensor([number])] for number in range(len(batches)))
    found = translate(model, each, beam, length_penalty)
    lines = data.text(data.vocabulary(data_dir), [found[number] for number in range(len(sources))])
    # The judge wants a line for each sentence: where no word was found, the placeholder of the test set stands.
    return "".join(f"{line or '。'}\n" for line in lines)
