"""Where this machine's own package clients download from.

Pins name a registry and a path, never a host. The base URL of a registry is asked of the client that is configured
here (apt, pip, npm), or given as `--mirror REGISTRY=URL`. Nothing is written down.
"""
import json
import subprocess
import sys
import tempfile


class ClientError(Exception):
    """A package client could not say where it downloads from."""


def _run(command, what):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ClientError(f"{what}: no program `{command[0]}` here; give --mirror {what}=URL instead") from error
    if done.returncode != 0:
        raise ClientError(f"{what}: `{' '.join(command)}` failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def debian(label):
    """Base URL of Debian's archive (label `Debian`) or security archive (`Debian-Security`), as apt has it."""
    what = "debian" if label == "Debian" else "debian-security"
    lines = _run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"], what)
    for line in lines.splitlines():
        found, _, uri = line.partition("|")
        if found == label:
            return uri.rstrip("/")
    raise ClientError(f"{what}: apt knows no repository labelled `{label}`; run `apt-get update` or give --mirror {what}=URL")


def pip_report(arguments):
    """What pip would install, as its own report: a list of {metadata, download_info}."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--find-links=", "--target", scratch, "--report", "-"]
        return json.loads(_run(command + arguments, "pypi"))["install"]


def pypi_path(url):
    """The part of a download URL that is the same on every mirror."""
    head, mark, tail = url.partition("/packages/")
    if not mark:
        raise ClientError(f"pypi: the index serves files as {url}, which has no /packages/ part; give --mirror pypi=URL")
    return head, "packages/" + tail


def pypi():
    """Base URL of the files of pip's index."""
    report = pip_report(["--no-deps", "--only-binary=:all:", "six"])
    return pypi_path(report[0]["download_info"]["url"])[0]


def npm():
    """Base URL of npm's registry."""
    return _run(["npm", "config", "get", "registry"], "npm").strip().rstrip("/")


ASK = {
    "debian": lambda: debian("Debian"),
    "debian-security": lambda: debian("Debian-Security"),
    "pypi": pypi,
    "npm": npm,
}


def base_url(registry, mirrors):
    """The base URL of one registry: an explicit mirror, else what the client says."""
    if registry in mirrors:
        return mirrors[registry].rstrip("/")
    if registry not in ASK:
        raise ClientError(f"{registry}: no client is known for this registry; give --mirror {registry}=URL")
    return ASK[registry]()
