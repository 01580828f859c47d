import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_page_is_up_to_date():
    tool = runpy.run_path(str(ROOT / 'tools' / 'methods_table.py'))
    page = (ROOT / 'docs' / 'methods.md').read_text(encoding='utf-8')
    assert tool['methods_page']() == page, (
        'run python tools/methods_table.py')
