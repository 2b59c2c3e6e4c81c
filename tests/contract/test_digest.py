"""Hashes are what everybody's SHA-256 is, from bytes or from parts."""

import hashlib
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from user_lib.contract.digest import sha256, sha256_of


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_a_hash_is_that_of_the_standard_however_the_bytes_come(parts: list[bytes]) -> None:
    whole = b"".join(parts)

    assert sha256(whole) == sha256_of(parts) == hashlib.sha256(whole).digest()


def test_a_worker_of_the_sandbox_has_no_cryptography_in_its_memory() -> None:
    program = "import agent.sandbox.zygote, user_lib.contract.code, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)

    loaded = done.stdout.decode().split()
    assert "user_lib.contract.digest" in loaded
    assert "cryptography" not in loaded
