"""The image of the hosts is warm: what the roles install is there, or every scenario waits for it."""

import fleet


def test_roles_have_installed_nothing():
    for host in fleet.HOSTS:
        log = fleet.on(host, "cat", "/var/log/dpkg.log").stdout
        installed = [line.split()[3] for line in log.splitlines() if line.split()[2] == "install"]
        assert not installed, f"add to molecule/images/warm.packages: {installed}"
