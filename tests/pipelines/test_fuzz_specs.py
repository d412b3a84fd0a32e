"""Whatever stands in a spec, a config, a search space or a `--set`, it is read rightly or named in one sentence."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labs
from labs.core.errors import BadInput
from pipelines.commands.running import overrides
from pipelines.spec import COURSE, read_spec, tuning_of
from pipelines.spec_fields import TuneSpec
from pipelines.tuning.space import read_space
from tests.fuzz import CHANGES, TOKENS, Change, fuzz

CONFIG = b"lr: 0.01\nhidden: [64, 32]\nepochs: 10\nfeatures: selected\nnum_features: 16\n"
SPACE = b"""
lr: {type: loguniform, low: 0.0001, high: 0.1}
features: {type: choice, values: [all, selected]}
num_features: {type: randint, low: 4, high: 40, when: {features: selected}}
weight_decay: {type: quniform, low: 0.0, high: 0.1, q: 0.01}
"""
SPEC = b"""
name: course
nodes:
  cnn: {lab: cnn, preset: strong, size: tiny, seeds: [0, 1], resources: {workers: 0}}
  student:
    lab: compression
    needs: {teacher: cnn-s0}
    overrides: {epochs: 3, lr: 0.01}
    time_limit: 60
  tuned:
    lab: regression
    data: some/folder
    retries: 2
    tune: {trials: 4, search: random, space: {lr: {type: loguniform, low: 0.001, high: 0.1}}}
"""


def read_or_named(read: Callable[[], object]) -> None:
    """Read, or a sentence that is short enough to be read."""
    try:
        read()
    except BadInput as error:
        said = str(error)
    else:
        return
    assert 0 < len(said) < 3000


def in_file(content: bytes, read: Callable[[Path], object]) -> None:
    """Read a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file.yaml")
        file.write_bytes(content)
        read_or_named(lambda: read(file))


def resolve(fields: dict[str, Any]) -> object:
    """The config, as it is written and read again by a run."""
    lab = labs.get("regression")
    return lab.config.model_validate_json(lab.resolve("simple", "tiny", fields).model_dump_json())


def sample(file: Path) -> None:
    """Draw from a search space what a trial would."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for search in ("grid", "random"):
        tune = TuneSpec(search=search).model_copy(update={"space": read_space(file)})  # type: ignore[arg-type]
        found = tuning_of(tune, labs.get("regression"), "simple", "tiny", {}).space
        found.document()
        found.sample(optuna.create_study().ask())


@fuzz(60)
@given(CHANGES, CHANGES)
def test_changed_specs(one: Change, other: Change) -> None:
    in_file(other.of(one.of(SPEC)), read_spec)


@fuzz(3)
@given(CHANGES)
def test_changed_course(change: Change) -> None:
    in_file(change.of(COURSE.read_bytes()), read_spec)


@fuzz(60)
@given(CHANGES, CHANGES)
def test_changed_configs(one: Change, other: Change) -> None:
    in_file(other.of(one.of(CONFIG)), lambda file: resolve(overrides(file, [])))


@fuzz(60)
@given(CHANGES, CHANGES)
def test_changed_spaces(one: Change, other: Change) -> None:
    in_file(other.of(one.of(SPACE)), sample)


WORDS = [token.decode(errors="replace") for token in TOKENS if len(token) < 10_000]
VALUES = st.one_of(st.text(max_size=20), st.sampled_from(WORDS))


@fuzz(60)
@given(st.sampled_from(["lr", "hidden", "epochs", "features", "", "x"]), VALUES)
def test_values_of_set(name: str, value: str) -> None:
    read_or_named(lambda: resolve(overrides(None, [f"{name}={value}"])))


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))])
HOSTILE = {
    "aliases of aliases": (BOMB, "values, its aliases unfolded"),
    "an alias in itself": ("lr: &a [*a]", "nested too deeply"),
    "nested": ("lr: " + "[" * 100_000, "nested too deeply"),
    "a tag": ("lr: !!python/object/apply:os.mkdir [marker]", "is not YAML"),
    "a long number": ("lr: " + "9" * 5000, "is not YAML"),
    "a long hexadecimal number": ("epochs: 0x" + "f" * 5000, "epochs"),
    "an infinite number": ("lr: .inf", "field 'lr' is inf"),
    "too large": ("#" * 2_000_000, "has more than 1000000 bytes"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_config_is_one_sentence(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[hostile]
    Path("c.yaml").write_text(content)
    with pytest.raises(BadInput, match=message) as raised:
        resolve(overrides(Path("c.yaml"), []))
    assert len(str(raised.value)) < 1000
    assert not Path("marker").exists()


def test_a_grid_that_can_not_be_listed_is_refused() -> None:
    """A hundred values of each of three fields: every combination was made before the first trial."""
    values = {"type": "choice", "values": list(range(1, 101))}
    tune = TuneSpec(space=dict.fromkeys(("num_features", "epochs", "patience"), values), search="grid")
    with pytest.raises(BadInput, match="a grid of 1000000 combinations"):
        tuning_of(tune, labs.get("regression"), "simple", "tiny", {})


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    """`a` with seed 1 and `a-s1`: one of them was lost."""
    file = tmp_path / "a.yaml"
    file.write_text("name: x\nnodes:\n  a: {lab: regression, seeds: [1]}\n  a-s1: {lab: regression}\n")
    with pytest.raises(BadInput, match=r"a\.yaml line 4: node 'a-s1': there is a node 'a-s1' already"):
        read_spec(file)


def test_a_node_of_a_merge_key_is_named(tmp_path: Path) -> None:
    """A node that another place of the file describes has no line of its own."""
    file = tmp_path / "a.yaml"
    file.write_text("name: x\nnodes:\n  <<: {a: {lab: regression, preset: nothing}}\n")
    with pytest.raises(BadInput, match=r"a\.yaml line \d: node 'a': unknown preset 'nothing'"):
        read_spec(file)
