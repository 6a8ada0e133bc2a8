"""What the mirror has and whom it gives it, asked as its hosts ask, over an upstream of the scenario's own."""

import hashlib
import os
import re

import pytest
from conftest import ROOT

SUMS = "find /srv/mirror -type f -exec sha256sum {} + | sort -k 2"
MIRROR = "https://mirror.coop.test"
# as somebody who may connect
AS = "setpriv --reuid nobody --clear-groups "
CURL = AS + "curl -sS --max-time 10 -o /dev/null -w '%{http_code} %{size_download}' "


def pin(name, content, version="1.0.0", url=None):
    return {
        "name": name,
        "version": version,
        "url": url or f"https://maker.test/{name}-{version}.tar.gz",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "licence": "AGPL-3.0-or-later",
    }


def cloud(version):
    return pin("cloud-1", f"cloud {version}", version, f"https://maker.test/v{version}/cloud.tar.gz")


DECK = pin("deck", "deck-1.0.0")
FORMS = pin("forms", "forms-1.0.0")


def asked(host, path):
    """How often the maker was."""
    return host.check_output(f"grep -c 'maker.test \"GET {path} ' /var/log/nginx/access.log || :")


def plain(run):
    """What it said, in one line."""
    return " ".join((run.stdout + run.stderr).split())


@pytest.fixture
def fill(play):
    def run(*pins, **variables):
        given = {"upstream_pins": pins, "upstream_repositories": []}
        return play("playbooks/mirror.yml", groups=["coop", "mirror"], variables=given | variables)

    return run


@pytest.fixture
def fetch(play):
    def run(*pins, **variables):
        names = [pin["name"] for pin in pins]
        given = {"upstream_mirror_url": MIRROR, "upstream_pins": pins, "upstream_artefacts": names, "upstream_repositories": []}
        return play("molecule/upstream/fetch.yml", groups=["coop", "mirror"], variables=given | variables)

    return run


@pytest.fixture
def sums(host):
    """{file below /srv/mirror: its sha256}, now."""
    return lambda: {
        path.removeprefix("/srv/mirror/"): seen for seen, path in map(str.split, host.check_output(SUMS).splitlines())
    }


def test_it_has_the_pins_and_nothing_else_each_downloaded_once(host, sums):
    assert sums() == {"cloud-1/1.0.0/cloud.tar.gz": cloud("1.0.0")["sha256"], "deck/1.0.0/deck-1.0.0.tar.gz": DECK["sha256"]}
    assert (asked(host, "/v1.0.0/cloud.tar.gz"), asked(host, "/deck-1.0.0.tar.gz")) == ("1", "1")
    assert asked(host, "/forms-1.0.0.tar.gz") == "0"


def test_who_downloads_can_change_none_of_it_and_leaves_nothing(host):
    for directory in ("/srv/mirror", "/var/cache/upstream"):
        assert host.check_output(f"find {directory} ! -user root -o -perm /022") == ""
    assert not host.file("/var/cache/upstream/unverified").exists


def test_the_cooperatives_hosts_are_served_and_nobody_else(host, address):
    url = "https://mirror.coop.test/deck/1.0.0/deck-1.0.0.tar.gz"
    assert host.check_output(CURL + url) == "200 10"
    stranger = host.check_output(f"{CURL} --resolve mirror.coop.test:443:127.0.0.1 {url}")
    assert stranger.startswith("403 ")
    assert host.check_output(CURL + url.replace("https", "http")).startswith("301 ")
    assert host.check_output(CURL + "https://mirror.coop.test/deck/").startswith("40"), "no list of what there is"


def test_an_older_version_stays_and_is_not_downloaded_again(host, fill, sums):
    before = sums()
    newer = fill(cloud("2.0.0"), DECK)
    assert newer.returncode == 0, plain(newer)
    assert sums() == before | {"cloud-1/2.0.0/cloud.tar.gz": cloud("2.0.0")["sha256"]}
    back = fill(cloud("1.0.0"), DECK)
    assert back.returncode == 0 and "changed=0" in back.stdout, plain(back)
    assert (asked(host, "/v1.0.0/cloud.tar.gz"), asked(host, "/v2.0.0/cloud.tar.gz")) == ("1", "1")


def test_a_mismatch_names_pin_sums_and_mend_and_loses_nothing(fill, sums):
    before = sums()
    wrong = DECK | {"sha256": "0" * 64}  # the same version: what is there is at stake
    run = fill(wrong, FORMS)
    assert run.returncode != 0
    for part in ("deck 1.0.0", DECK["sha256"], "0" * 64, "bin/pins set deck 1.0.0", "the mirror keeps what it had"):
        assert part in plain(run)
    assert sums() == before | {"forms/1.0.0/forms-1.0.0.tar.gz": FORMS["sha256"]}, "the good copy stays, the other pin comes"


