"""Brings the database to a release."""

from __future__ import annotations

from .app import App
from .errors import MigrationError
from .release import Release, live_id
from .systemd import Systemd

LOG_LINES = 25


def migrate(app: App, release: Release, system: Systemd) -> list[str]:
    """Run the release's migrations and return the names of those that were applied; none where there is no database.

    :raises MigrationError: one failed. The release is not activated, what is live serves on.
    """
    if not release.record.get("database", True):
        return []
    result = system.manage(app, release.id, ["manage.py", "migrate", "--noinput", "--no-color"], purpose="migrate")
    lines = (result.stdout or "").splitlines()
    with open(release.log, "a") as log:
        log.write("\n".join(lines) + "\n")
    if result.returncode != 0:
        live = live_id(app)
        raise MigrationError(
            f"{app.name}: a migration of release {release.id} failed",
            state=f"release {live} serves on" if live else "nothing was live before",
            hint="mend the migration and deploy again; if it was not atomic, look at the database first",
            log="\n".join(lines[-LOG_LINES:]),
        )
    release.write(migrated=True)
    return [line.split()[1].removesuffix("...") for line in lines if line.lstrip().startswith("Applying ")]
