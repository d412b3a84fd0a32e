"""Learning tasks in sequence: each method's state against brute force, the measures of transfer, the scenarios."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs.core.run import Run
from labs.lifelong import transfer
from labs.lifelong.distillation import LwF
from labs.lifelong.method import parameter_vector
from labs.lifelong.regularizers import EWC, MAS, SCP, SI, RWalk
from labs.lifelong.rehearsal import AGEM, EpisodicMemory, Replay, project
from labs.lifelong.scenarios import concatenated, make_tasks, task_names


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, tmp_path, device=torch.device("cpu"))


@pytest.fixture
def small():
    """A small net and three batches, the last one shorter, in float64."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    return net, [(torch.randn(n, 5).double(), torch.randint(0, 3, (n,))) for n in (8, 8, 3)]


def brute_gradient(net, value):
    """d value() / d weight by finite differences, (P,)."""
    derivatives = []
    for parameter in net.parameters():
        flat = parameter.data.view(-1)
        for index in range(len(flat)):
            values = []
            for step in (1e-6, -2e-6):
                flat[index] += step
                values.append(value().item())
            flat[index] += 1e-6
            derivatives.append((values[0] - values[1]) / 2e-6)
    return torch.tensor(derivatives, dtype=torch.float64)


def end_task(method, net_and_batches):
    """Call the method's `after_task`."""
    net, batches = net_and_batches
    columns = zip(*batches, strict=True)
    method.after_task(net, TensorDataset(*(torch.cat(tensors) for tensors in columns)), batches)
    return method


