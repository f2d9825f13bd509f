"""What the tests of backups share."""

import pytest
from host import Host


@pytest.fixture(scope="module")
def there(host, name) -> Host:
    """The host, once what the converge has begun is over."""
    found = Host(host, name)
    found.wait()
    return found
