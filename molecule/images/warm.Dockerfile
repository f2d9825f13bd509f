# A test host with the packages of warm.packages on it, so that a scenario does not wait for them. They are there and no
# more: what a package enables is disabled again, so that a role still has to configure, enable and start its services.
ARG BASE
FROM ${BASE}

COPY warm.packages /root/

RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    enabled() { systemctl --root=/ list-unit-files --state=enabled --no-legend --plain | cut -d' ' -f1 | sort; }; \
    enabled >/root/before; \
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; \
    chmod +x /usr/sbin/policy-rc.d; \
    sed 's/#.*//' /root/warm.packages | xargs apt-get install -y -q --no-install-recommends; \
    apt-get clean; \
    enabled | comm -13 /root/before - | xargs -r systemctl --root=/ disable; \
    rm /usr/sbin/policy-rc.d /root/before /root/warm.packages; \
    # What a host installs itself stands in this log alone; a test reads it.
    : >/var/log/dpkg.log
