"""The store on disk: an OCI image layout (image-spec, image-layout.md) that many processes use at once.

    oci-layout  index.json  blobs/sha256/<hex>      what other tools read
    ingest/<pid>-<random>                           blobs being written; each is locked by its writer
    index.lock  use.lock                            flock(2) files: names being changed; builds going on

Rules: a blob appears under its digest only whole, verified and synced; index.json is replaced as a whole, under a lock;
whatever is killed at any moment leaves a valid store, and at most a temporary file that the next `tag` or prune removes.
Reading takes no lock and imports nothing heavy. Names are annotations in index.json; what else stands there survives.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from wherry.errors import FormatError, StoreError, TrustError, UsageError
from wherry.formats.oci_json import MAX_DOCUMENT, descriptor_json, parse_any_manifest, parse_descriptor, parse_json, render_json
from wherry.model.digest import Digest
from wherry.model.oci import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, REF_NAME, Descriptor, Index
from wherry.store.posix import explain_os_errors, hold_lock, lock_handle, sync_folder, write_atomically

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]{0,254}")
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_DEAD_AFTER = 60.0  # seconds before a temporary file that nobody has locked counts as left behind
_MANIFESTS = {INDEX, DOCKER_INDEX, MANIFEST, DOCKER_MANIFEST}


class DiskStore:
    """A `BlobStore` in the folder `root`, which is made when first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = f"{root}/blobs/sha256/"

    # -- blobs

    def path(self, digest: Digest) -> Path:
        """Where a blob lies, or would lie."""
        return Path(self._blobs + digest.hex)

    def has(self, digest: Digest) -> bool:
        return os.path.exists(self._blobs + digest.hex)  # noqa: PTH110 - several times as fast, and asked for every layer

    def size(self, digest: Digest) -> int:
        """A stored blob's size in bytes."""
        with self._explain(digest):
            return self.path(digest).stat().st_size

    def open(self, digest: Digest) -> BinaryIO:
        with self._explain(digest):
            return self.path(digest).open("rb")

    def put(self, chunks: Iterable[bytes], digest: Digest, size: int) -> None:
        with self.begin() as writer:
            for chunk in chunks:
                writer.write(chunk)
                if writer.size > size:
                    raise TrustError(f"blob {digest} is longer than the {size} bytes announced")
            if writer.size != size or writer.digest != digest:
                raise TrustError(f"blob {digest}: got {writer.size} of {size} bytes, {writer.digest}")
            writer.commit()

    def put_bytes(self, data: bytes) -> Digest:
        """Store a small document; gives its digest."""
        digest = Digest.of(data)
        self.put((data,), digest, len(data))
        return digest

    def begin(self) -> BlobWriter:
        """Write a blob whose digest is not known yet; use as a context manager."""
        self._make_layout()
        return BlobWriter(self)

    def read_bytes(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        """A small blob as a whole, verified. A damaged one is a `TrustError`."""
        with self.open(digest) as file, explain_os_errors(self.path(digest)):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"blob {digest} has more than {limit} bytes", where=str(self.root))
        if Digest.of(data) != digest:
            raise TrustError(
                f"blob {digest} is damaged", where=str(self.root), hint=f"delete {self.path(digest)} and build or pull again"
            )
        return data

    def drop_if_damaged(self, digest: Digest) -> bool:
        """Read a blob again; one whose bytes are not its digest's is removed, so that it can be brought or made anew."""
        hasher = hashlib.sha256()
        with self.open(digest) as file, explain_os_errors(self.path(digest)):
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
        if hasher.hexdigest() == digest.hex:
            return False
        with self._explain(digest):
            self.path(digest).unlink(missing_ok=True)
        return True

    # -- names

    def names(self) -> Mapping[str, Descriptor]:
        """Every named image: ``anomaly:latest`` to its index or manifest, by name."""
        found = {}
        for descriptor in self._descriptors(self._read_index()):
            if REF_NAME in descriptor.annotations:
                found[descriptor.annotations[REF_NAME]] = descriptor
        return dict(sorted(found.items()))

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` mean an image that lies in the store; a former meaning is replaced."""
        if not is_image_name(name):
            raise UsageError(f"not an image name: {name!r}", hint="NAME:TAG, such as anomaly:latest")
        entry = descriptor_json(descriptor)
        entry["annotations"] = {**descriptor.annotations, REF_NAME: name}
        with self._change_index() as document:
            if not self.has(descriptor.digest):
                raise StoreError(f"no blob {descriptor.digest} to name {name}", where=str(self.root), hint="build again")
            document["manifests"] = [*_without(document, name), entry]

    def untag(self, name: str) -> None:
        """Forget a name; the blobs stay until pruned. An unknown name is a `StoreError`."""
        with self._change_index() as document:
            kept = _without(document, name)
            if len(kept) == len(document["manifests"]):
                raise self._unknown(name)
            document["manifests"] = kept

    def resolve(self, text: str) -> Descriptor:
        """The image that a user means: a name, a name without its ``:latest``, a digest of an index, manifest or
        config (the image ID), or at least 8 hex digits that begin just one of these."""
        names = self.names()
        for name in (text, f"{text}:latest"):
            if name in names:
                return names[name]
        wanted = _PREFIX.fullmatch(text)
        if not wanted:
            raise self._unknown(text)
        found = {
            descriptor.digest: descriptor
            for root in self._descriptors(self._read_index())
            for descriptor, ids in self._walk_ids(root)
            if any(known.hex.startswith(wanted[1]) for known in ids)
        }
        if len(found) > 1:
            raise StoreError(f"{text!r} means {len(found)} images: {', '.join(map(str, found))}", hint="more digits")
        if not found:
            raise self._unknown(text)
        return next(iter(found.values()))

    def roots(self) -> tuple[Descriptor, ...]:
        """All images of index.json, named or not."""
        return self._descriptors(self._read_index())

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold off pruning: what a build found or wrote stays until it has named its image."""
        self._make_layout()
        with hold_lock(self.root / "use.lock", exclusive=False):
            yield

    # -- inside

    def _walk_ids(self, root: Descriptor) -> Iterator[tuple[Descriptor, tuple[Digest, ...]]]:
        """An image and the images in it, each with the digests it is known by."""
        if root.media_type not in _MANIFESTS or not self.has(root.digest):
            yield root, (root.digest,)
            return
        document = parse_any_manifest(self.read_bytes(root.digest), where=str(root.digest))
        if isinstance(document, Index):
            yield root, (root.digest,)
            for inner in document.manifests:
                if self.has(inner.digest):  # other platforms may have been left behind by whoever copied it here
                    yield from self._walk_ids(inner)
        else:
            yield root, (root.digest, document.config.digest)

    def _unknown(self, name: str) -> StoreError:
        have = ", ".join(self.names()) or "none"
        return StoreError(f"no image {name!r} here", where=str(self.root), hint=f"wherry image ls (there are: {have[:300]})")

    def _make_layout(self) -> None:
        if os.path.exists(f"{self.root}/oci-layout"):  # noqa: PTH110 - the hot path
            return
        with explain_os_errors(self.root):
            Path(self._blobs).mkdir(parents=True, exist_ok=True)
            (self.root / "ingest").mkdir(exist_ok=True)
            with hold_lock(self.root / "index.lock", exclusive=True):
                if not (self.root / "index.json").exists():
                    write_atomically(self.root / "index.json", render_json(_EMPTY_INDEX), self.root / "ingest")
                write_atomically(self.root / "oci-layout", _LAYOUT, self.root / "ingest")

    def _read_index(self) -> dict[str, Any]:
        path = self.root / "index.json"
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return dict(_EMPTY_INDEX)
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(path), hint="check its owner and permissions") from error
        try:
            document = parse_json(raw, str(path))
            if not isinstance(document.get("manifests"), list):
                raise FormatError("no list of manifests", where=str(path))
            self._descriptors(document)
        except FormatError as error:
            remedy = f"move {path} away and build or load the images again; blobs are kept until pruned"
            raise StoreError(f"the store's list of images is damaged: {error.what}", where=str(path), hint=remedy) from error
        return document

    def _descriptors(self, document: Mapping[str, Any]) -> tuple[Descriptor, ...]:
        where = f"{self.root}/index.json: manifests"
        members = document["manifests"]
        if not all(isinstance(member, dict) for member in members):
            raise FormatError("not a descriptor", where=where)
        return tuple(parse_descriptor(member, f"{where}[{number}]") for number, member in enumerate(members))

    @contextmanager
    def _change_index(self) -> Iterator[dict[str, Any]]:
        self._make_layout()
        with explain_os_errors(self.root), hold_lock(self.root / "index.lock", exclusive=True):
            document = self._read_index()
            yield document
            write_atomically(self.root / "index.json", render_json(document), self.root / "ingest")
            self.clear_ingest()

    def clear_ingest(self) -> int:
        """Remove what killed writers left behind; gives the bytes freed."""
        freed = 0
        with explain_os_errors(self.root), os.scandir(self.root / "ingest") as entries:
            for entry in entries:
                freed += _remove_if_dead(entry)
        return freed

    @contextmanager
    def _explain(self, digest: Digest) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StoreError(f"no blob {digest} here", where=str(self.root), hint="build or pull the image again") from None
        except OSError as error:
            raise StoreError(error.strerror or str(error), where=str(self.path(digest))) from error


class BlobWriter:
    """A blob on its way into the store. It gets its name by `commit`; leaving the context without that removes it."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._hasher = hashlib.sha256()
        self._path = f"{store.root}/ingest/{os.getpid()}-{os.urandom(8).hex()}"
        self.size = 0
        with explain_os_errors(store.root):
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            lock_handle(handle, exclusive=True, wait=False)
            self._file = os.fdopen(handle, "wb", buffering=1 << 18)

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest(self._hasher.hexdigest())

    def write(self, data: bytes) -> None:
        self._hasher.update(data)
        self.size += len(data)
        with explain_os_errors(self._store.root):
            self._file.write(data)

    def commit(self) -> Digest:
        """Make the blob part of the store, durably."""
        digest = self.digest
        final = self._store.path(digest)
        with explain_os_errors(self._store.root):
            self._file.flush()
            if _stands(final, self.size):
                os.utime(final)  # so that pruning sees it as wanted again
                self._discard()
                return digest
            os.fsync(self._file.fileno())
            os.replace(self._path, final)  # noqa: PTH105 - both are text here
            sync_folder(final.parent)
            self._file.close()
        return digest

    def keep(self, path: Path) -> None:
        """Let what was written so far lie at `path` too, for whoever goes on with it later (same file system only)."""
        with explain_os_errors(path):
            self._file.flush()
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
            os.link(self._path, beside)
            beside.replace(path)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._file.closed:
            self._discard()

    def _discard(self) -> None:
        Path(self._path).unlink(missing_ok=True)
        with suppress(OSError):  # a full disk also refuses the rest of the buffer, of a file that is already gone
            self._file.close()


def is_image_name(text: str) -> bool:
    """Whether an image in a store may be called so."""
    return _NAME.fullmatch(text) is not None


def _stands(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _without(document: Mapping[str, Any], name: str) -> list[Any]:
    return [entry for entry in document["manifests"] if (entry.get("annotations") or {}).get(REF_NAME) != name]


def _remove_if_dead(entry: os.DirEntry[str]) -> int:
    try:
        state = entry.stat(follow_symlinks=False)
        if time.time() - state.st_mtime < _DEAD_AFTER:
            return 0
        handle = os.open(entry.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0  # committed or removed meanwhile
    try:
        if not lock_handle(handle, exclusive=True, wait=False):
            return 0
        Path(entry.path).unlink(missing_ok=True)
    finally:
        os.close(handle)
    return state.st_size
