"""Back-translation (Sennrich et al., arXiv:1511.06709): a model of the reverse direction, Chinese to English, writes
sources for sentences of the monolingual corpus. They begin with a tag (Caswell et al., arXiv:1906.06442)."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.transformer.data import MONO
from labs.transformer.decoding import Translator
from labs.transformer.inference import translate
from labs.transformer.token_batches import TAG, Pairs, Sentences, TokenBatches

FILE = "back_translations.safetensors"
"""In a run's folder, so that a continued run trains on the same synthetic pairs."""


def require_corpus(data_dir: Path, synthetic_ratio: float) -> None:
    """Ask for the monolingual corpus, which the data may lack, if there are to be synthetic pairs.

    Raises:
        BadInput: the data were prepared without it.
    """
    if synthetic_ratio and "mono_zh" not in shards.manifest(data_dir)["splits"]:
        raise BadInput(f"{MONO} is missing in the data: back-translation (synthetic_ratio {synthetic_ratio:g}, as in "
                       "preset boss) needs a monolingual Chinese corpus, one sentence per line")  # fmt: skip


def back_translate(model: Translator, run: Run, count: int, batch_tokens: int, length_penalty: float) -> None:
    """Write sources for `count` sentences of the monolingual corpus, drawn by the seed, or for all if it has fewer.

    source = argmax over x of log p(x | target) / |x| ** length_penalty, found by greedy search. The sentences are
    spread over the workers.
    """
    chinese = Sentences(run.data_dir, "mono_zh").token_ids
    rows = torch.randperm(len(chinese), generator=torch.Generator().manual_seed(run.seed))[:count]
    batches = TokenBatches([chinese[row] for row in rows.tolist()], None, batch_tokens)
    own = translate(model, run.loader(batches, 1), 1, length_penalty)
    translations = dict(run.gather(list(own.items())))
    if run.rank == 0:
        sources = [torch.tensor(translations[number], dtype=torch.int64) for number in range(len(rows))]
        lengths = torch.tensor([len(source) for source in sources])
        part = run.file(f"{FILE}.part")
        save_file({"rows": rows, "lengths": lengths, "tokens": torch.cat(sources)}, part)
        part.replace(run.file(FILE))
    run.barrier()


def with_synthetic(pairs: Pairs, run: Run) -> Pairs:
    """The pairs, followed by the synthetic pairs that `back_translate` wrote."""
    sources, targets = read(run)
    return pairs[0] + sources, pairs[1] + targets


def read(run: Run) -> Pairs:
    """The synthetic pairs: tagged sources written by `back_translate`, and sentences of the monolingual corpus."""
    stored, tag = load_file(run.file(FILE)), torch.tensor([TAG])
    sources = [torch.cat([tag, source]) for source in stored["tokens"].split(stored["lengths"].tolist())]
    return sources, Sentences(run.data_dir, "mono_zh", stored["rows"]).token_ids
