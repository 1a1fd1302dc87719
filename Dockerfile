# One image a service: docker build --build-arg PACKAGE=services/stacker --build-arg PIXELS=yes .
# All of them share the layer with the locked dependencies; those that compute with pixels (astropy, numpy) have
# a second one on top of it, which they share too.
ARG PYTHON_IMAGE=python:3.13-slim
ARG PIXELS=no

FROM ${PYTHON_IMAGE} AS installer
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends binutils >/dev/null && rm -rf /var/lib/apt/lists/*
COPY .docker/slim .docker/lean_bytecode.py /usr/local/bin/

FROM installer AS dependencies
ARG REQUIREMENTS=requirements-light.lock
COPY ${REQUIREMENTS} /src/
RUN python3 -m venv /opt/skyrelay \
 && /opt/skyrelay/bin/pip install --quiet --no-deps --require-hashes -r /src/${REQUIREMENTS} \
 && site=$(echo /opt/skyrelay/lib/python3*/site-packages) \
 && printf '/opt/ours\n/opt/pixels\n' >"$site/ours.pth" \
 && rm -rf "$site"/pip "$site"/pip-* && sh /usr/local/bin/slim "$site" \
 && python3 /usr/local/bin/lean_bytecode.py "$site"

FROM installer AS pixels-yes
COPY requirements.lock /src/
COPY --from=dependencies /opt/skyrelay /opt/skyrelay
RUN pip install --quiet --no-deps --require-hashes --target /opt/pixels -r /src/requirements.lock \
 && for each in /opt/skyrelay/lib/python3*/site-packages/*; do rm -rf "/opt/pixels/$(basename "$each")"; done \
 && rm -rf /opt/pixels/bin && sh /usr/local/bin/slim /opt/pixels

FROM installer AS pixels-no
RUN mkdir /opt/pixels

FROM pixels-${PIXELS} AS pixels

FROM installer AS package
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
# The root file system is read-only: what libraries want to keep for a while goes where there is room for it.
# One arena for all threads: each thread's own is kept and never used up.
ENV MALLOC_ARENA_MAX=1 PATH=/opt/skyrelay/bin:/opt/ours/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SKYRELAY_DATA_DIR=/data HOME=/tmp
COPY --from=dependencies /opt/skyrelay /opt/skyrelay
COPY --from=pixels /opt/pixels /opt/pixels
COPY --from=package /opt/ours /opt/ours
WORKDIR /data
USER skyrelay
CMD ["skyrelay", "--help"]
