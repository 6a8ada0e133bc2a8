"""dkim_check.py sign DOMAIN SELECTOR KEY | verify | arc: a message on standard input, judged or signed by dkimpy."""

import sys

import dkim
import dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = ["127.0.0.1"]


def txt(name: bytes, timeout: int = 5) -> bytes:
    return b"".join(resolver.resolve(name.decode(), "TXT", lifetime=timeout)[0].strings)


message = sys.stdin.buffer.read().replace(b"\n", b"\r\n")
if sys.argv[1] == "sign":
    domain, selector = (argument.encode() for argument in sys.argv[2:4])
    with open(sys.argv[4], "rb") as key:
        sys.stdout.buffer.write((dkim.sign(message, selector, domain, key.read()) + message).replace(b"\r\n", b"\n"))
elif sys.argv[1] == "arc":
    print(dkim.arc_verify(message, dnsfunc=txt)[0].decode())
else:
    check = dkim.DKIM(message)
    for index in range(message.lower().count(b"\r\ndkim-signature:") + message.lower().startswith(b"dkim-signature:")):
        try:
            good = check.verify(idx=index, dnsfunc=txt)
        except dkim.ValidationError:  # the body is not what was signed
            good = False
        fields = check.signature_fields
        print(fields[b"a"].decode(), fields[b"d"].decode(), fields[b"s"].decode(), "pass" if good else "fail")
