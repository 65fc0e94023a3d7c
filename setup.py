"""Only what pyproject.toml can't say: the C core is a cffi module, and a start-up hook goes beside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# As `site` wants it: one line that begins with "import".  runtime/children.py says what it is for.
HOOK = 'import os; os.environ.get("LWP_CHILDREN") and __import__("runtime.children").children.begin()\n'


class BuildWithHook(build_py):  # type: ignore[misc]  # setuptools has no types
    def run(self) -> None:
        super().run()
        # An editable wheel leaves out what is built; but what stands in its own root is installed there too.
        root = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        Path(root).mkdir(parents=True, exist_ok=True)
        Path(root, "lwp_runtime.pth").write_text(HOOK)


setup(cffi_modules=["runtime/native/build.py:ffi"], cmdclass={"build_py": BuildWithHook})
