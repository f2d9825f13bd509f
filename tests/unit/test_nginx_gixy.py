"""What a scanner of Nginx configurations says about what the role writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_nginx_limits import LIMITS
from test_role_nginx import CERTIFICATE, SHOP

FILES = {kind: [{"url": f"/{kind}/", "path": f"/srv/{kind}"}] for kind in ("static", "media")}
FULL = {
    **SHOP,
    **FILES,
    "certificate": CERTIFICATE,
    "canonical_redirect": True,
    "headers": {"X-Frame-Options": "DENY"},
    "forwarded_proto_header": "X-Forwarded-Protocol",
    "maintenance": {"page": "/srv/shop/static/.maintenance.html", "allow": ["192.0.2.7"]},
    "error_pages": {"404": "/srv/shop/static/.errors/404.html", "502": "/srv/shop/static/.errors/502.html"},
    "media": [{"url": "/media/", "path": "/srv/media", "private": ["invoices", "a/b/"]}],
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"nginx_sites": [{**SHOP, **FILES}]},
    "full": {"nginx_sites": [FULL, {**SHOP, "name": "blog", "domains": ["blog.example.com"]}]},
    "several hosts behind a balancer": {
        "nginx_sites": [{**FULL, "upstream": {"servers": ["10.0.0.5:8001", "10.0.0.6:8001"], "keepalive": 4}}],
        "nginx_real_ip": {"trusted": ["10.0.0.0/8"], "passed_headers": ["X-Forwarded-User"], "request_id": True},
    },
    "limits": {
        "nginx_sites": [{**FULL, **LIMITS}],
        "nginx_bots": [{"name": "seo_crawlers"}],
        "nginx_tls_profile": "modern",
        "nginx_http3_enabled": True,
    },
    "several servers, a cache and streams": {
        "nginx_sites": [
            {
                **FULL,
                "upstream": {"servers": ["10.0.0.5:8001", "10.0.0.6:8001"], "method": "sticky"},
                "cache": {"enabled": True, "valid": "1s", "key": "$cookie_django_language", "paths": ["/news/"]},
                "app_locations": [
                    {"path": "/live/", "buffering": False, "read_timeout": "1h"},
                    {"path": "^/[a-z]+/upload/", "match": "regex", "request_buffering": False},
                ],
            },
            {
                **SHOP,
                "name": "blog",
                "domains": ["blog.example.com"],
                "cache": {"enabled": True},
                "upstream": {"servers": ["10.0.0.5:8002", "10.0.0.6:8002"], "method": "hash", "hash_key": "$uri"},
            },
        ],
        "nginx_real_ip": {"trusted": ["10.0.0.0/8"], "passed_headers": ["X-Forwarded-User"]},
    },
    "files": {"nginx_sites": [{"name": "files", "domains": ["files.example.com"], **FILES}]},
}


@pytest.fixture
def findings(render, evaluate, dataloader, tmp_path):
    """findings(variables) -> what gixy says about the whole of /etc/nginx."""
    (task,) = dataloader.load_from_file("roles/nginx/tasks/configure.yml", trusted_as_template=True)
    entries = task["djangofleet.stack.tree"]["entries"]

    def write(path: str, text: str) -> None:
        copy = tmp_path / Path(path).relative_to("/etc/nginx")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)

    def run(variables: dict[str, Any]) -> list[str]:
        config = evaluate("nginx", "__nginx_config", **variables)
        for entry in entries:
            if not entry.get("template", "").startswith("etc/nginx/") or not entry["path"].endswith(".conf"):
                continue
            for site in config["sites"] if "for_each" in entry else [{"name": ""}]:
                text = render("nginx", entry["template"], **variables, site=site, nginx=config)
                write(entry["path"].replace("{name}", site["name"]), text)
        write("/etc/nginx/mime.types", "types { text/html html; }")
        scanner = Path(sys.executable).with_name("gixy")
        words = [str(scanner), "--format=json", str(tmp_path / "nginx.conf")]
        answer = subprocess.run(words, capture_output=True, text=True, check=False)
        return [f"{issue['plugin']}: {issue['reason']}" for issue in json.loads(answer.stdout)]

    return run


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_found(findings, case):
    assert findings(CASES[case]) == []


def test_the_scanner_reads_the_sites(findings):
    bad = {**SHOP, "locations": [{"path": "/x", "config": "if ($a) { set $b 1; }\nproxy_pass http://$arg_x;"}]}
    found = {line.partition(":")[0] for line in findings({"nginx_sites": [bad]})}
    assert {"if_is_evil", "ssrf"} <= found
