# One image for every process of the mesh: services, gateway, sandbox and set-up job differ by their command only.
# What runs is the source tree in /app and the packages of requirements/image.txt, each of them checked by its hash.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
# Packages first: they change less often than the sources. Wheels only, so nothing is compiled and no compiler is needed.
COPY requirements/build.txt requirements/image.txt requirements/
RUN python -m venv --without-pip /opt/venv \
    && pip install --require-hashes --only-binary :all: -r requirements/build.txt \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements/image.txt
COPY . .
# An editable wheel holds the version, the command `vivesphere` and two lines of path: /app and /app/generated.
RUN python -m hatchling build --target wheel:editable --directory /tmp/dist \
    && pip --python /opt/venv/bin/python install --no-deps --no-index /tmp/dist/*.whl \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="ViveSphere Bot Manager" \
      org.opencontainers.image.description="A self-hosted manager for fleets of X bots, built as a mesh of gRPC services." \
      org.opencontainers.image.version="${VERSION}"
# A new volume takes owner and mode of the directory it is first mounted on. That is how the set-up job, which is not root
# either, may write to the mesh's files, and how NATS and Vault (run as the same user) may write to their own volumes.
RUN python -m pip uninstall --yes pip setuptools wheel \
    && groupadd --gid 10001 vivesphere \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vivesphere \
    && install --directory --owner=10001 --group=10001 --mode=0700 /mesh /data /engines/nats /engines/vault
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
# What "healthy" means depends on the command: see the health checks in docker-compose.yml.
CMD ["vivesphere", "--help"]
