"""Static files: Nginx serves those of all releases, with their compressed copies."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess

import pytest
from djangoctl import compress as compression
from djangoctl import static
from djangoctl.release import Release
from djangoctl.static import publish

HASHED = "css/site.0123456789ab.css"


@pytest.fixture
def app(make_app):
    return make_app()


@pytest.fixture
def published(app):
    def read():
        paths = [path for path in app.static.rglob("*") if path.is_file()]
        return {str(path.relative_to(app.static)): path.read_text(errors="replace") for path in paths}

    return read


def test_files_of_all_releases_are_served_side_by_side(app, make_release, published):
    assert publish(app, make_release(app, "one", {HASHED: "1", "js/old.111111111111.js": "o"})) == 2
    assert publish(app, make_release(app, "two", {HASHED: "1", "js/new.222222222222.js": "n"})) == 1
    assert published() == {HASHED: "1", "js/old.111111111111.js": "o", "js/new.222222222222.js": "n"}


def test_a_hashed_file_is_never_written_again(app, make_release, published):
    publish(app, make_release(app, "one", {HASHED: "first"}))
    inode = (app.static / HASHED).stat().st_ino
    assert publish(app, make_release(app, "two", {HASHED: "something else"})) == 0
    assert published() == {HASHED: "first"}
    assert (app.static / HASHED).stat().st_ino == inode


@pytest.mark.parametrize(
    "name", ["site.css", "jquery.3.7.1.js", "a.0123456789a.css", "a.0123456789AB.css", "0123456789ab"]
)
def test_under_a_plain_name_the_most_recently_published_release_wins(app, make_release, published, name):
    one, two = make_release(app, "one", {name: "one"}), make_release(app, "two", {name: "two!"})
    for release, content in [(one, "one"), (two, "two!"), (one, "one")]:
        assert publish(app, release) == 1
        assert published() == {name: content}


@pytest.mark.parametrize("name", [".maintenance.html", ".maintenance.html/a.css"])
@pytest.mark.parametrize("is_closed", [True, False])
def test_no_release_closes_or_opens_a_site(app, make_release, published, name, is_closed):
    app.static.mkdir(exist_ok=True)
    closed = {".maintenance.html": "closed"} if is_closed else {}
    for path, text in closed.items():
        (app.static / path).write_text(text)
    assert publish(app, make_release(app, "one", {name: "x", "b.css": "b"})) == 1
    assert published() == {**closed, "b.css": "b"}


def test_files_of_the_same_length_and_date_are_compared_by_content(app, make_release, published):
    one, two = make_release(app, "one", {"a.css": "one"}), make_release(app, "two", {"a.css": "two"})
    for release in (one, two):
        os.utime(release.path / "static/a.css", (1, 1))
    for release, content in [(one, "one"), (two, "two"), (one, "one"), (two, "two")]:
        assert [publish(app, release), publish(app, release)] == [1, 0]
        assert published() == {"a.css": content}


def test_a_file_that_only_got_another_date_stays_as_it_is(app, make_release):
    """Browsers ask by modification time: with the same one, a browser need not fetch the file again."""
    one, two = make_release(app, "one", {"a.css": "same"}), make_release(app, "two", {"a.css": "same"})
    os.utime(one.path / "static/a.css", (1, 1))
    publish(app, one)
    assert publish(app, two) == 0
    assert (app.static / "a.css").stat().st_mtime == 1


FILE, DIRECTORY = {"docs": "a file"}, {"docs/deep/a.css": "in it", HASHED.replace("css/", "docs/"): "hashed"}


@pytest.mark.parametrize(("before", "after"), [(FILE, DIRECTORY), (DIRECTORY, FILE)])
def test_a_file_and_a_directory_of_one_name(app, make_release, published, before, after):
    """The most recently published release wins, also after a rollback. Before the gate, nothing is replaced."""
    one, two = make_release(app, "one", {"x": "1", **before}), make_release(app, "two", {"y": "2", **after})
    publish(app, one)
    assert publish(app, two, replace=False) == 1
    assert published() == {"x": "1", "y": "2", **before}
    assert publish(app, two) == len(after)
    assert published() == {"x": "1", "y": "2", **after}
    assert publish(app, two) == 0
    assert publish(app, one) == len(before)
    assert published() == {"x": "1", "y": "2", **before}


@pytest.mark.parametrize("name", ["a.0123456789ab.css", "a.css"])
def test_a_directory_named_as_a_file(app, make_release, published, name):
    publish(app, make_release(app, "one", {f"{name}/in it": "1"}))
    assert publish(app, make_release(app, "two", {name: "2"})) == 1
    assert published() == {name: "2"}


def test_until_the_gate_is_passed_nothing_is_replaced(app, make_release, published):
    publish(app, make_release(app, "one", {"a.css": "one"}))
    two = make_release(app, "two", {"a.css": "two!", "b.css": "new", HASHED: "x"})
    assert publish(app, two, replace=False) == 2
    assert published() == {"a.css": "one", "b.css": "new", HASHED: "x"}


def test_publishing_again_changes_nothing(app, make_release):
    release = make_release(app, "one", {HASHED: "1", "a.css": "2", "deep/er/b.txt": "3"})
    os.utime(release.path / "static/a.css", (1, 1))
    assert publish(app, release) == 3
    assert publish(app, release) == 0


@pytest.mark.parametrize("ending", [".gz", ".br"])
def test_no_compressed_file_stands_for_one_that_is_not_replaced(app, make_release, published, ending):
    """The file of the live release was too small to be compressed, and Nginx would prefer that of another content."""
    publish(app, make_release(app, "old", {"a.css": "old"}))
    new = make_release(app, "new", {"a.css": "new", f"a.css{ending}": "packed", "b.css": "b", f"b.css{ending}": "b"})
    assert static.unpublished(app, new) == 2
    assert publish(app, new, replace=False) == 2
    assert published() == {"a.css": "old", "b.css": "b", f"b.css{ending}": "b"}
    publish(app, new)
    assert published() == {"a.css": "new", f"a.css{ending}": "packed", "b.css": "b", f"b.css{ending}": "b"}


def test_a_compressed_file_follows_its_original_after_a_run_that_was_killed(app, make_release, published):
    new = make_release(app, "new", {"b.css": "b", "b.css.gz": "packed"})
    (app.static / "b.css").write_text("b")
    assert publish(app, new, replace=False) == 1
    assert published() == {"b.css": "b", "b.css.gz": "packed"}


@pytest.mark.parametrize("before", [{}, {"a": "x"}, {"a/b.css": "x"}, {"a/b.css": "x", "c.js": "y"}])
def test_what_would_be_added_is_known_before(app, make_release, published, before):
    if before:
        publish(app, make_release(app, "old", before))
    new = make_release(app, "new", {"a/b.css": "new", "c.js": "y", "c.js.gz": "packed"})
    seen, count = published(), static.unpublished(app, new)
    assert published() == seen, "it only counts"
    assert publish(app, new, replace=False) == count
    assert static.unpublished(app, new) == 0


def test_links_are_not_followed_out_of_the_release(app, make_release, published, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("s3cret")
    release = make_release(app, "one", {"a.css": "1"})
    (release.path / "static/key").symlink_to(tmp_path / "secret/key")
    (release.path / "static/all").symlink_to(tmp_path / "secret")
    assert publish(app, release) == 1
    assert published() == {"a.css": "1"}


def test_a_static_directory_that_leads_out_of_the_release_is_not_published(app, make_release, published, tmp_path):
    """So a release of an earlier version, which was built without care, gives nothing away either."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("s3cret")
    release = make_release(app, "one")
    (release.path / "static").rmdir()
    (release.path / "static").symlink_to("source/collected")
    (release.path / "source/collected").symlink_to(tmp_path / "secret")
    assert publish(app, release) == 0
    assert published() == {}


