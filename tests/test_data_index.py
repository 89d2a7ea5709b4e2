"""The index: a set is known by what it holds, not by where it is nor when it was touched."""

import json
import os
import shutil
from pathlib import Path

import pytest

from scalewise.data import index
from scalewise.data.index import content_hash, find_images, index_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A set of three files; the cache goes to a folder beside it."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "set"
    for name in ("a.png", "b/c.png", "b/ü d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    return root


def digest(root, pattern="**/*.png"):
    return index_files(root, find_images(root, pattern), pattern).digest


def age(root, seconds=100):
    """Let the index believe that all is `seconds` older than it is."""
    for cache in Path("results/index").glob("*.json"):
        content = json.loads(cache.read_text())
        content["begun"] += seconds * 10**9
        cache.write_text(json.dumps(content))


def test_an_index_holds_the_hash_of_each_file(folder):
    found = index_files(folder, find_images(folder, "**/*.png"), "images")
    assert found.files == {
        name: content_hash(folder / name) for name in ("a.png", "b/c.png", "b/ü d.png")
    }
    assert len(set(found.files.values())) == 3 and len(found.digest) == 16
    stored = json.loads(Path(found.path).read_text())["files"]
    assert {name: entry[3] for name, entry in stored.items()} == found.files


@pytest.mark.parametrize("old", [False, True])
def test_touching_and_writing_the_same_content_changes_nothing(folder, old):
    before = digest(folder)
    if old:
        age(folder)
    os.utime(folder / "a.png", (1, 1))
    (folder / "b/c.png").write_text("content of b/c.png")
    (folder / "b/new").write_text("the same")
    shutil.copy(folder / "b/ü d.png", folder / "b/new")
    os.replace(folder / "b/new", folder / "b/ü d.png")
    assert digest(folder) == before


def test_a_copy_and_a_moved_set_have_the_same_digest(folder, tmp_path):
    before = digest(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert digest(tmp_path / "copy") == before
    folder.rename(tmp_path / "moved")
    assert digest(tmp_path / "moved") == before
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert digest(tmp_path / "link") == before


@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_one_changed_byte_changes_the_digest_whatever_size_and_time_say(folder, restored, old):
    before = digest(folder)
    if old:
        age(folder)
    path = folder / "a.png"
    status = path.stat()
    path.write_text("content of a.pnG")
    assert path.stat().st_size == status.st_size
    if restored:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_mtime_ns == status.st_mtime_ns
    after = digest(folder)
    assert after != before
    path.write_text("content of a.png")
    assert digest(folder) == before


def test_a_file_of_equal_size_moved_over_another_under_its_old_time_is_seen(folder):
    before = digest(folder)
    age(folder)
    path, new = folder / "a.png", folder / "new"
    new.write_text("CONTENT of a.png")
    status = path.stat()
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(new, path)
    assert digest(folder) != before


def test_adding_removing_and_renaming_a_file_change_the_digest(folder):
    digests = [digest(folder)]
    (folder / "new.png").write_text("new")
    digests.append(digest(folder))
    (folder / "new.png").rename(folder / "other.png")
    digests.append(digest(folder))
    (folder / "other.png").unlink()
    (folder / "a.png").unlink()
    digests.append(digest(folder))
    assert len(set(digests)) == 4
    (folder / "a.png").write_text("content of a.png")
    assert digest(folder) == digests[0]


def test_two_files_that_change_places_change_the_digest(folder):
    before = digest(folder)
    one, other = (folder / "a.png").read_text(), (folder / "b/c.png").read_text()
    (folder / "a.png").write_text(other)
    (folder / "b/c.png").write_text(one)
    assert digest(folder) != before


def test_unchanged_files_are_not_read_again_once_they_are_settled(folder, monkeypatch):
    digest(folder)
    age(folder)
    read = []
    monkeypatch.setattr(index, "content_hash", lambda path: read.append(path) or content_hash(path))
    digest(folder)
    assert read == []
    os.utime(folder / "a.png")
    digest(folder)
    assert [os.path.basename(path) for path in read] == ["a.png"]


def test_a_file_that_changed_just_before_it_was_indexed_is_read_once_more(folder, monkeypatch):
    digest(folder)
    read = []
    monkeypatch.setattr(index, "content_hash", lambda path: read.append(path) or content_hash(path))
    digest(folder)
    assert len(read) == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3, "begun": 1}', "not json"])
def test_a_damaged_cache_is_made_anew(folder, content):
    before = index_files(folder, find_images(folder, "**/*.png"), "x")
    Path(before.path).write_text(content)
    assert index_files(folder, find_images(folder, "**/*.png"), "x") == before


def test_missing_labels_are_part_of_the_index(folder):
    paths = ["a.png", "gone.png", "a.png/below_a_file.png"]
    found = index_files(folder, paths, "labels")
    assert found.files["gone.png"] == found.files["a.png/below_a_file.png"] == ""
    assert found.files["a.png"]
    (folder / "gone.png").write_text("back")
    again = index_files(folder, paths, "labels")
    assert again.files["gone.png"] and again.digest != found.digest
    (folder / "gone.png").unlink()
    assert index_files(folder, paths, "labels") == found


def test_a_file_that_cannot_be_read_is_told_and_tried_again(folder):
    (folder / "d.png").mkdir()
    found = index_files(folder, ["a.png", "d.png"], "labels")
    assert found.files["d.png"] == index.UNREADABLE
    (folder / "d.png").rmdir()
    (folder / "d.png").write_text("now a file")
    again = index_files(folder, ["a.png", "d.png"], "labels")
    assert again.files["d.png"] == content_hash(folder / "d.png")


def test_indexes_of_one_root_with_other_names_do_not_disturb_each_other(folder):
    images = index_files(folder, ["a.png"], "images")
    labels = index_files(folder, ["b/c.png"], "labels")
    assert images.path != labels.path
    assert index_files(folder, ["a.png"], "images") == images


# --- which files ----------------------------------------------------------------------------------


def test_images_are_found_sorted_without_folders_and_hidden_files(folder):
    (folder / ".hidden.png").write_text("x")
    (folder / "folder.png").mkdir()
    (folder / "a.jpg").write_text("x")
    assert find_images(folder, "**/*.png") == ["a.png", "b/c.png", "b/ü d.png"]
    assert find_images(folder, "*.png") == ["a.png"]
    assert find_images(folder, "b/*.png") == ["b/c.png", "b/ü d.png"]
    assert find_images(folder, "nothing/*.png") == []


def test_odd_names_of_folders_and_files_are_no_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "a[1]*?"
    names = ["[b].png", "c*.png", "d;e,f.png", "g\nh.png", "日本.png"]
    root.mkdir()
    for name in names:
        (root / name).write_text(name)
    assert find_images(root, "*.png") == sorted(names)
    assert all(index_files(root, names, "x").files.values())


def test_a_link_to_nothing_is_found_and_has_no_hash(folder):
    (folder / "z.png").symlink_to(folder / "gone")
    (folder / "y.png").symlink_to(folder / "a.png")
    paths = find_images(folder, "*.png")
    assert paths == ["a.png", "y.png", "z.png"]
    files = index_files(folder, paths, "x").files
    assert files["z.png"] == "" and files["y.png"] == files["a.png"]
