"""coolwsd.xml, as the role office writes it."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET

import pytest
from conftest import ROOT

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
