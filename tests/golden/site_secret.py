"""Makes the golden values of src/research/archive/add/site_secret.rs with Python's own hmac."""

import hashlib
import hmac
import struct

KEY = bytes(range(32))
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PATIENT = struct.pack(">Q", len("MRN-4711")) + b"MRN-4711" + b"KLINIK"


def digest(purpose: str, message: bytes) -> bytes:
    return hmac.new(KEY, purpose.encode() + b"\0" + message, hashlib.sha256).digest()


bits = int.from_bytes(digest("pseudonym", PATIENT)[:8], "big")
print("sub-" + "".join(ALPHABET[(bits >> (59 - 5 * i)) & 31] for i in range(10)))
print(40_000 + int.from_bytes(digest("date shift", PATIENT)[:8], "big") % 3650)
print(digest("study", b"1.2.3")[:16].hex())