def take_steps(method, net, batches, count, lr):
    """Train as the lesson does, by plain gradient descent; yields before and after each step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for step in range(count):
        x, y = batches[step % len(batches)]
        yield x, y
        logits = net(x)
        optimizer.zero_grad()
        (F.cross_entropy(logits, y) + method.penalty(net, x, logits)).backward()
        method.before_step(net)
        optimizer.step()
        method.after_step(net)


# --- importances -----------------------------------------------------------------------------------------------------


def test_ewcs_importance_is_the_mean_squared_batch_gradient(small, run):
    net, batches = small
    squares = [brute_gradient(net, lambda x=x, y=y: F.cross_entropy(net(x), y)) ** 2 for x, y in batches]
    ewc = end_task(EWC(net, run, 1.0), small)
    torch.testing.assert_close(ewc.importance, torch.stack(squares).mean(0), rtol=1e-4, atol=1e-8)


def test_mas_importance_is_the_outputs_sensitivity(small, run):
    """The absolute gradient of the mean squared L2 norm of the output, without labels."""
    net, batches = small
    sensitivities = [brute_gradient(net, lambda x=x: (net(x) ** 2).sum(1).mean()).abs() for x, _ in batches]
    mas = end_task(MAS(net, run, 1.0), (net, [(x, y * 0) for x, y in batches]))
    torch.testing.assert_close(mas.importance, torch.stack(sensitivities).mean(0), rtol=1e-4, atol=1e-8)


def test_scps_importance_is_the_mean_over_projections_of_squared_gradients(small, run):
    """Against one finite difference per projection, for the same directions: squared before the mean is taken."""
    net, (batch, *_) = small
    scp = SCP(net, run, 1.0, projections=7)
    scp.generator.manual_seed(3)
    directions = F.normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(3))).double()
    squares = [brute_gradient(net, lambda xi=xi: net(batch[0]).mean(0) @ xi) ** 2 for xi in directions]
    end_task(scp, (net, [batch]))
    torch.testing.assert_close(scp.importance, torch.stack(squares).mean(0), rtol=1e-4, atol=1e-7)


def test_si_integrates_the_tasks_gradient_along_the_path(small, run):
    """Against finite differences at each step: the gradient of the loss alone, though the penalty takes part in the
    step."""
    net, batches = small
    si = end_task(SI(net, run, strength=0.3, damping=0.1), small)
    si.importance.fill_(1.0)
    si.anchor += 0.5
    path, before = torch.zeros_like(si.path), parameter_vector(net)
    gradient = None
    for x, y in take_steps(si, net, batches, 9, lr=0.1):
        if gradient is not None:
            path -= gradient * (parameter_vector(net) - before)
        before, gradient = parameter_vector(net), brute_gradient(net, lambda x=x, y=y: F.cross_entropy(net(x), y))
    path -= gradient * (parameter_vector(net) - before)
    torch.testing.assert_close(si.path, path, rtol=1e-4, atol=1e-8)
    expected = si.importance + path.clamp(min=0) / ((parameter_vector(net) - si.anchor) ** 2 + 0.1)
    torch.testing.assert_close(end_task(si, small).importance, expected, rtol=1e-4, atol=1e-8)
    assert not si.path.any()


def test_sis_path_integral_sums_to_the_fall_of_the_loss(small, run):
    _, (batch, *_) = small
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()  # smooth, so that small steps are linear
    si, before = SI(net, run, 1.0, 0.1), F.cross_entropy(net(batch[0]), batch[1]).item()
    list(take_steps(si, net, [batch], 300, lr=0.01))
    fell = before - F.cross_entropy(net(batch[0]), batch[1]).item()
    assert fell > 0.1
    assert si.path.sum().item() == pytest.approx(fell, rel=0.02)


def test_rwalk_is_running_fisher_plus_scores_both_scaled(small, run):
    """The paper's sums written out for each step, and for a second task the mean of both scores."""
    net, batches = small
    rwalk = RWalk(net, run, strength=0.0, damping=0.01, fisher_update=0.4)
    fisher, score = torch.zeros_like(rwalk.path), None
    for _ in range(2):
        new = torch.zeros_like(fisher)
        points = [(x, y, parameter_vector(net)) for x, y in take_steps(rwalk, net, batches, 6, lr=0.1)]
        after = parameter_vector(net)
        for (x, y, before), end in zip(points, [*(point[2] for point in points[1:]), after], strict=True):
            nn.utils.vector_to_parameters(before.clone(), net.parameters())
            gradient = brute_gradient(net, lambda x=x, y=y: F.cross_entropy(net(x), y))
            fisher = 0.4 * gradient**2 + 0.6 * fisher
            new += -gradient * (end - before) / (0.5 * fisher * (end - before) ** 2 + 0.01)
        nn.utils.vector_to_parameters(after.clone(), net.parameters())
        new = new.clamp(min=0)
        score = new if score is None else (score + new) / 2
        end_task(rwalk, small)
        expected = fisher / fisher.max() + score / score.max()
        torch.testing.assert_close(rwalk.importance, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method_class", [EWC, MAS], ids=["ewc", "mas"])
def test_each_task_counts_once(method_class, small, run):
    """After tasks A, B, A the importances are I(A) + I(B) + I(A), not the growing sums of the course's sample."""
    net, batches = small
    tasks = [(net, batches[:1]), (net, batches[1:])]
    a, b = (end_task(method_class(net, run, 1.0), task).importance for task in tasks)
    method = method_class(net, run, 1.0)
    for task in (*tasks, tasks[0]):
        end_task(method, task)
    torch.testing.assert_close(method.importance, 2 * a + b)


def test_penalty_is_strength_times_importance_times_squared_distance(small, run):
    """No factor 1/2; zero at the anchor."""
    net, batches = small
    ewc = end_task(EWC(net, run, 3.0), small)
    x = batches[0][0]
    assert ewc.penalty(net, x, net(x)).item() == 0
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.5
    torch.testing.assert_close(ewc.penalty(net, x, net(x)), 3 * 0.25 * ewc.importance.sum())


# --- rehearsal -------------------------------------------------------------------------------------------------------


def numbered(start, count):
    """A task whose image i is filled with its label, start + i."""
    labels = torch.arange(start, start + count)
    return TensorDataset(labels.to(torch.uint8)[:, None, None].repeat(1, 4, 4), labels)


@pytest.fixture
def memory():
    """Three images of labels 0 to 9, three of 20 to 29."""
    memory, generator = EpisodicMemory(tasks=5, per_task=3, side=4), torch.Generator().manual_seed(0)
    for start in (0, 20):
        memory.add(numbered(start, 10), generator)
    return memory


def test_memory_keeps_as_many_different_images_of_each_task(memory):
    kept = memory.labels[: memory.filled]
    assert len(kept.unique()) == 6
    assert (kept >= 20).tolist() == [False] * 3 + [True] * 3
    assert torch.equal(memory.images[: memory.filled, 0, 0].long(), kept)


def test_replay_adds_as_many_old_images_with_their_labels(memory, run):
    replay = Replay(run, memory)
    x, y = replay.extend_batch(*numbered(40, 8).tensors)
    assert y[:8].tolist() == list(range(40, 48))
    assert len(y) == 16
    assert set(y[8:].tolist()) <= set(memory.labels[: memory.filled].tolist())
    assert torch.equal(x[:, 0, 0].long(), y)


def test_workers_take_different_parts_of_one_sample(memory, run):
    whole = memory.sample(8, torch.Generator().manual_seed(5), run)[1]
    run.world_size = 2
    samples = []
    for run.rank in (0, 1):
        samples.append(memory.sample(8, torch.Generator().manual_seed(5), run)[1])
    assert torch.equal(torch.stack(samples, 1).flatten(), whole)


def test_a_gem_removes_only_the_component_against_the_memory():
    """The nearest vector with a product of at least 0; one whose product is positive stays as it is."""
    task, reference = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 3.0])
    assert project(task, reference).tolist() == [1.0, 0.0]
    assert project(-task, reference).tolist() == (-task).tolist()


