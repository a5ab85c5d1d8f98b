from __future__ import annotations

import os
import pathlib

from ansible_collections.slipway.odoo.plugins.modules import service_fresh


def test_missing_files_are_passed_over(tmp_path: pathlib.Path) -> None:
    assert service_fresh.modified([str(tmp_path / "none")]) == {}


def test_a_link_counts_as_new_when_it_or_its_target_is(tmp_path: pathlib.Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("")
    os.utime(target, (1000, 1000))
    link.symlink_to(target)
    os.utime(link, (5000, 5000), follow_symlinks=False)
    assert service_fresh.modified([str(link)]) == {str(link): 5000.0}
    os.utime(target, (9000, 9000))
    assert service_fresh.modified([str(link)]) == {str(link): 9000.0}


def test_code_counts_from_when_it_came_there_however_old_its_content_is(tmp_path: pathlib.Path) -> None:
    code, page = tmp_path / "addon" / "models.py", tmp_path / "addon" / "page.xml"
    code.parent.mkdir()
    for path in (code, page):
        path.write_text("")
        os.utime(path, (1000, 1000))
    (tmp_path / "addon" / "gone.py").symlink_to(tmp_path / "nothing")
    assert service_fresh.arrived([str(tmp_path), str(tmp_path / "none")]) == {str(code): code.stat().st_ctime}


def test_directories_without_code_are_passed_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / "readme.txt").write_text("")
    assert service_fresh.arrived([str(tmp_path)]) == {}
