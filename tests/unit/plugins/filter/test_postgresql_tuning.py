"""The filter hands over to its module_utils and speaks Ansible's kind of error."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.odoo.plugins.filter.postgresql_tuning import FilterModule
from ansible_collections.slipway.odoo.plugins.module_utils import postgresql_tuning as util

FILTER = FilterModule().filters()["postgresql_tuning"]


def test_gives_what_the_module_utils_gives():
    wanted = util.postgresql_tuning(memory_mb=4096, cores=2, connections=60, storage="hdd", version=15)
    assert FILTER(4096, cores=2, connections=60, storage="hdd", version=15) == wanted


def test_defaults_are_ssd_and_trixies_version():
    wanted = util.postgresql_tuning(memory_mb=4096, cores=2, connections=60, storage="ssd", version=17)
    assert FILTER(4096, 2, 60) == wanted


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"memory_mb": 100, "cores": 2, "connections": 60}, "postgresql_tuning: memory_mb must be"),
        ({"memory_mb": 4096, "cores": 2, "connections": 60, "version": 12}, "version must be 13 to 18"),
        ({"memory_mb": 300, "cores": 2, "connections": 900}, "do not carry"),
    ],
)
def test_errors_are_those_of_a_filter(kwargs, said):
    with pytest.raises(AnsibleFilterError, match=said):
        FILTER(**kwargs)
