"""Back-translation (Sennrich et al., arXiv:1511.06709): sources for sentences that have none, written by a model of the
other direction and tagged as such (Caswell et al., arXiv:1906.06442)."""

import torch
from safetensors.torch import load_file, save_file

from labs.core.run import Run
from labs.transformer.decoding import Translator
from labs.transformer.inference import translate
from labs.transformer.token_batches import TAG, Batches, Pairs, Sentences

FILE = "back_translations.safetensors"
"""In a run's folder, so that a continued run learns from the same."""


def back_translate(model: Translator, run: Run, count: int, tokens: int, length_penalty: float) -> None:
    """Write a source for `count` sentences of Chinese alone, or all, at random by seed; the workers share the work."""
    chinese = Sentences(run.data_dir, "mono_zh").pieces
    rows = torch.randperm(len(chinese), generator=torch.Generator().manual_seed(run.seed))[:count]
    batches = Batches([chinese[row] for row in rows.tolist()], None, tokens)
    found = dict(run.gather(list(translate(model, run.loader(batches, 1), 1, length_penalty).items())))
    if run.rank == 0:
        lines = [torch.tensor(found[number], dtype=torch.int64) for number in range(len(rows))]
        lengths = torch.tensor([len(line) for line in lines])
        part = run.file(f"{FILE}.part")
        save_file({"rows": rows, "lengths": lengths, "pieces": torch.cat(lines)}, part)
        part.replace(run.file(FILE))
    run.barrier()


def with_made(pairs: Pairs, run: Run) -> Pairs:
    """The pairs, and behind them what `back_translate` wrote."""
    made = read(run)
    return pairs[0] + made[0], pairs[1] + made[1]


def read(run: Run) -> Pairs:
    """What `back_translate` wrote: tagged sources, and the Chinese."""
    found, tag = load_file(run.file(FILE)), torch.tensor([TAG])
    sources = [torch.cat([tag, line]) for line in found["pieces"].split(found["lengths"].tolist())]
    return sources, Sentences(run.data_dir, "mono_zh", found["rows"]).pieces