def test_fifos_are_left_out(app, make_release, published):
    release = make_release(app, "one", {"a.css": "1"})
    os.mkfifo(release.path / "static/b.css")
    assert publish(app, release) == 1
    assert published() == {"a.css": "1"}


def test_static_files_collected_inside_of_the_source(app, make_release, published):
    release = make_release(app, "one")
    collected = release.path / "source/shop/collected"
    (collected / "css").mkdir(parents=True)
    (collected / "css/a.css").write_text("1")
    (release.path / "static").rmdir()
    (release.path / "static").symlink_to("source/shop/collected")
    assert publish(app, release) == 1
    assert published() == {"css/a.css": "1"}
    assert not (app.root / "source").exists()


def test_published_files_are_world_readable(app, make_release):
    release = make_release(app, "one", {"deep/a.css": "1"})
    (release.path / "static/deep/a.css").chmod(0o600)
    publish(app, release)
    assert (app.static / "deep/a.css").stat().st_mode & 0o777 == 0o644


def test_published_files_are_replaced_atomically(app, make_release, published, monkeypatch):
    publish(app, make_release(app, "one", {"a.css": "one"}))

    def full(_source, target):
        target.write(b"tw")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        publish(app, make_release(app, "two", {"a.css": "two!"}))
    assert published()["a.css"] == "one"


