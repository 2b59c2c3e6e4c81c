"""The requests that change a code slot."""

from typing import TypeAlias

from user_lib.contract.messages import PushCode, RemoveCode, RollbackCode

__all__ = ["CodeChange"]

CodeChange: TypeAlias = PushCode | RollbackCode | RemoveCode
