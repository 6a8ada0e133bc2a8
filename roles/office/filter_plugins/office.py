"""coolwsd.xml, from the names that its documentation has for its settings.

"{{ settings | office_xml(cloud, addresses) }}"   {"net.listen": "loopback"} -> <net><listen>loopback</listen></net>, and who may
                                                  have documents: the cloud alone, and what comes from these addresses by POST
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, indent, tostring


def _at(root: Element, path: str) -> Element:
    for name in path.split("."):
        found = root.find(name)
        root = SubElement(root, name) if found is None else found
    return root


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def office_xml(settings: Mapping[str, Any], cloud: str, addresses: Iterable[str] = ()) -> str:
    root = Element("config")
    for path, value in settings.items():
        _at(root, path).text = _text(value)
    wopi = _at(root, "storage.wopi")
    wopi.set("allow", "true")
    _at(root, "storage.filesystem").set("allow", "false")
    _at(root, "logging.file").set("enable", "false")
    # mode "first" would take whoever comes first for the cloud, whichever host is named
    groups = SubElement(wopi, "alias_groups", mode="groups")
    SubElement(SubElement(groups, "group"), "host", allow="true").text = cloud
    # what a document may have fetched, beside what is named above and below
    SubElement(SubElement(_at(root, "net"), "lok_allow"), "host").text = re.escape(urlsplit(cloud).hostname or "")
    post = SubElement(_at(root, "net"), "post_allow", allow="true")
    for address in ("127.0.0.1", *addresses):
        # IPv4 as a socket of both families has it, too; addresses are regular expressions there
        mapped = "(::ffff:)?" if ipaddress.ip_address(address).version == 4 else ""
        SubElement(post, "host").text = mapped + re.escape(address).replace(r"\:", ":")
    indent(root, "    ")
    return "".join(tostring(child, encoding="unicode", short_empty_elements=False) for child in root).rstrip()


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"office_xml": office_xml}
