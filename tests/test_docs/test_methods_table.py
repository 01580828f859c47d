import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob('configs/*/README.md'))


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'methods_table.py'))


def test_page_is_up_to_date(tool):
    page = (ROOT / 'docs' / 'methods.md').read_text(encoding='utf-8')
    assert tool['methods_page']() == page, (
        'run python tools/methods_table.py')


def test_pages_of_the_methods_are_up_to_date(tool, tmp_path):
    for page in PAGES:
        (tmp_path / page.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(page, tmp_path / page.relative_to(ROOT))
    tool['fill_pages'](str(tmp_path))
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        assert (tmp_path / page.relative_to(ROOT)).read_text() == text, (
            'run python tools/methods_table.py')
        assert f'| `{page.parent.name}` | `method.' in text


def test_defaults_are_listed_where_the_config_sets_none(tool):
    rows = dict(
        tool['options']('method.distillation',
                        [dict(type='LocalPODLoss', feature_factor=0.5)]))
    assert rows == {
        'method.distillation.0': '`LocalPODLoss`',
        'method.distillation.0.feature_factor': '`0.5`',
        'method.distillation.0.logit_factor': '`0.0005`',
        'method.distillation.0.scales': '`(1, 2, 4)`',
        'method.distillation.0.loss_weight': '`1.0`'
    }
