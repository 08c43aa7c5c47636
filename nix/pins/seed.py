"""The busybox seed: from Debian's package to a folder bin/busybox, without a build."""
import hashlib
import io
import pathlib
import struct
import tarfile


def ar_member(archive, prefix):
    """The content of the first member whose name begins with `prefix`."""
    position = 8
    while position < len(archive):
        name, size = archive[position:position + 16].decode().strip(), int(archive[position + 48:position + 58])
        if name.startswith(prefix):
            return archive[position + 60:position + 60 + size]
        position += 60 + size + size % 2
    raise ValueError(f"no member {prefix} in the package")


def unpack(deb, folder):
    """Write folder/bin/busybox, executable."""
    with tarfile.open(fileobj=io.BytesIO(ar_member(deb, "data.tar"))) as tar:
        member = next(m for m in tar.getmembers() if m.isfile() and m.name.endswith("bin/busybox"))
        content = tar.extractfile(member).read()
    target = pathlib.Path(folder) / "bin" / "busybox"
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    target.chmod(0o755)
    return content


def _text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data + b"\0" * (-len(data) % 8)


def nar_file(archive):
    """The content of an archive that is one plain file."""
    head = b"".join(_text(part) for part in ["nix-archive-1", "(", "type", "regular", "contents"])
    if not archive.startswith(head):
        raise ValueError("the store path is not a plain file")
    start = len(head) + 8
    return archive[start:start + struct.unpack("<Q", archive[len(head):start])[0]]


def nar_hash(content):
    """sha256 of the archive form of { bin/busybox = content, executable }."""
    file = ["(", "type", "regular", "executable", "", "contents", content, ")"]
    folder = ["(", "type", "directory", "entry", "(", "name", "busybox", "node", *file, ")", ")"]
    top = ["nix-archive-1", "(", "type", "directory", "entry", "(", "name", "bin", "node", *folder, ")", ")"]
    return hashlib.sha256(b"".join(_text(part) for part in top)).hexdigest()
