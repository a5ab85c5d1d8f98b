# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options that modules for a store that speaks S3 share."""

from __future__ import annotations


class ModuleDocFragment:
    """Found by ansible-doc as C(slipway.odoo.object_store)."""

    # As module_utils/backup_store_client.py has them in bucket_arguments.
    DOCUMENTATION = r"""
options:
  bucket:
    description: Name of the bucket.
    type: str
    required: true
  region:
    description: Region of the bucket, which requests are signed for.
    type: str
    default: us-east-1
  key_id:
    description: Name of the access key.
    type: str
    required: true
  secret_key:
    description: The access key's secret.
    type: str
    required: true
requirements:
  - boto3 where the module runs (C(python3-boto3) on Debian)
"""

    # And, with those, in store_arguments: slipway.odoo.object_store.connection.
    CONNECTION = r"""
options:
  endpoint:
    description: URL of the store, such as V(https://s3.example.com). Without it this is AWS.
    type: str
  ca_file:
    description: Certificates to check the store's with, instead of the usual ones.
    type: path
  path_style:
    description: Name the bucket in the path and not in the host's name. Most stores that are not AWS need it.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for a connection, and for an answer.
    type: int
    default: 30
"""
