"""Changes of a folder or an archive are noticed; an archive that has not changed is listed once."""

import os
import time
import zipfile
from contextlib import closing

import pytest

from fairkd.data import check_dataset, load_dataset


def same(one, other):
    return all((images.images == getattr(other, name).images).all() for name, images in one.items())


# What changes in a folder is noticed


def change_content(file):
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def touch(file):
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        change_content,
        touch,
        lambda file: file.rename(file.with_name("zzz.png")),
        lambda file: file.unlink(),
        lambda file: (file.parent / "more.png").write_bytes(file.read_bytes()),
    ],
    ids=["content", "time", "renamed", "removed", "added"],
)
def test_a_change_of_any_file_is_noticed_though_the_folder_looks_as_before(make_folder, change):
    folder = make_folder()
    file = folder.root / "cat" / "003.png"
    before, times = check_dataset("imagefolder", data_root=folder.root).fingerprint, file.parent.stat()
    change(file)
    os.utime(file.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert check_dataset("imagefolder", data_root=folder.root).fingerprint != before


# The listing of an archive


@pytest.fixture
def listed(monkeypatch):
    """Names of the archives whose members are listed from now on."""
    from fairkd.data.files import ZipRoot

    names, original = [], ZipRoot._list

    def counting(root):
        names.append(root.path.name)
        return original(root)

    monkeypatch.setattr(ZipRoot, "_list", counting)
    return names


@pytest.fixture
def archive(make_folder):
    """An archive that has not changed for an hour, as far as its times tell."""
    path = make_folder().zipped()
    settle(path)
    return path


def settle(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 3600 * 10**9))


@pytest.fixture
def an_hour_later(monkeypatch):
    now = time.time_ns
    monkeypatch.setattr("fairkd.data.listing.time.time_ns", lambda: now() + 3600 * 10**9)


def zip_load(archive, **options):
    return load_dataset("imagefolder", data_root=archive, image_size=8, **options)


def test_an_unchanged_archive_is_listed_once(archive, listed, own_cache, an_hour_later):
    first = zip_load(archive)
    listings = len(listed)
    assert listings == 2  # once for the names, once to decode
    assert len(list(own_cache.glob("listing-*.json"))) == 1
    again = zip_load(archive)
    assert len(listed) == listings
    assert same(first, again) and again.fingerprint == first.fingerprint
    other = zip_load(archive, cache_dir=own_cache / "other")
    assert other.fingerprint == first.fingerprint and len(listed) == 2 * listings


def rewrite(archive, *, add=None, swap=None):
    """Write the archive again and set its time back: with two members swapped its size is the same, too."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist() if not name.endswith("/")}
    if swap:
        one, other = swap
        members[one], members[other] = members[other], members[one]
    members |= {} if add is None else {add: next(iter(members.values()))}
    times = archive.stat()
    with zipfile.ZipFile(archive, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_changed_archive_is_listed_again_though_its_time_was_set_back(archive, listed, an_hour_later):
    def fingerprint():
        return check_dataset("imagefolder", data_root=archive).fingerprint

    rewrite(archive)
    for change in ({"swap": ("cat/000.png", "dog/020.png")}, {"add": "cat/more.png"}):
        before = [fingerprint(), fingerprint()]
        listed.clear()
        rewrite(archive, **change)
        assert before[0] == before[1] != fingerprint()
        assert len(listed) == 1


def test_an_archive_that_may_still_change_is_not_kept(archive, listed, own_cache):
    check_dataset("imagefolder", data_root=archive)
    check_dataset("imagefolder", data_root=archive)
    assert len(listed) == 2 and not own_cache.exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"x\n{}", None])
def test_a_damaged_listing_is_made_again(archive, listed, own_cache, an_hour_later, damage):
    expected = check_dataset("imagefolder", data_root=archive).fingerprint
    (file,) = own_cache.glob("listing-*.json")
    data = file.read_bytes()
    file.write_bytes(data[:-3] if damage is None else damage)
    assert check_dataset("imagefolder", data_root=archive).fingerprint == expected
    assert len(listed) == 2 and file.read_bytes() == data


def test_a_listing_that_cannot_be_kept_is_gone_without(archive, listed, tmp_path, an_hour_later):
    (tmp_path / "file").write_text("not a folder")
    for _ in range(2):
        check_dataset("imagefolder", data_root=archive, cache_dir=tmp_path / "file")
    assert len(listed) == 2


def test_a_listing_cannot_make_anything_else_be_read(archive, own_cache, an_hour_later):
    """What is read comes from the archive's own list: a name that it lacks stays unread."""
    from fairkd.data.files import ZipRoot
    from fairkd.data.listing import Listing, archive_listing_path, write_listing

    secret = archive.parent / "secret.png"
    secret.write_bytes(b"secret")
    name = str(secret)
    write_listing(archive_listing_path(archive, own_cache), Listing.of([name], [6], [0]))
    with closing(ZipRoot(archive, own_cache)) as root:
        assert list(root.files()) == [name]
        with pytest.raises(KeyError):
            root.read(name)


def test_sizes_and_times_beyond_63_bits_are_listed():
    from fairkd.data.listing import Listing

    listing = Listing.of(["b", "a"], [2**63 + 5, 1], [-3, 2**64 - 1])
    assert list(listing) == ["a", "b"] and listing.names == ["a", "b"]
    assert (listing["b"], listing.find("b"), listing.find("c")) == ((5, 2**63 - 3), (5, 2**63 - 3), None)
    assert "a" in listing and "c" not in listing and len(Listing.of([], [], [])) == 0
