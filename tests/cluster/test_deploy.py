"""`cluster/deploy`: what can be checked of it without containers, Kubernetes, Slurm or a cloud."""

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Said

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
CRDS = ROOT.parent / "shared" / "kuberay-crds"
PAGE = (DEPLOY / "README.md").read_text()
CONSTRAINTS = dict(
    line.split(";")[0].strip().split("==")
    for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    if "==" in line
)
KUBERNETES = {
    (one["kind"], one["metadata"]["name"]): one
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for one in yaml.safe_load_all(file.read_text())
}
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
SKYPILOT = yaml.safe_load((DEPLOY / "skypilot" / "labs.yaml").read_text())
CLUSTER, JOB = KUBERNETES["RayCluster", "labs"], KUBERNETES["RayJob", "labs-job"]


def below(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from below(item)


def pods() -> Iterator[dict[str, Any]]:
    """The specs of all pods."""
    yield from (one for one in below(list(KUBERNETES.values())) if "containers" in one)


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


def strict(schema: Any) -> Any:
    """A schema that also refuses fields that it does not have, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(item) for name, item in schema.items()}
    open_to_all = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & made.keys()
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not open_to_all:
        made["additionalProperties"] = False
    return made


@pytest.mark.skipif(not CRDS.is_dir(), reason="the schemas of KubeRay's resources are not there (shared/kuberay-crds)")
@pytest.mark.parametrize(("kind", "file"), [("RayCluster", "ray.io_rayclusters"), ("RayJob", "ray.io_rayjobs")])
def test_kuberay_takes_the_manifests(kind: str, file: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    crd = yaml.load((CRDS / f"{file}.yaml").read_text(), Loader=yaml.CSafeLoader)
    manifest = CLUSTER if kind == "RayCluster" else JOB
    (version,) = (one for one in crd["spec"]["versions"] if f"ray.io/{one['name']}" == manifest["apiVersion"])
    schema = version["schema"]["openAPIV3Schema"]
    validator = jsonschema.Draft202012Validator(strict(schema["properties"]["spec"]))
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest["spec"])] == []


def test_the_job_s_cluster_is_the_one_that_stays() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_every_volume_claim_service_and_secret_that_is_named_is_made() -> None:
    everything = list(KUBERNETES.values())
    claims = {one["claimName"] for one in below(everything) if "claimName" in one}
    assert claims == {name for kind, name in KUBERNETES if kind == "PersistentVolumeClaim"}
    uris = [
        env["value"] for container in containers() for env in container.get("env", []) if "://" in str(env.get("value"))
    ]
    hosts = {re.sub(r".*://(?:\w+@)?", "", uri).split(":")[0].split("/")[0] for uri in uris}
    assert hosts == {name for kind, name in KUBERNETES if kind == "Service"}
    secrets = {(one["name"], one["key"]) for one in below(everything) if "key" in one and "name" in one}
    assert secrets == {("postgres", "password")}
    assert "create secret generic postgres --from-file=password=/dev/stdin" in PAGE
    assert {one["metadata"].get("namespace", "ml-labs") for one in KUBERNETES.values()} == {"ml-labs"}


def test_every_ray_pod_has_shared_memory_and_the_head_has_the_home() -> None:
    spec = CLUSTER["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert volumes.keys() == set(mounts.values())
    home = re.search(r"LABS_HOME=(\S+)", (DEPLOY / "container" / "Dockerfile").read_text())
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert home
    assert home[1] in {mount["mountPath"] for mount in head["volumeMounts"]}
    assert [group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            for group in spec["workerGroupSpecs"]] == [None, 1]  # fmt: skip


def test_versions_are_those_that_the_tests_pass_with() -> None:
    text = "\n".join(file.read_text() for file in DEPLOY.rglob("*") if file.is_file())
    for pattern, package in {
        r"rayproject/ray:([\d.]+)-py311": "ray",
        r"rayVersion: ([\d.]+)": "ray",
        r"ghcr.io/mlflow/mlflow:v([\d.]+)": "mlflow",
        r"ml-labs-mlflow:([\d.]+)": "mlflow",
        r"psycopg\[binary\]==([\d.]+)": "psycopg",
    }.items():
        assert set(re.findall(pattern, text)) == {CONSTRAINTS[package]}, pattern


def test_no_password_is_in_a_file_or_in_a_command() -> None:
    for container in containers():
        for env in container.get("env", []):
            if re.search("PASSWORD|TOKEN|SECRET|KEY", env["name"]):
                assert "secretKeyRef" in env["valueFrom"]
    for service in COMPOSE.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?see README.md\}", value), name
        assert "$" not in str(service.get("command", ""))
    assert SKYPILOT["secrets"] == {"RAY_AUTH_TOKEN": None}
    ignored = subprocess.run(["git", "check-ignore", "-q", "cluster/deploy/compose/.env"], cwd=ROOT)
    assert ignored.returncode in (0, 128)  # 128: not a checkout


def test_nothing_listens_beyond_the_cluster_s_network() -> None:
    published = [port for service in COMPOSE.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:5000:5000"]
    for (kind, _), one in KUBERNETES.items():
        if kind == "Service":
            assert one["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert not [one for one in below(list(KUBERNETES.values())) if {"hostPort", "hostNetwork", "nodePort"} & one.keys()]
    policies = [one["spec"]["podSelector"] for (kind, _), one in KUBERNETES.items() if kind == "NetworkPolicy"]
    assert {"matchLabels": {"app": "postgres"}} in policies
    assert {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["postgres"]}]} in policies
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    for script in ((DEPLOY / "slurm" / "labs.sbatch").read_text(), SKYPILOT["run"]):
        assert "export RAY_AUTH_MODE=token" in script
        assert "0.0.0.0" not in script
    assert "ports" not in SKYPILOT["resources"]


def test_compose_names_what_it_has_and_its_python_is_python() -> None:
    volumes = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["volumes"]
    for service in COMPOSE.values():
        assert set(service.get("depends_on", {})) <= COMPOSE.keys()
        assert {mount.split(":")[0] for mount in service.get("volumes", [])} <= volumes.keys()
        if build := service.get("build"):
            assert (DEPLOY / "compose" / build["context"] / build["dockerfile"]).is_file()
        for command in (service.get("command", []), service.get("healthcheck", {}).get("test", [])):
            if "-c" in command:
                ast.parse(command[command.index("-c") + 1])
    uri = COMPOSE["labs"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert uri in COMPOSE["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_the_container_file_copies_what_is_there_and_not_ignored() -> None:
    text = (DEPLOY / "container" / "Dockerfile").read_text()
    kept = re.findall(r"^!(.+)$", (DEPLOY / "container" / "Dockerfile.dockerignore").read_text(), re.M)
    copied = [word for line in re.findall(r"^COPY --chown=\S+ (.+) \S+$", text, re.M) for word in line.split()]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / path).exists() for path in copied)


def labs_commands() -> list[list[str]]:
    slurm = re.findall(r"labs\.sbatch (.+)$", PAGE + (DEPLOY / "slurm" / "labs.sbatch").read_text(), re.M)
    entrypoint = JOB["spec"]["entrypoint"].removeprefix("labs ")
    texts = {entrypoint, SKYPILOT["envs"]["COMMAND"], *slurm, *re.findall(r'COMMAND="(.+?)"', PAGE)}
    return [shlex.split(text) for text in sorted(texts)] + [COMPOSE["labs"]["command"]]


def test_the_program_takes_the_commands(labs_cli: Callable[..., Said]) -> None:
    commands = labs_commands()
    assert len(commands) > 3
    for words in commands:
        assert labs_cli(*words, "--help").code == 0, words


@pytest.mark.parametrize("tool", ["bash", "shellcheck"])
def test_shell_scripts_have_no_faults(tool: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    options = {"bash": ["-n"], "shellcheck": ["--shell=bash"]}[tool]
    scripts = [DEPLOY / "slurm" / "labs.sbatch"]
    for part in ("setup", "run"):
        scripts.append(tmp_path / part)
        scripts[-1].write_text(f"# shellcheck disable=SC1090,SC1091 # made by `setup`\ntrue\n{SKYPILOT[part]}")
    for script in scripts:
        said = subprocess.run([tool, *options, script], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def test_skypilot_takes_the_task() -> None:
    pytest.importorskip("sky")
    from sky import Task

    Task.from_yaml_config({**SKYPILOT, "secrets": {"RAY_AUTH_TOKEN": "a"}})
