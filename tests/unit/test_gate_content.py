"""Password hashes, passphrases, tokens and SSH public keys are found in any file; look-alikes are not."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import secrets
import string
import subprocess
import zlib
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image.gate import Allow, RecipeFacts, judge
from tests.unit.gate_tree import ADMIN, Tree, make_tree

HASH, PASSPHRASE, TOKEN, PUBLIC_KEY = "HF-IMG-003", "HF-IMG-004", "HF-IMG-005", "HF-IMG-008"
KEY = "0123456789abcdef" * 4
WORDS = string.ascii_letters + string.digits


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path / "root")


def some(length: int, alphabet: str = WORDS) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def crypt(*arguments: str) -> str:
    return subprocess.run(
        ["openssl", "passwd", *arguments, "secret"], capture_output=True, text=True, check=True
    ).stdout.strip()


def crypt64(length: int) -> str:
    return some(length, WORDS + "./")


HASHES = {
    "SHA-512": lambda: crypt("-6"),
    "SHA-512 with rounds": lambda: crypt("-6", "-salt", "saltsalt").replace("$6$", "$6$rounds=5000$"),
    "SHA-256": lambda: crypt("-5"),
    "MD5": lambda: crypt("-1"),
    "MD5 of Apache": lambda: crypt("-apr1"),
    "yescrypt": lambda: f"$y$j9T${crypt64(22)}${crypt64(43)}",
    "gost-yescrypt": lambda: f"$gy$j9T${crypt64(22)}${crypt64(43)}",
    "scrypt": lambda: f"$7$CU..../....{crypt64(43)}${crypt64(43)}",
    "bcrypt": lambda: f"$2b$12${crypt64(53)}",
    "argon2": lambda: f"$argon2id$v=19$m=65536,t=3,p=4${some(22)}${some(43)}",
    "GRUB": lambda: f"grub.pbkdf2.sha512.10000.{secrets.token_hex(64).upper()}.{secrets.token_hex(64).upper()}",
    "LDAP": lambda: "{SSHA}" + base64.b64encode(secrets.token_bytes(28)).decode(),
}


@pytest.mark.parametrize("kind", HASHES)
@pytest.mark.parametrize("line", ["user:{}\n", "password: '{}'\n", "{}"])
def test_a_password_hash_is_found_in_any_file(kind: str, line: str, tree: Tree) -> None:
    tree.put("/srv/www/.users", line.format(HASHES[kind]()))
    assert tree.rules() == [(HASH, "/srv/www/.users")]


@pytest.mark.parametrize(
    "text",
    [
        hashlib.sha512(b"a file").hexdigest() + "  file\n",
        "sha256-" + base64.b64encode(bytes(range(32))).decode() + "\n",
        "case $1 in $6$*) echo SHA-512;; '$y$'*) echo yescrypt;; esac\n",
        "The format is $6$salt$hash, or $2b$12$saltandhash.\n",
        "awk '{ print $1$2$5$6 }'\n",
        "sed 's/$1$/x/'\nprice: $5$ or $1$\n",
        "root:$6$<salt>$<86 characters>:19000:::::\n",
        "GRUB takes grub.pbkdf2.sha512.10000.SALT.HASH\n",
        "{SSHA}\n",
    ],
)
def test_what_only_looks_like_a_password_hash_is_no_finding(text: str, tree: Tree) -> None:
    tree.put("/usr/share/doc/file", text)
    assert tree.rules() == []


@pytest.mark.parametrize(
    "text",
    [
        'network={\n\tssid="shop"\n\tpsk="correct horse"\n}\n',
        f'network={{\n\tssid="shop"\n\tpsk={KEY}\n}}\n',
        "[wifi-security]\nkey-mgmt=wpa-psk\npsk=correct horse\n",
        f"[Security]\nPreSharedKey={KEY}\n",
        "[Security]\nPassphrase=correct horse\n",
    ],
)
def test_the_passphrase_of_a_network_is_found(text: str, tree: Tree) -> None:
    tree.put("/opt/data/notes", text)
    assert tree.rules() == [(PASSPHRASE, "/opt/data/notes")]


@pytest.mark.parametrize(
    "text",
    ["#psk=\n\tpsk=\n", "wpa_passphrase prints psk=…\n", "[wifi-security]\nkey-mgmt=sae\n", "key_mgmt=WPA-PSK\n"],
)
def test_a_network_without_passphrase_is_no_finding(text: str, tree: Tree) -> None:
    tree.put("/etc/wpa.conf", text)
    assert tree.rules() == []


def github(prefix: str = "ghp") -> str:
    """A token with the checksum that GitHub's have."""
    body, check = some(30), ""
    alphabet = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = zlib.crc32(body.encode())
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = alphabet[digit] + check
    return f"{prefix}_{body}{check}"


