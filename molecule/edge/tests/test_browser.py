"""Each page as Chromium shows it: `make prove` installs it on the client. Screenshots are in build/edge/."""

import base64
import json
import subprocess

import pytest
from shared.outside import PROVE, ROOT, hosts_of

testinfra_hosts = [f"ansible://{name}" for name in hosts_of("edge", 13)]
pytestmark = pytest.mark.skipif(not PROVE, reason="Chromium takes a minute to install: make prove has it")

CLIENT = "djangofleet-edge-client"
SIZES = {"narrow": (360, 740), "wide": (1280, 800)}
PAGES = {
    "guestbook": ("https://guestbook.test/", 200),
    "about": ("https://guestbook.test/about/", 200),
    "own 404": ("https://guestbook.test/static/none", 404),
    "404": ("http://pages.test/static/none", 404),
    "413": ("http://pages.test/small/", 413),
    "429": ("http://pages.test/limited", 429),
    "500": ("http://pages.test/broken", 500),
    "502": ("http://pages.test/down/", 502),
    "503": ("http://pages.test/closed", 503),
    "504": ("http://pages.test/slow/?sleep=2", 504),
}


def on_client(*words: str, given: str = "") -> str:
    command = ["docker", "exec", "-i", CLIENT, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def chromium():
    """`chromium(visits)`: what it saw."""
    on_client(
        "sh",
        "-c",
        "which chromium >/dev/null || (apt-get -qq update && apt-get -qq -y install chromium fonts-noto-core)",
    )
    program = (ROOT / "molecule/edge/chromium.py").read_text()
    on_client("sh", "-c", "cat > /usr/local/bin/look", given=program)

    def look(address: str, visits: list[dict]) -> list[dict]:
        return json.loads(
            on_client("python3", "/usr/local/bin/look", given=json.dumps({"address": address, "visits": visits}))
        )

    return look


def brightness(colour: str) -> float:
    """Of `rgb(r, g, b)`, from 0 to 255."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3


def pictures(look, address: str, pages: dict[str, tuple[str, int]]) -> None:
    """Visit each page in both sizes and both lights, keep what it looks like, and find nothing to complain of."""
    wanted = [
        (name, url, status, size, dark)
        for name, (url, status) in pages.items()
        for size in SIZES
        for dark in (False, True)
    ]
    visits = [
        {"url": url, "width": SIZES[size][0], "height": SIZES[size][1], "dark": dark}
        for _n, url, _s, size, dark in wanted
    ]
    kept = ROOT / "build/edge"
    kept.mkdir(parents=True, exist_ok=True)
    for (name, url, status, size, dark), seen in zip(wanted, look(address, visits), strict=True):
        (kept / f"{name.replace(' ', '-')}-{size}-{'dark' if dark else 'light'}.png").write_bytes(
            base64.b64decode(seen["picture"])
        )
        assert seen["status"] == status, url
        # Chromium notes the status of the page itself. A violated policy, a script's error: anything else is wrong.
        said = [entry for entry in seen["console"] if entry.get("entry", {}).get("url") != url]
        assert said == [], url
        assert seen["failed"] == [], url
        assert all(one.startswith(("https://guestbook.test/", "data:", "blob:")) for one in seen["resources"]), url
        if not url.startswith("https"):
            assert [one for one in seen["resources"] if not one.startswith("data:")] == [], "ours load nothing"
        assert seen["width"] <= SIZES[size][0], f"{url} has to be scrolled sideways"
        assert (brightness(seen["background"]) < 64) is dark, url


def test_every_page_in_a_browser(host, chromium, address):
    pictures(chromium, address, PAGES)


def test_maintenance_in_a_browser(host, chromium, address):
    host.check_output("djangoctl guestbook maintenance on --message 'Back at nine.'")
    try:
        pictures(chromium, address, {"maintenance": ("https://guestbook.test/", 503)})
    finally:
        host.check_output("djangoctl guestbook maintenance off")
