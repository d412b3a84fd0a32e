"""`labs doctor`: what is wrong with this machine, with each node of the cluster, and with where results are kept."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import typer

from cluster.doctor.finding import Finding, Look, examine
from pipelines.commands.options import SUBMIT, Home, Json, StoreUri, print_json

CHECK_S = 10.0
"""Seconds for each check that has no limit of its own."""
JOIN_S = 90.0
"""Seconds for joining the cluster: importing Ray on a busy machine, and the head node's own limits."""
COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}
Row = tuple[str, str, Finding]
"""Host of the node (empty: this machine), name of the check, what it has found."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=SUBMIT)(doctor)


def doctor(store: StoreUri = None, home: Home = None, as_json: Json = False) -> None:
    """Check this machine and, with RAY_ADDRESS, every node of the cluster; each fault comes with its remedy."""
    rows = []
    for row in _rows(home, store):
        rows.append(row)
        if not as_json and _is_shown(*row):
            typer.echo(_line(*row))
    if as_json:
        print_json([{"check": check, "node": node, **asdict(finding)} for node, check, finding in rows])
    raise typer.Exit(int(any(finding.status == "broken" for *_, finding in rows)))


def _rows(home: Path | None, store: str | None) -> Iterator[Row]:
    """Every check, one after the other: the quick ones first, and what imports libraries where it is used."""
    from cluster.doctor import gpus, machine, packages

    address = os.environ.get("RAY_ADDRESS", "local")
    checks: dict[str, Look] = {
        "python": packages.python,
        "packages": packages.packages,
        "token": machine.token,
        "cpus": machine.cpus,
        "memory": machine.memory,
        "shared memory": machine.shared_memory,
        "limits": machine.limits,
        "temporary folder": machine.temporary_folder,
        "proxies": machine.proxies,
    }
    if address == "local":
        checks["ports"] = machine.ports
    for name, look in checks.items():
        yield "", name, examine(look, CHECK_S)
    yield "", "gpus", examine(gpus.gpus, gpus.LIMIT_S)

    from pipelines import checks as of_results
    from pipelines.home import find_home

    found = examine(partial(of_results.home, home), CHECK_S)
    yield "", "home", found
    yield "", "store", examine(partial(of_results.store, home, store), of_results.STORE_S)
    if address != "local":
        yield from _cluster(None if found.status == "broken" else find_home(home))


def _cluster(home: Path | None) -> Iterator[Row]:
    """The cluster of RAY_ADDRESS, node by node."""
    from cluster.doctor import nodes

    joined = examine(_join, JOIN_S)
    yield "", "cluster", joined
    if joined.status == "broken":
        return

    from pipelines.checks import seen_by_nodes

    with seen_by_nodes(home) as extra:
        for node, findings in nodes.ask(nodes.nodes(), extra):
            for check, finding in findings.items():
                yield node.host, check, finding


def _join() -> Finding:
    from cluster import connect

    return Finding("ok", str(connect.connect()))


def _is_shown(node: str, check: str, finding: Finding) -> bool:
    """On the screen, a node of a cluster has one line, and one for each fault; `--json` has every check."""
    return not node or check == "node" or finding.status != "ok"


def _line(node: str, check: str, finding: Finding) -> str:
    """One line: status, node, check, what was found, what to do."""
    status = typer.style(f"{finding.status:8}", fg=COLOURS[finding.status])
    remedy = f": {finding.remedy}" if finding.remedy else ""
    return f"{status} {f'{node} ' if node else ''}{check}: {finding.found}{remedy}"
