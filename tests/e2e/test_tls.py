"""TLS on TorchServe's ports: its certificate is verified by everybody who asks, the site included."""

import re
import signal
from pathlib import Path

import grpc
import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from trustme import KeyType

from nerserve.cli import main
from ops.process.java import bundled_java
from tests.e2e.instance import ANSWER_S, PATIENCE_S, TEXT, Up, grpc_ping


class TLSUp(Up):
    """An Up whose ports *https* speak TLS with the key and the chain of *certificate*."""

    def __init__(self, directory, certificate, https=("inference",), settings=""):
        key, chain = directory / "key.pem", directory / "chain.pem"
        super().__init__(directory, settings=f"\nprivate_key_file={key}\ncertificate_file={chain}\n{settings}")
        certificate.private_key_pem.write_to_path(key)
        for pem in certificate.cert_chain_pems:
            pem.write_to_path(chain, append=True)
        config = directory / "config.properties"
        for name in https:
            plain = getattr(self, name)
            setattr(self, name, plain.replace("http:", "https:"))
            config.write_text(config.read_text().replace(plain, getattr(self, name)))
        self.ca = str(chain)

    def predict(self, text=TEXT, timeout_s=ANSWER_S):
        url, key = f"{self.inference}/predictions/en", self.inference_key
        return requests.post(url, json={"text": text}, auth=key, timeout=timeout_s, verify=self.ca)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority of ours, and the file that makes others trust it."""
    ca = trustme.CA(key_type=KeyType.RSA)
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, path


def self_signed(certificate):
    """The same certificate, signed with its own key instead of the authority's."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    old = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    new = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.subject)
        .public_key(key.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, critical=True)
        .sign(key, hashes.SHA256())
    )
    return trustme.LeafCert(certificate.private_key_pem.bytes(), new.public_bytes(serialization.Encoding.PEM), [])


def in_pkcs8(certificate):
    """The same certificate with its key in the form that gRPC reads."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return trustme.LeafCert(
        key.private_bytes(*form),
        certificate.cert_chain_pems[0].bytes(),
        [p.bytes() for p in certificate.cert_chain_pems[1:]],
    )


@pytest.fixture
def new_up(tmp_path):
    """Makes the one Up of a test, which is gone afterwards."""
    made = []

    def make(*arguments, **options):
        made.append(TLSUp(tmp_path, *arguments, **options))
        return made[-1]

    yield make
    for up in made:
        up.end()


def test_inference_over_tls_with_a_certificate_of_an_authority(new_up, authority):
    ca, ca_file = authority
    up = new_up(ca.issue_cert("127.0.0.1", key_type=KeyType.RSA)).start("--ca", str(ca_file)).wait_until_ready()
    up.ca = str(ca_file)

    assert up.predict().json()["entities"][0]["text"] == "Barack Obama"
    with pytest.raises(requests.exceptions.SSLError):
        requests.post(f"{up.inference}/predictions/en", json={"text": TEXT}, timeout=ANSWER_S)  # the usual authorities
    plain = requests.post(
        f"{up.inference.replace('https:', 'http:')}/predictions/en", json={"text": TEXT}, timeout=ANSWER_S
    )
    assert (plain.status_code, "entities" in plain.text) == (403, False)
    reply = requests.post(f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)
    assert reply.status_code == 200, reply.text
    assert up.gunicorn.environ()["NERSERVE_CA_FILE"] == str(ca_file)
    assert f"Inference   {up.inference}/predictions/en\n" in up.text
    assert requests.get(f"{up.management}/models/en", auth=up.management_key, timeout=ANSWER_S).ok  # http, as it says

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=PATIENCE_S) == 0


def test_every_port_over_tls_with_a_certificate_that_signed_itself(new_up, authority, capsys):
    certificate = in_pkcs8(self_signed(authority[0].issue_cert("127.0.0.1", key_type=KeyType.RSA)))
    up = new_up(certificate, https=("inference", "management", "metrics"), settings="enable_grpc_ssl=true\n")
    java = bundled_java()  # the one that scripts/up brings where there is none
    up.start("--renew-keys-every", "1", JAVA_HOME=str(java.parents[1])).wait_until_ready()

    assert f" from {java};" in up.text
    assert requests.post(f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S).status_code == 200
    without_key = requests.post(f"{up.inference}/predictions/en", json={"text": TEXT}, timeout=ANSWER_S, verify=up.ca)
    assert without_key.json()["type"] == "InvalidKeyException"
    first = up.management_key.text
    up.wait_until(lambda: up.management_key.text != first)  # so it was renewed over TLS
    assert requests.get(f"{up.metrics}/metrics", verify=up.ca, timeout=ANSWER_S).ok
    assert main(["models", "--state-dir", str(up.state_dir)]) == 0  # which names the certificate, too
    assert main(["status", "--state-dir", str(up.state_dir)]) == 0
    plain = up.management.replace("https:", "http:")
    assert main(["models", "--management", plain]) == 2
    assert capsys.readouterr().err == f"nerserve: {plain} speaks TLS; expected {up.management}\n"
    with grpc.secure_channel(up.grpc, grpc.ssl_channel_credentials(Path(up.ca).read_bytes())) as channel:
        up.wait_until(lambda: grpc_ping(channel, up.inference_key.text) is grpc.StatusCode.OK)
        assert grpc_ping(channel) is grpc.StatusCode.PERMISSION_DENIED
    with grpc.insecure_channel(up.grpc) as channel:
        assert grpc_ping(channel, up.inference_key.text) is grpc.StatusCode.UNAVAILABLE
    assert "warning" not in up.text


@pytest.mark.parametrize(
    ("https", "name", "trusts_it", "problem"),
    [
        ("inference", "ner.example.org", True, r"IP address mismatch, certificate is not valid for '127\.0\.0\.1'"),
        ("inference", "127.0.0.1", False, r"unable to get local issuer certificate"),
        ("management", "ner.example.org", True, r"IP address mismatch, certificate is not valid for '127\.0\.0\.1'"),
    ],
)
def test_a_certificate_that_no_client_would_accept_is_named_at_once(
    new_up, authority, *, https, name, trusts_it, problem
):
    ca, ca_file = authority
    options = ["--ca", str(ca_file)] if trusts_it else []  # without it, the certificate must have signed itself
    up = new_up(ca.issue_cert(name, key_type=KeyType.RSA), https=[https]).start("--no-site", *options)

    status = up.process.wait(timeout=PATIENCE_S)

    trusted = re.escape(str(ca_file if trusts_it else Path(up.ca)))
    assert status == 1
    assert re.search(
        f"nerserve: {https}_address: a client that trusts {trusted} refuses {getattr(up, https)}: {problem}", up.text
    ), up.text
    assert up.left_behind() == []