def test_what_is_not_there_holds_up_no_other(host, fill, sums):
    host.check_output("rm -r /srv/mirror/forms")
    absent = pin("absent", "absent")
    run = fill(absent, FORMS)
    assert run.returncode != 0
    assert re.search(rf"absent 1\.0\.0: cannot be had from {re.escape(absent['url'])}: .*404", plain(run))
    assert FORMS["sha256"] in sums().values()


def test_what_the_controller_has_is_not_downloaded_but_verified(host, fill, sums, tmp_path):
    given = {"upstream_given": str(tmp_path)}
    only = pin("given", "of the controller")
    (tmp_path / "given-1.0.0.tar.gz").write_text("damaged")
    run = fill(only, **given)
    assert run.returncode != 0 and only["sha256"] in plain(run) and hashlib.sha256(b"damaged").hexdigest() in plain(run)
    assert not any(path.startswith("given/") for path in sums())
    (tmp_path / "given-1.0.0.tar.gz").write_text("of the controller")
    run = fill(only, **given)
    assert run.returncode == 0, plain(run)
    assert sums()["given/1.0.0/given-1.0.0.tar.gz"] == only["sha256"] and asked(host, "/given-1.0.0.tar.gz") == "0"
    run = fill(only, upstream_given="/nonexistent")
    assert run.returncode != 0 and "upstream_given (UPSTREAM_DIR) is '/nonexistent'" in plain(run)


def test_a_host_has_it_from_the_mirror_over_tls_that_is_verified(host, fetch):
    there = host.file("/var/cache/upstream/cloud-1/1.0.0/cloud.tar.gz")
    assert there.content_string == "cloud 1.0.0"
    assert 'mirror.coop.test "GET /cloud-1/1.0.0/cloud.tar.gz' in host.check_output("cat /var/log/nginx/access.log")
    run = fetch(DECK, upstream_mirror_url="https://another.coop.test")
    assert run.returncode != 0 and re.search("certificate verify failed", plain(run), re.IGNORECASE), plain(run)
    assert not host.file("/var/cache/upstream/deck/1.0.0/deck-1.0.0.tar.gz").exists
    run = fetch(DECK)
    assert run.returncode == 0 and "deck 1.0.0: the artefact" in plain(run), plain(run)
    assert host.file("/var/cache/upstream/deck/1.0.0/deck-1.0.0.tar.gz").content_string == "deck-1.0.0"


def test_a_mirror_that_changed_a_file_installs_nothing(host, fetch):
    host.check_output("rm -r /var/cache/upstream/deck && printf changed >/srv/mirror/deck/1.0.0/deck-1.0.0.tar.gz")
    run = fetch(DECK)
    assert run.returncode != 0 and DECK["sha256"] in plain(run) and hashlib.sha256(b"changed").hexdigest() in plain(run)
    assert not host.file("/var/cache/upstream/deck/1.0.0/deck-1.0.0.tar.gz").exists
    host.check_output("printf deck-1.0.0 >/srv/mirror/deck/1.0.0/deck-1.0.0.tar.gz")


def test_without_the_artefact_production_refuses_and_tests_say_that_they_use_a_stand_in(host, fetch, tmp_path):
    newer = cloud("3.0.0")
    path = "/var/cache/upstream/cloud-1/3.0.0/cloud.tar.gz"
    for mirror, said in ((None, "404"), ("", "there is no mirror (the group 'mirror' has no host)")):
        run = fetch(newer, **({} if mirror is None else {"upstream_mirror_url": mirror}))
        assert run.returncode != 0 and said in plain(run) and "run playbooks/mirror.yml" in plain(run), plain(run)
        assert not host.file(path).exists
    standins = {"upstream_standins": str(ROOT / "molecule/upstream/standins"), "upstream_mirror_url": ""}
    for changed in (True, False):
        run = fetch(newer, **standins)
        assert run.returncode == 0 and "cloud-1 3.0.0: a STAND-IN" in plain(run), plain(run)
        assert ("changed=0" not in run.stdout) == changed, plain(run)
    assert host.file(path).content_string == "stands in for cloud-1 3.0.0\n"
    run = fetch(FORMS, **standins)
    assert run.returncode != 0 and "forms: neither an artefact" in plain(run), plain(run)
    # as soon as the artefact can be had, it takes the stand-in's place
    (tmp_path / "cloud.tar.gz").write_text("cloud 3.0.0")
    run = fetch(newer, **standins, upstream_given=str(tmp_path))
    assert run.returncode == 0 and "cloud-1 3.0.0: the artefact" in plain(run), plain(run)
    assert host.file(path).content_string == "cloud 3.0.0"


