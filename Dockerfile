# One image for the five services, the setup and the archive: the command says which.
# Its base can be named by digest: docker build --build-arg PYTHON_IMAGE=python@sha256:… -t mutt:2.5.0 .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/mutt
COPY requirements/runtime.txt requirements/
# What the lock file names and nothing else: each wheel by its hash, nothing built, no pip left behind.
RUN python -m venv venv \
    && venv/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes -r requirements/runtime.txt \
    && echo /opt/mutt > "$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mutt.pth" \
    && venv/bin/pip uninstall --yes setuptools pip
COPY database database
COPY mutt mutt
COPY services services
COPY scripts scripts
RUN venv/bin/python -m compileall -q -j 0 mutt services scripts venv/lib

FROM ${PYTHON_IMAGE}
ARG VERSION=2.5.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MUTT" \
    org.opencontainers.image.description="Multi-Use Telemetry Tool" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# The tree stays root's: whoever takes over a service cannot change its code.
COPY --from=build /opt/mutt /opt/mutt
ENV PATH=/opt/mutt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/mutt
USER 10001:10001
EXPOSE 8080 8081 8082 8083 8084 8086 8087 8090
STOPSIGNAL SIGTERM
# No HEALTHCHECK: which port answers depends on the command. compose.yaml and the manifests each say theirs.
CMD ["/opt/mutt/venv/bin/python", "/opt/mutt/services/ingestor_service.py"]