# Compression


@pytest.fixture
def compress(tmp_path):
    def run(files):
        root = tmp_path / "release/static"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
            os.utime(root / name, (1, 1))
        compression.compress(Release(root.parent, {}))
        return root, sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    return run


@pytest.fixture
def without_brotli(monkeypatch):
    monkeypatch.setattr(compression.shutil, "which", lambda _name: None)


TEXT = b"body { color: black }\n" * 100


@pytest.mark.usefixtures("without_brotli")
def test_text_is_compressed_without_loss(compress):
    root, names = compress({"css/a.css": TEXT, "b.js": TEXT})
    assert names == ["b.js", "b.js.gz", "css/a.css", "css/a.css.gz"]
    assert gzip.decompress((root / "css/a.css.gz").read_bytes()) == TEXT
    # Nginx answers with the compressed file's time, which has to be that of the original.
    assert int((root / "css/a.css.gz").stat().st_mtime) == int((root / "css/a.css").stat().st_mtime)


@pytest.mark.usefixtures("without_brotli")
def test_a_file_that_memory_would_not_hold_is_not_compressed(compress, monkeypatch):
    monkeypatch.setattr(compression, "LARGEST", len(TEXT) - 1)
    assert compress({"a.css": TEXT, "b.css": TEXT[:-1]})[1] == ["a.css", "b.css", "b.css.gz"]


@pytest.mark.usefixtures("without_brotli")
def test_compressing_twice_gives_the_same_bytes(compress):
    root, names = compress({"a.css": TEXT})
    first = (root / "a.css.gz").read_bytes()
    assert first[4:8] == bytes(4), "the time is in it"
    assert compress({"a.css": TEXT}) == (root, names)
    assert (root / "a.css.gz").read_bytes() == first


@pytest.mark.usefixtures("without_brotli")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("logo.png", TEXT),
        ("font.woff2", TEXT),
        ("a.css.gz", TEXT),
        ("small.css", b"x" * 200),
        ("random.css", os.urandom(2000)),
        ("noending", TEXT),
    ],
)
def test_files_that_do_not_shrink_are_left_alone(compress, name, content):
    assert compress({name: content})[1] == [name]


@pytest.mark.usefixtures("without_brotli")
def test_links_are_left_alone(compress, tmp_path):
    (tmp_path / "outside.css").write_bytes(TEXT)
    (tmp_path / "release/static").mkdir(parents=True)
    (tmp_path / "release/static/a.css").symlink_to(tmp_path / "outside.css")
    assert compress({})[1] == ["a.css"]


@pytest.mark.usefixtures("without_brotli")
def test_what_the_build_left_at_the_name_is_replaced(compress, tmp_path):
    (tmp_path / "target").write_bytes(b"root's own")
    (tmp_path / "release/static/b.css.gz").mkdir(parents=True)
    (tmp_path / "release/static/a.css.gz").symlink_to(tmp_path / "target")
    root, _names = compress({"a.css": TEXT, "b.css": TEXT})
    assert (tmp_path / "target").read_bytes() == b"root's own"
    for name in ("a.css.gz", "b.css.gz"):
        assert gzip.decompress((root / name).read_bytes()) == TEXT
        assert stat.S_ISREG((root / name).lstat().st_mode)


@pytest.fixture
def packed(monkeypatch):
    """The contents that were compressed, and not taken over."""
    seen = []
    pack = compression._packed
    monkeypatch.setattr(compression, "_packed", lambda content, brotli: seen.append(content) or pack(content, brotli))
    return seen


@pytest.mark.usefixtures("without_brotli")
def test_a_content_that_was_compressed_before_is_not_compressed_again(app, make_release, packed):
    noise = os.urandom(1000).hex()[:300]
    one = make_release(app, "one", {"a.css": "y" * 1000, "b.js": "z" * 1000, "noise.txt": noise})
    two = make_release(app, "two", {"moved/a.0123456789ab.css": "y" * 1000, "b.js": "new" * 500, "noise.txt": noise})
    os.utime(two.path / "static/moved/a.0123456789ab.css", (1, 1))
    assert compression.compress(one) == len(packed) == 3
    packed.clear()
    assert compression.compress(two, [one]) == 1
    assert packed == [b"new" * 500]
    taken = two.path / "static/moved/a.0123456789ab.css.gz"
    assert gzip.decompress(taken.read_bytes()) == b"y" * 1000
    assert int(taken.stat().st_mtime) == 1, "Nginx answers with the time of the file itself"
    assert taken.stat().st_ino != (one.path / "static/a.css.gz").stat().st_ino


