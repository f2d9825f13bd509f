"""An instance that goes, and one that an image is made of: both are the test host that nothing else needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from account import APP, let_in, sh
from ec2.amazon import console
from shared.outside import PROVE, address_of

pytestmark = pytest.mark.skipif(not PROVE, reason="seven runs: make prove has them")
SPARE = "djangofleet-ec2-spare"


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    """A key that admin of the test host lets in."""
    return let_in(tmp_path_factory.mktemp("spare"), SPARE)


@pytest.fixture
def consoles(amazon):
    """All consoles show the keys of the test host meanwhile."""
    path = amazon.state / "consoles/default"
    path.parent.mkdir(exist_ok=True)
    path.write_text(console(sh(SPARE, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").splitlines()))
    yield
    path.unlink()


def given(key: Path) -> dict[str, str]:
    public = key.with_suffix(".pub").read_text().strip()
    return {"ec2_public_key": public, "ansible_ssh_private_key_file": str(key)}


def test_an_instance_that_goes_serves_nobody_any_more(environment, consoles, key):
    """Before it is terminated: the run reaches it by ssh, and Nginx ends."""
    made = environment("going", "us-west-1", ec2_instances=[{**APP, "count": 2}], **given(key))
    made.run()
    sh(SPARE, "systemctl", "start", "nginx")
    mapped = {"app2": {"ansible_host": address_of(SPARE)}}
    (made.folder / "mapped.yml").write_text(yaml.safe_dump({"all": {"hosts": mapped}}))
    made.declare(ec2_instances=[APP])
    said = made.run(ANSIBLE_SSH_EXTRA_ARGS="").said
    assert sorted(made.instances()) == ["app1"]
    assert said.index("finishes what it has in hand") < said.index("TASK [ec2 : Terminate instances]")
    assert "inactive" in sh(SPARE, "sh", "-c", "systemctl is-active nginx || true")


def test_an_image_has_packages_and_no_secrets(amazon, environment, consoles, key):
    made = environment("imaged", "ap-northeast-1", ec2_instances=[APP], **given(key))
    # Whatever address Amazon gives, the test host is there.
    run = made.run(book="image", ANSIBLE_SSH_EXTRA_ARGS=f"-o HostName={address_of(SPARE)}")
    client = amazon.client("ec2", "ap-northeast-1")
    (image,) = client.describe_images(Owners=["self"])["Images"]
    assert image["Name"].startswith("shop-imaged-20")
    assert f"ec2_image: {{id: {image['ImageId']}}}" in run.text
    assert amazon.instances("imaged-image", "ap-northeast-1") == {}, "the instance that it was made on"
    left = sh(
        SPARE, "sh", "-c", "ls /etc/ssh/ssh_host_* /home/admin/.ssh/authorized_keys 2>/dev/null; cat /etc/machine-id"
    )
    assert left == ""
    for program in ("nginx", "git", "brotli"):
        sh(SPARE, "sh", "-c", f"command -v {program}")
    # Instances of the environment begin with it.
    made.declare(ec2_image={"id": image["ImageId"]}, ec2_instances=[{**APP, "type": "t4g.small"}])
    made.run()
    assert made.instances()["app1"]["ImageId"] == image["ImageId"]
