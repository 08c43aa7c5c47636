"""PyPI to pins: pip resolves for the target interpreter (a dry run), path, version, hash and needs are kept."""
import concurrent.futures
import re

import clients

PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64", "any"]


def normal(name):
    """A project name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pin(item):
    download = item["download_info"]
    return {
        "version": item["metadata"]["version"],
        "registry": "pypi",
        "path": clients.pypi_path(download["url"])[1],
        "sha256": download["archive_info"]["hashes"]["sha256"],
    }


def resolve_wheels(pin_file):
    """The wheels of one interpreter. pip evaluates markers for the running Python, so `want` names such extras itself."""
    words = ["--python-version", pin_file["python"], "--implementation", pin_file["implementation"], "--only-binary=:all:"]
    for abi in [*pin_file["abis"], "none", "abi3"]:
        words += ["--abi", abi]
    for platform in PLATFORMS:
        words += ["--platform", platform]
    report = clients.pip_report(words + pin_file["want"])
    names = {normal(item["metadata"]["name"]) for item in report}
    pins = {}
    for item in sorted(report, key=lambda item: normal(item["metadata"]["name"])):
        name = normal(item["metadata"]["name"])
        needs = {normal(re.match(r"[\w.-]+", need)[0]) for need in item["metadata"].get("requires_dist", [])}
        pins[name] = {**_pin(item), "needs": sorted((needs & names) - {name})}
    return {**pin_file, "pins": pins}


def _sdist(want):
    project = re.match(r"[\w.-]+", want)[0]
    return clients.pip_report(["--no-deps", f"--no-binary={project}", "--ignore-requires-python", want])[0]


def resolve_sdists(pin_file):
    """Source archives: each `want` is one `name==version`, or `name~=version` for the newest of a series."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        items = list(pool.map(_sdist, pin_file["want"]))
    pins = {f"{normal(item['metadata']['name'])}-{item['metadata']['version']}": _pin(item) for item in items}
    return {**pin_file, "pins": pins}
