# A server of mri3d, as nobody and on a read-only root:
#
#   docker build -t mri3d --build-arg TORCH=INDEX .
#   docker run --read-only --tmpfs /tmp -v mri3d-state:/state -v ./token:/run/secrets/token:ro -p 8080:8080 mri3d
#
# INDEX is where PyTorch publishes the builds wanted, as its own pages tell; without it, it is the large one with CUDA.
# For a GPU, with a CUDA base and `docker run --gpus all`:
#
#   docker build -t mri3d-cuda --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
ARG BASE=python:3.12-slim

FROM node:22-slim AS viewer
WORKDIR /viewer
COPY mri3d/viewer/package.json mri3d/viewer/package-lock.json ./
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${BASE} AS base
RUN command -v python3 || (apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)

FROM base AS build
ARG TORCH=
WORKDIR /source
RUN python3 -m venv /opt/mri3d
# torch comes first and alone, so that no other build of it is drawn in
COPY constraints.txt ./
RUN /opt/mri3d/bin/pip install --no-cache-dir -c constraints.txt ${TORCH:+--extra-index-url ${TORCH}} \
    $(grep ^torch== constraints.txt)
COPY pyproject.toml setup.cfg setup.py README.md LICENSE ./
COPY configs configs
COPY bundles bundles
COPY mri3d mri3d
COPY --from=viewer /viewer/node_modules/@niivue/niivue/dist/niivue.umd.js mri3d/viewer/
RUN /opt/mri3d/bin/pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM base
COPY --from=build /opt/mri3d /opt/mri3d
RUN install -d -o 65532 -g 65532 -m 700 /state
USER 65532:65532
# what libraries keep for later goes where it may
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
VOLUME /state
EXPOSE 8080
HEALTHCHECK --interval=30s --start-period=60s CMD ["/opt/mri3d/bin/python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ready', timeout=5)"]
ENTRYPOINT ["/opt/mri3d/bin/mri3d", "serve", "--host", "0.0.0.0", "--state", "/state", "--token-file", "/run/secrets/token"]
