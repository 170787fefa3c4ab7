"""Private keys, made by the programs that make real ones, are found by content; what only looks like one is not."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.gate_tree import Tree, make_tree

KEY, HOST_KEY = "HF-IMG-001", "HF-IMG-002"

Make = Callable[[Path], Path]


def run(*command: str | Path, feed: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=feed, env=env, capture_output=True, check=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path / "root")


def test_nothing_is_found_in_a_tree_as_it_should_be(tree: Tree) -> None:
    report = tree.judge()
    assert report.passed and not report.findings and not report.warnings
    assert report.files == 6


def openssl(*arguments: str) -> Make:
    def make(folder: Path) -> Path:
        out = folder / "key"
        run("openssl", arguments[0], "-out", out, *arguments[1:])
        return out

    return make


def openssl_der(*convert: str, algorithm: str = "EC") -> Make:
    def make(folder: Path) -> Path:
        option = "ec_paramgen_curve:P-256" if algorithm == "EC" else "rsa_keygen_bits:2048"
        run("openssl", "genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", folder / "pem")
        run("openssl", *convert, "-in", folder / "pem", "-outform", "DER", "-out", folder / "key")
        return folder / "key"

    return make


def ssh_keygen(*arguments: str, passphrase: str = "") -> Make:
    def make(folder: Path) -> Path:
        run("ssh-keygen", "-q", "-N", passphrase, "-f", folder / "key", *arguments)
        return folder / "key"

    return make


def certificate(folder: Path, subject: str = "/CN=probe") -> tuple[Path, Path]:
    key, out = folder / "leaf.key", folder / "leaf.pem"
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    run(*new, "-subj", subject, "-keyout", key, "-out", out)
    return key, out


def pkcs12(*arguments: str) -> Make:
    def make(folder: Path) -> Path:
        key, cert = certificate(folder)
        run("openssl", "pkcs12", "-export", "-inkey", key, "-in", cert, "-out", folder / "p12", *arguments)
        return folder / "p12"

    return make


def java(kind: str) -> Make:
    def make(folder: Path) -> Path:
        out = folder / "store"
        words = ("-storetype", kind, "-keystore", str(out), "-storepass", "secret", "-keypass", "secret", "-alias", "a")
        run("keytool", "-genkeypair", "-keyalg", "EC", "-dname", "CN=probe", *words)
        return out

    return make


def putty(folder: Path) -> Path:
    source = ssh_keygen("-t", "ed25519")(folder)
    run("puttygen", source, "-O", "private", "-o", folder / "ppk")
    return folder / "ppk"


def age(folder: Path) -> Path:
    run("age-keygen", "-o", folder / "key")
    return folder / "key"


def wireguard(keyword: str, section: str) -> Make:
    def make(folder: Path) -> Path:
        out = folder / "config"
        out.write_text(f"[{section}]\nListenPort=51820\n{keyword}{run('wg', 'genkey').decode()}\n")
        return out

    return make


def gnupg(name: str, *export: str) -> Make:
    def make(folder: Path) -> Path:
        # The agent's socket would not fit into the path of a test's own folder.
        home = Path(tempfile.mkdtemp(prefix="gpg-"))
        environment = {**os.environ, "GNUPGHOME": str(home)}
        words = ("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")
        try:
            run(*words, "--quick-gen-key", "probe <probe@example.org>", "ed25519", env=environment)
            if export:
                (folder / name).write_bytes(run(*words, *export, env=environment))
            else:
                shutil.copy(next((home / "private-keys-v1.d").glob("*.key")), folder / name)
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)
            shutil.rmtree(home, ignore_errors=True)
        return folder / name

    return make


def as_source_code(folder: Path) -> Path:
    pem = openssl("genpkey", "-algorithm", "ED25519")(folder).read_text()
    lines = "".join(f'    "{line}\\n"\n' for line in pem.splitlines())
    (folder / "source").write_text(f"KEY = (\n{lines})\n")
    return folder / "source"


def as_json(folder: Path) -> Path:
    pem = openssl("genpkey", "-algorithm", "ED25519")(folder).read_text().replace("\n", "\\n")
    (folder / "json").write_text(f'{{"type": "service_account", "private_key": "{pem}"}}\n')
    return folder / "json"


def inside_a_program(folder: Path) -> Path:
    pem = openssl("genpkey", "-algorithm", "ED25519")(folder).read_bytes()
    (folder / "program").write_bytes(b"\x7fELF" + os.urandom(5000) + pem + bytes(100))
    return folder / "program"


def compressed(folder: Path) -> Path:
    pem = openssl("genpkey", "-algorithm", "ED25519")(folder).read_bytes()
    packer = zlib.compressobj(wbits=31)
    (folder / "gz").write_bytes(packer.compress(b"an example:\n" + pem) + packer.flush())
    return folder / "gz"


MAKERS: dict[str, Make] = {
    "PKCS#8": openssl("genpkey", "-algorithm", "ED25519"),
    "PKCS#8, encrypted": openssl("genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:secret"),
    "PKCS#1": openssl("genrsa", "-traditional", "2048"),
    "PKCS#1, encrypted": openssl("genrsa", "-traditional", "-aes128", "-passout", "pass:secret", "2048"),
    "SEC1": openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout"),
    "DER PKCS#8": openssl_der("pkcs8", "-topk8", "-nocrypt"),
    "DER PKCS#8, encrypted": openssl_der("pkcs8", "-topk8", "-passout", "pass:secret"),
    "DER PKCS#1": openssl_der("rsa", "-traditional", algorithm="RSA"),
    "DER SEC1": openssl_der("ec"),
    "OpenSSH": ssh_keygen("-t", "ed25519"),
    "OpenSSH, encrypted": ssh_keygen("-t", "ed25519", passphrase="secret"),
    "OpenSSH as PEM": ssh_keygen("-t", "rsa", "-b", "2048", "-m", "PEM"),
    "PuTTY": putty,
    "PKCS#12": pkcs12("-passout", "pass:secret"),
    "PKCS#12, old ciphers": pkcs12("-passout", "pass:", "-legacy"),
    "Java": java("JKS"),
    "Java, JCEKS": java("JCEKS"),
    "Java, PKCS#12": java("PKCS12"),
    "age": age,
    "WireGuard": wireguard("PrivateKey = ", "Interface"),
    "WireGuard for systemd-networkd": wireguard("PrivateKey=", "WireGuard"),
    "WireGuard for NetworkManager": wireguard("private-key=", "wireguard"),
    "WireGuard preshared": wireguard("PresharedKey = ", "Peer"),
    "GnuPG's own file": gnupg("file.key"),
    "OpenPGP, armoured": gnupg("armour.asc", "--armor", "--export-secret-keys"),
    "OpenPGP": gnupg("export.gpg", "--export-secret-keys"),
    "in source code": as_source_code,
    "in JSON": as_json,
    "in a program": inside_a_program,
    "compressed": compressed,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_private_key_is_found_under_any_name(kind: str, tree: Tree, tmp_path: Path) -> None:
    made = MAKERS[kind](tmp_path)
    tree.put("/usr/share/pictures/holiday.jpg", made.read_bytes())
    assert tree.rules() == [(KEY, "/usr/share/pictures/holiday.jpg")]
    (finding,) = tree.findings()
    secret = made.read_text(errors="replace").strip().splitlines()[-2:]
    assert not any(line in str(finding) for line in secret if len(line) > 20)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_keys_of_dropbear_are_host_keys(kind: str, tree: Tree, tmp_path: Path) -> None:
    run("dropbearkey", "-t", kind, "-f", tmp_path / "key")
    tree.put("/opt/boot/blob", (tmp_path / "key").read_bytes())
    assert tree.rules() == [(HOST_KEY, "/opt/boot/blob")]


def test_both_halves_of_an_ssh_host_key_are_found(tree: Tree, tmp_path: Path) -> None:
    ssh_keygen("-t", "ed25519")(tmp_path)
    tree.put("/etc/ssh/ssh_host_ed25519_key", (tmp_path / "key").read_bytes(), mode=0o600)
    tree.put("/etc/ssh/ssh_host_ed25519_key.pub", (tmp_path / "key.pub").read_bytes())
    assert tree.rules() == [
        (HOST_KEY, "/etc/ssh/ssh_host_ed25519_key"),
        (HOST_KEY, "/etc/ssh/ssh_host_ed25519_key.pub"),
    ]


# --- What must not be taken for a key


def x509(folder: Path) -> bytes:
    return certificate(folder)[1].read_bytes()


def x509_der(folder: Path) -> bytes:
    return run("openssl", "x509", "-in", certificate(folder)[1], "-outform", "DER")


def public_der(folder: Path) -> bytes:
    key = certificate(folder)[0]
    return run("openssl", "pkey", "-in", key, "-pubout", "-outform", "DER")


def certificates_only_pkcs12(folder: Path) -> bytes:
    _, cert = certificate(folder)
    run("openssl", "pkcs12", "-export", "-nokeys", "-in", cert, "-passout", "pass:changeit", "-out", folder / "p12")
    return (folder / "p12").read_bytes()


def certificates_only_java(folder: Path) -> bytes:
    _, cert = certificate(folder)
    words = ("-storetype", "JKS", "-keystore", str(folder / "jks"), "-storepass", "changeit", "-noprompt")
    run("keytool", "-importcert", "-file", str(cert), "-alias", "ca", *words)
    return (folder / "jks").read_bytes()


def ssh_public_blob(folder: Path) -> bytes:
    ssh_keygen("-t", "rsa", "-b", "2048")(folder)
    return base64.b64decode((folder / "key.pub").read_text().split()[1])


def age_recipient(folder: Path) -> bytes:
    return run("age-keygen", "-y", age(folder))


def age_with_a_wrong_letter(folder: Path) -> bytes:
    line = age(folder).read_text().split()[-1]
    return (line[:-1] + ("Q" if line[-1] != "Q" else "P")).encode() + b"\n"


def wireguard_public(folder: Path) -> bytes:
    public = run("wg", "pubkey", feed=run("wg", "genkey")).decode()
    return f"[Peer]\nPublicKey = {public}# PrivateKey = goes here\nPrivateKey = <private key>\n".encode()


def public_gpg(folder: Path) -> bytes:
    return gnupg("public.gpg", "--export")(folder).read_bytes()


def public_gpg_armour(folder: Path) -> bytes:
    return gnupg("public.asc", "--armor", "--export")(folder).read_bytes()


def libcrypto(_folder: Path) -> bytes:
    found = sorted(Path("/usr/lib").glob("*/libcrypto.so.3"))
    if not found:
        pytest.skip("no libcrypto here")
    return found[0].read_bytes()


def ssh_keygen_program(_folder: Path) -> bytes:
    return Path("/usr/bin/ssh-keygen").read_bytes()


def truncated(folder: Path) -> bytes:
    return b"".join(openssl("genrsa", "-traditional", "2048")(folder).read_bytes().splitlines(keepends=True)[:9])


def text(content: str) -> Callable[[Path], bytes]:
    return lambda _folder: content.encode()


HARMLESS: dict[str, Callable[[Path], bytes]] = {
    "certificate": x509,
    "certificate in DER": x509_der,
    "public key in DER": public_der,
    "store of certificates": certificates_only_pkcs12,
    "Java's store of certificates": certificates_only_java,
    "SSH public key blob": ssh_public_blob,
    "age recipient": age_recipient,
    "age identity with a wrong letter": age_with_a_wrong_letter,
    "WireGuard public key": wireguard_public,
    "OpenPGP public key": public_gpg,
    "OpenPGP public key, armoured": public_gpg_armour,
    "libcrypto": libcrypto,
    "ssh-keygen": ssh_keygen_program,
    "half a key": truncated,
    "prose": text(
        "A file that begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY----- is one.\n"
    ),
    "placeholder": text("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA...\n-----END RSA PRIVATE KEY-----\n"),
    "script": text("grep -q -- '-----BEGIN OPENSSH PRIVATE KEY-----' \"$f\" && sed '/-----END/q' \"$f\"\n"),
    "template": text("-----BEGIN PRIVATE KEY-----\n{{ key }}\n-----END PRIVATE KEY-----\n"),
    "random bytes that begin like DER": lambda _folder: b"\x30\x10" + bytes(range(16)),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_only_looks_like_a_key_is_no_finding(kind: str, tree: Tree, tmp_path: Path) -> None:
    tree.put("/usr/share/data/file", HARMLESS[kind](tmp_path))
    assert tree.rules() == []