def test_a_gems_step_doesnt_raise_the_memorys_loss(run):
    """The new task has the memory's images with other labels: the projected gradient is orthogonal to the memory's."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    net_of_bytes = nn.Sequential(Floats(), net)
    memory = EpisodicMemory(1, 4, 4)
    old = TensorDataset(torch.randint(0, 255, (4, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 2, 0]))
    memory.add(old, torch.Generator())
    agem = AGEM(run, memory, batch_size=64)
    x, y = old.tensors[0], (old.tensors[1] + 1) % 3
    F.cross_entropy(net_of_bytes(x), y).backward()
    task = torch.cat([p.grad.flatten() for p in net.parameters()])
    agem.generator.manual_seed(1)
    agem.before_step(net_of_bytes)
    projected = torch.cat([p.grad.flatten() for p in net.parameters()])
    sample = memory.sample(64, torch.Generator().manual_seed(1), run)
    reference = torch.autograd.grad(F.cross_entropy(net_of_bytes(sample[0]), sample[1]), list(net.parameters()))
    reference = torch.cat([tensor.flatten() for tensor in reference])
    assert task @ reference < 0
    assert (projected @ reference).item() == pytest.approx(0, abs=1e-5)


class Floats(nn.Module):
    def forward(self, images):
        return images / 255


def test_lwf_distils_the_old_network_on_the_classes_seen(small, run):
    """Against the sum written out; zero before there is a teacher, and zero where the network is the teacher."""
    net, batches = small
    (x, _), seen = batches[0], [0, 2]
    lwf = LwF(net, run, strength=3.0, classes=3)
    assert lwf.penalty(net, x, net(x)).item() == 0
    end_task(lwf, (net, [(x, torch.tensor(seen * 4))]))
    teacher = (net(x)[:, seen] / 2).softmax(1).detach()
    assert lwf.penalty(net, x, net(x)).item() == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        net[2].weight += torch.randn(3, 4)
    student = (net(x)[:, seen] / 2).softmax(1)
    expected = 3 * 4 * (teacher * (teacher / student).log()).sum(1).mean()
    torch.testing.assert_close(lwf.penalty(net, x, net(x)), expected)


# --- measures and scenarios ------------------------------------------------------------------------------------------

MATRIX = [[0.1, 0.2, 0.1], [0.9, 0.5, 0.3], [0.95, 0.8, 0.6], [0.7, 0.6, 0.9]]


def test_measures_of_a_finished_training():
    assert transfer.mean_accuracy(MATRIX) == pytest.approx((0.7 + 0.6 + 0.9) / 3)
    assert transfer.forgetting(MATRIX) == pytest.approx(((0.95 - 0.7) + (0.8 - 0.6)) / 2)
    assert transfer.backward_transfer(MATRIX) == pytest.approx(((0.7 - 0.9) + (0.6 - 0.8)) / 2)
    assert transfer.forward_transfer(MATRIX) == pytest.approx(((0.5 - 0.2) + (0.6 - 0.1)) / 2)


def test_measures_of_an_unfinished_training_are_of_the_tasks_seen():
    assert transfer.mean_accuracy(MATRIX[:3]) == pytest.approx((0.95 + 0.8) / 2)
    assert transfer.forgetting(MATRIX[:3]) == pytest.approx(0.9 - 0.95)
    assert transfer.backward_transfer(MATRIX[:3]) == pytest.approx(0.95 - 0.9)
    assert transfer.forward_transfer(MATRIX[:3]) == pytest.approx(0.5 - 0.2)


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (30, 28, 28), np.uint8)), torch.arange(30) % 10


def test_permuted_tasks_have_the_same_pixels_in_another_order(digits):
    """One order for all images of a task, whichever images; the first task's is the identity."""
    images, labels = digits
    made = make_tasks("permuted", (), images, labels)
    assert len(made) == len(task_names("permuted", ())) == 5
    assert torch.equal(made[0].tensors[0], images)
    for number, task in enumerate(made[1:], 1):
        shuffled = task.tensors[0]
        assert not torch.equal(shuffled, images)
        assert torch.equal(shuffled.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
        assert torch.equal(make_tasks("permuted", (), images[3:5], labels[3:5])[number].tensors[0], shuffled[3:5])


def test_class_incremental_tasks_partition_the_digits(digits):
    images, labels = digits
    made = make_tasks("class-incremental", (), images, labels)
    assert [task.tensors[1].unique().tolist() for task in made] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert sum(map(len, made)) == len(concatenated(made)) == 30
    assert task_names("class-incremental", ()) == ["0, 1", "2, 3", "4, 5", "6, 7", "8, 9"]
