"""What the numbers were measured on: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from loops import LOOPS, build_profile, version


def describe(loops: list[str], nice: int) -> dict[str, Any]:
    modules = [module for name in loops for module in LOOPS[name].modules()]
    versions = {module: version(module) for module in modules}
    profiles = {"tonnage": build_profile()} if "tonnage" in modules else {}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
        "python_optimized": python_optimized(),
        "compiler": platform.python_compiler(),
        "versions": versions,
        "build_profiles": profiles,
        "nice": nice,
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def python_optimized() -> bool:
    """Say whether the interpreter was built with profile-guided optimization, as distributions do."""
    configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
    # Debian calls the profiling target itself, and its wheels are in a folder of its own.
    return "--enable-optimizations" in configured or "--with-wheel-pkg-dir" in configured


def raise_priority() -> int:
    """Run at nice -10 if we may, so that other programs disturb less; return the niceness."""
    try:
        return os.nice(-10)
    except PermissionError:
        return os.nice(0)
