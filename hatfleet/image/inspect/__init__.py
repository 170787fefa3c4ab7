"""Looking into images: what is in one, and what differs between two."""

from hatfleet.image.inspect.diff import Difference, diff_images
from hatfleet.image.inspect.files import FileEntry, files_of_archive, write_files
from hatfleet.image.inspect.report import ImageReport, inspect_image
from hatfleet.image.inspect.source import FILES_SUFFIX

__all__ = [
    "FILES_SUFFIX",
    "Difference",
    "FileEntry",
    "ImageReport",
    "diff_images",
    "files_of_archive",
    "inspect_image",
    "write_files",
]
