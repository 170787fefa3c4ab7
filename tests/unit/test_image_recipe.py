"""Recipes: what is right is read, and every mistake is named with its line."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.site import Site
from hatfleet.image.archives import sources
from hatfleet.image.origin import archive_places, origin_inputs
from hatfleet.image.recipe import Recipe, find_recipe, load_recipe, settings_digest
from tests.conftest import Provision

FIXTURES = Path(__file__).parent / "fixtures" / "recipes"

SETTINGS = {
    "color": """
        from hatfleet.fleet.settings import RoleSettings

        class Settings(RoleSettings):
            shade: int = 0
            \"\"\"Darkness.\"\"\"
    """,
    "base": """
        from hatfleet.fleet.settings import RoleSettings, Settings as Group

        class Admin(Group):
            name: str = "admin"
            authorized_keys: list[str] = []

        class Settings(RoleSettings):
            admin: Admin = Admin()
    """,
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with the roles color and base, and a lab key of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, settings in SETTINGS.items():
        role = tmp_path / "site" / "roles" / name
        role.mkdir(parents=True)
        (role / "settings.py").write_text(textwrap.dedent(settings))
        (role / "__init__.py").touch()
    deploys = tmp_path / "site" / "deploys"
    deploys.mkdir()
    (deploys / "image.py").write_text('ROLES = ("base", "color")\n')
    return Site(tmp_path / "site")


def read(site: Site, name: str) -> Recipe:
    return load_recipe(site, FIXTURES / f"{name}.yaml")


def errors(site: Site, name: str) -> list[InputError]:
    with pytest.raises(InputError) as caught:
        read(site, name)
    return list(caught.value.errors) if isinstance(caught.value, InputErrors) else [caught.value]


def test_a_minimal_recipe_has_the_roles_of_the_deploy_image(site: Site) -> None:
    recipe = read(site, "valid-minimal")
    assert [role.name for role in recipe.roles] == ["base", "color"]
    assert (recipe.platform.name, recipe.suite.name, recipe.admin_user) == ("virt", "trixie", "admin")
    assert (recipe.layout.boot_mib, recipe.layout.system_mib) == (128, 512)
    assert recipe.roles[0].settings == {"admin": {"name": "admin", "authorized_keys": []}}


def test_a_full_recipe_is_read(site: Site) -> None:
    recipe = read(site, "valid-full")
    assert recipe.packages == ("nano", "python3.13-minimal")
    assert recipe.roles[1].settings == {"shade": 3}
    assert recipe.admin_user == "ops"
    assert (recipe.layout.boot_mib, recipe.layout.system_mib) == (64, 512)


def test_further_archives_come_with_their_own_keys_and_suites(site: Site) -> None:
    (found,) = archive_places(read(site, "valid-archives"))
    assert (found.uri, found.suite) == ("https://packages.example.org/debian", "stable")
    assert found.keyring == FIXTURES / "keys" / "ours.pgp"
    assert found.archive.fingerprints == ("0123456789ABCDEF0123456789ABCDEF01234567",)
    text = sources(found, suite="trixie", arch="arm64", keyring=Path("/keys/ours.gpg"))
    assert "Suites: stable\nComponents: main contrib\n" in text


def test_an_archive_that_moves_is_another_input(site: Site) -> None:
    recipe = read(site, "valid-archives")
    other = replace(recipe, archives=(recipe.archives[0].model_copy(update={"suite": None}),))
    assert origin_inputs(recipe) != origin_inputs(other) != origin_inputs(replace(recipe, archives=()))


def test_lab_access_adds_the_labs_key_and_nothing_else_does(site: Site) -> None:
    (key,) = read(site, "valid-full").roles[0].settings["admin"]["authorized_keys"]
    assert key.startswith("ssh-ed25519 ")
    assert read(site, "valid-minimal").roles[0].settings["admin"]["authorized_keys"] == []


def test_a_recipe_without_roles_is_read(site: Site) -> None:
    recipe = read(site, "valid-no-roles")
    assert (recipe.roles, recipe.admin_user) == ((), None)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("platform", 3, "unknown platform 'vrit': there is virt"),
        ("suite", 4, "unknown suite 'sid': there is trixie"),
        ("role", 5, "unknown role 'colour'"),
        ("deploy", 5, "unknown deploy 'imgae'"),
        ("roles-and-deploy", 6, "either roles or deploy, not both"),
        ("role-twice", 5, "'color' is listed more than once"),
        ("name", 1, "'Edge_Virt'"),
        ("secret", 8, "found !age (encrypted), but this is not declared as a secret"),
        ("other-name", 1, "the file is called invalid-other-name.yaml"),
        ("version-number", 2, "found 1.10"),
        ("version-path", 2, "'../../etc'"),
        ("unknown-key", 5, "unknown key 'package'"),
        ("package", 7, "hook"),
        ("layout", 6, "found 12"),
        ("layout", 7, "found 'big'"),
        ("setting", 8, "found 'dark'"),
        ("setting", 9, "unknown key 'depth'"),
        ("settings-of-no-role", 7, "'colour', which is not among the roles: color"),
        ("lab-access-without-base", 6, "needs the role base"),
        ("table", 7, "found 'ebr', allowed is one of mbr, gpt"),
        ("sizes", 7, "found 16, allowed is an integer from 34"),
        ("sizes", 8, "found 32, allowed is an integer from 64"),
        ("sizes", 9, "found 8, allowed is an integer from 16"),
        ("option", 7, "unknown key 'pcie_generation'"),
        ("option-value", 6, "set watchdog_boot_s to 0 as well"),
        ("option-config", 8, "the image sets kernel itself"),
        ("option-elsewhere", 7, "unknown key 'wifi'"),
        ("archive-uri", 7, "found 'ftp://archive.example.org/debian'"),
        ("archives", 10, "found 0123, allowed"),
        ("archives", 11, "a value is needed"),
        ("secure-boot", 6, "virt has no boot loader that checks a signature"),
        ("secure-boot-key", 6, "there is no file"),
        ("allow", 8, "found 'telnet'"),
        ("allow", 10, "there is no port 70000"),
        ("allow-remove", 7, "'sshd.service' is not among the default units"),
        ("allow-file", 9, "found 'any'"),
    ],
)
def test_a_mistake_is_named_with_its_line(site: Site, name: str, line: int, words: str) -> None:
    found = errors(site, f"invalid-{name}")
    assert any(words in error.message and error.where and error.where.line == line for error in found), [
        str(error) for error in found
    ]


def test_a_key_written_twice_is_named_with_its_line(site: Site, tmp_path: Path) -> None:
    """Not a fixture file: the linter of this repository refuses such a file, too."""
    recipe = tmp_path / "twice.yaml"
    recipe.write_text('name: twice\nversion: "1"\nsuite: trixie\nsuite: bookworm\n')
    with pytest.raises(InputError, match="'suite' is written twice") as caught:
        load_recipe(site, recipe)
    assert caught.value.where and caught.value.where.line == 4


@pytest.mark.parametrize("name", ["invalid-empty", "invalid-list"])
def test_what_is_not_a_recipe_at_all_is_an_input_error(site: Site, name: str) -> None:
    assert errors(site, name)


def test_every_invalid_fixture_is_refused(site: Site) -> None:
    for path in FIXTURES.glob("invalid-*.yaml"):
        assert errors(site, path.stem), path


def test_a_near_miss_is_suggested(site: Site) -> None:
    assert errors(site, "invalid-platform")[0].hint == "did you mean 'virt'?"
    assert errors(site, "invalid-settings-of-no-role")[0].hint == "did you mean 'color'?"


def test_a_changed_key_file_changes_the_digest(tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("one")
    settings = {"admin": {"authorized_keys_files": [str(key)]}}
    before = settings_digest(settings)
    key.write_text("two")
    assert settings_digest(settings) != before


def test_the_recipes_of_the_package_are_right() -> None:
    site = Site.find(Path(__file__).parent)
    for name in site.names("images", ".yaml"):
        load_recipe(site, find_recipe(site, name))


def test_the_command_line_lists_recipes(provision: Provision) -> None:
    rows = json.loads(provision("image", "list", "--json").stdout)
    platforms = {row["name"]: row["platform"] for row in rows if row["suite"] == "trixie" and not row["error"]}
    assert platforms == {
        "edge-lab": "virt",
        "edge-pi4-debian": "rpi4-debian",
        "edge-pi5": "rpi5",
        "edge-virt": "virt",
    }


@pytest.mark.parametrize("verb", ["build", "stages"])
@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("edge-vrit", "did you mean 'edge-virt'?"),
        ("images/missing.yaml", "there is no recipe images/missing.yaml"),
        ("tests/unit/fixtures/recipes/invalid-suite.yaml", "invalid-suite.yaml:4 at suite: unknown suite 'sid'"),
        ("tests/unit/fixtures/recipes/invalid-platform.yaml", "unknown platform 'vrit'"),
    ],
)
def test_a_wrong_recipe_ends_with_exit_code_2(provision: Provision, verb: str, recipe: str, words: str) -> None:
    assert words in provision("image", verb, recipe, expect=2).stderr
