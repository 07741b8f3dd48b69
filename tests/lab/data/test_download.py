"""Downloads from a local server: the right file, a wrong file, no answer."""

import hashlib
import io
import tarfile
import threading
import wave
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.lab_files import cifar_records, write_mnist

from apical.lab import LabError
from apical.lab.data import _load
from apical.lab.data._download import DOWNLOADS, File, fetch
from apical.lab.data._load import SOURCES, load
from apical.lab.data._spoken_digits import DIGEST

TEXT = "All the world's a stage, and all the men and women merely players. " * 20


class Quiet(SimpleHTTPRequestHandler):
    """A server that tells nobody what it serves."""

    def log_message(self, format, *args):
        del format, args


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served, and its address."""
    # No proxy between this test and its own server.
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), daemon=True
        )
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def offer(site, name: str, content: bytes, members: tuple[str, ...] = ()) -> File:
    """Put a file on the server; what a data set must know to fetch it."""
    folder, address = site
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return File(f"{address}/{name}", f"sha256:{digest}", members)


def packed(**files: bytes) -> bytes:
    """A gzipped tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_text_is_fetched_once_and_found_from_then_on(site, tmp_path, monkeypatch):
    file = offer(site, "input.txt", TEXT.encode())
    monkeypatch.setitem(DOWNLOADS, "shakespeare", (file,))
    home = tmp_path / "home"
    data = load("shakespeare", home, download=True)
    assert (home / "tiny_shakespeare" / "input.txt").read_text() == TEXT
    (site[0] / "input.txt").unlink()
    assert load("shakespeare", home, download=True).fingerprint == data.fingerprint


def test_nothing_is_fetched_unless_asked(site, tmp_path, monkeypatch):
    file = offer(site, "input.txt", TEXT.encode())
    monkeypatch.setitem(DOWNLOADS, "shakespeare", (file,))
    monkeypatch.setattr(_load, "cache_folder", lambda: tmp_path / "home")
    with pytest.raises(LabError, match="--download"):
        load("shakespeare")
    assert load("shakespeare", download=True).kind == "characters"


def test_the_files_of_mnist_are_fetched_into_a_folder_of_their_own(
    site, tmp_path, monkeypatch
):
    write_mnist(site[0], zipped=True)
    files = tuple(
        offer(site, path.name, path.read_bytes()) for path in site[0].iterdir()
    )
    monkeypatch.setitem(DOWNLOADS, "fashion-mnist", files)
    assert len(load("fashion-mnist", tmp_path, download=True).train_y) == 20
    assert len(list((tmp_path / "fashion_mnist").iterdir())) == 4


def test_a_wrong_file_is_refused_and_not_kept(site, tmp_path):
    file = offer(site, "input.txt", TEXT.encode())
    (site[0] / "input.txt").write_text("all the world's a page")
    with pytest.raises(LabError, match=r"is not the file it should be.*Nothing was ke"):
        fetch("shakespeare", tmp_path / "home", (file,))
    assert list((tmp_path / "home").iterdir()) == []
    (site[0] / "input.txt").write_text(TEXT)
    fetch("shakespeare", tmp_path / "home", (file,))
    assert (tmp_path / "home" / "input.txt").read_text() == TEXT


@pytest.mark.parametrize("broken", ["no server", "no file", "no address"])
def test_no_answer_says_what_to_do(site, tmp_path, broken):
    file = offer(site, "input.txt", TEXT.encode())
    if broken == "no server":
        file = file._replace(url="http://127.0.0.1:9/input.txt")  # nobody listens
    elif broken == "no file":
        (site[0] / "input.txt").unlink()
    else:  # requests raises what is a ValueError too
        file = file._replace(url="http:///input.txt")
    message = r"could not be fetched from http.*input.txt.*name the folder .*--data-dir"
    with pytest.raises(LabError, match=message):
        fetch("shakespeare", tmp_path / "home", (file,))


MEMBERS = tuple(
    f"cifar-10-batches-bin/{name}.bin" for name in ("data_batch_1", "test_batch")
)


def test_of_an_archive_only_the_named_files_are_kept(site, tmp_path, monkeypatch):
    outside = "../../evil.bin"
    archive = packed(
        **dict.fromkeys(MEMBERS, cifar_records(4)), **{outside: b"x", "read.me": b"y"}
    )
    monkeypatch.setitem(
        DOWNLOADS, "cifar10", (offer(site, "c.tar.gz", archive, MEMBERS),)
    )
    home = tmp_path / "home"
    data = load("cifar10", home, download=True)
    assert data.train_y.tolist() == [0, 1, 2, 3]
    kept = [path.relative_to(home).as_posix() for path in home.rglob("*.*")]
    assert sorted(kept) == sorted(MEMBERS)
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_that_lacks_a_file_is_refused_by_name(site, tmp_path):
    archive = packed(**{MEMBERS[0]: cifar_records(4)})
    file = offer(site, "c.tar.gz", archive, MEMBERS)
    with pytest.raises(LabError, match=r"cannot be unpacked .*test_batch.bin"):
        fetch("cifar10", tmp_path / "home", (file,))


def test_a_link_in_an_archive_is_never_made(site, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"not for training")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo(MEMBERS[0])
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    file = offer(site, "c.tar.gz", buffer.getvalue(), MEMBERS[:1])
    with pytest.raises(LabError, match="cannot be unpacked"):
        fetch("cifar10", tmp_path / "home", (file,))
    assert not list((tmp_path / "home").rglob("*.bin"))


def test_an_archive_without_a_hash_is_checked_by_its_contents(
    site, tmp_path, monkeypatch
):
    buffer = io.BytesIO()
    with wave.open(buffer, "w") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        sound.writeframes(bytes(2000))
    member = "digits/recordings/3_theo_7.wav"
    archive = packed(**{member: buffer.getvalue(), "digits/README.md": b"words"})
    file = offer(site, "x.tar.gz", archive, (member,))._replace(known_hash=None)
    monkeypatch.setitem(DOWNLOADS, "spoken-digits", (file,))
    with pytest.raises(LabError, match=r"1 recordings with the sha256 .* not the 3,0"):
        load("spoken-digits", tmp_path, download=True)
    assert [path.name for path in (tmp_path / "fsdd").iterdir()] == ["3_theo_7.wav"]


def test_every_data_set_with_files_has_addresses_and_hashes():
    assert set(DOWNLOADS) == set(SOURCES)
    for files in DOWNLOADS.values():
        for file in files:
            # The reader of spoken digits has the hash of the recordings.
            known = file.known_hash or f"sha256:{DIGEST}"
            algorithm, _, digest = known.partition(":")
            assert len(digest) == {"sha256": 64, "md5": 32}[algorithm]
            assert (file.known_hash is None) == ("spoken" in file.url)
            assert file.url.startswith(("https://", "http://fashion-mnist.s3"))


def test_what_is_fetched_has_the_names_that_are_looked_for(tmp_path):
    for name, source in SOURCES.items():
        names = [
            member
            for file in DOWNLOADS[name]
            for member in (file.members[:10] or (file.name,))
        ]
        for path in names:
            target = tmp_path / name / path.rpartition("/")[2]
            target.parent.mkdir(exist_ok=True)
            target.touch()
        for alternatives in source.wanted:
            assert any(list((tmp_path / name).glob(n)) for n in alternatives), name
