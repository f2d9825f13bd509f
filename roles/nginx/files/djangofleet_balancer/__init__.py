"""Keeps servers that are not well, or that somebody has drained, out of the upstreams of this host's Nginx.

Standard library only, Python 3.11 or newer. It reads /etc/djangofleet/balancer.json, which the role `nginx` writes.
"""
