"""Add the certificates of a bundle that this host does not trust yet to its trust store (runs in the image)."""

import re
import subprocess
import sys
from pathlib import Path

PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def certificates(path: str) -> dict[str, str]:
    """Return the certificates of a bundle, by content without white space."""
    return {"".join(m.group(1).split()): m.group(0) for m in PEM.finditer(Path(path).read_text(errors="replace"))}


known = certificates("/etc/ssl/certs/ca-certificates.crt")
new = {body: pem for body, pem in certificates(sys.argv[1]).items() if body not in known}
for number, pem in enumerate(new.values()):
    # One per file: only those get the hashed link that OpenSSL's directory lookup needs.
    Path(f"/usr/local/share/ca-certificates/controller-{number}.crt").write_text(pem + "\n")
if new:
    subprocess.run(["update-ca-certificates"], check=True)
