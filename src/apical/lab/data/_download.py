"""Download the files of a data set from their authors, checked by hash."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pooch

from apical.lab._errors import LabError
from apical.lab.data._spoken_digits import WAVES


class File(NamedTuple):
    """A file to download.

    Attributes:
        url: its address.
        known_hash: `"algorithm:digest"`; None where the bytes of an archive may change
            and the reader of the data set checks the hash of its contents.
        members: of an archive, the files that are kept.
    """

    url: str
    known_hash: str | None
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its address."""
        return PurePosixPath(self.url).name


def _idx_files(host: str, *digests: str) -> tuple[File, ...]:
    names = [
        f"{part}-{content}-ubyte.gz"
        for part in ("train", "t10k")
        for content in ("images-idx3", "labels-idx1")
    ]
    return tuple(
        File(f"{host}/{name}", f"sha256:{digest}")
        for name, digest in zip(names, digests, strict=True)
    )


_SPOKEN = "Jakobovski/free-spoken-digit-dataset"
_COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
_FOLDER = f"free-spoken-digit-dataset-{_COMMIT}"
DOWNLOADS: dict[str, tuple[File, ...]] = {
    "mnist": _idx_files(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "fashion-mnist": _idx_files(
        # Available by http only; the hash makes up for that.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "cifar10": (
        File(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
            members=(
                *(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
                "cifar-10-batches-bin/test_batch.bin",
            ),
        ),
    ),
    "shakespeare": (
        File(
            "https://raw.githubusercontent.com/karpathy/char-rnn/"
            "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
    "spoken-digits": (
        File(
            # GitHub packs it on demand, and may pack it in another way.
            f"https://github.com/{_SPOKEN}/archive/{_COMMIT}.tar.gz",
            None,
            members=tuple(f"{_FOLDER}/recordings/{name}" for name in WAVES),
        ),
    ),
}


def cache_folder() -> Path:
    """The folder for downloads when none is given."""
    return Path(pooch.os_cache("apical"))


def fetch(name: str, folder: Path, files: tuple[File, ...]) -> None:
    """Download the files that are missing.

    Args:
        name: the data set, for messages.
        folder: where to put the files.
        files: what to download. Of an archive only the named members are kept.

    Raises:
        LabError: if there is no answer, the hash is wrong (then nothing is kept), or
            the folder cannot be written.
    """
    for file in files:
        try:
            path = pooch.retrieve(
                file.url, file.known_hash, fname=file.name, path=folder
            )
        except OSError as error:  # before ValueError: some of requests' are both
            raise LabError(
                f"--download: {name} could not be fetched from {file.url} ({error}). "
                f"Fetch {file.name} elsewhere, put it in a folder and name the folder "
                "with --data-dir"
            ) from error
        except ValueError as error:  # pooch has deleted what it fetched
            raise LabError(
                f"{file.url} is not the file it should be: {error} Nothing was kept; "
                f"try again, or put the right file in {folder}"
            ) from error
        if file.members:
            _unpack(Path(path), folder, file.members)


def _unpack(archive: Path, folder: Path, members: tuple[str, ...]) -> None:
    """Write these members of the archive, and no others, into the folder."""
    try:
        with tarfile.open(archive) as tar:
            for name in members:
                _unpack_file(tar, name, folder)
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise LabError(
            f"{archive} cannot be unpacked into {folder}: {error}"
        ) from error
    archive.unlink()


def _unpack_file(tar: tarfile.TarFile, name: str, folder: Path) -> None:
    # Only the bytes come from the archive: no path, link or device of it is created.
    source = tar.extractfile(name)
    if source is None:
        raise tarfile.TarError(f"{name} in it is not a file")
    target = folder / PurePosixPath(name).name
    part = target.with_suffix(".part")
    with source, part.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    part.replace(target)
