# Copyright: Slipway contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validate documents against JSON Schemas. What a schema refers to is read from one directory, never fetched."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union
from urllib.parse import unquote, urldefrag, urlsplit

from ansible_collections.slipway.odoo.plugins.module_utils.api_contract import SchemaError, kind_of, missing
from ansible_collections.slipway.odoo.plugins.module_utils.api_contract_files import (
    UnreadableError,
    document,
    is_document,
    library,
    read_file,
)
from ansible_collections.slipway.odoo.plugins.module_utils.errors import SlipwayError

ERRORS_PER_DOCUMENT = 20
MESSAGE_CHARACTERS = 200
#: A directory with more documents is hardly one of schemas.
FILES_LIMIT = 2000

#: Versions of jsonschema: the first that knows draft 2020-12, and the first that follows references by a registry.
OLDEST, WITH_REGISTRY = (4, 0), (4, 18)

Given = Union[str, dict, bool]
Files = Optional[Mapping[str, Any]]


def library_version() -> tuple[int, ...]:
    """Major and minor number of the installed jsonschema."""
    return tuple(int(part) for part in importlib.metadata.version("jsonschema").split(".")[:2])


@dataclasses.dataclass(frozen=True)
class Breaches:
    """The first places where a document breaks its schema, and whether there are more."""

    errors: tuple[SchemaError, ...] = ()
    more: bool = False


class Shelf:
    """The schemas of one directory, by address and by their own ``$id``.

    :param files: what stands for the disk: contents by path.
    """

    def __init__(self, directory: str | None, files: Files = None) -> None:
        self.files = None if files is None else {os.path.normpath(path): content for path, content in files.items()}
        self.directory = self.place(directory) if directory else None
        self._by_id: dict[str, Any] | None = None
        #: Why the last reference could not be followed.
        self.fault = ""

    def place(self, path: str) -> str:
        """A path without links, as far as the disk is asked."""
        return os.path.realpath(path) if self.files is None else os.path.normpath(path)

    def read(self, path: str) -> Any:
        """Return what a file holds.

        :raises UnreadableError: it is not there, or cannot be read or parsed
        """
        if self.files is None:
            return document(read_file(path), path=path)
        if self.place(path) not in self.files:
            raise UnreadableError(missing("is not among schema_files"))
        return self.files[self.place(path)]

    def fetch(self, address: str) -> Any:
        """Return the schema at an address.

        :raises LookupError: it is outside of the directory, or not there
        """
        try:
            return self._fetch(urldefrag(address).url)
        except UnreadableError as error:
            self.fault = f"{address} {error}"
        except LookupError as error:
            self.fault = str(error.args[0])
        raise LookupError(self.fault)

    def _fetch(self, address: str) -> Any:
        if self.directory is None:
            raise LookupError(f"{address} cannot be looked up: name the directory of such schemas (schema_directory)")
        parts = urlsplit(address)
        if parts.scheme == "file":
            path = self.place(unquote(parts.path))
            if os.path.commonpath((path, self.directory)) != self.directory:
                raise LookupError(f"{path} is outside of {self.directory}, which schemas may refer to")
            return self.read(path)
        if self._by_id is None:
            self._by_id = dict(self._identified(self.directory))
        if address not in self._by_id:
            raise LookupError(f"no schema in {self.directory} has the $id {address}; none is fetched from elsewhere")
        return self._by_id[address]

    def _identified(self, directory: str) -> Iterator[tuple[str, Any]]:
        found = (os.path.join(root, name) for root, _directories, files in os.walk(directory) for name in sorted(files))
        names = found if self.files is None else iter(sorted(self.files))
        for path in itertools.islice(filter(is_document, names), FILES_LIMIT):
            try:
                content = self.read(path)
            except UnreadableError:
                continue
            if isinstance(content, dict) and isinstance(content.get("$id"), str):
                yield urldefrag(content["$id"]).url, content


