"""The server over HTTP: for this machine alone, reading and nothing else."""

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from atlas_ref.errors import UserError
from cli.dashboard.panels import PANELS
from cli.dashboard.server import PAGE, address, listen
from spec_tests.package.cli.made_runs import line, made
from spec_tests.package.dashboard.served import answer, served, told


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of the last change and the content of every file."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def test_a_page_follows_a_run_over_http_and_leaves_its_directory_as_it_was(tmp_path: Path) -> None:
    """Kills: a whole log in every answer; a file that is made, touched or changed."""
    path = made(tmp_path / "run")
    before = everything(tmp_path)
    with served(path) as site:
        (row,) = told(site, "/runs")
        first = told(site, "/run", id=row["id"])
        assert first["columns"]["train/loss"]["steps"] == [1, 2, 3, 4, 5, 6]
        assert everything(tmp_path) == before
        with (path / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(line(7, 0.1)) + "\n")
        known = {"generation": first["generation"], "since": first["since"], "version": first["version"]}
        second = told(site, "/run", id=row["id"], **known)
        assert second["columns"]["train/loss"] == {
            "lines": 7,
            "stride": 1,
            "first": 6,
            "steps": [7],
            "mean": [4.3],
            "low": [4.3],
            "high": [4.3],
            "last": 4.3,
        }
        assert "val/loss" not in second["columns"]


def test_the_page_and_all_that_it_loads_come_from_the_server_with_a_policy_that_allows_nothing_else(
    tmp_path: Path,
) -> None:
    """Kills: a script of a network; an answer without the headers; a file beside the page that can be read."""
    with served(tmp_path) as site:
        found, body = answer(site, "/")
        assert found.status == 200
        assert b"http://" not in body
        assert b"https://" not in body
        for file in PAGE.iterdir():
            served_file, content = answer(site, f"/page/{file.name}")
            assert (served_file.status, content) == (200, file.read_bytes())
            assert b"https://" not in content
            assert "default-src 'none'" in str(served_file.headers["content-security-policy"])
        for path in ("/page/../server.py", "/page/%2e%2e/server.py", "/page//etc/passwd", "/nothing"):
            refused, content = answer(site, path)
            assert refused.status == 404
            assert b"import" not in content
        assert refused.headers["content-security-policy"] == found.headers["content-security-policy"]


def test_only_this_machine_is_listened_to_and_answered(tmp_path: Path) -> None:
    """Kills: an address that the network reaches; a name of the web that was made to lead here."""
    with served(tmp_path) as site:
        assert ipaddress.ip_address(urlsplit(site).hostname or "").is_loopback
        port = urlsplit(site).port
        assert answer(site, "/runs", Host=f"localhost:{port}")[0].status == 200
        for host in ("evil.example", f"evil.example:{port}", "192.168.1.7", f"127.0.0.1.evil.example:{port}", ""):
            found, body = answer(site, "/runs", Host=host)
            assert found.status == 400
            assert b"state" not in body


def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Kills: a path in the place of an id; a traceback for a word in the place of a number."""
    made(tmp_path / "run")
    with served(tmp_path) as site:
        (row,) = told(site, "/runs")
        assert answer(site, "/run?id=../run")[0].status == 404
        assert answer(site, f"/run?id={row['id']}&since=soon")[0].status == 400
        generation = told(site, "/run", id=row["id"])["generation"]
        assert told(site, "/run", id=row["id"], generation=generation, since=10**30)["columns"] == {}


def test_a_port_that_is_taken_is_one_sentence() -> None:
    """Kills: a traceback for a second page."""
    with listen(0) as taken:
        port = urlsplit(address(taken)).port or 0
        with pytest.raises(UserError, match=f"^--port {port}: cannot be listened on .*; give another, or 0"):
            listen(port)


def test_every_panel_has_a_title_of_its_own_and_no_curve_lies_in_two() -> None:
    """Kills: two charts that the page takes for one."""
    titles = [(panel.group, panel.title) for panel in PANELS]
    keys = [curve.key for panel in PANELS for curve in panel.curves]
    assert len(set(titles)) == len(titles)
    assert len(set(keys)) == len(keys)
