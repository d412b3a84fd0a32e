"""The reference: a TorchTrainer script as Ray's documentation teaches it, with Ray's default settings.

It trains the network of lab `regression` at preset `simple` on the same rows, with the same batch size, optimiser and
number of passes, and uses nothing of this program. It writes down when things happen:

    python stock.py ROWS OUT EPOCHS PASSES

`ROWS` is an .npz file; `OUT/epochs.jsonl` gets the start and the end of each epoch's body, and `OUT/times.json` when
`fit()` was called and returned. The first half of the epochs report their metrics with a checkpoint, as taught; the
other half without, to tell the two apart.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
import ray.train
import torch
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loop(settings: dict) -> None:
    rows = {name: torch.from_numpy(values) for name, values in np.load(settings["rows"]).items()}
    training = TensorDataset(rows["training_inputs"], rows["training_target"])
    batches = prepare_data_loader(DataLoader(training, batch_size=256, shuffle=True))
    validation = prepare_data_loader(DataLoader(TensorDataset(rows["inputs"], rows["target"]), batch_size=1024))
    columns = rows["inputs"].shape[1]
    model = nn.Sequential(nn.Linear(columns, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))
    model = prepare_model(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)

    for epoch in range(settings["epochs"]):
        start = time.time()
        for _ in range(settings["passes"]):
            for x, y in batches:
                loss = nn.functional.mse_loss(model(x).squeeze(1), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        metrics = {"loss": loss.item(), "mse": evaluate(model, validation)}
        note(Path(settings["out"]), start, time.time())
        if epoch < settings["epochs"] // 2:
            with tempfile.TemporaryDirectory() as saved:
                state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, os.path.join(saved, "state.pt"))
                ray.train.report(metrics, checkpoint=Checkpoint.from_directory(saved))
        else:
            ray.train.report(metrics)


def evaluate(model: nn.Module, validation: DataLoader) -> float:
    total, count = 0.0, 0
    with torch.no_grad():
        for x, y in validation:
            total += nn.functional.mse_loss(model(x).squeeze(1), y, reduction="sum").item()
            count += len(x)
    return total / count


def note(out: Path, start: float, end: float) -> None:
    with (out / "epochs.jsonl").open("a") as file:
        file.write(json.dumps([start, end]) + "\n")


def main(rows: Path, out: Path, epochs: int, passes: int) -> None:
    out.mkdir()
    ray.init()
    trainer = TorchTrainer(
        loop,
        train_loop_config={"rows": str(rows), "out": str(out), "epochs": epochs, "passes": passes},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="stock", storage_path=str(out)),
    )
    called = time.time()
    trainer.fit()
    (out / "times.json").write_text(json.dumps({"fit_called": called, "fit_returned": time.time()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