def test_where_there_are_stand_ins_the_mirror_asks_no_maker_and_says_so(host, fill):
    host.check_output("rm -r /srv/mirror/forms")
    before = asked(host, "/forms-1.0.0.tar.gz")
    run = fill(FORMS, upstream_standins=os.devnull)
    assert run.returncode == 0 and "no artefact, so a stand-in: forms" in plain(run), plain(run)
    assert asked(host, "/forms-1.0.0.tar.gz") == before and not host.file("/srv/mirror/forms").exists


# --- what a maker signs -------------------------------------------------------------------------------------------------

SOURCE = "/etc/apt/sources.list.d/upstream-office.sources"
MIRRORED = "/srv/mirror/office/1.0.1-1"


@pytest.fixture
def repository(host):
    def of(version="1.0.1-1", signed_by=None, **changes):
        key = host.file(f"/srv/maker/deb-{signed_by or version}/key.asc").content_string
        packages = ["coolwsd", "code-brand", "collaboraoffice-dict-fr"]
        url = f"https://maker.test/deb-{version}"
        return {
            "name": "office",
            "version": version,
            "url": url,
            "packages": packages,
            "key": key,
            "licence": "MPL-2.0",
        } | changes

    return of


@pytest.fixture
def install(play):
    def run(repository, **variables):
        given = {"upstream_mirror_url": MIRROR, "upstream_pins": [], "upstream_repositories": [repository]}
        return play("molecule/upstream/packages.yml", groups=["coop", "mirror"], variables=given | variables)

    return run


def test_a_repository_is_mirrored_as_its_maker_signed_it(host, fill, repository, sums):
    before = sums()
    # what a run that was killed has left is no hindrance
    host.check_output(
        "install -d -o _apt -m 0700 /var/cache/upstream/unverified && mkdir -p /var/cache/upstream/unverified/sources"
    )
    run = fill(upstream_repositories=[repository()])
    assert run.returncode == 0, plain(run)
    new = {path.removeprefix("office/1.0.1-1/"): seen for path, seen in sums().items() if path not in before}
    assert new.pop("wanted")
    theirs = host.check_output("cd /srv/maker/deb-1.0.1-1 && sha256sum *").splitlines()
    assert new.items() <= {(name, seen) for seen, name in map(str.split, theirs)}
    # what is asked for, what that needs, and nothing else
    assert {"InRelease", "Packages", "coolwsd_1.0.1-1_all.deb", "collaboraoffice_1.0-2_all.deb"} <= set(new)
    assert "collaboraoffice-dict-fr_1.0-2_all.deb" in new and "collaboraoffice-dict-it_1.0-2_all.deb" not in new
    assert host.check_output("find /srv/mirror ! -user root -o -perm /022") == ""
    assert not host.file("/var/cache/upstream/unverified").exists
    asked = host.check_output("grep -c 'maker.test \"GET /deb-' /var/log/nginx/access.log")
    again = fill(upstream_repositories=[repository()])
    assert again.returncode == 0 and "changed=0" in again.stdout, plain(again)
    assert host.check_output("grep -c 'maker.test \"GET /deb-' /var/log/nginx/access.log") == asked
    # a package more of the same version comes, too, and what was there stays
    more = repository(packages=["coolwsd", "code-brand", "collaboraoffice-dict-fr", "collaboraoffice-dict-it"])
    run = fill(upstream_repositories=[more])
    assert run.returncode == 0, plain(run)
    now = {path.removeprefix("office/1.0.1-1/"): seen for path, seen in sums().items() if path not in before}
    assert "collaboraoffice-dict-it_1.0-2_all.deb" in now and new.items() <= now.items()
    assert "changed=0" in fill(upstream_repositories=[more]).stdout
    # somebody made room
    host.check_output(f"rm -r {MIRRORED}")
    assert fill(upstream_repositories=[more]).returncode == 0
    assert {path.removeprefix("office/1.0.1-1/"): seen for path, seen in sums().items() if path not in before} == now


def test_what_another_has_signed_is_not_mirrored_and_holds_up_no_other(host, fill, repository, sums):
    host.check_output("rm -rf /srv/mirror/forms")
    run = fill(FORMS, upstream_repositories=[repository("1.0.2-1", signed_by="1.0.1-1")])
    assert run.returncode != 0
    for part in (
        "the mirror keeps what it had",
        "office 1.0.2-1: cannot be had from https://maker.test/deb-1.0.2-1",
        "not signed",
    ):
        assert part in plain(run)
    assert not [path for path in sums() if path.startswith("office/1.0.2-1")] and FORMS["sha256"] in sums().values()


