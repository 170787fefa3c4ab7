"""``provision image inspect`` and ``diff``: what is in an image, and what differs between two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from pydantic_core import to_jsonable_python

from hatfleet.cli.options import json_option
from hatfleet.common.errors import ExitCode
from hatfleet.common.progress import slow_step

_IMAGE = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("image", metavar="IMAGE|DIR", type=_IMAGE)
@click.option("--packages", is_flag=True, help="List the Debian packages, too.")
@json_option
def inspect(image: Path, *, packages: bool, as_json: bool) -> None:
    """Show what is in an image: partitions and what is on them, packages, roles, kernel, root hash, artefacts.

    IMAGE is an image file, DIR the folder that a build wrote. Partitions, boot files, kernel command lines and root
    hash are read from the image itself; the rest comes from the manifest.json beside it, if there is one. Nothing is
    proven: that does provision image verify.

    \b
    provision image inspect out/edge-virt
    provision image inspect edge-virt-1.4.0.img --packages
    provision image inspect out/edge-virt --json | jq .root_hash
    """
    from hatfleet.cli.image_inspect_view import print_report
    from hatfleet.image.inspect import inspect_image
    from hatfleet.image.tools import HostTools

    with slow_step("looking into the image"):
        report = inspect_image(image, HostTools())
    if as_json:
        click.echo(json.dumps(to_jsonable_python(report), indent=2))
    else:
        print_report(report, packages=packages)


@click.command()
@click.argument("before", metavar="A", type=_IMAGE)
@click.argument("after", metavar="B", type=_IMAGE)
@click.option("--text", is_flag=True, help="Show changed settings (below /etc and /usr/lib/hatfleet) line by line.")
@json_option
def diff(before: Path, after: Path, *, text: bool, as_json: bool) -> None:
    """Show what differs between the images A and B, and how much an update from A to B carries.

    A and B are image files, or folders that builds wrote. Packages and roles come from their manifests, files from the
    lists of files that builds write; without those, the system partitions are unpacked.

    \b
    provision image diff out/edge-virt /srv/releases/edge-virt-1.3.0.img
    provision image diff out.old/edge-virt out/edge-virt --text
    Exit code 0: they are the same; 4: they differ; 2: one of them is no image.
    """
    from hatfleet.cli.image_inspect_view import print_difference
    from hatfleet.image.inspect import diff_images
    from hatfleet.image.tools import HostTools

    with slow_step("comparing the images"):
        difference = diff_images(before, after, HostTools())
    if as_json:
        click.echo(json.dumps({"same": difference.same, **to_jsonable_python(difference)}, indent=2))
    else:
        print_difference(difference, text=text)
    sys.exit(ExitCode.OK if difference.same else ExitCode.NEEDS_IMAGE)
