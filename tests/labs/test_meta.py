"""The meta-learning lab: its data format, tasks, solvers, training and submission."""

import csv
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from labs.core import events, shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.meta import data, figures
from labs.meta.config import MetaConfig
from labs.meta.lesson import INDUCTIVE, LAB, predict
from labs.meta.networks import StatelessBatchNorm
from labs.meta.solvers import Learner, adapt, map_tasks, meta_loss, prototype_logits, query_logits
from labs.meta.tasks import Tasks, split, stored_tasks, transformed
from pipelines.spec import SPECS, read_spec
from tests.labs.folders import fault_of_submission, one_fault
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on

SOLVERS = ["transfer", "fomaml", "maml", "anil", "reptile", "prototypes"]
LABELS = torch.arange(5)


@pytest.fixture(scope="module", params=["simple", "boss"])
def finished(request: pytest.FixtureRequest, store: Store) -> Path:
    return store.finished("meta", request.param)


# --- data ------------------------------------------------------------------------------------------------------------


def test_check_accepts_what_make_writes(source: Path) -> None:
    """Drawn data have the course's format, in the stated numbers."""
    assert data.check(source) == []
    homes = list((source / data.BACKGROUND).glob("*/character*"))
    assert (len(homes), {len(list(home.iterdir())) for home in homes}) == (32, {6})


def test_test_tasks_have_one_query_of_each_class(source: Path) -> None:
    """The answers of every test task are the labels 0 to 4 in varying order, and no image is a training one."""
    with (source / data.ANSWERS).open(newline="") as file:
        labels = np.array([int(row["class"]) for row in csv.DictReader(file)]).reshape(-1, 5)
    assert len(labels) == len(list((source / "Omniglot-test/query").iterdir()))
    assert (np.sort(labels, 1) == np.arange(5)).all()
    assert len({tuple(row) for row in labels.tolist()}) > 1
    training = {path.read_bytes() for path in (source / "Omniglot").rglob("*.png")}
    assert not training & {path.read_bytes() for path in (source / "Omniglot-test").rglob("*.png")}


def test_queries_show_the_characters_of_their_answers(source: Path, data_dir: Path) -> None:
    """In pixels, a query is nearer to the support image of its class than to the others on average."""
    tasks = stored_tasks(data_dir).double()
    with (source / data.ANSWERS).open(newline="") as file:
        labels = torch.tensor([int(row["class"]) for row in csv.DictReader(file)]).view(-1, 5)
    distances = torch.cdist(tasks[:, 5:].flatten(2), tasks[:, :5].flatten(2))
    assert distances.gather(2, labels[..., None]).mean() < 0.95 * distances.mean()


HOME = "Omniglot/images_background/Alphabet_02/character03"


def _few(folder: Path) -> None:
    for number in range(2, 5):
        shutil.rmtree(folder / f"Omniglot/images_background/Alphabet_{number:02d}")


def _colour(folder: Path) -> None:
    Image.new("RGB", (28, 28)).save(folder / HOME / "0011_02.png")


def _large(folder: Path) -> None:
    Image.new("L", (105, 105)).save(folder / "Omniglot-test/query/0003/image_1.png")