TOKENS = {
    "AWS": lambda: "AKIA" + some(16, string.ascii_uppercase + string.digits),
    "AWS, for a session": lambda: "ASIA" + some(16, string.ascii_uppercase + string.digits),
    "GitHub": github,
    "GitHub, for an app": lambda: github("ghs"),
    "GitHub, fine-grained": lambda: f"github_pat_{some(22)}_{some(59)}",
    "GitLab": lambda: f"glpat-{some(20)}",
    "Google": lambda: f"AIza{some(35)}",
    "Slack": lambda: f"xoxb-{random.randrange(10**11, 10**12)}-{random.randrange(10**11, 10**12)}-{some(24)}",
    "Azure": lambda: f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={some(86)}==",
    "Hugging Face": lambda: f"hf_{some(34, string.ascii_letters)}",
    "PyPI": lambda: f"pypi-AgEIcHlwaS5vcmc{some(80)}",
    "Tailscale": lambda: f"tskey-auth-{some(17)}-{some(32)}",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_found_in_any_file(kind: str, tree: Tree) -> None:
    token = TOKENS[kind]()
    tree.put("/usr/lib/app/settings.py", f"TOKEN = '{token}'\n")
    assert tree.rules() == [(TOKEN, "/usr/lib/app/settings.py")]
    assert token not in str(tree.findings())


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE\n",
        "ghp_" + "a" * 36 + "\n",
        "tokens begin with ghp_, github_pat_, glpat-, xoxb- or AIza\n",
        "hf_hub_download_from_the_repository_of(model)\n",
        base64.b64encode(b"AKIA" * 200).decode() + "\n",
    ],
)
def test_what_only_looks_like_a_token_is_no_finding(text: str, tree: Tree) -> None:
    tree.put("/usr/lib/app/file", text)
    assert tree.rules() == []


# --- SSH public keys


@pytest.fixture
def public_key(tmp_path: Path) -> str:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "someone", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True)
    return (tmp_path / "key.pub").read_text().strip()


@pytest.mark.parametrize("line", ["{}\n", "no-pty {}\n", 'from="10.0.0.0/8",command="echo \\"hi\\" there" {}\n'])
def test_a_public_key_that_nobody_declared_is_found(line: str, tree: Tree, public_key: str) -> None:
    tree.put("/var/backups/x", "# keys\n" + line.format(public_key))
    assert tree.rules() == [(PUBLIC_KEY, "/var/backups/x")]
    command = ["ssh-keygen", "-l", "-f", "-"]
    shown = subprocess.run(command, input=public_key, capture_output=True, text=True, check=True).stdout
    assert shown.split()[1] in tree.findings()[0].what


def test_a_declared_public_key_is_no_finding(tree: Tree, public_key: str) -> None:
    tree.put(f"/home/{ADMIN}/.ssh/authorized_keys", public_key + "\n", mode=0o600)
    assert tree.findings(keys=(public_key.split()[1],)) == []


@pytest.mark.parametrize("line", ["server.example {}\n", "# {}\n", "see {}\n"])
def test_a_known_host_or_a_remark_is_no_finding(line: str, tree: Tree, public_key: str) -> None:
    tree.put("/etc/ssh/ssh_known_hosts", line.format(public_key))
    assert tree.rules() == []


def test_a_key_that_is_none_is_no_finding(tree: Tree, public_key: str) -> None:
    kind, blob, _ = public_key.split()
    tree.put("/usr/share/doc/x", f"{kind.replace('ed25519', 'rsa')} {blob}\nssh-ed25519 AAAA{'x' * 50}\n")
    assert tree.rules() == []


# --- What the recipe allows


def test_an_allowed_file_is_listed_with_its_reason(tree: Tree) -> None:
    file = tree.put("/usr/lib/app/test.txt", crypt("-6"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = {"path": "/usr/lib/app/test.txt", "sha256": digest, "reason": "test vector of the app"}
    report = tree.judge(Allow.model_validate({"files": [entry]}))
    assert report.passed and not report.warnings
    assert [(item.finding.path, item.reason) for item in report.waived] == [(entry["path"], entry["reason"])]


def test_an_allowed_file_that_changed_is_a_finding_and_a_warning(tree: Tree) -> None:
    tree.put("/usr/lib/app/test.txt", crypt("-6"))
    entry = {"path": "/usr/lib/app/test.txt", "sha256": "0" * 64, "reason": "test vector of the app"}
    report = tree.judge(Allow.model_validate({"files": [entry]}))
    assert [finding.rule for finding in report.findings] == [HASH]
    assert report.warnings == ("allow.files: /usr/lib/app/test.txt has another content than the allowed one",)


def test_an_entry_that_allows_nothing_is_a_warning(tree: Tree) -> None:
    entry = {"path": "/usr/lib/app/gone", "sha256": "0" * 64, "reason": "test vector of the app"}
    report = tree.judge(Allow.model_validate({"files": [entry]}))
    assert report.passed
    assert report.warnings == ("allow.files: /usr/lib/app/gone has nothing that needs to be allowed",)


# --- The walk


def test_what_a_link_leads_to_outside_is_not_looked_at(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(crypt("-6"))
    tree.link("/etc/escape", str(tmp_path / "secret"))
    assert tree.rules() == []


def test_a_folder_that_is_no_root_file_system_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HatfleetError, match="no root file system: it has no /etc/passwd"):
        judge(tmp_path, RecipeFacts(frozenset(), frozenset(), frozenset()))


def test_a_file_that_cannot_be_read_is_an_error_never_a_pass(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.put("/opt/hidden", "x")
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if str(path).endswith("/opt/hidden"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HatfleetError, match="hidden cannot be read: Permission denied"):
        tree.judge()
