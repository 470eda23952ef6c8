"""Ask pip-audit whether a tested version (constraints.txt) has a known vulnerability: exit code 1 if so.

Where nobody answers, pip-audit fails, or says of every package that it is not to be found and that no vulnerability is
known. That is no finding and no all-clear either: it is told as a skipped check, with exit code 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
AUDIT = [
    sys.executable,
    "-m",
    "pip_audit",
    "--requirement",
    str(ROOT / "constraints.txt"),
    "--no-deps",
    "--disable-pip",
]


def main() -> int:
    done = subprocess.run(
        [*AUDIT, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        # An error of its own is none of the network's: how it is called, or constraints.txt, is wrong.
        unreachable = any(
            word in done.stderr for word in ("connect", "timed out", "HTTPError", "Max retries")
        )
        reason = (done.stderr.strip() or "no answer").splitlines()[-1]
        print(
            f"known vulnerabilities: {'SKIPPED, nobody answers' if unreachable else 'pip-audit failed'}: {reason}"
        )
        return 0 if unreachable else 1
    asked = [package for package in packages if "skip_reason" not in package]
    for package in asked:
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    if not asked:
        print(f"known vulnerabilities: SKIPPED, of {len(packages)} packages none could be asked about")
        return 0
    found = sum(len(package["vulns"]) for package in asked)
    print(
        f"known vulnerabilities: {found} in {len(asked)} packages; {len(packages) - len(asked)} not asked about"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
