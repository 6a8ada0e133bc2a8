"""coolwsd.xml, as the role office writes it."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ET

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from conftest import ROOT, Coop, trusted

spec = importlib.util.spec_from_file_location("office_filters", ROOT / "roles/office/filter_plugins/office.py")
assert spec and spec.loader
office = importlib.util.module_from_spec(spec)
spec.loader.exec_module(office)


def written(**settings: object) -> ET.Element:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    text = office.office_xml(given, "https://cloud.coop.test", ["192.0.2.1", "2001:db8::1"])
    return ET.fromstring(f"<config>{text}</config>")  # noqa: S314 # our own


def test_settings_are_where_their_names_say() -> None:
    config = written(server_name="office.coop.test", ssl__enable=False, ssl__termination=True, net__listen="loopback", fetch=0)
    assert config.findtext("server_name") == "office.coop.test"
    assert (config.findtext("ssl/enable"), config.findtext("ssl/termination")) == ("false", "true")
    assert (config.findtext("net/listen"), config.findtext("fetch")) == ("loopback", "0")
    assert len(config.findall("ssl")) == len(config.findall("net")) == 1


def test_what_is_said_stays_text() -> None:
    assert written(watermark__text='<host allow="true">&x;').findtext("watermark/text") == '<host allow="true">&x;'


def test_the_cloud_is_the_only_host_of_documents_whoever_comes_first() -> None:
    config = written(storage__ssl__as_scheme=True)
    groups = config.find("storage/wopi/alias_groups")
    assert groups is not None and groups.get("mode") == "groups"
    named = [(host.text, host.get("allow")) for host in groups.iter("host")]
    assert named == [("https://cloud.coop.test", "true")]
    filesystem = config.find("storage/filesystem")
    assert filesystem is not None and filesystem.get("allow") == "false"


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("192.0.2.1", True), ("::ffff:192.0.2.1", True), ("2001:db8::1", True), ("127.0.0.1", True),
        ("192.0.2.10", False), ("192.0.201", False), ("2001:db8::11", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_addresses_that_may_post_are_those_and_no_longer_ones(address: str, may: bool) -> None:
    patterns = [host.text or "" for host in written().findall("net/post_allow/host")]
    assert any(re.fullmatch(pattern, address) for pattern in patterns) == may


@pytest.mark.parametrize(
    ("hosts", "allowed", "url"),
    [
        (["a", "b"], "10.1.0.1,10.1.0.2,fd00:1::1,fd00:1::2", "https://office.coop.test"),
        (["b"], "10.1.0.2,fd00:1::2", "https://office.coop.test"),
        # an empty list would be everybody's
        ([], "0.0.0.0", ""),  # noqa: S104 # an address that nobody has
    ],
)
def test_the_cloud_gives_documents_to_the_hosts_of_the_office(coop: Coop, hosts: list[str], allowed: str, url: str) -> None:
    wired = yaml.safe_load((ROOT / "group_vars/nextcloud.yml").read_text())
    given = {name: wired[name] for name in ("nextcloud_url", "__nextcloud_office", "nextcloud_app_settings")}
    inventory = {"coop_domain": "coop.test", "groups": {"office": hosts}, "hostvars": coop.hostvars}
    templar = Templar(loader=DataLoader(), variables=trusted(given) | inventory)
    said = json.loads(templar.template(trust_as_template("{{ nextcloud_app_settings.richdocuments | to_json }}")))
    assert (said["wopi_allowlist"], said["wopi_url"], said["public_wopi_url"]) == (allowed, url, url)
    assert said["wopi_callback_url"] == "https://cloud.coop.test"
