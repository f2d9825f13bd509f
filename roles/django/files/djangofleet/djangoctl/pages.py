"""The page of a closed site: the project's own where a build has made one, or ours."""

from __future__ import annotations

import html
from contextlib import suppress

from .app import App
from .render import MESSAGE, REQUEST_ID

# Where a build leaves the pages, among the static files; Nginx serves no file whose name begins with a dot.
ROOM = ".errors"
LIMIT = 1_000_000  # bytes
# The same as that of roles/nginx/templates/etc/nginx/djangofleet/error_page.conf.j2.
STYLE = """
:root{--paper:#f6f2e9;--ink:#17202e;--soft:#5c6470;--line:#e2dac9;--accent:#b8401f;--on:#fffaf5}
@media(prefers-color-scheme:dark){
:root{--paper:#10151d;--ink:#ece7dc;--soft:#a2abb8;--line:#2c3543;--accent:#ff9067;--on:#2a0f04}
}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;align-items:center;background:var(--paper);color:var(--ink);
font:1rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{width:100%;max-width:43rem;margin-inline:auto;
padding:clamp(2rem,8vw,5rem) clamp(1.125rem,5vw,2.5rem)}
h1,p{margin:0}
h1{letter-spacing:-.018em;text-wrap:balance;font:600 clamp(2.25rem,1.5rem + 3vw,3.25rem)/1.15
"Iowan Old Style","Palatino Linotype",Palatino,P052,"Noto Serif",Georgia,serif}
svg{display:block;width:13rem;max-width:70%;margin:.7rem 0 1.1rem;color:var(--accent)}
.code{margin-bottom:.9rem;color:var(--accent);font:600 1rem/1 ui-monospace,"DejaVu Sans Mono",monospace}
.lead{max-width:34rem;color:var(--soft);font-size:1.09rem;text-wrap:pretty}
a{display:inline-block;margin:1.75rem 0;padding:.8rem 1.4rem;border-radius:10px;background:var(--accent);
color:var(--on);font-weight:600;line-height:1.2;text-decoration:none}
a:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
small{display:block;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.875rem;
overflow-wrap:anywhere}
code{color:var(--ink);font:.8125rem ui-monospace,"DejaVu Sans Mono",monospace}
"""
FLOURISH = """<svg viewBox="0 0 240 28" aria-hidden="true">
<path d="M3 18C22 5 34 5 33 14c-1 8-14 8-11 0C26 4 52 4 62 12c9 7 20 8 30 3
10-6 22-6 30 0 12 9 32 6 50 1 22-6 44-8 65-7"
fill="none" stroke="currentColor" stroke-width="2.5" stroke-linecap="round"/></svg>"""
PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Maintenance</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
<main>
<p class="code">503</p>
<h1>Maintenance</h1>
{FLOURISH}
<p class="lead">{MESSAGE}</p>
<p><a href="">Try again</a></p>
<small>If you report it, name the request: <code>{REQUEST_ID}</code></small>
</main>
</html>
"""


def maintenance_page(app: App, message: str) -> str:
    """The page that visitors of a closed site see.

    :param message: what they are told, as text.
    """
    own, page = app.static / ROOM / "maintenance.html", PAGE
    # An earlier release's may still be there.
    if "maintenance" in app.build.get("error_pages", {}):
        with suppress(OSError, ValueError), open(own, encoding="utf-8") as file:
            page = file.read(LIMIT)
    return page.replace(MESSAGE, html.escape(message))
