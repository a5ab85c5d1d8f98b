# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A client of an S3 store with clear failures, for modules on the controller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # the modules say so with missing()
    boto3 = None
    BotoCoreError = ClientError = Config = Exception

UNSUPPORTED_CODES = frozenset(
    {"NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation", "NotSupported", "Unsupported"}
)
UNSUPPORTED_STATUS = frozenset({405, 501})


def bucket_arguments() -> dict[str, Any]:
    """Options of every module that works on a bucket."""
    return {
        "bucket": {"type": "str", "required": True},
        "region": {"type": "str", "default": "us-east-1"},
        "key_id": {"type": "str", "required": True, "no_log": False},
        "secret_key": {"type": "str", "required": True, "no_log": True},
    }


def store_arguments() -> dict[str, Any]:
    """Those, and the options that :func:`connect` makes a client of."""
    return {
        **bucket_arguments(),
        "endpoint": {"type": "str"},
        "ca_file": {"type": "path"},
        "path_style": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 30},
    }


def connect(params: Mapping[str, Any], *, connections: int = 10) -> Any:
    """Return a client for the options of a module."""
    if boto3 is None:
        raise SlipwayError(
            "the Python that runs this module has no boto3: run the task on the controller (delegate_to: localhost)"
            " and install boto3 there"
        )
    ca_file = params["ca_file"]
    if ca_file and not os.path.isfile(ca_file):
        raise SlipwayError(f"ca_file {ca_file} is no file on this machine")
    return boto3.client(
        "s3",
        endpoint_url=params["endpoint"] or None,
        region_name=params["region"],
        aws_access_key_id=params["key_id"],
        aws_secret_access_key=params["secret_key"],
        verify=ca_file or True,
        config=Config(
            connect_timeout=params["timeout"],
            read_timeout=params["timeout"],
            max_pool_connections=connections,
            retries={"mode": "standard", "max_attempts": 4},
            s3={"addressing_style": "path" if params["path_style"] else "auto"},
        ),
    )


def code_of(error: Exception) -> str:
    """The store's own word for what went wrong."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def is_unsupported(error: Exception) -> bool:
    """Whether the store says that it cannot do this at all."""
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code_of(error) in UNSUPPORTED_CODES or status in UNSUPPORTED_STATUS


def said(error: Exception) -> str:
    """What the store answered, short."""
    response = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
    return f"{status} {code_of(error) or 'without a code'}"


def failure(params: Mapping[str, Any], what: str, error: Exception) -> SlipwayError:
    """A message that names the store and what was tried."""
    where = params["endpoint"] or f"AWS {params['region']}"
    if isinstance(error, ClientError):
        detail = error.response.get("Error", {}).get("Message", "")
        hint = ""
        if code_of(error) in ("AccessDenied", "403"):
            hint = f". The key {params['key_id']} may not do this"
        return SlipwayError(f"{where}: cannot {what} {params['bucket']}: {said(error)}: {detail}{hint}")
    return SlipwayError(f"{where}: cannot {what} {params['bucket']}: {error}")
