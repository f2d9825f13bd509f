"""What the log of Nginx says and hides, and for how long it is kept."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djangofleet.stack.plugins.plugin_utils import nginx_logs as rules
from ansible_collections.djangofleet.stack.plugins.plugin_utils.specs import spec_of
from test_role_nginx import SHOP, nginx, problems, site  # noqa: F401  (fixtures)

RANGES = Path(__file__).resolve().parents[2] / "molecule/edge/ranges.txt"
NAMES = spec_of("nginx")["nginx_log_masked_parameters"]["default"]


def masked(text: str, names: list[str] | None = None) -> str:
    """What the maps of Nginx make of an address. Its regular expressions are those of Perl, and Python's nearly."""
    settings = rules.log_settings({"nginx_log_masked_parameters": NAMES if names is None else names})
    masks = settings["masked"][0]
    if not compiled(masks["pattern"]).search(text):
        return text
    for step in masks["steps"]:
        if found := compiled(step["pattern"]).search(text):
            text = re.sub(r"\$(\w+)", lambda name, found=found: found[name[1]], step["value"])
    return text


def compiled(pattern: str) -> re.Pattern:
    return re.compile(pattern.removeprefix("~*").replace("(?<djang", "(?P<djang"), re.I | re.DOTALL)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/", "/"),
        ("/a?b=c", "/a?b=c"),
        ("/token=1", "/token=1"),
        ("/?token=1", "/?token=***"),
        ("/?TOKEN=1&b=2", "/?TOKEN=***&b=2"),
        ("/?a=1&reset_token=x;b=2", "/?a=1&reset_token=***"),
        ("/?user[password]=x&user%5Bpassword%5D=y", "/?user[password]=***&user%5Bpassword%5D=***"),
        ("/?X-Amz-Signature=abc", "/?X-Amz-Signature=***"),
        ("/?keyword=a&postcode=b&tokens=c", "/?keyword=a&postcode=b&tokens=c"),
        ("/?token=", "/?token="),
        ("/?token=***", "/?token=***"),
        ("/?token=***x", "/?token=***"),
        # What a name is hidden by
        ("/?%74oken=1", "/?%74oken=***"),
        ("/?access%5Ftoken=1", "/?access%5Ftoken=***"),
        ("/?filter%5Bname%5D=1", "/?filter%5Bname%5D=1"),
        ("/?q=a?token=1", "/?q=a?token=***"),
        # Several, and too many
        ("/?code=1&pwd=2&token=3&key=4&sig=5", "/?***"),
        ("/?code=1&token=3&key=4&sig=5", "/?code=***&token=***&key=***&sig=***"),
        ("/?" + "&".join(f"token={n}" for n in range(100)), "/?***"),
        ("https://a.test/x?code=1#f", "https://a.test/x?code=***#f"),
    ],
)
def test_values_are_masked(text, shown):
    assert masked(text) == shown


def test_names_are_names_and_no_patterns():
    assert masked("/?a.b=1&axb=2", ["a.b"]) == "/?a.b=***&axb=2"


def test_no_secret_is_left_wherever_it_stands():
    for count in range(1, 9):
        for place in range(count):
            parts = [f"p{n}=x" for n in range(count)]
            parts[place:place] = ["token=secret", "api_key=secret", "a[session]=secret"][: 1 + place % 3]
            assert "secret" not in masked(f"/?{'&'.join(parts)}")


