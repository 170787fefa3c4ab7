"""What can go wrong between a model's bytes and its outputs."""

from __future__ import annotations

from hatserve.errors import HatserveError, UsageError


class NotAModelError(HatserveError):
    """The bytes are no model, or one that this runtime cannot run."""


class InputMismatchError(UsageError):
    """The inputs given are not those that the model takes."""


class RuntimeMissingError(HatserveError):
    """What runs this kind of model is not installed, or not whole."""


class OutOfMemoryError(HatserveError):
    """The device has not enough memory for the model or for this call; the model stays as it was."""


class ModelFailedError(HatserveError):
    """The model can run no more: close it and load it again."""


#: How runtimes tell that memory is short, where they do not raise MemoryError.
_MEMORY = ("Failed to allocate memory", "bad_alloc")


def told(error: Exception, sentence: str, kind: type[HatserveError]) -> HatserveError:
    """Return what a runtime's exception is to the admin: short memory, or ``kind`` with the sentence."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(word in said for word in _MEMORY):
        reason = f": {said}" if said else ""
        return OutOfMemoryError(f"not enough memory{reason}", hint="free memory, or take a smaller model or input")
    return kind(f"{sentence}: {said}")
