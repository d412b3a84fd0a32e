"""Pipeline specs: every fault is named with file, line and field before anything starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import labs
from labs.core.errors import BadInput
from pipelines.spec import COURSE, Node, default_needs, read_spec
from pipelines.spec_fields import TrialResources, TuneSpec, from_options
from tests.conftest import Said

GOOD = """\
name: two
nodes:
  first:
    lab: regression
    seeds: [0, 1]
  second:
    lab: regression
    preset: strong
    size: tiny
    overrides: {lr: 0.01}
    seeds: [0, 1]
    needs: {teacher: first}
    resources: {workers: 2}
    time_limit: 60
"""


def spec(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    return path


def test_seeds_make_a_node_each_and_a_need_takes_the_same_seed(tmp_path: Path) -> None:
    name, nodes = read_spec(spec(tmp_path, GOOD))
    found = {node.name: node for node in nodes}
    assert name == "two"
    assert set(found) == {"first-s0", "first-s1", "second-s0", "second-s1"}
    assert found["second-s1"].needs == {"teacher": "first-s1"}
    assert (found["second-s1"].seed, found["second-s1"].config.lr) == (1, 0.01)  # type: ignore[attr-defined]


FAULTS = {
    "unknown lab": (
        ("lab: regression\n    preset", "lab: regresion\n    preset"),
        "line 7: node 'second'",
        "'regression'",
    ),
    "unknown preset": (("preset: strong", "preset: strnog"), "line 8: node 'second'", "did you mean 'strong'?"),
    "unknown size": (("size: tiny", "size: huge"), "line 9: node 'second'", "tiny, small, course"),
    "unknown key": (("preset: strong", "presett: strong"), "line 8", "did you mean 'preset'?"),
    "unknown resource": (("workers: 2", "worker: 2"), "line 13", "did you mean 'workers'?"),
    "unknown top key": (("name: two", "name: two\nnods: 1"), "line 2", "did you mean 'nodes'?"),
    "wrong type": (("workers: 2", "workers: many"), "line 13", "'many'"),
    "out of range": (("time_limit: 60", "time_limit: -1"), "line 14", "greater than 0"),
    "unknown field": (("{lr: 0.01}", "{lrr: 0.01}"), "line 10: node 'second'", "did you mean 'lr'?"),
    "field out of range": (("{lr: 0.01}", "{lr: -1}"), "field 'lr' is -1", "greater than 0"),
    "unknown need": (("teacher: first", "teacher: frist"), "needs 'frist' as teacher", "first-s0"),
    "key twice": (("size: tiny", "size: tiny\n    size: small"), "line 10", "stands twice, first on line 9"),
    "no text": (("name: two", "name: 12"), "line 1: field 'name': 12 must be text", "put quotes round it"),
    "no node": ((GOOD[GOOD.index("nodes:") :], "nodes: {}\n"), "line 2: field 'nodes'", "at least one node"),
    "empty": ((GOOD, "# nothing\n"), "is empty", "'name' and 'nodes'"),
    "not YAML": (("nodes:", "nodes: ["), "not YAML", "line"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place_and_what_is_right(tmp_path: Path, fault: str) -> None:
    (old, new), place, right = FAULTS[fault]
    assert old in GOOD
    with pytest.raises(BadInput) as raised:
        read_spec(spec(tmp_path, GOOD.replace(old, new, 1)))
    assert str(raised.value).startswith("pipeline.yaml")
    assert place in str(raised.value)
    assert right in str(raised.value)


TUNE_FAULTS = {
    "trials": ("0", "is 0: input should be greater than or equal to 1"),
    "time": ("-1", "is -1: input should be greater than 0"),
    "concurrent": ("many", "'many' is neither auto nor a number from 1 on"),
    "search": ("best", "is 'best': input should be 'tpe', 'random' or 'grid'"),
}


@pytest.mark.parametrize("name", TUNE_FAULTS)
def test_the_file_and_the_command_line_refuse_the_same_values_of_tune(tmp_path: Path, name: str) -> None:
    value, sentence = TUNE_FAULTS[name]
    text = f"name: t\nnodes:\n  a: {{lab: regression, tune: {{{name}: {value}}}}}\n"
    with pytest.raises(BadInput) as in_file:
        read_spec(spec(tmp_path, text))
    assert str(in_file.value).startswith("pipeline.yaml line 3: field 'nodes.a.tune." + name)
    assert sentence in str(in_file.value)
    with pytest.raises(BadInput) as on_command_line:
        from_options(TuneSpec, **{name: yaml.safe_load(value)})
    assert str(on_command_line.value).startswith(f"field '--{name}'")
    assert sentence in str(on_command_line.value)


@pytest.mark.parametrize("gpus", ["1.5", "0.00001", "3.0001"])
def test_a_part_of_a_second_gpu_is_refused_in_a_file_and_on_the_command_line(
    labs_cli: Callable[..., Said], tmp_path: Path, gpus: str
) -> None:
    """Ray takes whole numbers and shares of one GPU: each worker that it was to start failed with its traceback."""
    wrong = f"{gpus.replace('0.00001', '1e-05')} GPUs are neither a whole number nor a share of one GPU"
    for command in ("train", "tune"):
        said = labs_cli(command, "regression", "--gpus-per-worker", gpus)
        assert (said.code, said.err) == (2, f"error: field '--gpus-per-worker': {wrong}, from 0.0001 up to 1\n")
    for tune in ("", "tune: {trials: 2}, "):
        text = f"name: t\nnodes:\n  a: {{lab: regression, {tune}resources: {{gpus_per_worker: {gpus}}}}}\n"
        said = labs_cli("pipeline", "run", spec(tmp_path, text))
        where = "error: pipeline.yaml line 3: field 'nodes.a.resources.gpus_per_worker': "
        assert (said.code, said.err.splitlines()[-1]) == (2, f"{where}{wrong}, from 0.0001 up to 1")


@pytest.mark.parametrize("written", ["auto", None])
def test_as_many_trials_at_a_time_as_fit_is_auto_or_nothing(written: str | None) -> None:
    assert from_options(TuneSpec, concurrent=written).concurrent is None
    assert from_options(TuneSpec, concurrent="3").concurrent == 3


def test_an_option_is_named_as_it_is_typed() -> None:
    with pytest.raises(
        BadInput, match=r"^field '--gpus-per-worker' is -1\.0: input should be greater than or equal to 0$"
    ):
        from_options(TrialResources, workers=1, gpus_per_worker=-1.0)
    with pytest.raises(BadInput, match=r"^field '--workers' is 0: input should be greater than or equal to 1$"):
        from_options(TrialResources, workers=0)


def test_a_circle_of_needs_is_named(tmp_path: Path) -> None:
    text = "name: c\nnodes:\n  a: {lab: regression, needs: {x: b}}\n  b: {lab: regression, needs: {x: a}}\n"
    with pytest.raises(BadInput, match=r"nodes need each other in a circle: (a -> b -> a|b -> a -> b)"):
        read_spec(spec(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.yaml does not exist"):
        read_spec(tmp_path / "gone.yaml")


@pytest.mark.parametrize("file", sorted(COURSE.parent.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_spec_that_comes_along_fits_the_labs_as_they_are(file: Path) -> None:
    name, nodes = read_spec(file)
    assert (name, bool(nodes)) == (file.stem, True)


def test_the_course_has_every_lab() -> None:
    import labs

    assert {node.lab for node in read_spec(COURSE)[1]} == set(labs.names())


def test_what_a_lab_needs_by_default_has_the_lab_s_own_size() -> None:
    """At size small the needs are the course's nodes, whose overrides are for that size."""
    course = {node.name: node for node in read_spec(COURSE)[1]}
    for size in ("tiny", "small"):
        lab = labs.get("bert")
        preset = lab.heading.choose(None, size)
        needed, node = default_needs(Node("bert", "bert", preset, size, lab.resolve(preset, size, {})))
        own = labs.get("bert-pretrain")
        plain = own.resolve(own.heading.choose(None, size), size, {})
        assert node.needs == {"pretrained": "bert-pretrain"}
        assert needed.size == size
        assert needed.config == (course["bert-pretrain"].config if size == "small" else plain)


def test_what_a_config_or_a_data_folder_has_is_not_trained_first(tmp_path: Path) -> None:
    """A pre-trained model that is named, as at size course; the course's teacher in the folder. In a file they may
    be left out of `needs`, and nothing else may."""
    bert = Node("bert", "bert", "simple", "course", labs.get("bert").resolve("simple", "course", {}))
    assert default_needs(bert) == [bert]
    nodes = """
      bert: {lab: bert, overrides: {pretrained_model: mine}}
      compression: {lab: compression, data: %s}
    """
    (tmp_path / "food").mkdir()
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nnodes:" + nodes % "food")
    with pytest.raises(BadInput, match="node 'compression': field 'needs': lab compression needs a node as 'teacher'"):
        read_spec(file)
    (tmp_path / "food/resnet18_teacher.ckpt").write_bytes(b"weights")
    assert [node.needs for node in read_spec(file)[1]] == [{}, {}]