@pytest.fixture
def limited():
    """End what does not end by itself: what takes milliseconds here took minutes."""

    def stop(_number, _frame):
        raise TimeoutError("a pattern tries each part of a text at many lengths")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "part",
    [
        "?",
        "_",
        "&",
        "=",
        "%41",
        "?%41",
        "?_",
        "_a",
        "_token",
        "token=&",
        "token=***&",
        "%41=&",
        "%41=***&",
        "[",
        "%5b",
        "*",
    ],
)
def test_no_address_keeps_a_worker_busy(limited, part):
    """Nginx writes a line of whatever it answers, be it 444, and all visitors of a worker wait for it."""
    hostile = "/?" + part * (16000 // len(part))
    assert masked(hostile) == hostile
    # Nginx gives a pattern up that takes too long, and logged what it should have masked.
    assert "s3cret" not in masked(f"{hostile}&token=s3cret")


def test_the_log_shows_what_is_masked(nginx):  # noqa: F811
    root = nginx("djangofleet/log.conf")
    text = "".join(root.values("log_format")[0])
    assert '"uri":"$djangofleet_uri"' in text
    assert '"referer":"$djangofleet_referer"' in text
    assert not re.search(r"\$(?:request_uri|http_referer|args|query_string|request)\b", text)
    variables = {found.args[1] for found in root.all("map")}
    for text, source in (("uri", "$request_uri"), ("referer", "$http_referer")):
        maps = {found.args[1]: found for found in root.all("map") if text in found.args[1]}
        asked, last = maps[f"$djangofleet_{text}0"], maps[f"$djangofleet_{text}"]
        # Where nothing is to be masked, the steps have nothing to read.
        assert (asked.args[0], asked.block[0].words, asked.block[1].args) == (source, ["default", ""], [source])
        assert [entry.words for entry in last.block] == [["default", last.args[0]], ["", source]]
        assert maps[f"$djangofleet_{text}1"].args[0] == asked.args[1]
    for found in root.all("map"):
        assert found.args[0] in {*variables, "$request_uri", "$http_referer", "$request"}
        assert all(len(name) <= 32 for name in re.findall(r"\?<(\w+)>", found.block[1].name)), (
            "PCRE takes no longer name"
        )
    plain = nginx("djangofleet/log.conf", nginx_log_masked_parameters=[])
    assert '"uri":"$request_uri"' in "".join(plain.values("log_format")[0])


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"nginx_log_masked_parameters": ["a b"]}, "nginx_log_masked_parameters[0]: found 'a b'; give the name"),
        ({"nginx_log_masked_parameters": [""]}, "nginx_log_masked_parameters[0]: found ''"),
        ({"nginx_log_masked_parameters": ["a$"]}, "nginx_log_masked_parameters[0]: found 'a$'"),
        ({"nginx_log_retention_days": 0}, "nginx_log_retention_days: found '0'; give a number of days from 1"),
    ],
)
def test_options_that_cannot_be(problems, variables: dict[str, Any], line):  # noqa: F811
    (found,) = problems(SHOP, **variables)
    assert found.startswith(line)


def test_logs_are_rotated_for_so_many_days(render, evaluate):
    text = render(
        "nginx", "etc/logrotate.d/nginx.j2", nginx=evaluate("nginx", "__nginx_config", nginx_log_retention_days=5)
    )
    assert re.search(r"^    rotate 5$", text, re.M)
    assert re.search(r"^    maxage 5$", text, re.M)
    # A worker may write into a renamed file for a while.
    assert "delaycompress" in text
    assert "copytruncate" not in text


@pytest.mark.parametrize(
    ("real_ip", "variable"),
    [
        ({}, "$request_id"),
        ({"trusted": ["10.0.0.1"]}, "$request_id"),
        ({"request_id": True}, "$request_id"),
        ({"trusted": ["10.0.0.1"], "request_id": True}, "$djangofleet_request_id"),
        ({"trusted_files": [str(RANGES)], "request_id": True}, "$djangofleet_request_id"),
    ],
)
def test_whose_request_id_it_is(nginx, site, real_ip, variable):  # noqa: F811
    variables = {"nginx_real_ip": real_ip}
    assert ["X-Request-ID", variable] in nginx("djangofleet/proxy.conf", **variables).values("proxy_set_header")
    assert nginx("djangofleet/headers.conf", **variables).headers()["X-Request-ID"] == variable
    assert site(SHOP, **variables).all("server")[0].headers()["X-Request-ID"] == variable
    assert f'"request_id":"{variable}"' in "".join(nginx("djangofleet/log.conf", **variables).values("log_format")[0])
    maps = [m for m in nginx("djangofleet/maps.conf", **variables).all("map") if m.args[1] == variable]
    assert bool(maps) is (variable != "$request_id")
    for found in maps:
        assert found.block[0].words == ["default", "$request_id"]
        pattern = found.block[1].name.removeprefix("~").replace("(?<djang", "(?P<djang")
        for given, is_kept in (
            ("1:a-b.c_1", True),
            ("0:abc", False),
            ("1:", False),
            ("1:a b", False),
            ("1:" + "a" * 129, False),
        ):
            assert bool(re.search(pattern, given)) is is_kept
