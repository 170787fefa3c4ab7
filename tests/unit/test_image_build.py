"""The plan of a build: which stage an edit makes run again, and what is said about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hatfleet.acceptance.accept import Candidate, accept
from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.image import build, cache
from hatfleet.image.bootstage import require_room
from hatfleet.image.lock import Lock, LockedPackage
from hatfleet.image.machine import host_arch
from hatfleet.image.recipe import Layout, Recipe, load_recipe
from hatfleet.image.release.manifest import MANIFEST, Kind
from hatfleet.image.stages import plan
from hatfleet.image.store import Store
from hatfleet.image.wanted import wanted_packages
from hatfleet.runtimes.lock import Lock as WheelLock
from hatfleet.runtimes.lock import LockedWheel
from hatfleet.runtimes.lock import write_lock as write_wheels
from hatfleet.runtimes.target import Target
from tests.release_folder import describe
from tests.unit.wheels import use_hatserve

ALL = ["tools", "packages", "bootstrap", "initramfs", "provision", "checks", "system", "boot", "disk", "release"]


@pytest.fixture
def site(make_role: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_role("paint", 'def packages(settings):\n    return ["nano"]\n')
    recipe = 'name: tiny\nversion: "1"\nplatform: virt\nsuite: trixie\nroles: [paint]\nsettings: {paint: {root: /a}}\n'
    (folder / "images").mkdir()
    (folder / "images" / "tiny.yaml").write_text(recipe + "layout:\n  system_mib: 512\n")
    return Site(folder)


@pytest.fixture
def recipe(site: Site) -> Recipe:
    return load_recipe(site, site.root / "images" / "tiny.yaml")


def make_everything(recipe: Recipe, site: Site) -> None:
    """Record a build without doing the work: every output there, with the keys of now."""
    stages = plan(recipe, site, build.store(), None).stages
    for stage in stages:
        build.store().make(stage.name, stage.key, stage.inputs, recipe.name, lambda work: None)
    build._remember(recipe.name, stages)


def would_run(recipe: Recipe, site: Site) -> list[str]:
    return [status.name for status in build.explain(recipe, site) if not status.cached]


def test_packages_come_from_platform_recipe_and_roles(recipe: Recipe, site: Site) -> None:
    first = plan(replace(recipe, packages=("vim-tiny",)), site, build.store(), None).stages[1]
    assert {"linux-image-cloud-arm64", "nano", "vim-tiny", "systemd-sysv"} <= set(first.inputs["packages"].split())


def test_at_first_everything_runs_and_then_nothing(recipe: Recipe, site: Site) -> None:
    assert {status.reason for status in build.explain(recipe, site)} == {"never built"}
    make_everything(recipe, site)
    assert would_run(recipe, site) == []


def test_a_changed_role_runs_neither_bootstrap_nor_initramfs(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    with (site.root / "roles" / "paint" / "__init__.py").open("a") as handle:
        handle.write("# changed\n")
    assert would_run(recipe, site) == ALL[ALL.index("provision") :]
    reasons = {status.name: status.reason for status in build.explain(recipe, site)}
    assert reasons["provision"] == "changed: role paint"
    assert reasons["system"] == "changed: stage provision"


def test_a_changed_check_makes_no_other_image(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    (site.root / "roles" / "paint" / "checks.py").write_text("# changed\n")
    assert would_run(recipe, site) == ["checks"]


def test_an_environment_is_a_stage_of_its_own_which_wheels_and_hatserve_run_again(
    recipe: Recipe, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = use_hatserve(tmp_path, monkeypatch, ["onnxruntime"])
    monkeypatch.delitem(sys.modules, "roles.paint", raising=False)
    with (site.root / "roles" / "paint" / "__init__.py").open("a") as handle:
        handle.write(
            "from hatfleet.common.site import active_site\nfrom hatfleet.runtimes.environment import declared\n"
            "from hatfleet.runtimes.target import Target\n"
            "def environments(settings):\n    return [declared(active_site(), Target(), ['onnx'])]\n"
        )
    wheel = LockedWheel("onnxruntime", "1.0", "0" * 64, ("hatserve",))
    lock = site.root / "runtimes" / "arm64-py3.13.lock"
    write_wheels(lock, WheelLock(Target(), ("onnxruntime",), (wheel,)))
    make_everything(recipe, site)
    after = ["environment-hatserve", *ALL[ALL.index("provision") :]]
    (source / "src" / "hatserve" / "__init__.py").write_text("changed = True\n")
    assert would_run(recipe, site) == after
    make_everything(recipe, site)
    write_wheels(lock, WheelLock(Target(), ("onnxruntime",), (replace(wheel, version="1.1"),)))
    assert would_run(recipe, site) == after
    reasons = {status.name: status.reason for status in build.explain(recipe, site)}
    assert reasons["environment-hatserve"] == "changed: wheels, wheels and hatserve and how they are put together"
    use_hatserve(tmp_path, monkeypatch, ["onnxruntime>=2"])
    with pytest.raises(InputError, match="older than what hatserve requires"):
        would_run(recipe, site)


def test_a_changed_size_is_named(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    larger = replace(recipe, layout=Layout(system_mib=768))
    assert would_run(larger, site) == ALL[ALL.index("system") :]
    reasons = {status.name: status.reason for status in build.explain(larger, site)}
    assert reasons["system"] == "changed: size"
    assert reasons["disk"] == "changed: stage boot, stage system, layout"


def test_a_new_package_runs_everything(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    assert would_run(replace(recipe, packages=("vim-tiny",)), site) == ALL[1:]


def test_a_changed_setting_is_named(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    role = recipe.roles[0].model_copy(update={"settings": {"root": "/b"}})
    reasons = {s.name: s.reason for s in build.explain(replace(recipe, roles=(role,)), site)}
    assert reasons["provision"] == "changed: settings of paint"


def test_a_cleaned_output_is_explained(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    cache.prune(build.store(), everything=True)
    assert {status.reason for status in build.explain(recipe, site)} == {"its output was cleaned away"}


def test_a_damaged_output_is_explained_and_runs_again(recipe: Recipe, site: Site) -> None:
    make_everything(recipe, site)
    planned = plan(recipe, site, build.store(), None)
    (planned.folder("system") / "strange").write_text("x")
    statuses = {status.name: status for status in build.explain(recipe, site)}
    assert would_run(recipe, site) == ["system"]
    assert statuses["system"].reason == "its output is not as it was made: strange is not its own"


def test_with_a_lock_the_packages_are_the_lock_s(recipe: Recipe, site: Site) -> None:
    wanted = wanted_packages(recipe, site)
    one = LockedPackage(name="nano", version="8.4-1", arch="arm64", sha256="0" * 64, size_bytes=1)
    lock = Lock(suite="trixie", arch="arm64", wanted=wanted, packages=(one,), tools_arch=host_arch(), tools=(one,))
    stages = {stage.name: stage for stage in plan(recipe, site, build.store(), lock).stages}
    assert stages["packages"].inputs["packages"] == stages["tools"].inputs["packages"] == "nano=8.4-1"
    unlocked = {stage.name: stage for stage in plan(recipe, site, build.store(), None).stages}
    assert all(stages[name].key != unlocked[name].key for name in stages)
    with pytest.raises(InputError, match="other packages than its lock"):
        plan(replace(recipe, packages=("vim-tiny",)), site, build.store(), lock)


def test_a_partition_that_is_too_small_says_by_how_much_and_where(recipe: Recipe) -> None:
    with pytest.raises(InputError) as caught:
        require_room(recipe, "system_mib", 600)
    assert caught.value.message.startswith("the partition of 512 MiB is 88 MiB too small")
    assert caught.value.where and (caught.value.where.line, caught.value.where.key) == (8, "layout.system_mib")
    assert caught.value.hint == "set layout.system_mib to 600 or more"


def test_a_stage_output_needs_its_whole_chain(recipe: Recipe, site: Site, tmp_path: Path) -> None:
    stages = plan(recipe, site, Store(tmp_path), None).stages
    assert len({stage.key for stage in stages}) == len(ALL)
    assert [stage.name for stage in stages] == ALL


def test_another_builds_image_is_not_accepted_for_what_this_one_found(
    recipe: Recipe, site: Site, tmp_path: Path
) -> None:
    make_everything(recipe, site)
    folder = tmp_path / "out" / "tiny"
    folder.mkdir(parents=True)
    for kind in Kind:
        (folder / kind.of("tiny", "1.0")).write_text(kind.name)
    another = describe(folder, "mbr", "ab" * 32, {"a": "quiet", "b": "quiet"})
    (folder / MANIFEST).write_text(another.text())
    with pytest.raises(InputError, match="was not built from the recipe and roles as they are now"):
        accept(Candidate(recipe, folder / "tiny-1.0.img"), site, boot=False)
