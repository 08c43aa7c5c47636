"""An ext4 image of a folder: the same bytes for the same files, whoever makes it and wherever.

The image is filled by debugfs in sorted order, so neither the order of the source's folders nor its owners and times
come through. Everything belongs to root except what `owners` names.
"""
import os
import stat
import subprocess

EPOCH = 1_700_000_000
BLOCK = 4096


class Ext4Error(Exception):
    """An image that could not be made."""


def run(command, **options):
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(EPOCH), "LC_ALL": "C", "TZ": "UTC"}
    environment["PATH"] += ":/usr/sbin:/sbin"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Ext4Error(f"`{command[0]}` failed: {done.stderr.strip()[-800:]}")
    return done


def _commands(source, owners):
    """What debugfs has to do, in the order of the names."""
    commands, inodes = [], [("/", 0o40755)]
    for folder, folders, files in os.walk(source):
        folders.sort()
        for name in sorted([*folders, *files]):
            full = os.path.join(folder, name)
            inside = "/" + os.path.relpath(full, source)
            if '"' in inside or "\n" in inside:
                raise Ext4Error(f"{inside!r}: a name that debugfs cannot take")
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                commands.append(f'symlink "{inside}" "{os.readlink(full)}"')
                mode = 0o120777
            elif stat.S_ISDIR(mode):
                commands.append(f'mkdir "{inside}"')
            elif stat.S_ISREG(mode):
                commands.append(f'write "{full}" "{inside}"')
            else:
                raise Ext4Error(f"{inside}: neither a file nor a folder nor a link")
            inodes.append((inside, mode))
    for inside, mode in inodes:
        user, group = owners.get(inside, (0, 0))
        values = {"mode": f"0{mode:o}", "uid": user, "gid": group}
        values |= {f"{kind}time": f"@{EPOCH}" for kind in ("a", "c", "m", "cr")}
        commands += [f'sif "{inside}" {field} {value}' for field, value in values.items()]
    return commands


def make(source, image, size, owners=None, uuid="6f1d7c52-53f5-4f0e-9a51-000000000001"):
    """Writes `image`, of `size` bytes."""
    with open(image, "wb") as file:
        file.truncate(size)
    options = f"root_owner=0:0,hash_seed={uuid},lazy_itable_init=1,packed_meta_blocks=0"
    # Without a journal: the root is only read, and a scratch disk is checked at each start.
    run(["mkfs.ext4", "-q", "-F", "-T", "default", "-b", str(BLOCK), "-i", "16384", "-m", "0", "-U", uuid,
         "-O", "^has_journal", "-E", options, image])
    script = image + ".commands"
    with open(script, "w", encoding="utf-8") as file:
        file.write("\n".join(_commands(source, owners or {})) + "\n")
    said = run(["debugfs", "-w", "-f", script, image]).stderr.splitlines()
    os.unlink(script)
    wrong = [line for line in said if not line.startswith("debugfs 1.")]
    if wrong:
        raise Ext4Error(f"debugfs: {wrong[0]}")
    run(["e2fsck", "-f", "-n", image])