class Schema:
    """A schema that is sound itself, ready to validate documents.

    :raises SlipwayError: it cannot be read, is no schema, or the library is missing
    """

    def __init__(self, given: Given, *, directory: str | None, files: Files = None) -> None:
        self.jsonschema = library("jsonschema", package="python3-jsonschema", purpose="to validate with a schema")
        if library_version() < OLDEST:
            raise SlipwayError("The Python library jsonschema must be 4.0 or newer on the host this task runs on")
        if isinstance(given, str):
            self.name = given
            self.shelf = Shelf(directory or os.path.dirname(given), files)
            address, content = pathlib.PurePath(self.shelf.place(given)).as_uri(), self._read(given)
        else:
            self.name = "(inline)"
            self.shelf = Shelf(directory, files)
            # Its relative references lead into the directory.
            base = pathlib.PurePath(self.shelf.directory or "/")
            address, content = (base / "inline").as_uri(), given
        self.validator = self._validator(address, content)

    def _read(self, path: str) -> Any:
        try:
            return self.shelf.read(path)
        except UnreadableError as error:
            raise SlipwayError(f"schema {path}: {error}") from error

    def _validator(self, address: str, content: Any) -> Any:
        if not isinstance(content, (dict, bool)):
            raise SlipwayError(f"schema {self.name} holds {kind_of(content)}: a schema is an object or a boolean")
        dialect = content.get("$schema") if isinstance(content, dict) else None
        kind = self.jsonschema.Draft202012Validator
        if dialect is not None and not isinstance(dialect, str):
            kind = None
        elif dialect is not None:
            kind = self.jsonschema.validators.validator_for({"$schema": dialect}, default=None)
        if kind is None:
            raise SlipwayError(f"schema {self.name}: its $schema is no known draft of JSON Schema")
        try:
            kind.check_schema(content)
        except self.jsonschema.SchemaError as error:
            where = _pointer(error.absolute_path) or "its root"
            raise SlipwayError(f"schema {self.name} is no JSON Schema: at {where}: {_message(error)}") from error
        # The document is validated by a reference to the schema, so that the schema has an address.
        start = {"$ref": address}
        return kind(start, **self._references(kind, address, content))

    def _references(self, kind: Any, address: str, content: Any) -> dict[str, Any]:
        """How this version of the library follows references: it must not fetch anything."""
        fetch = self.shelf.fetch
        own = [address, content.get("$id") if isinstance(content, dict) else None]

        def get(uri: str) -> Any:
            return content if uri in own else fetch(uri)

        if library_version() < WITH_REGISTRY:

            class Resolver(self.jsonschema.RefResolver):
                def resolve_remote(self, uri: str) -> Any:
                    return get(uri)

            self.unresolvable = self.jsonschema.RefResolutionError
            return {"resolver": Resolver("", {})}
        # jsonschema brings both.
        referencing = importlib.import_module("referencing")
        drafts = importlib.import_module("referencing.jsonschema")
        specification = drafts.specification_with(kind.META_SCHEMA["$schema"])
        known = importlib.import_module("jsonschema_specifications").REGISTRY

        def retrieve(uri: str) -> Any:
            return referencing.Resource.from_contents(get(uri), default_specification=specification)

        self.unresolvable = referencing.exceptions.Unresolvable
        return {"registry": referencing.Registry(retrieve=retrieve).combine(known)}

    def breaches(self, content: Any, *, where: str) -> Breaches:
        """Return where a document breaks the schema.

        :raises SlipwayError: the schema refers to what is not there
        """
        try:
            found = list(itertools.islice(self.validator.iter_errors(content), ERRORS_PER_DOCUMENT + 1))
        except self.unresolvable as error:
            raise SlipwayError(f"schema {self.name}: {self.shelf.fault or error}") from error
        except re.error as error:
            raise SlipwayError(f"schema {self.name} has a pattern that is no regular expression: {error}") from error
        except RecursionError as error:
            raise SlipwayError(f"schema {self.name} refers to itself without end, or {where} is too deep") from error
        errors = [
            SchemaError(schema=self.name, where=where, pointer=_pointer(error.absolute_path), message=_message(error))
            for error in found[:ERRORS_PER_DOCUMENT]
        ]
        return Breaches(errors=tuple(errors), more=len(found) > ERRORS_PER_DOCUMENT)


def _pointer(path: Any) -> str:
    """Return a JSON pointer (RFC 6901); empty for the whole document."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def _message(error: Any) -> str:
    """Return what is wrong, with the kind of the value in place of the value, which may be personal or secret."""
    text, value = str(error.message), repr(error.instance)
    if text.startswith(value):
        text = kind_of(error.instance) + text[len(value) :]
    elif text.endswith(value):
        text = text[: -len(value)] + kind_of(error.instance)
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"
