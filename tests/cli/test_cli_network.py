"""Proxies, certificates and addresses: how the API is reached, and the messages if it is not."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_server import answering, success
from rows_support import named, write

from prefactor_http.testing import FaultKind

COMMAND = str(Path(sys.executable).with_name("prefactor-http"))
# A certificate for 127.0.0.1 and its key, made for these tests alone and trusted nowhere.
PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWNiDfGPoFfVA3k8A
mmhBW55hqbb9svE/ZRfckbmVFiuhRANCAAQeZcz4/44nZCG5PMiUccFsU0Gr/4r2
5CisgqFUbIw6EpoUMW3gXkqq9pGpxLzGyn34HqGZTtHDg0+awUut12jA
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBpjCCAUygAwIBAgIUKu12NKZ37eVzoXJ57oez8nePVn8wCgYIKoZIzj0EAwIw
HzEdMBsGA1UEAwwUcHJlZmFjdG9yLWh0dHAgdGVzdHMwIBcNMjYxMTI1MjM1MzQz
WhgPMjEyNjExMDEyMzUzNDNaMB8xHTAbBgNVBAMMFHByZWZhY3Rvci1odHRwIHRl
c3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHmXM+P+OJ2QhuTzIlHHBbFNB
q/+K9uQorIKhVGyMOhKaFDFt4F5KqvaRqcS8xsp9+B6hmU7Rw4NPmsFLrddowKNk
MGIwHQYDVR0OBBYEFCo+w0x7wsCc90I0DM+76a2ESm0gMB8GA1UdIwQYMBaAFCo+
w0x7wsCc90I0DM+76a2ESm0gMA8GA1UdEwEB/wQFMAMBAf8wDwYDVR0RBAgwBocE
fwAAATAKBggqhkjOPQQDAgNIADBFAiB4W6tZ6EQmIsLNDpyEHTfjGQ62ziCbYv8W
byEv7RgOVwIhALk5BXR/DVpuDGaVqKLwuCc5kn6pzoZePfiyj+U/3WMN
-----END CERTIFICATE-----
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "token-of-mine")


@pytest.fixture
def proxy():
    """Answer as a proxy that cannot reach the API; give its address and what it was asked for."""
    seen = []
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(4096).split(b"\r\n")[0].decode())
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_of_the_environment_is_used(run, monkeypatch, proxy, variable):
    url, seen = proxy
    monkeypatch.setenv(variable, url)
    result = run("ping", "--api-url", "https://api.invalid", "--max-retries", "0")
    assert result.exit_code == 3
    assert seen == ["CONNECT api.invalid:443 HTTP/1.1"]
    assert "Check the network, PREFACTOR_API_URL and the proxy variables" in result.stderr


def test_this_machine_and_the_hosts_of_no_proxy_bypass_the_proxy(api, run, monkeypatch, proxy):
    url, seen = proxy
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, url)
    assert run("ping").exit_code == 0
    assert run("ping", "--api-url", api.url.replace("127.0.0.1", "localhost")).exit_code == 0
    monkeypatch.setenv("NO_PROXY", "api.invalid")
    run("ping", "--api-url", "https://api.invalid", "--max-retries", "0")
    assert seen == []


def test_a_netrc_entry_is_not_used(run, monkeypatch, tmp_path, proxy):
    url, seen = proxy
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.invalid login me password pa55\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", url)
    result = run("ping", "--api-url", "https://api.invalid", "--max-retries", "0")
    assert result.exit_code == 3
    assert seen == ["CONNECT api.invalid:443 HTTP/1.1"]
    assert "pa55" not in result.output


@pytest.mark.parametrize(
    "value",
    [
        "socks5://me:pa55@proxy:1080",
        "https://proxy",
        "proxy:3128",
        "http://",
        "http://proxy:99999",
        "http://[",
    ],
)
def test_an_unsupported_proxy_is_wrong_usage(run, monkeypatch, value):
    monkeypatch.setenv("HTTPS_PROXY", value)
    result = run("ping", "--api-url", "https://api.invalid")
    assert result.exit_code == 2
    assert "HTTPS_PROXY must be a URL that starts with http://." in result.stderr
    assert "pa55" not in result.stderr
    monkeypatch.setenv("NO_PROXY", "api.invalid")
    assert run("ping", "--api-url", "https://api.invalid", "--max-retries", "0").exit_code == 3


def test_a_certificate_of_ssl_cert_file_is_trusted(run, tmp_path):
    pem = tmp_path / "certificate.pem"
    pem.write_text(PEM)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    with answering(lambda path, body: (200, success()), tls) as url:
        environment = os.environ | {"PREFACTOR_API_URL": url, "SSL_CERT_FILE": str(pem)}
        command = [COMMAND, "ping", "--max-retries", "0"]
        # In a process of its own: the variable is read when the client is imported.
        trusted = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        other = run("ping", "--max-retries", "0", "--api-url", url)
    assert (trusted.returncode, trusted.stdout) == (0, f"{url} accepts the token.\n")
    assert other.exit_code == 3
    assert "certificate" in other.stderr
    assert "set SSL_CERT_FILE to the file of its certificate" in other.stderr


@pytest.mark.parametrize("option", [True, False])
def test_an_unencrypted_address_is_refused_without_python_names(run, monkeypatch, option):
    url = "http://api.example.com"
    monkeypatch.setenv("PREFACTOR_API_URL", url)
    result = run("ping", *(["--api-url", url] if option else []))
    assert result.exit_code == 2
    assert f"the token would be sent unencrypted to {url}." in result.stderr
    assert "Use https://, or set PREFACTOR_ALLOW_INSECURE_HTTP=1" in result.stderr
    assert "allow_insecure_http" not in result.stderr


def test_an_unencrypted_address_can_be_allowed(run, monkeypatch):
    monkeypatch.setenv("PREFACTOR_ALLOW_INSECURE_HTTP", "1")
    result = run("ping", "--api-url", "http://api.invalid", "--max-retries", "0")
    assert result.exit_code == 3
    assert "Warning" not in result.stderr


def test_an_unencrypted_address_in_a_private_network_gives_a_warning(run):
    command = ["ping", "--api-url", "http://prefactor-api:8080", "--max-retries", "0"]
    warning = "the token is sent unencrypted to http://prefactor-api:8080, in a private network."
    assert f"Warning: {warning}\n" in run(*command).stderr
    assert json.loads(run(*command, "--json").stderr)["warnings"] == [warning]


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://[", "https://x/api/v1", "x y"])
def test_an_invalid_address_is_reported_with_its_option_or_variable(run, monkeypatch, url):
    result = run("ping", "--api-url", url)
    assert result.exit_code == 2
    assert "--api-url" in result.stderr
    assert "api_url" not in result.stderr
    monkeypatch.setenv("PREFACTOR_API_URL", url or "x")
    said = run("ping").stderr
    assert "PREFACTOR_API_URL" in said
    assert "api_url" not in said


def test_an_invalid_token_is_reported_with_its_variable(run, monkeypatch):
    monkeypatch.setenv("PREFACTOR_API_TOKEN", "two words")
    result = run("ping")
    assert result.exit_code == 2
    assert "PREFACTOR_API_TOKEN must be" in result.stderr
    assert "api_token" not in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b"<html>Welcome</html>", 3, "(HTTP 200: <html>Welcome</html>)"),
        (200, b"", 3, "(HTTP 200: empty response body)"),
        (404, b"<html>Not here</html>", 1, "404: Not Found"),
        (301, b"", 1, "301: Moved Permanently (redirects are not followed)"),
    ],
)
def test_ping_reports_that_a_server_is_not_the_api(run, status, body, code, said):
    with answering(lambda path, _: (status, body)) as url:
        result = run("ping", "--api-url", url, "--max-retries", "0")
    assert result.exit_code == code
    assert f"Error: {url} is not a Prefactor API (" in result.stderr
    assert said in result.stderr
    assert "Check PREFACTOR_API_URL: it must be the address of the Prefactor API." in result.stderr
    assert "api_url" not in result.stderr
    assert "validate_token" not in result.stderr


def test_a_response_of_the_wrong_shape_is_explained(run):
    with answering(lambda path, _: (200, {"status": "success", "details": {}})) as url:
        result = run("show", "i1", "--api-url", url)
    assert result.exit_code == 3
    assert "agent_instances.get" not in result.stderr
    assert "missing required field" in result.stderr
    assert "Check PREFACTOR_API_URL" in result.stderr


def test_a_server_error_suggests_to_try_again(api, run):
    api.fail_next(FaultKind.BAD_GATEWAY)
    result = run("ping", "--max-retries", "0")
    assert result.exit_code == 3
    assert "then try again." in result.stderr


@pytest.mark.parametrize(("content", "code"), [(named(3), 3), (b"oops\n" + named(3), 1)])
def test_an_impossible_host_name_ends_a_job(run, parts, tmp_path, content, code):
    path = write(tmp_path, "rows.jsonl", content)
    url = f"https://{'x' * 70}.invalid"
    result = run("register", path, *parts, "--job", "j", "--api-url", url)
    assert result.exit_code == code
    assert "0 rows registered" in result.stdout
    assert "0 unknown" in result.stdout
    assert "Run the same command again" in result.stderr


def test_a_foreign_server_does_not_refuse_a_call(run):
    with answering(lambda path, _: (404, b"<html>Not here</html>")) as url:
        result = run("show", "i1", "--api-url", url)
    assert result.stderr.startswith("Error: the server answered 404: Not Found")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--job", "j"], "Run the same command again: no row is registered twice."),
        (["--job", "j", "--out"], "Run the same command again to resume."),
        ([], "Some rows may be registered already. Without --job, running again registers them"),
    ],
)
def test_after_max_outage_the_next_step_is_printed(run, parts, tmp_path, out, options, said):
    path = write(tmp_path, "rows.jsonl", named(3))
    options = [*options, str(out)] if "--out" in options else options
    quick = ["--max-outage", "0", "--max-retries", "0", "--api-url", "http://127.0.0.1:9"]
    result = run("register", path, *parts, *options, *quick)
    assert result.exit_code == 3
    assert said in result.stderr
    assert "Check the network" in result.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_patience_still_works_and_warns(run, parts, tmp_path, as_json):
    path = write(tmp_path, "rows.jsonl", named(3))
    quick = ["--max-retries", "0", "--api-url", "http://127.0.0.1:9"]
    options = ["--patience", "0", *(["--json"] if as_json else [])]
    result = run("register", path, *parts, *options, *quick)
    assert result.exit_code == 3
    warning = "--patience is deprecated, use --max-outage"
    if as_json:
        assert json.loads(result.stderr)["warnings"] == [warning]
    else:
        assert result.stderr.splitlines()[0] == f"Warning: {warning}"


def test_patience_and_max_outage_together_are_wrong_usage(run, parts, tmp_path):
    path = write(tmp_path, "rows.jsonl", named(3))
    result = run("register", path, *parts, "--patience", "1", "--max-outage", "1")
    assert result.exit_code == 2
    assert "Use --max-outage alone" in result.stderr


def test_help_shows_max_outage_and_hides_patience(run):
    said = run("register", "--help").stdout
    assert "--max-outage SECONDS" in said
    assert "[default: 300]" in " ".join(said.split())
    assert "patience" not in said
