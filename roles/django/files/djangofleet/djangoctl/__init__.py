"""djangoctl: the releases of the Django apps on this host.

Standard library only, Python 3.11 or newer. It reads /etc/djangofleet/<app>/app.json, which the role `django`
writes. Ansible calls it, and so does an operator who has no controller at hand.
"""

__version__ = "0.1.0"  # that of the collection: galaxy.yml
