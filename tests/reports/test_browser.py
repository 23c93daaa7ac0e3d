"""The page in a real browser: it opens from disk, fits, can be read, and prints.

Needs Chromium; without one these tests are skipped. A copy of the page with a measuring script
in it reports through its title, since the page itself holds no script.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import reports
from tests.unit.reports.samples import SAMPLES

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DEADLINE_S = 60
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
MEASURE = Path(__file__).with_name("measure.js")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@dataclass(frozen=True)
class Measured:
    """What the measuring script saw."""

    overflow_px: int
    faint: list[str]
    dark: bool
    pictures: list[int]
    word_px: int


def chromium(profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the browser once, with a profile of its own."""
    command = [str(BROWSER), *QUIET, f"--user-data-dir={profile}", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    for name, make in SAMPLES.items():
        reports.render(make(root / name))
    return {name: root / name / "report.html" for name in SAMPLES}


def measure(page: Path, tmp_path: Path, *, width: int, dark: bool) -> Measured:
    """Open a copy of the page that measures itself."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    script = f"<script>{MEASURE.read_text(encoding='utf-8')}</script></body>"
    copy = tmp_path / "measured.html"
    copy.write_text(text.replace("</body>", script), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size = f"--window-size={width},900"
    done = chromium(tmp_path / "profile", scheme, size, "--dump-dom", copy.as_uri())
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return Measured(**json.loads(found.group(1).replace("&lt;", "<").replace("&amp;", "&")))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_fits_and_all_text_can_be_read(
    width: int, dark: bool, pages: dict[str, Path], tmp_path: Path
) -> None:
    seen = measure(pages["failing"], tmp_path, width=width, dark=dark)
    assert seen.dark is dark, "the browser did not take the colour scheme"
    assert seen.overflow_px <= 0, "the page scrolls sideways"
    assert seen.faint == []
    assert len(seen.pictures) == 3
    assert all(picture >= 600 for picture in seen.pictures), "too small to read"
    assert seen.word_px >= 28, "the verdict is not the largest thing on the first screen"


@pytest.mark.parametrize("name", ["inconclusive", "harness-failure", "passing"])
def test_other_verdicts_can_be_read_too(name: str, pages: dict[str, Path], tmp_path: Path) -> None:
    for dark in (False, True):
        seen = measure(pages[name], tmp_path, width=1280, dark=dark)
        assert (seen.faint, seen.overflow_px) == ([], 0)


def test_the_measuring_script_sees_faint_text(pages: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "faint.html"
    text = pages["harness-failure"].read_text(encoding="utf-8")
    page.write_text(text.replace("--muted: #57606a", "--muted: #cccccc"), encoding="utf-8")
    assert measure(page, tmp_path, width=1280, dark=False).faint != []


def test_the_page_breaks_no_rule_of_its_own_policy(pages: dict[str, Path], tmp_path: Path) -> None:
    done = chromium(tmp_path / "profile", "--dump-dom", pages["failing"].as_uri())
    assert "Content Security Policy" not in done.stderr
    assert "<svg" in done.stdout
    broken = tmp_path / "broken.html"
    text = pages["failing"].read_text(encoding="utf-8")
    broken.write_text(text.replace("</body>", "<script>1</script></body>"), encoding="utf-8")
    done = chromium(tmp_path / "profile", "--dump-dom", broken.as_uri())
    assert "Content Security Policy" in done.stderr, "the policy does not bite"


def test_the_page_prints(pages: dict[str, Path], tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    chromium(tmp_path / "profile", f"--print-to-pdf={pdf}", pages["failing"].as_uri())
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    printed = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 4 <= printed <= 16, f"{printed} pages"
