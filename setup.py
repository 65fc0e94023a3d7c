"""Only what pyproject.toml can't say: the C, and a start-up hook that goes beside the packages."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from runpy import run_path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

# The core's shared object first: that of the tools, if they are here, is linked against it.
BUILDS = [run_path(file) for file in ("runtime/native/build.py", "lwp/native/build.py") if Path(file).exists()]
CORE = BUILDS[0]

# As `site` wants it: one line that begins with "import".  runtime/patch/children.py says what it is for.  Kept, because
# nothing else begins in a child Python however that is started; a Python's start takes the same with and without it
# (9.2 ms, medians of 20 in turns).
# Without -E and -I, which say that the environment is not to change what Python does.
HOOK = (
    'import os, sys; sys.flags.ignore_environment or not os.environ.get("LWP_CHILDREN") or '
    '__import__("lwp_runtime").load("runtime.patch.children").begin()\n'
)


class BuildWithHook(build_py):  # type: ignore[misc]  # setuptools has no types
    def run(self) -> None:
        super().run()
        # An editable wheel leaves out what is built; but what stands in its own root is installed there too.
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(root).mkdir(parents=True, exist_ok=True)
        Path(root, "lwp_runtime.pth").write_text(HOOK)


class BuildStripped(build_ext):  # type: ignore[misc]
    def run(self) -> None:
        if reason := CORE["missing"]():
            raise SystemExit(reason)
        super().run()

    def build_extensions(self) -> None:
        one_after_another = self.compiler.compile
        pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

        # setuptools starts one compiler at a time, and there are a hundred files.
        def compile(sources: list[str], **options: Any) -> list[str]:
            return list(chain(*pool.map(lambda source: one_after_another([source], **options), sources)))

        self.compiler.compile = compile
        with pool:
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        build = next(build for build in BUILDS if build["EXTENSION"] is ext)
        ext.sources += [CORE["write_module"](Path(self.build_temp), *module) for module in build["MODULES"]]
        if build is not CORE:
            ext.extra_link_args += build["link_with"](self.get_ext_fullpath(CORE["EXTENSION"].name))
        # Three quarters of a wheel would be debug information, for sources that it doesn't have.  Function names stay.
        if not self.editable_mode:
            ext.extra_link_args.append("-Wl,--strip-debug")
        super().build_extension(ext)


setup(
    ext_modules=[build["EXTENSION"] for build in BUILDS],
    cmdclass={"build_ext": BuildStripped, "build_py": BuildWithHook},
)