@pytest.mark.usefixtures("without_brotli")
def test_a_build_cannot_provide_what_a_later_one_takes_over(app, make_release):
    """It may write any .gz among its static files; what counts is what root wrote."""
    one = make_release(
        app, "one", {"a.css": "y" * 1000, "a.css.gz": "forged", "small.css": "x", "small.css.gz": "forged"}
    )
    two = make_release(app, "two", {"a.css": "y" * 1000, "small.css": "x"})
    compression.compress(one)
    compression.compress(two, [one])
    assert gzip.decompress((two.path / "static/a.css.gz").read_bytes()) == b"y" * 1000
    assert not (two.path / "static/small.css.gz").exists()


@pytest.mark.usefixtures("without_brotli")
def test_a_compressed_file_that_is_gone_or_a_link_is_made_anew(app, make_release, tmp_path):
    one = make_release(app, "one", {"a.css": "y" * 1000, "b.css": "z" * 1000})
    two = make_release(app, "two", {"a.css": "y" * 1000, "b.css": "z" * 1000})
    compression.compress(one)
    (tmp_path / "secret").write_text("s3cret")
    (one.path / "static/a.css.gz").unlink()
    (one.path / "static/b.css.gz").unlink()
    (one.path / "static/b.css.gz").symlink_to(tmp_path / "secret")
    assert compression.compress(two, [one]) == 2
    assert gzip.decompress((two.path / "static/b.css.gz").read_bytes()) == b"z" * 1000


def test_after_brotli_was_installed_everything_is_compressed_again(app, make_release, tmp_path, monkeypatch):
    one, two = (make_release(app, name, {"a.css": "y" * 1000}) for name in ("one", "two"))
    monkeypatch.setattr(compression.shutil, "which", lambda _name: None)
    compression.compress(one)
    program = tmp_path / "brotli"
    program.write_text("#!/bin/sh\nhead -c 9\n")
    program.chmod(0o755)
    monkeypatch.setattr(compression.shutil, "which", lambda _name: str(program))
    compression.compress(two, [one])
    assert (two.path / "static/a.css.br").exists()


def test_brotli_is_used_where_the_host_has_it(compress, tmp_path, monkeypatch):
    program = tmp_path / "brotli"
    program.write_text("#!/bin/sh\nhead -c 9\n")
    program.chmod(0o755)
    monkeypatch.setattr(compression.shutil, "which", lambda name: str(program) if name == "brotli" else None)
    root, names = compress({"a.css": TEXT})
    assert names == ["a.css", "a.css.br", "a.css.gz"]
    assert (root / "a.css.br").read_bytes() == TEXT[:9]


def test_a_failing_brotli_fails_the_build(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(compression.shutil, "which", lambda _name: "/bin/false")
    with pytest.raises(subprocess.CalledProcessError):
        compress({"a.css": TEXT})


@pytest.mark.parametrize("ending", [".gz", ".br"])
def test_a_stale_compressed_file_is_removed(app, make_release, published, ending):
    """Nginx prefers the compressed file, and would answer with the content of the previous release."""
    one = make_release(
        app, "one", {"a.css": "one", f"a.css{ending}": "one, packed", "b.css": "b", f"b.css{ending}": "b"}
    )
    two = make_release(app, "two", {"a.css": "two", "b.css": "b"})
    publish(app, one)
    publish(app, two, replace=False)
    assert published()[f"a.css{ending}"] == "one, packed", "the release before is still live"
    publish(app, two)
    assert published() == {"a.css": "two", "b.css": "b", f"b.css{ending}": "b"}, "what is the same is still right"
    publish(app, one)
    assert published()[f"a.css{ending}"] == "one, packed"


@pytest.mark.parametrize("ending", [".gz", ".br"])
def test_a_new_compressed_file_replaces_the_old_one(app, make_release, published, ending):
    for name in ("one", "two"):
        publish(app, make_release(app, name, {"a.css": name, f"a.css{ending}": f"{name}, packed"}))
        assert published() == {"a.css": name, f"a.css{ending}": f"{name}, packed"}


@pytest.mark.usefixtures("without_brotli")
def test_compressed_files_are_published_beside_their_originals(app, make_release, published):
    release = make_release(app, "one", {HASHED: "x" * 1000, "a.css": "y" * 1000})
    compression.compress(release)
    assert publish(app, release) == 4
    assert {path.name for path in app.static.rglob("*.gz")} == {"site.0123456789ab.css.gz", "a.css.gz"}
    assert publish(app, release) == 0
