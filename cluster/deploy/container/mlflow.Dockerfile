# MLflow's server with the drivers that it has not: PostgreSQL for its tables, S3 for files.
#   docker build -f cluster/deploy/container/mlflow.Dockerfile -t ml-labs-mlflow:3.17.2 cluster/deploy/container
FROM ghcr.io/mlflow/mlflow:v3.17.2
RUN pip install --no-cache-dir "psycopg[binary]==3.3.9" boto3
RUN useradd --uid 1000 --create-home mlflow && mkdir -m 700 /files && chown mlflow /files
USER 1000
WORKDIR /home/mlflow