FAULTS = {
    "no folder": (lambda d: shutil.rmtree(d / "Omniglot-test/query"), "Omniglot-test/query/ is missing"),
    "few": (
        _few,
        "Omniglot/images_background/: found 8 characters, expected at least 25, as every fifth is held out",
    ),
    "stray file": (
        lambda d: (d / "Omniglot/images_background/readme.txt").write_text("hello"),
        "Omniglot/images_background/readme.txt: expected a folder for each alphabet, found a file",
    ),
    "character": (
        lambda d: (d / HOME).rename((d / HOME).with_name("letter03")),
        "Alphabet_02/letter03: expected a folder for each character, named character<NN>",
    ),
    "drawings": (
        lambda d: (d / HOME / "0011_06.png").unlink(),
        f"{HOME}/: found 5 drawings, expected 6, as many as in Omniglot/images_background/Alphabet_01/character01/",
    ),
    "name": (
        lambda d: (d / HOME / "0011_01.png").rename(d / HOME / "first.png"),
        f"{HOME}/first.png: the name must be <nnnn>_<kk>.png, for example 0001_01.png",
    ),
    "gap": (
        lambda d: shutil.rmtree(d / "Omniglot-test/support/0004"),
        "Omniglot-test/support/0005: expected 0004 here, as tasks count 0000, 0001, ...",
    ),
    "image": (
        lambda d: (d / "Omniglot-test/support/0004/image_4.png").unlink(),
        "Omniglot-test/support/0004/: expected image_0.png to image_4.png, found image_0.png, image_1.png",
    ),
    "uneven": (
        lambda d: shutil.rmtree(d / "Omniglot-test/query/0011"),
        "Omniglot-test/: found 12 support tasks and 11 query tasks, expected as many of both",
    ),
    "text": (
        lambda d: (d / HOME / "0011_02.png").write_text("no picture"),
        f"{HOME}/0011_02.png: expected a whole PNG image, found a broken one: not a PNG file",
    ),
    "colour": (
        _colour,
        "0011_02.png: expected a PNG image of 28x28 pixels with one channel: found 28x28 pixels of mode RGB",
    ),
    "large": (_large, "query/0003/image_1.png: expected a PNG image of 28x28 pixels with one channel: found 105x105"),
    "truncated": (
        lambda d: (d / HOME / "0011_02.png").write_bytes((d / HOME / "0011_02.png").read_bytes()[:90]),
        f"{HOME}/0011_02.png: expected a whole PNG image, found a broken one: ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    spoil, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "characters", spoil)


def test_single_drawings_are_refused(source: Path, tmp_path: Path) -> None:
    """A character needs a second drawing for the query set."""
    shutil.copytree(source, tmp_path / "one", ignore=shutil.ignore_patterns(*(f"*_0{k}.png" for k in range(2, 7))))
    (fault,) = data.check(tmp_path / "one")
    assert fault.endswith("character01/: expected at least 2 drawings, found 1")


def test_fewer_drawings_and_one_bit_images_are_accepted(source: Path, tmp_path: Path) -> None:
    """Other counts, hidden files, and black and white images can be trained on."""
    folder = tmp_path / "characters"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*_06.png"))
    (folder / "Omniglot/images_background/.DS_Store").write_bytes(b"\0")
    picture = folder / HOME / "0011_01.png"
    Image.open(picture).convert("1").save(picture)
    (tmp_path / "packed").mkdir()
    assert data.check(folder) == []
    assert data.prepare(folder, tmp_path / "packed", "folder")["facts"] == {"alphabets": 4}
    images = shards.ArrowDataset(tmp_path / "packed", "train", ("image",)).columns[0].all()
    assert images.shape == (32, 5, 28, 28)
    assert images[10, 0].unique().tolist() == [0, 255]
    LAB.fit(LAB.resolve("simple", "tiny", {"epochs": 1}), Run(tmp_path / "run", tmp_path / "packed"))
    assert LAB.score(tmp_path / "run/deliver", tmp_path / "packed") == {}


# --- tasks -----------------------------------------------------------------------------------------------------------


def numbered(count: int, drawings: int) -> torch.Tensor:
    """Images (characters, drawings, 28, 28), in which two pixels encode the numbers of character and drawing."""
    images = torch.zeros(count, drawings, 28, 28, dtype=torch.uint8)
    images[..., 0, 0] = torch.arange(count)[:, None]
    images[..., 0, 1] = torch.arange(drawings)
    return images


def test_a_query_is_another_drawing_of_each_of_five_characters() -> None:
    """Five different characters; support i and query i are of one character, and not the same drawing."""
    support, query = Tasks(numbered(9, 3), 0, 50)[torch.arange(50)]
    assert torch.equal(support[..., 0, 0], query[..., 0, 0])
    assert (support[..., 0, 1] != query[..., 0, 1]).all()
    assert all(len(set(task.tolist())) == 5 for task in support[..., 0, 0])
    assert len(support[..., 0, 0].unique()) == 9


def test_a_task_does_not_depend_on_its_batch() -> None:
    """Item n is the same task alone, in another order and as item 0 of a later epoch; the seed changes it."""
    tasks = Tasks(numbered(9, 3), 0, 8, augment=0.5)
    support, _ = tasks[torch.arange(8)]
    assert torch.equal(tasks[torch.tensor([6, 2])][0], support[[6, 2]])
    tasks.first_task = 5
    assert torch.equal(tasks[torch.tensor([0])][0], support[5:6])
    assert not torch.equal(Tasks(numbered(9, 3), 1, 8, augment=0.5)[torch.arange(8)][0], support)


def test_a_pool_repeats_its_tasks() -> None:
    """With three different tasks, the fourth is the first."""
    support, _ = Tasks(numbered(9, 3), 0, 6, pool=3)[torch.arange(6)]
    assert torch.equal(support[:3], support[3:])
    assert len(support.unique(dim=0)) == 3


def test_the_transfer_baseline_sees_five_characters_only() -> None:
    """Label i is always the same character: an ordinary classification."""
    support, _ = Tasks(numbered(9, 3), 0, 6, fixed=True)[torch.arange(6)]
    assert (support[..., 0, 0] == LABELS).all()


def test_held_out_characters_are_every_fifth(data_dir: Path) -> None:
    """Training and held-out characters together are all, none twice."""
    images = shards.ArrowDataset(data_dir, "train", ("image",)).columns[0].all()
    training, held_out = split(data_dir)
    assert torch.equal(held_out, images[4::5])
    assert len(training) + len(held_out) == len(images)
    assert not {image.tobytes() for image in training.numpy()} & {image.tobytes() for image in held_out.numpy()}


def test_augmentation_transforms_both_drawings_of_a_character_alike() -> None:
    """Labels stay correct: where all drawings of a character are equal, support and query still are. Each of the eight
    symmetries occurs, and the characters of one task have different ones."""
    images = torch.randint(0, 256, (9, 1, 28, 28), dtype=torch.uint8).expand(-1, 3, -1, -1).contiguous()
    support, query = Tasks(images, 0, 40, augment=1.0)[torch.arange(40)]
    assert torch.equal(support, query)
    views = [torch.from_numpy(transformed(images[:, 0].numpy(), symmetry).copy()) for symmetry in range(8)]
    found = [[(number, character) for number, view in enumerate(views) for character in range(9)
              if torch.equal(view[character], image)] for image in support.flatten(0, 1)]  # fmt: skip
    assert all(len(matches) == 1 for matches in found)
    assert {matches[0][0] for matches in found} == set(range(8))
    assert len({matches[0][0] for matches in found[:5]}) > 1


# --- the solvers -----------------------------------------------------------------------------------------------------


def one_task(solver: str, dtype: torch.dtype = torch.float64, **fields: object) -> tuple:
    """A small network, its weights, a config and a task's support and query."""
    torch.manual_seed(0)
    config = MetaConfig(solver=solver, width=4, **fields)  # type: ignore[arg-type]
    net = Learner(config).net.to(dtype)
    images = torch.randint(0, 256, (2, 5, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return net, dict(net.named_parameters()), config, images[0], images[1]


def meta_gradient(solver: str, **fields: object) -> dict[str, torch.Tensor]:
    net, weights, config, support, query = one_task(solver, **fields)
    meta_loss(net, weights, config, support, query).backward()
    return {name: w.grad for name, w in weights.items() if w.grad is not None}


@pytest.mark.parametrize(("solver", "steps"), [("maml", 1), ("maml", 2), ("anil", 2)])
def test_the_meta_gradient_is_that_of_finite_differences(solver: str, steps: int) -> None:
    """Second derivatives included: in float64, for three weights of every tensor."""
    net, weights, config, support, query = one_task(solver, inner_steps=steps, inner_lr=0.1)
    gradient = meta_gradient(solver, inner_steps=steps, inner_lr=0.1)
    for name, weight in weights.items():
        flat = weight.data.view(-1)
        for index in np.linspace(0, len(flat) - 1, 3).astype(int):
            values = []
            for step in (1e-6, -2e-6):
                flat[index] += step
                values.append(meta_loss(net, weights, config, support, query).item())
            flat[index] += 1e-6
            expected = (values[0] - values[1]) / 2e-6
            assert gradient[name].view(-1)[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_maml_has_the_query_gradient_at_the_adapted_parameters(steps: int) -> None:
    """Plain gradient descent by hand, then the query loss's gradient there: not MAML's gradient."""
    net, _, config, support, query = one_task("fomaml", inner_steps=steps)
    adapted = descend(net, support, LABELS, config.inner_lr, steps)
    loss = F.cross_entropy(functional_call(net, adapted, (query,)), LABELS)
    expected = torch.autograd.grad(loss, list(adapted.values()))
    first, second = (meta_gradient(solver, inner_steps=steps) for solver in ("fomaml", "maml"))
    torch.testing.assert_close(list(first.values()), list(expected))
    assert not torch.allclose(first["convolutions.1.weight"], second["convolutions.1.weight"], rtol=0.01)
    exact, constant = (meta_loss(*one_task(solver, inner_steps=steps)) for solver in ("maml", "fomaml"))
    torch.testing.assert_close(exact, constant)


def descend(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, rate: float, steps: int) -> dict:
    """Weights after plain SGD, by torch's own optimizer on a copy."""
    weights = {name: w.detach().clone().requires_grad_() for name, w in net.named_parameters()}
    optimizer = torch.optim.SGD(weights.values(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(functional_call(net, weights, (images,)), labels).backward()
        optimizer.step()
    return weights


def test_anil_changes_the_head_only_and_still_trains_the_body() -> None:
    """After the inner loop the body is as before, the head is not; the meta-gradient reaches both."""
    net, weights, config, support, _ = one_task("anil", inner_steps=2)
    adapted = adapt(net, weights, support, config, 2)
    changed = {name for name in weights if not torch.equal(adapted[name], weights[name])}
    assert changed == {"head.weight", "head.bias"}
    gradient = meta_gradient("anil", inner_steps=2)
    assert all(gradient[name].any() for name in ("convolutions.0.weight", "head.weight"))


def test_reptile_steps_towards_the_adapted_parameters() -> None:
    """Its gradient is theta - theta', with theta' from SGD on all ten drawings (Nichol et al., algorithm 1)."""
    net, weights, config, support, query = one_task("reptile", inner_steps=3)
    adapted = descend(net, torch.cat([support, query]), LABELS.repeat(2), config.inner_lr, 3)
    gradient = meta_gradient("reptile", inner_steps=3)
    for name, weight in weights.items():
        torch.testing.assert_close(gradient[name], weight.detach() - adapted[name].detach())


def test_prototype_logits_are_squared_distances() -> None:
    """Against torch's own distance; the loss is their cross-entropy, and there is no linear layer."""
    a, b = torch.randn(5, 7), torch.randn(2, 6, 7)
    torch.testing.assert_close(prototype_logits(a, b), -(torch.cdist(b, a.expand(2, -1, -1)) ** 2))
    net, weights, config, support, query = one_task("prototypes")
    assert net(support).shape == (5, 4)
    expected = F.cross_entropy(-(torch.cdist(net(query), net(support)) ** 2), LABELS)
    torch.testing.assert_close(meta_loss(net, weights, config, support, query), expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_vmap_and_the_loop_give_the_same_results(solver: str) -> None:
    """Losses and meta-gradients of a batch of tasks to 1e-5, whatever the solver."""
    results = []
    tasks = torch.randint(0, 256, (2, 3, 5, 28, 28), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    for batching in ("vmap", "loop"):
        net, weights, config, *_ = one_task(solver, torch.float32, inner_steps=2)
        losses = map_tasks(partial(meta_loss, net, weights, config), batching, 4, *tasks)
        losses.mean().backward()
        results.append([losses.detach(), *(w.grad for w in weights.values() if w.grad is not None)])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


# --- the network -----------------------------------------------------------------------------------------------------


def test_normalisation_is_batch_normalisation_without_running_statistics() -> None:
    """Against torch's; with the statistics of the first images, these come out as in a batch of their own."""
    x, norm, reference = torch.randn(7, 3, 5, 5), StatelessBatchNorm(3), nn.BatchNorm2d(3, track_running_stats=False)
    torch.testing.assert_close(norm(x), reference(x))
    torch.testing.assert_close(norm(x, 4)[:4], reference(x[:4]))


@pytest.mark.parametrize("solver", ["maml", "prototypes"])
def test_only_transductive_predictions_depend_on_the_other_queries(solver: str) -> None:
    """With the other four queries changed, the first one's inductive logits stay and its transductive ones don't."""
    net, weights, config, support, query = one_task(solver)
    changed = torch.cat([query[:1], 255 - query[1:] // 2])
    one, two = (query_logits(net, weights, config, [2], support, q)[0] for q in (query, changed))
    torch.testing.assert_close(one[1, 0], two[1, 0])
    assert not torch.allclose(one[0, 0], two[0, 0])


@pytest.mark.parametrize("preset", LAB.presets)
def test_course_size_takes_two_steps(preset: str, data_dir: Path, tmp_path: Path) -> None:
    """Every preset trains at the course's size: two real steps of two tasks."""
    small = {"epochs": 1, "steps": 2, "meta_batch": 2, "val_tasks": 2, "val_steps": 1}
    LAB.train(LAB.resolve(preset, "course", small), Run(tmp_path, data_dir))
    assert np.isfinite(events.read(tmp_path)[-1]["metrics"]["train/loss"])


# --- training --------------------------------------------------------------------------------------------------------


def test_training_delivers_what_the_judge_takes(finished: Path, source: Path, data_dir: Path) -> None:
    """A valid line for each query by both kinds of predictions, the scores of both, and the report's figures."""
    with (source / data.ANSWERS).open(newline="") as handle:
        truth = [row[1] for row in csv.reader(handle)][1:]
    scores = LAB.score(finished / "deliver", data_dir)
    for name, metric in ((LAB.submission, "test/accuracy"), (INDUCTIVE, "test/accuracy_inductive")):
        assert LAB.check_submission(finished / "deliver" / name) == []
        with (finished / "deliver" / name).open(newline="") as handle:
            rows = list(csv.reader(handle))[1:]
        assert [row[0] for row in rows] == [str(number) for number in range(60)]
        assert scores[metric] == pytest.approx(np.mean([row[1] == t for row, t in zip(rows, truth, strict=True)]))
    assert scores["test/trivial"] == pytest.approx(0.2)


def test_the_trained_model_loads_and_predicts(finished: Path, data_dir: Path) -> None:
    """A stored task gets a distribution over its five characters for each query: what was delivered."""
    examples = LAB.example(data_dir)
    output = predict(LAB.load(finished), examples)
    assert (examples.shape, examples.dtype) == ((2, 10, 28, 28), np.uint8)
    assert (output.shape, output.dtype) == ((2, 5, 5), np.float32)
    assert output.sum(2) == pytest.approx(1, abs=1e-5)
    with (finished / "deliver/output.csv").open(newline="") as handle:
        delivered = [int(row[1]) for row in list(csv.reader(handle))[1:11]]
    assert output.argmax(2).flatten().tolist() == delivered


@pytest.mark.parametrize("solver", ["anil", "reptile", "prototypes"])
def test_solvers_outside_the_ladder_train(solver: str, data_dir: Path, tmp_path: Path) -> None:
    """Each trains an epoch and delivers a valid submission."""
    LAB.fit(LAB.resolve(solver, "tiny", {"epochs": 1}), Run(tmp_path, data_dir))
    assert LAB.check_submission(tmp_path / "deliver/output.csv") == []


def test_maml_learns(data_dir: Path, tmp_path: Path) -> None:
    """On new tasks of training characters the query loss falls well below that of a uniform prediction, log 5."""
    fields = {"width": 8, "epochs": 2, "steps": 40, "meta_batch": 8, "lr": 0.01, "val_tasks": 1}
    LAB.train(LAB.resolve("strong", "tiny", fields), Run(tmp_path, data_dir))
    losses = [event["metrics"]["train/loss"] for event in events.read(tmp_path)]
    assert losses[1] < min(losses[0], 1.3)


def test_two_workers_learn_what_one_learns(data_dir: Path, tmp_path: Path) -> None:
    """Meta-gradients are averaged, though nothing goes through DDP's forward: after nine steps the parameters are
    bit-equal across ranks and equal one worker's, and validation counts each task once. Normalisation cancels the
    convolutions' biases: their gradients are rounding errors, which Adam scales up, so these are left out."""
    config = LAB.resolve("strong", "tiny")
    zero, one = train_on(2, "meta", config, data_dir, tmp_path / "two")
    (alone,) = train_on(1, "meta", config, data_dir, tmp_path / "one")
    assert all(torch.equal(zero[name], one[name]) for name in zero)
    for name in (name for name in zero if not (".convolutions." in name and name.endswith("bias"))):
        torch.testing.assert_close(zero[name], alone[name], atol=1e-5, rtol=1e-5)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), abs=1e-5)


# --- report and submission -------------------------------------------------------------------------------------------


def test_the_reports_figures_show_the_measured_accuracies(finished: Path) -> None:
    """One point an epoch at the number of tasks trained on so far; one point for each number of inner steps."""
    values = [event["metrics"]["val/accuracy"] for event in events.read(finished) if "val/accuracy" in event["metrics"]]
    tasks, lines = figures.training_tasks(finished, 12)
    line = figures.accuracy_figure(tasks, lines, "title", "training tasks").axes[0].lines[0]
    assert [*line.get_xdata()] == [12 * number for number in range(1, len(values) + 1)]
    assert [*line.get_ydata()] == values


def test_the_reports_pipeline_changes_only_the_number_of_different_tasks() -> None:
    """Three pools and no limit; a larger pool than the training has tasks would be no pool."""
    _, nodes = read_spec(SPECS / "meta-report.yaml")
    configs = [MetaConfig.model_validate(node.config.model_dump()) for node in nodes]
    pools = [config.tasks for config in configs]
    assert len({config.model_copy(update={"tasks": 0}) for config in configs}) == 1
    assert pools == [10, 100, 1000, 0]
    assert max(pools) < configs[0].epochs * configs[0].steps * configs[0].meta_batch


@pytest.mark.parametrize("pool", [0, 5])
def test_the_report_counts_the_different_training_tasks(pool: int, store: Store, tmp_path: Path) -> None:
    """One epoch of twelve tasks, of a pool of five or all different."""
    config = LAB.resolve("prototypes", "tiny", {"tasks": pool, "epochs": 1})
    LAB.fit(config, store.runs("meta")(tmp_path))
    assert f"{pool or 12} are different ones (`tasks={pool}`)" in (tmp_path / "deliver/report.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Id,Category\n0,3\n", "line 1: the header must be 'id,class'"),
        ("id,class\n1,3\n", "line 2: expected '0,<class>', found '1,3'"),
        ("id,class\n0,5\n", "line 2: '5' is not a class; classes are 0 to 4"),
        ("id,class\n", "has no predictions"),
    ],
)
def test_a_bad_submission_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each fault of a submission file is a sentence with its line."""
    assert message in fault_of_submission(LAB, tmp_path, text)


def test_a_wrong_field_is_named() -> None:
    """The message has the field and the choices."""
    with pytest.raises(BadInput, match="solver"):
        LAB.resolve("simple", "tiny", {"solver": "sgd"})
