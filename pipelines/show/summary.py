"""The end of a pipeline: the document of `--json`, and what is said on the screen."""

from pathlib import Path
from typing import Any

from pipelines.error_file import ERROR_FILE, has_error
from pipelines.home import has_record, is_driven, read_record
from pipelines.show.display import say, screen, summarise, summary_table
from pipelines.show.schedule import schedule, sentence
from pipelines.tracking.writer import Store, run_id


def pipeline_document(folder: Path, store: Store) -> dict[str, Any]:
    """What `labs pipeline run --json` prints: a pipeline's folder, with the ids of its runs in the store."""
    record = read_record(folder)
    folders = [str(folder), *(node["folder"] for node in record["nodes"].values())]
    ids = {path: run_id(Path(path), store) for path in folders}
    if len(folders) == 2:  # a pipeline of one node has that node's run
        ids[folders[0]] = ids[folders[0]] or ids[folders[1]]
    document = summarise(folder, ids)
    driven = record["status"] != "FINISHED" and is_driven(folder)
    more = {"error": record.get("error", ""), "driven": driven, "schedule": schedule(record)}
    return {**document, **more}


def interrupted_document(name: str) -> dict[str, Any]:
    """The same for a pipeline that was interrupted while data folders were prepared: it has no folder yet."""
    return {"pipeline": name, "run_id": None, "status": "KILLED", "seconds": 0.0, "error": "", "driven": False,
            "schedule": None, "nodes": []}  # fmt: skip


def show_pipeline(document: dict[str, Any], home: Path | None) -> None:
    """Print the table of nodes, the errors, and what to type next.

    Args:
        document: of `pipeline_document`.
        home: what the user gave as `--home`, to be repeated in what to type next.
    """
    screen.print(summary_table(document))
    if document["schedule"]:
        say(sentence(document["schedule"], document["seconds"]))
    _show_errors(document)
    where = f" --home {home}" if home else ""
    finished = [node for node in document["nodes"] if node["status"] == "FINISHED" and node["run_id"]]
    if finished:
        last = finished[-1]  # of `labs train`, the lab itself: what it needs stands before it
        say(f"next: labs ui{where}")
        say(f"      labs compare{where}")
        say(f"      labs deliver {last['lab']} --run {last['run_id'][:8]} --out delivered{where}")
    if document["status"] != "FINISHED":
        say(f"next: {_advice(document['nodes'])}")


def show_state(document: dict[str, Any]) -> None:
    """Print the errors, and whether anything works on what has not finished."""
    _show_errors(document)
    if document["status"] != "FINISHED" and not document["driven"]:
        say(f"no process runs this pipeline now: {_advice(document['nodes'])}")


def _show_errors(document: dict[str, Any]) -> None:
    """The error that ended the pipeline itself, if one did, and those of its nodes."""
    if document["error"]:
        say(document["error"], style="red")
    for node in document["nodes"]:
        if node["error"]:
            hint = f" (traceback: {node['folder']}/{ERROR_FILE})" if has_error(Path(node["folder"])) else ""
            say(f"{node['name']}: {node['error']}{hint}", style="red")


def _advice(nodes: list[dict[str, Any]]) -> str:
    """What to do after nodes have not finished: repeating the command helps only where nothing is wrong."""
    if all(node["status"] in ("WAITING", "KILLED") and not has_record(Path(node["folder"])) for node in nodes):
        return "nothing was trained yet; the same command starts it"
    failed = [node for node in nodes if node["status"] == "FAILED"]
    if any(node["error"].startswith("BadInput:") for node in failed):
        return "correct what the message says, then the same command again; finished nodes are reused"
    if any(has_error(Path(node["folder"])) for node in failed):
        return "the traceback shows the cause; once it is corrected, the same command again continues"
    return "the same command again continues where this one ended"
