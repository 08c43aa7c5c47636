"""Debian indexes to pins: read the signed package lists with apt, resolve a closure, keep path, version and hash."""
import functools
import pathlib
import re
import subprocess

import clients

# The suites that a root may name, and the archives of each. Where two archives overlap the higher version wins.
SUITES = {
    "bullseye": ["bullseye"],
    "bookworm": ["bookworm", "bookworm-security"],
    "trixie": ["trixie", "trixie-security"],
    "forky": ["forky"],
    "sid": ["sid"],
}
FIELDS = re.compile(r"^(Package|Version|Depends|Pre-Depends|Provides|Filename|Size|SHA256): (.*)$", re.MULTILINE)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Indexes:
    """The package lists of some suites, in an apt state of their own: the machine's own apt is only read."""

    def __init__(self, suites, mirrors, work):
        self.work = pathlib.Path(work)
        self.options = self._prepare(sorted({a for s in suites for a in SUITES[s]}), mirrors)
        self._apt("update")
        self._parsed = {}

    def _prepare(self, archives, mirrors):
        for folder in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (self.work / folder).mkdir(parents=True, exist_ok=True)
        (self.work / "status").touch()
        lines = []
        for archive in archives:
            registry = "debian-security" if archive.endswith("-security") else "debian"
            lines.append(f"deb [signed-by={KEYRING}] {clients.base_url(registry, mirrors)} {archive} main\n")
        (self.work / "sources.list").write_text("".join(lines))
        settings = {
            "Dir::Etc": "etc", "Dir::Etc::SourceList": "sources.list", "Dir::State": "state",
            "Dir::State::status": "status", "Dir::Cache": "cache",
        }
        options = [f"{key}={self.work / value}" for key, value in settings.items()]
        options += ["Dir::Etc::SourceParts=-", "Dir::Etc::Parts=-", "Acquire::Languages=none", "APT::Architectures=amd64"]
        # The archived suites' Release files have expired; their signatures are still checked.
        options += ["APT::Sandbox::User=root", "Acquire::Check-Valid-Until=false"]
        return [word for option in options for word in ("-o", option)]

    def _apt(self, *words):
        command = ["apt-get", "-qq", *self.options, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise clients.ClientError(f"debian: apt-get {words[0]} failed: {done.stderr.strip()[-600:]}")
        return done.stdout

    def date(self, suite):
        """When the suite's index was made: how old a pin was on the day it was taken."""
        for release in self.work.glob(f"state/lists/*_dists_{suite}_*Release"):
            found = re.search(r"^Date: (.*)$", release.read_text(errors="replace"), re.MULTILINE)
            if found:
                return found[1]
        return None

    def packages(self, suite):
        """All packages of a suite by name, and who provides what."""
        if suite not in self._parsed:
            self._parsed[suite] = self._parse(suite)
        return self._parsed[suite]

    def _parse(self, suite):
        packages = {}
        listing = self._apt("indextargets", "--format", "$(RELEASE)|$(FILENAME)", "Created-By: Packages")
        for line in listing.splitlines():
            archive, _, filename = line.partition("|")
            if archive not in SUITES[suite]:
                continue
            text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", filename], capture_output=True, check=True)
            registry = "debian-security" if archive.endswith("-security") else "debian"
            for stanza in text.stdout.decode().split("\n\n"):
                fields = dict(FIELDS.findall(stanza))
                if "Filename" not in fields:
                    continue
                fields["registry"] = registry
                other = packages.get(fields["Package"])
                if other is None or compare(other["Version"], fields["Version"]) < 0:
                    packages[fields["Package"]] = fields
        provides = {}
        for name, fields in packages.items():
            for virtual in split(fields.get("Provides", "")):
                provides.setdefault(virtual.split()[0], []).append(name)
        return packages, provides


def split(field):
    """The members of a comma separated relationship field."""
    return [part.strip() for part in field.split(",") if part.strip()]


def closure(packages, provides, want, cut):
    """The packages that `want` needs: first alternative that exists, real packages before virtual ones."""
    seen, todo = {}, list(want)
    while todo:
        name = todo.pop(0)
        if name in seen or name in cut:
            continue
        if name not in packages:
            providers = sorted(provides.get(name, []))
            if not providers:
                raise clients.ClientError(f"debian: nothing provides `{name}`; correct `want` in the pin file or add it to data/debian-cut.txt")
            if not any(p in seen or p in cut for p in providers):
                todo.insert(0, providers[0])
            continue
        seen[name] = packages[name]
        for field in ("Pre-Depends", "Depends"):
            for relation in split(packages[name].get(field, "")):
                options = [re.sub(r"[ (:].*", "", option.strip()) for option in relation.split("|")]
                if not any(option in seen or option in cut for option in options):
                    todo.append(next((o for o in options if o in packages), options[0]))
    return seen


def resolve(pin_file, indexes, cut):
    """A root's new pins and the date of the index they come from."""
    found = closure(*indexes.packages(pin_file["suite"]), pin_file["want"], cut | set(pin_file.get("cut", [])))
    pins = {
        name: {
            "version": f["Version"], "registry": f["registry"], "path": f["Filename"],
            "sha256": f["SHA256"], "size": int(f["Size"]),
        }
        for name, f in sorted(found.items())
    }
    return {**pin_file, "date": indexes.date(pin_file["suite"]), "pins": pins}


def _order(char):
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _compare_part(left, right):
    pattern = re.compile(r"(\D*)(\d*)")
    while left or right:
        (text_l, number_l), (text_r, number_r) = pattern.match(left).groups(), pattern.match(right).groups()
        left, right = left[len(text_l) + len(number_l):], right[len(text_r) + len(number_r):]
        for index in range(max(len(text_l), len(text_r))):
            a = _order(text_l[index]) if index < len(text_l) else 0
            b = _order(text_r[index]) if index < len(text_r) else 0
            if a != b:
                return -1 if a < b else 1
        if int(number_l or 0) != int(number_r or 0):
            return -1 if int(number_l or 0) < int(number_r or 0) else 1
    return 0


@functools.lru_cache(maxsize=None)
def compare(left, right):
    """dpkg's order of two versions: negative, zero or positive."""
    def parts(version):
        epoch, mark, rest = version.partition(":")
        epoch, rest = (int(epoch), rest) if mark else (0, version)
        upstream, mark, revision = rest.rpartition("-")
        return (epoch, upstream, revision) if mark else (epoch, rest, "")
    (epoch_l, up_l, rev_l), (epoch_r, up_r, rev_r) = parts(left), parts(right)
    if epoch_l != epoch_r:
        return -1 if epoch_l < epoch_r else 1
    return _compare_part(up_l, up_r) or _compare_part(rev_l, rev_r)
