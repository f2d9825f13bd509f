"""djangoctl: the releases of the Django apps on this host.

Standard library only, Python 3.11 or newer. Configured by /etc/djangofleet/<app>/app.json, which the role `django`
renders. Ansible calls it, and so does an operator who has no controller at hand.
"""
