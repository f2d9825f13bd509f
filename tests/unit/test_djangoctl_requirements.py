"""What a project requires: which files have a say, and when code of the source itself is installed."""

from __future__ import annotations

import pytest
from djangoctl import requirements
from djangoctl.requirements import Reader, is_local, lines_of


class Refused(Exception):
    pass


@pytest.fixture
def read(tmp_path):
    """`read(files, name, project)`: the requirements of a source with these files."""

    def fail(key, found, _hint):
        raise Refused(f"{key}: {found}")

    def run(files, name="", project="."):
        for path, content in files.items():
            (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / path).write_text(content)
        return Reader(tmp_path / "source", tmp_path / "source" / project, fail).read(name)

    return run


def test_files_that_are_included_have_a_say(read):
    files = {
        "requirements/production.txt": "-r base.txt\n--constraint=../pins.txt  # exact\ngunicorn\n",
        "requirements/base.txt": "-rmore.txt\n--requirement more.txt\ndjango\n",
        "requirements/more.txt": "-r base.txt\n-r https://example.com/other.txt\n",
        "pins.txt": "django==5.2.8\n",
        "requirements.txt": "not asked for\n",
    }
    found = read(files, "requirements/production.txt")
    assert sorted(found.texts) == ["pins.txt", *(f"requirements/{name}.txt" for name in ("base", "more", "production"))]
    assert found.texts["pins.txt"] == "django==5.2.8\n"
    assert (found.kind, found.is_local) == ("file", False)


@pytest.mark.parametrize("included", ["/etc/hostname", "../../outside.txt", "link.txt", "none.txt"])
def test_what_is_included_has_to_be_in_the_source(read, tmp_path, included):
    (tmp_path / "outside.txt").write_text("s3cret")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(Refused, match=r"^requirements: .*outside of the source|is not in the source") as caught:
        read({"requirements.txt": f"-r {included}\n"})
    assert "s3cret" not in str(caught.value)


def test_a_file_that_memory_would_not_hold_is_refused(read, monkeypatch):
    monkeypatch.setattr(requirements, "LIMIT", 20)
    with pytest.raises(Refused, match=r"^requirements: 'huge.txt' has more than"):
        read({"requirements.txt": "-r huge.txt\n", "huge.txt": "django\n" * 3})


@pytest.mark.parametrize("name", ["uv.toml", "pyproject.toml", "site/pyproject.toml"])
def test_what_the_source_tells_uv_has_a_say(read, name):
    line = 'override-dependencies = ["django==5.2.{}"]\n'
    head = "" if name == "uv.toml" else "[tool.uv]\n"
    files = {"requirements.txt": "django\n", "site/manage.py": ""}
    seen = [read(files | {name: head + line.format(number)}, project="site").texts for number in (1, 1, 2)]
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize("text", ["[project]\nversion = '2'\n", "no toml"])
def test_what_uv_does_not_read_has_no_say(read, text):
    files = {"requirements.txt": "django\n", "pyproject.toml": text}
    assert list(read(files).texts) == ["requirements.txt"]


def test_a_link_within_the_source_is_followed(read, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/requirements.txt").symlink_to("deps/live.txt")
    assert read({"deps/live.txt": "django\n"}).texts == {"requirements.txt": "django\n"}


def test_lines_are_joined_and_comments_left_out():
    text = "# all\ndjango==5.2 \\\n  --hash=sha256:ab\n\nflask  # a note\nx @ https://e.com/x#egg=x\n"
    assert list(lines_of(text)) == ["django==5.2    --hash=sha256:ab", "flask", "x @ https://e.com/x#egg=x"]


@pytest.mark.parametrize(
    ("line", "local"),
    [
        ("django", False),
        ("django>=5.2,<6 ; python_version > '3.10'", False),
        ("psycopg[binary,pool]==3.2", False),
        ("shop @ https://example.com/shop-1.0.whl", False),
        ("git+https://example.com/shop.git@v1", False),
        ("--index-url https://example.com/simple", False),
        ("--extra-index-url https://example.com/simple", False),
        ("--no-binary xxhash", False),
        ("--find-links https://example.com/wheels", False),
        (".", True),
        (".[server]", True),
        ("./libs/shop", True),
        ("libs/shop[x] ; python_version > '3'", True),
        ("../shop", True),
        ("-e .", True),
        ("-e git+https://example.com/shop.git", True),
        ("--editable=libs/shop", True),
        ("shop @ file:///srv/shop", True),
        ("shop @ ./libs/shop", True),
        ("shop@./libs/shop", True),
        ("shop-1.0-py3-none-any.whl", True),
        ("shop-1.0.tar.gz", True),
        ("shop-1.0.tar.bz2", True),
        ("shop-1.0.tgz ; python_version > '3'", True),
        ("--find-links ./wheels", True),
        ("-f wheels", True),
        ("--index-url file:///wheels", True),
    ],
)
def test_lines_that_install_code_of_the_source(read, line, local):
    assert is_local(line) is local
    assert read({"requirements.txt": f"django\n{line}\n"}).is_local is local


BUILDS = '[build-system]\nrequires = ["hatchling"]\n'


@pytest.mark.parametrize(
    ("files", "local", "installs"),
    [
        ({"pyproject.toml": '[project]\ndependencies = ["django"]\n'}, False, False),
        ({"pyproject.toml": BUILDS + '[project]\ndependencies = ["django"]\n'}, False, False),
        ({"pyproject.toml": BUILDS + "[project]\n", "src/shop/__init__.py": ""}, True, True),
        ({"pyproject.toml": "[project]\n", "src/shop/__init__.py": ""}, False, False),
        ({"pyproject.toml": '[project]\ndynamic = ["dependencies"]\n'}, True, False),
        ({"pyproject.toml": '[project]\ndynamic = ["version"]\n'}, False, False),
        ({"pyproject.toml": "[tool.poetry.dependencies]\n"}, True, False),
        ({"pyproject.toml": '[project]\ndependencies = ["shop @ ./libs"]\n'}, True, False),
        ({"pyproject.toml": '[project]\n[tool.uv.sources]\nshop = {path = "libs/shop"}\n'}, True, False),
        ({"pyproject.toml": "[project]\n[tool.uv.sources]\nshop = [{workspace = true}]\n"}, True, False),
        ({"pyproject.toml": '[project]\n[tool.uv.sources]\nshop = {git = "https://e.com"}\n'}, False, False),
        ({"uv.lock": '[[package]]\nname = "shop"\nsource = {virtual = "."}\n', "pyproject.toml": "x"}, False, False),
        ({"uv.lock": '[[package]]\nname = "shop"\nsource = {editable = "."}\n'}, True, False),
        ({"uv.lock": '[[package]]\nname = "lib"\nsource = {directory = "lib"}\n'}, True, False),
        ({"uv.lock": '[[package]]\nname = "django"\nsource = {registry = "https://e.com"}\n'}, False, False),
    ],
)
def test_projects_that_install_their_own_code(read, files, local, installs):
    found = read(files)
    assert (found.is_local, found.installs_project) == (local, installs)
    assert set(found.texts) == {name for name in files if "src" not in name}


@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_a_file_that_is_not_valid(read, name):
    with pytest.raises(Refused, match=rf"^requirements: '{name}' is not valid"):
        read({name: "= nonsense"})


def test_other_files_may_do_anything(read):
    assert read({"setup.py": ""}, "setup.py").is_local


def test_a_project_without_requirements(read):
    found = read({"manage.py": ""})
    assert (found.kind, found.path, found.texts, found.is_local) == ("none", None, {}, False)
