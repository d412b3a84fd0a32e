"""Translation of many sentences: for validation, back-translation and the submission."""

from collections.abc import Iterable
from pathlib import Path

import torch

from labs.core.run import Run
from labs.transformer import data
from labs.transformer.bleu import bleu
from labs.transformer.decoding import Translator, beam_search, max_lengths
from labs.transformer.networks import Network
from labs.transformer.token_batches import EOS, Pairs, Sentences, TokenBatches


def translate(
    model: Translator, batches: Iterable[tuple[torch.Tensor, ...]], beam_size: int, length_penalty: float
) -> dict[int, list[int]]:
    """Index of each sentence -> token ids of its translation, without `EOS`.

    Args:
        batches: sources, targets and indices, one batch of `TokenBatches` at a time.
    """
    device = next(model.parameters()).device
    translations: dict[int, list[int]] = {}
    with torch.no_grad():
        for sources, _, numbers in batches:
            limits = max_lengths(sources).to(device)
            token_ids, _ = beam_search(model, sources.to(device), beam_size, length_penalty, limits)
            for number, tokens in zip(numbers.tolist(), token_ids.tolist(), strict=True):
                translations[number] = tokens[: tokens.index(EOS)]
    return translations


def evaluate(model: Network, pairs: Pairs, run: Run, batch_tokens: int, length_penalty: float) -> float:
    """BLEU of greedy translations of all pairs, which are spread over the workers."""
    sources, targets = pairs
    with run.evaluation(model) as net, run.autocast():
        own = translate(net, run.loader(TokenBatches(sources, None, batch_tokens), 1), 1, length_penalty)
    translations = dict(run.gather(list(own.items())))
    tokenizer = data.load_tokenizer(run.data_dir)
    hypotheses = data.decode(tokenizer, [translations[number] for number in range(len(sources))])
    return bleu(hypotheses, data.decode(tokenizer, [tokens.tolist() for tokens in targets]))


def translate_test_set(model: Network, data_dir: Path, batch_tokens: int, beam_size: int, length_penalty: float) -> str:
    """A line for each sentence of the test set, in its order."""
    sources = Sentences(data_dir, "test_en").token_ids
    dataset = TokenBatches(sources, None, batch_tokens)
    batches = (dataset[torch.tensor([number])] for number in range(len(dataset)))
    translations = translate(model, batches, beam_size, length_penalty)
    lines = data.decode(data.load_tokenizer(data_dir), [translations[number] for number in range(len(sources))])
    # No line may be empty: an empty translation becomes a full stop, as in the test set's placeholder file.
    return "".join(f"{line or '。'}\n" for line in lines)
