"""Tests of workspaces work in the laboratory of the conversations: on every engine, in both colours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

NAME = "tests.conversations.conftest"


def _laboratory() -> ModuleType:
    """The module, whichever of its users is loaded first."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parent.parent / "conversations" / "conftest.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]


_module = _laboratory()
lab, disk_lab, memory_lab, engine_places = _module.lab, _module.disk_lab, _module.memory_lab, _module.engine_places
pytest_pyfunc_call = _module.pytest_pyfunc_call
pytest_generate_tests = _module.pytest_generate_tests
