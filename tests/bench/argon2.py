"""Verifications of a password by Argon2id and nothing around them, on all cores, run on the directory's host by bench.py.

argon2.py TIMES m=KIB t=PASSES p=LANES      prints the seconds that TIMES of them take
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

size = ctypes.c_size_t
library = ctypes.CDLL("libargon2.so.1")  # slapd's own; Python lets go of its lock meanwhile
times = int(sys.argv[1])
asked = dict(part.split("=") for part in sys.argv[2:])
encoded = ctypes.create_string_buffer(200)
given = [ctypes.c_uint32(int(asked[name])) for name in "tmp"]
if library.argon2id_hash_encoded(*given, b"bench", size(5), b"salt" * 4, size(16), size(32), encoded, size(200)):
    sys.exit("Argon2 refuses these parameters")


def verify(_: int) -> None:
    if library.argon2id_verify(encoded.value, b"bench", size(5)):
        raise AssertionError("the password is not verified")


began = time.monotonic()
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(verify, range(times)))
print(time.monotonic() - began)
