#!/usr/bin/python
# License: AGPL-3.0-or-later
"""Put a member's mailbox and other texts into a zip archive that any computer opens."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: mailbox_archive
short_description: Put a member's mailbox and other texts into a zip archive that any computer opens
description:
  - Dovecot copies the mailbox, so that nothing is missing or there twice when mail comes meanwhile. Each folder becomes a
    file in the mbox format, quoted as mboxrd, with flags and labels in C(Status), C(X-Status) and C(X-Keywords) as mail
    programs know them. Maildir would be nearer, but its file names are none on Windows.
  - Sieve scripts are in C(sieve/), C(sieve/active.txt) names the one in use. C(SHA256SUMS) covers all the rest.
  - Always makes the archive anew. Whoever calls it removes I(path) afterwards.
options:
  user: {type: str, required: true, description: "The member's address."}
  path: {type: path, required: true, description: "A directory to make, on the disk of the mailboxes; what is there goes."}
  owner: {type: int, required: true, description: "Numeric user and group of the mailboxes."}
  name: {type: str, required: true, description: "Name of the archive in it."}
  files: {type: dict, default: {}, description: "Further files: name and text."}
author: [perron]
"""

EXAMPLES = r"""
- mailbox_archive:
    {user: alice@coop.example, path: /srv/mail/.export-alice, owner: 5000, name: alice.zip, files: {README.txt: Your mail}}
"""

RETURN = r"""
archive: {type: str, returned: success, description: Path of the archive.}
holds: {type: dict, returned: success, description: C(messages), how many in each folder.}
"""

STATUS = re.compile(rb"^(?:status|x-status|x-keywords):[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
FROM = re.compile(rb"^(>*From )", re.MULTILINE)
# What file names may not hold somewhere
ODD = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]+$')
MAILDIR_FLAGS = {"R": "A", "F": "F", "D": "T", "T": "D"}  # Maildir's letter: X-Status'


def message(path: Path, keywords: list[str]) -> bytes:
    """One message as mbox has it."""
    raw = path.read_bytes().replace(b"\r\n", b"\n")
    flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
    status = "RO" if "S" in flags else "O"
    marks = "".join(MAILDIR_FLAGS.get(flag, "") for flag in flags)
    labels = [keywords[ord(flag) - ord("a")] for flag in flags if "a" <= flag < chr(ord("a") + len(keywords))]
    labels += ["$Forwarded"] if "P" in flags else []
    head, gap, body = raw.partition(b"\n\n")
    own = "".join(
        f"{name}: {value}\n"
        for name, value in (("Status", status), ("X-Status", marks), ("X-Keywords", " ".join(labels)))
        if value
    )
    text = own.encode() + STATUS.sub(b"", head + b"\n") + gap[1:] + FROM.sub(rb">\1", body)
    received = time.asctime(time.gmtime(path.stat().st_mtime))
    return f"From MAILER-DAEMON {received}\n".encode() + text.rstrip(b"\n") + b"\n\n"


def folders(mail: Path) -> Iterator[tuple[str, Path]]:
    """Names, `/` between their parts, and places."""
    for place, directories, _ in os.walk(mail):
        if "cur" in directories:
            yield "INBOX" if Path(place) == mail else str(Path(place).relative_to(mail)), Path(place)
        directories[:] = sorted(name for name in directories if name not in ("cur", "new", "tmp"))


def safe(name: str, taken: set[str]) -> str:
    """A path that Windows and macOS take, too, and that no other folder has there."""
    plain = "/".join(ODD.sub("_", part) or "_" for part in name.split("/"))
    path, number = plain, 2
    while path.casefold() in taken:
        path, number = f"{plain} ({number})", number + 1
    taken.add(path.casefold())
    return path


class Archive:
    def __init__(self, path: Path) -> None:
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.sums: list[str] = []

    def add(self, name: str, parts: Iterator[bytes]) -> None:
        digest = hashlib.sha256()
        with self.zip.open(zipfile.ZipInfo(name, time.gmtime()[:6]), "w", force_zip64=True) as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        self.sums.append(f"{digest.hexdigest()}  {name}\n")

    def close(self) -> None:
        self.zip.writestr("SHA256SUMS", "".join(self.sums))
        self.zip.close()


def mbox(folder: Path) -> Iterator[bytes]:
    named = folder / "dovecot-keywords"
    keywords = [line.split(" ", 1)[1] for line in named.read_text(encoding="utf-8").splitlines()] if named.exists() else []
    files = [path for part in ("cur", "new") for path in (folder / part).iterdir()]
    for path in sorted(files, key=lambda path: (path.stat().st_mtime, path.name)):
        yield message(path, keywords)


def sieve(home: Path) -> Iterator[tuple[str, bytes]]:
    for script in sorted(home.glob("sieve/*.sieve")):
        yield script.name, script.read_bytes()
    active = home / ".dovecot.sieve"
    if active.is_symlink():
        yield "active.txt", f"{Path(os.readlink(active)).name}\n".encode()


def size(home: Path) -> int:
    sizes = 0
    for place, _, files in os.walk(home):
        for name in files:
            try:
                sizes += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:  # moved meanwhile
                continue
    return sizes


def doveadm(module: AnsibleModule, *arguments: str) -> str:
    done = subprocess.run(["doveadm", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        module.fail_json(msg=f"doveadm {arguments[0]} failed ({done.returncode}): {said}; nothing was exported")
    return done.stdout


def copy(module: AnsibleModule, user: str, mail: Path) -> None:
    # in the layout of the mailboxes themselves: in doveadm's own for a destination, names with a dot collide. The member's
    # quota is none of the copy's
    options = ["-o", f"mail_path={mail}", "-o", "mail_plugins/quota=no"]
    command = ["doveadm", "backup", "-u", user, "doveadm", *options, "dsync-server", "-u", user]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 2:  # mail came or went meanwhile: once more
            break
    if done.returncode:
        module.fail_json(msg=f"the mailbox of {user} was not copied ({done.returncode}): {done.stderr.strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "owner": {"type": "int", "required": True},
            "name": {"type": "str", "required": True},
            "files": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    user, work = module.params["user"], Path(module.params["path"])
    home = Path(doveadm(module, "user", "-f", "home", user).strip())
    needed, free = 2 * size(home) + 2**20, shutil.disk_usage(work.parent).free
    if free < needed:
        module.fail_json(
            msg=f"{work.parent} has {free >> 20} MiB left and the export of {user} may take {needed >> 20}: make room first"
        )
    if module.check_mode:
        module.exit_json(changed=True)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    os.chown(work, module.params["owner"], module.params["owner"])
    path = work / module.params["name"]
    counts: dict[str, int] = {}
    try:
        os.umask(0o077)
        os.nice(10)  # members who read their mail come first
        copy(module, user, work / "mail")
        archive = Archive(path)
        for name, text in module.params["files"].items():
            archive.add(name, iter([str(text).encode()]))
        taken: set[str] = set()
        for name, place in folders(work / "mail"):
            counts[name] = sum(1 for part in ("cur", "new") for _ in (place / part).iterdir())
            archive.add(f"mail/{safe(name, taken)}.mbox", mbox(place))
        for name, text in sieve(home):
            archive.add(f"sieve/{name}", iter([text]))
        archive.close()
        shutil.rmtree(work / "mail")
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    module.exit_json(changed=True, archive=str(path), holds={"messages": counts})


if __name__ == "__main__":
    main()