def test_a_package_that_the_maker_did_not_sign_is_not_mirrored(host, fill, repository, sums):
    deb = "/srv/maker/deb-1.0.2-1/code-brand_1.0.2-1_all.deb"
    host.check_output(f"cp {deb} /root/kept.deb && printf x >>{deb}")
    run = fill(upstream_repositories=[repository("1.0.2-1")])
    host.check_output(f"cp /root/kept.deb {deb}")
    assert run.returncode != 0 and "code-brand_1.0.2-1_all.deb File has unexpected size" in plain(run), plain(run)
    assert not [path for path in sums() if path.startswith("office/1.0.2-1")]
    run = fill(upstream_repositories=[repository("3.0-1", url="https://maker.test/deb-1.0.2-1", signed_by="1.0.2-1")])
    assert run.returncode != 0 and "Version '3.0-1' for 'coolwsd' was not found" in plain(run), plain(run)


def test_a_host_installs_what_the_maker_signed_and_nothing_else(host, install, repository):
    run = install(repository())
    assert run.returncode == 0 and "coolwsd=1.0.1-1" in plain(run) and "office 1.0.1-1: its maker" in plain(run), plain(run)
    assert host.package("code-brand").version == "1.0.1-1"
    assert "https://mirror.coop.test/office/1.0.1-1" in host.file(SOURCE).content_string
    assert "changed=0" in install(repository()).stdout
    # a mirror that changed a package
    host.check_output(f"apt-get -q purge -y code-brand && apt-get clean && cp -a {MIRRORED} /root/kept")
    host.check_output(f"printf x >>{MIRRORED}/code-brand_1.0.1-1_all.deb")
    run = install(repository())
    assert run.returncode != 0 and not host.package("code-brand").is_installed, plain(run)
    # and one that changed its lists, too
    host.check_output(f"sed -i 's/^Size: .*/Size: 1/' {MIRRORED}/Packages && rm -rf /var/lib/apt/lists/mirror*")
    run = install(repository())
    assert run.returncode != 0 and "run playbooks/mirror.yml" in plain(run), plain(run)
    host.check_output(f"rm -r {MIRRORED} && mv /root/kept {MIRRORED}")
    # what somebody else signed
    run = install(repository(signed_by="1.0.2-1"))
    assert run.returncode != 0 and "not signed" in plain(run), plain(run)
    run = install(repository())
    assert run.returncode == 0 and host.package("code-brand").is_installed, plain(run)


def test_without_the_repository_production_refuses_and_tests_say_that_they_use_a_stand_in(host, install, repository, tmp_path):
    run = install(repository("1.0.9-1", signed_by="1.0.1-1"))
    assert run.returncode != 0 and "run playbooks/mirror.yml" in plain(run), plain(run)
    assert "office/1.0.9-1 ./ Release' does not have a Release file" in plain(run), plain(run)
    run = install(repository(), upstream_mirror_url="")
    assert run.returncode != 0 and "there is no mirror (the group 'mirror' has no host)" in plain(run), plain(run)
    (tmp_path / "office.py").write_bytes((ROOT / "tests/standins/collabora.py").read_bytes())
    (tmp_path / "office.py").chmod(0o755)
    standins = {"upstream_standins": str(tmp_path), "upstream_mirror_url": ""}
    for changed in (True, False):
        run = install(repository(), **standins)
        assert run.returncode == 0 and "office 1.0.1-1: STAND-INS" in plain(run), plain(run)
        assert ("changed=0" not in run.stdout) == changed, plain(run)
    run = install(repository(), **standins | {"upstream_standins": os.devnull})
    assert run.returncode != 0 and "office: neither the repository in upstream_given" in plain(run), plain(run)


def test_what_the_controller_has_of_a_repository_is_verified_likewise(host, fill, repository, sums, tmp_path):
    given = tmp_path / "office-1.0.2-1"
    given.mkdir()
    for line in host.check_output("ls /srv/maker/deb-1.0.2-1").splitlines():
        (given / line).write_bytes(host.file(f"/srv/maker/deb-1.0.2-1/{line}").content)
    (given / "code-brand_1.0.2-1_all.deb").write_text("damaged")
    nowhere = repository("1.0.2-1", url="https://maker.test/nothing")
    run = fill(upstream_repositories=[nowhere], upstream_given=str(tmp_path))
    assert run.returncode != 0 and not [path for path in sums() if path.startswith("office/1.0.2-1")], plain(run)
    (given / "code-brand_1.0.2-1_all.deb").write_bytes(host.file("/srv/maker/deb-1.0.2-1/code-brand_1.0.2-1_all.deb").content)
    run = fill(upstream_repositories=[nowhere], upstream_given=str(tmp_path))
    assert run.returncode == 0 and "office/1.0.2-1/code-brand_1.0.2-1_all.deb" in sums(), plain(run)
