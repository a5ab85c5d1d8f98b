# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a source of a contract's version is described, and which options of it fit each other. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils import api_contract_files
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError


def source_options() -> dict[str, Any]:
    """The options of one source."""
    return {
        "name": {"type": "str", "required": True},
        "file": {"type": "path"},
        "constant": {"type": "str"},
        "path": {"type": "str"},
        "manifest": {"type": "path"},
        "without_series": {"type": "bool", "default": False},
        "url": {"type": "str"},
        "header": {"type": "str"},
        "headers": {"type": "dict", "default": {}},
        "body": {"type": "dict"},
        "api_key": {"type": "str", "no_log": True},
        "login": {
            "type": "dict",
            "options": {
                "user": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
                "database": {"type": "str"},
                "form_url": {"type": "str"},
                "user_field": {"type": "str", "default": "login"},
                "password_field": {"type": "str", "default": "password", "no_log": False},
            },
            "mutually_exclusive": [("database", "form_url")],
            "required_one_of": [("database", "form_url")],
        },
        "schema": {"type": "raw"},
    }


def source_rules() -> dict[str, Any]:
    """Which of these options exclude or need each other, as an argument spec says it."""
    return {
        "mutually_exclusive": [("file", "manifest", "url"), ("login", "api_key")],
        "required_one_of": [("file", "manifest", "url")],
        "required_by": {
            "constant": ["file"],
            "header": ["url"],
            "body": ["url"],
            "login": ["url"],
            "api_key": ["url"],
        },
    }


def require_fitting(options: Mapping[str, Any]) -> None:
    """:raises SlipwayError: an option has no meaning beside another, or is not there where it must be"""
    file, url, path, constant = (options[key] for key in ("file", "url", "path", "constant"))
    for key in ("file", "manifest"):
        require_absolute(options[key], key)
    if path is not None:
        api_contract_files.keys_of(path)
    if file is not None and (path is None) == (constant is None):
        raise SlipwayError("a file needs either constant or path")
    if url is not None and (path is None) == (options["header"] is None):
        raise SlipwayError("a url needs either header or path")
    if path is not None and options["manifest"] is not None:
        raise SlipwayError("a manifest has no path: its version is read")
    if constant is not None and not file.endswith(api_contract_files.SCRIPTS + api_contract_files.PYTHON):
        raise SlipwayError(f"{file} is neither TypeScript, JavaScript nor Python, of which a constant is read")
    if file is not None and path is not None and not api_contract_files.is_document(file):
        raise SlipwayError(f"{file} is neither JSON, YAML nor TOML, in which a path leads to a value")
    if options["schema"] is not None and url is None and path is None:
        raise SlipwayError("a schema is for a document: a file with path, or a url")


def require_absolute(path: str | None, what: str) -> None:
    """:raises SlipwayError: it depends on the directory that the module happens to run in"""
    if path is not None and not os.path.isabs(path):
        raise SlipwayError(f"{what} {path} must be an absolute path, as with {{{{ playbook_dir }}}} in front")
