# One image a service: docker build --build-arg PACKAGE=services/stacker .
# All of them share the layer with the locked dependencies.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
ARG REQUIREMENTS=requirements.lock
COPY ${REQUIREMENTS} /src/
RUN python3 -m venv /opt/skyrelay \
 && /opt/skyrelay/bin/pip install --quiet --require-hashes -r /src/${REQUIREMENTS} \
 && /opt/skyrelay/bin/python -c 'import site; open(site.getsitepackages()[0] + "/ours.pth", "w").write("/opt/ours\n")' \
 && rm -rf /opt/skyrelay/lib/python3*/site-packages/pip /opt/skyrelay/lib/python3*/site-packages/pip-*

FROM ${PYTHON_IMAGE} AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements-build.lock /src/
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes -r /src/requirements-build.lock
COPY shared /src/shared
ARG PACKAGE
COPY ${PACKAGE} /src/${PACKAGE}
RUN test -n "${PACKAGE}" || { echo "give --build-arg PACKAGE=services/NAME" >&2; exit 1; } \
 && /opt/build/bin/pip install --quiet --no-deps --no-build-isolation --target /opt/ours /src/shared /src/${PACKAGE} \
 && sed -i '1s|.*|#!/opt/skyrelay/bin/python|' /opt/ours/bin/*

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 1000 skyrelay && useradd --uid 1000 --gid 1000 --no-create-home skyrelay \
 && install -d -o skyrelay -g skyrelay /data /frames /config
ENV PATH=/opt/skyrelay/bin:/opt/ours/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SKYRELAY_DATA_DIR=/data
COPY --from=dependencies /opt/skyrelay /opt/skyrelay
COPY --from=package /opt/ours /opt/ours
WORKDIR /data
USER skyrelay
CMD ["skyrelay", "--help"]
