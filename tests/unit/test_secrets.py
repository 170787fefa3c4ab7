"""Secrets of a site: who reads them, what is refused, and what the errors say."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.redact import MARK
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import AGE_SHOWN, Encrypted, Node, parse_yaml
from hatfleet.fleet.inventory.export import ansible_list
from hatfleet.fleet.job import HostJob, Job, Mode, RoleRun
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.fleet.secrets.vault import IDENTITY_VARIABLE, Vault, identity_files, load_identities, new_identity
from tests.unit.secret_site import SECRET, SecretSite, no_passphrase


@pytest.fixture
def site(tmp_path: Path) -> SecretSite:
    return SecretSite(tmp_path / "site", tmp_path / "home" / "identity.txt")


def resolve(site: SecretSite, vault: Vault | None) -> HostJob:
    (job,) = resolve_hosts(Site(site.root), site.inventory(), ["n1"], ["wifi"], vault)
    return job


def refused(site: SecretSite, vault: Vault | None) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        resolve(site, vault)
    lines = [f"{error} | {error.hint}".replace(f"{site.root}/", "") for error in caught.value.errors]
    assert SECRET not in "".join(lines)
    return lines


# Values


def test_an_encrypted_value_is_read_but_not_shown() -> None:
    node = parse_yaml("a: !age |\n  text\nb: [1, !age x]\n", Path("f"))
    assert node.plain() == {"a": AGE_SHOWN, "b": [1, AGE_SHOWN]}
    assert [path for path, _ in node.encrypted()] == [("a",), ("b", 1)]
    assert node.value["a"].shown() == AGE_SHOWN if isinstance(node.value, Mapping) else False


@pytest.mark.parametrize("text", ["a: !age [1]\n", "a: !age {b: 1}\n", "!age a: 1\n"])
def test_only_text_can_be_encrypted(text: str) -> None:
    with pytest.raises(InputError, match="the tag !age is not supported"):
        parse_yaml(text, Path("f"))


def test_secrets_reach_the_job_with_their_values(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.put("wifi.token", "token-of-bytes")
    site.put("wifi.others.one", "line one\nline two\n")
    (run,) = resolve(site, site.vault()).roles
    assert run.settings["passphrase"] == SECRET
    assert run.settings["token"] == "token-of-bytes"
    assert run.settings["others"] == {"one": "line one\nline two\n"}
    assert run.settings["ssid"] == "home"
    assert set(run.secrets) == {SECRET, "token-of-bytes", "line one\nline two\n"}


def test_a_job_does_not_show_its_secrets(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    host = resolve(site, site.vault())
    job = Job(mode=Mode.PLAN, site=site.root, hosts=(host,))
    assert job.secrets == (SECRET,)
    for shown in (repr(job), str(job), repr(host), f"{host.roles}"):
        assert SECRET not in shown


def test_an_unusable_job_does_not_quote_its_secrets() -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        RoleRun.model_validate({"name": "wifi", "settings": {}, "secret": SECRET})
    assert SECRET not in str(caught.value)


def test_without_a_vault_nothing_is_decrypted_and_nothing_can_run(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.identity.unlink()
    host = resolve(site, None)
    assert host.roles[0].settings["passphrase"] == AGE_SHOWN
    assert host.roles[0].settings["ssid"] == "home"
    with pytest.raises(ValueError, match="the secrets of wifi were not decrypted"):
        Job(mode=Mode.PLAN, site=site.root, hosts=(host,))


def test_what_only_the_value_could_tell_is_not_judged_without_it(site: SecretSite) -> None:
    site.put("wifi.passphrase", "short")
    site.put("wifi.token", "a:colon")
    site.write("roles/wifi/settings.py", (site.root / "roles/wifi/settings.py").read_text().replace("=8", "=80"))
    assert resolve(site, None).roles[0].settings["token"] == AGE_SHOWN


def test_a_default_secret_is_not_shown_either(site: SecretSite) -> None:
    text = (site.root / "roles/wifi/settings.py").read_text()
    site.write("roles/wifi/settings.py", text.replace("SecretBytes | None = None", 'SecretStr = SecretStr("default")'))
    site.put("wifi.passphrase", SECRET)
    assert resolve(site, None).roles[0].settings["token"] == MARK
    assert "default" in resolve(site, site.vault()).roles[0].secrets


def test_secrets_of_other_roles_and_hosts_are_not_decrypted(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.put("unused", "another secret")
    site.write("inventory/prod/host_vars/n2.yaml", site.variables.read_text().replace("AGE ENC", "AGE BROKEN"))
    site.write("inventory/prod/hosts.yaml", "all:\n  hosts:\n    n1:\n    n2:\n")
    vault = site.vault()
    resolve(site, vault)
    assert len(vault._known) == 1
    resolve_hosts(Site(site.root), site.inventory(), ["n1", "n2"], [], vault)


def test_a_value_is_decrypted_once_for_all_hosts(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    asked = []
    site.write("inventory/prod/hosts.yaml", "all:\n  hosts:\n    n[1:9]:\n")
    vault = Vault((site.identity,), no_passphrase, site.recipients)
    read = vault.identities
    vault.identities = lambda: asked.append(1) or read()  # type: ignore[method-assign, func-returns-value]
    jobs = resolve_hosts(Site(site.root), site.inventory(), [f"n{i}" for i in range(1, 10)], ["wifi"], vault)
    assert [job.roles[0].secrets for job in jobs] == [(SECRET,)] * 9
    assert len(asked) == 1


def test_without_secrets_no_identity_is_needed(site: SecretSite) -> None:
    site.identity.unlink()
    assert resolve(site, site.vault()).roles[0].secrets == ()


def test_the_export_for_other_tools_stays_encrypted(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.put("own", SECRET)
    shown = str(ansible_list(site.inventory(), ["n1"], ["wifi"]))
    assert shown.count(AGE_SHOWN) == 2
    assert SECRET not in shown


# What is refused


def test_a_secret_where_none_is_declared_is_refused(site: SecretSite) -> None:
    site.put("wifi.ssid", SECRET)
    site.put("wifi.loose", SECRET)
    for vault in (None, site.vault()):
        lines = refused(site, vault)
        assert len(lines) == 2
        assert "all.yaml:2 at wifi.ssid: found !age (encrypted), but this is not declared as a secret" in lines[0]
        assert "wifi.loose" in lines[1]


def test_a_secret_for_a_whole_role_or_an_unknown_key_is_refused(site: SecretSite) -> None:
    site.put("wifi.passfrase", SECRET)
    (line,) = refused(site, None)
    assert "unknown key 'passfrase'" in line
    site.variables.write_text("")
    site.put("wifi", SECRET)
    assert "not declared as a secret" in refused(site, None)[0]


@pytest.mark.parametrize("key", ["ansible_host", "ansible_user", "ansible_port"])
def test_a_secret_among_the_connection_variables_is_refused(site: SecretSite, key: str) -> None:
    site.put(key, SECRET)
    assert f"at {key}: found !age (encrypted), but this is not declared" in refused(site, site.vault())[0]


def test_plain_text_for_a_secret_is_refused_and_not_shown(site: SecretSite) -> None:
    site.variables.write_text("wifi:\n  passphrase: pw\n  token: [pw-in-list]\n  others:\n    a: 1234567\n")
    for vault in (None, site.vault()):
        lines = refused(site, vault)
        assert [line.partition(" | ")[0] for line in lines] == [
            f"inventory/prod/group_vars/all.yaml:{number} at wifi.{key}: "
            "found plain text where a secret is declared: it must be encrypted"
            for number, key in ((2, "passphrase"), (3, "token"), (5, "others.a"))
        ]
        assert "provision secrets encrypt" in lines[0]
        assert not any(secret in "".join(lines) for secret in ("pw-in-list", "'pw'", "1234567"))


def test_a_value_that_breaks_a_rule_is_refused_without_being_shown(site: SecretSite) -> None:
    site.put("wifi.passphrase", "7 chars")
    site.put("wifi.token", "colon:in:it")
    lines = refused(site, site.vault())
    assert "7 chars" not in lines[0]
    assert f"at wifi.token: found {AGE_SHOWN}: no colon may be in {MARK}" in lines[1]


def test_a_role_that_unwraps_its_secret_is_refused(site: SecretSite) -> None:
    text = (site.root / "roles/wifi/settings.py").read_text()
    unwrap = "return token and token.get_secret_value()"
    site.write("roles/wifi/settings.py", text.replace("return token\n", f"{unwrap}\n"))
    site.put("wifi.token", SECRET)
    assert "the role took a secret for an ordinary value" in refused(site, site.vault())[0]


def test_the_wrong_identity_is_explained(site: SecretSite, tmp_path: Path) -> None:
    site.put("wifi.passphrase", SECRET)
    other = tmp_path / "other.txt"
    recipient = new_identity(other, None)
    (line,) = refused(site, site.vault(other))
    assert f"all.yaml:3 at wifi.passphrase: cannot be decrypted: {other} is not among the recipients in keys/" in line
    site.recipients.add(recipient, "other")
    (line,) = refused(site, site.vault(other))
    assert f"{other} is in line 6 of keys/recipients.txt, but the value was encrypted without it" in line
    assert "provision secrets rekey" in line
    assert resolve(site, site.vault(other, site.identity)).roles[0].secrets == (SECRET,)


def test_a_missing_identity_is_explained(site: SecretSite) -> None:
    site.put("wifi.passphrase", SECRET)
    site.identity.unlink()
    (line,) = refused(site, site.vault())
    assert "there is no age identity: no file" in line
    assert "--identity FILE" in line


@pytest.mark.parametrize(
    ("damage", "says"),
    [(lambda text: text.replace("BEGIN AGE", "BEGIN"), "not an age file"), (lambda text: text[:-90], "damaged")],
)
def test_a_damaged_secret_is_explained(site: SecretSite, damage: object, says: str) -> None:
    assert callable(damage)
    site.put("wifi.passphrase", SECRET)
    site.variables.write_text(damage(site.variables.read_text()))
    (line,) = refused(site, site.vault())
    assert "all.yaml:3 at wifi.passphrase: cannot be decrypted: " in line
    assert says in line


@pytest.mark.parametrize("value", [b"\xff\xfe123", b"abc", b"   ", b"abcd\0"])
def test_what_cannot_be_kept_secret_is_refused(site: SecretSite, value: bytes) -> None:
    from hatfleet.common.age import encrypt

    armour = encrypt(value, site.recipients.load())
    node = Node(Encrypted(armour), Path("f"), 3)
    with pytest.raises(InputErrors, match="error"):
        site.vault().reveal(node, ["a"])


# Identities and recipients


def test_an_identity_is_for_its_owner_only_and_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "new" / "identity.txt"
    recipient = new_identity(file, None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert load_identities(file, no_passphrase)[0].recipient == recipient
    with pytest.raises(InputError, match="never written over"):
        new_identity(file, None)
    assert load_identities(file, no_passphrase)[0].recipient == recipient


def test_the_identity_is_named_by_option_environment_or_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(IDENTITY_VARIABLE, raising=False)
    assert identity_files(()) == (tmp_path / "hatfleet" / "identity.txt",)
    monkeypatch.setenv(IDENTITY_VARIABLE, "/from/environment")
    assert identity_files(()) == (Path("/from/environment"),)
    assert identity_files((Path("a"), Path("b"))) == (Path("a"), Path("b"))


def test_a_key_in_the_environment_is_refused(site: SecretSite, monkeypatch: pytest.MonkeyPatch) -> None:
    key = site.identity.read_text().splitlines()[-1]
    monkeypatch.setenv(IDENTITY_VARIABLE, key)
    with pytest.raises(InputError, match="must be the path of the file") as caught:
        identity_files(())
    assert key not in str(caught.value)


def test_recipients_are_read_with_their_lines(site: SecretSite) -> None:
    file = site.recipients.file
    file.write_text(f"# comment\n\n{site.recipient}\nnonsense\nage1qqq\n")
    with pytest.raises(InputErrors) as caught:
        site.recipients.load()
    assert [error.where and error.where.line for error in caught.value.errors] == [4, 5]
    file.write_text("# nobody\n")
    with pytest.raises(InputError, match="there are no recipients"):
        site.recipients.load()


def test_a_change_of_recipients_is_noticed_and_their_order_is_none(site: SecretSite, tmp_path: Path) -> None:
    other = new_identity(tmp_path / "other.txt", None)
    assert site.recipients.rekeyed() is True
    site.recipients.add(other, "new")
    assert site.recipients.rekeyed() is False
    site.recipients.note_rekeyed()
    site.recipients.file.write_text(f"{other}\n{site.recipient}\n{other}\n")
    assert site.recipients.rekeyed() is True
