"""What to do where a store refuses, by what it says."""

import re

DATABASE = {
    "authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist|Access denied": (
        "check the user and the password in the URI"
    ),
    "database .* does not exist|Unknown database": "make the database there first, or name one that is there",
    "permission denied|command denied": "ask the database's administrator for the right to make tables and write there",
    "file is not a database": "it is damaged: move the file away, and `labs sync` makes it anew from the runs' folders",
    "read-only": "name a database that can be written",
}
OTHER = {
    "^RestException: PERMISSION_DENIED|^MlflowException: .* error code 403": (
        "ask for the right to write there, or name an experiment of your own in MLFLOW_EXPERIMENT_NAME"
    ),
    "NoSuchBucket": "make the bucket that it keeps files in, or correct the bucket's name there",
    "Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch": (
        "set or correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ),
    "AccessDenied": "ask for the right to write to the bucket that it keeps files in",
    "onnect.* endpoint URL": "set or correct MLFLOW_S3_ENDPOINT_URL",
    "413 Client Error": "raise the limit of the proxy before the server (of nginx: client_max_body_size)",
    "/mlflow-artifacts/artifacts/": (
        "the server could not keep a file: see its log, and whether the bucket or folder of its "
        "--artifacts-destination is there and may be written"
    ),
}
"""Of servers, and of the buckets that files of any store may be in."""


def remedy(refusal: str, *, database: bool) -> str:
    """What to do where a store refuses with these words; empty where nothing is known."""
    known = (DATABASE if database else {}) | OTHER
    return next((remedy for pattern, remedy in known.items() if re.search(pattern, refusal)), "")
