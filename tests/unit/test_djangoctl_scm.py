"""The version of a project that takes it from Git."""

from __future__ import annotations

import pytest
from djangoctl.scm import environment, version_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PEP_621 = '[project]\nname = "My.Shop-x"\n'


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("v1.4.2", "1.4.2"),
        ("1.4", "1.4"),
        ("v2.0rc1", "2.0rc1"),
        ("release-2.1", "2.1"),
        ("v1.4.2-5-gabcdef1", "1.4.2.post5+gabcdef1"),
        ("v1.4.post2-5-gabcdef1", "1.4.post5+gabcdef1"),
        ("2024-05-01", "2024"),
        ("stable", "0.0+g0123456789ab"),
        ("stable-3-gabcdef1", "0.0+g0123456789ab"),
        ("", "0.0+g0123456789ab"),
    ],
)
def test_a_version_follows_from_the_last_tag(described, version):
    assert version_of(described, COMMIT) == version
    packaging = pytest.importorskip("packaging.version")
    packaging.Version(version)


def test_a_link_that_leads_out_is_not_read(tmp_path):
    (tmp_path / "outside").write_text(PEP_621)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/pyproject.toml").symlink_to(tmp_path / "outside")
    assert environment(tmp_path / "project", "1.4") == {}


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"pyproject.toml": PEP_621}, {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP_X"}),
        ({"setup.cfg": "[metadata]\nname = shop\n"}, {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SHOP"}),
        (
            {"setup.cfg": "[metadata]\nname = shop\n", "setup.py": "setup(setup_requires=['pbr'], pbr=True)"},
            {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SHOP", "PBR_VERSION"},
        ),
        ({"setup.py": "setup(name='shop', use_scm_version=True)"}, {"SETUPTOOLS_SCM_PRETEND_VERSION"}),
        ({"setup.py": "setup(name='shop')"}, set()),
        ({"pyproject.toml": "no [ toml", "setup.cfg": "no ini"}, set()),
        ({}, set()),
    ],
)
def test_only_the_project_is_told(tmp_path, files, names):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert environment(tmp_path, "1.4") == dict.fromkeys(names, "1.4")
    assert environment(tmp_path, "") == {}
