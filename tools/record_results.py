"""Put the figures of finished runs into the metafiles and pages."""
import argparse
import os.path as osp
import re
from glob import glob
from typing import List, Tuple

from mmengine.fileio import dump, load

from mmseg_incremental.engine import build_scenario, load_config
from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.engine.metafile import (METRICS, collection_of,
                                               model_entry)
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation.report import save_figure
from mmseg_incremental.evaluation.report_tradeoff import draw_tradeoff

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
COSTS = ('Minutes', 'Memory (MB)')
# What a page has around a table; the name of a config takes its rows only.
PLACE = re.compile(
    r'(<!-- results(?: (\S+))? -->\n).*?(<!-- end of results -->\n)', re.S)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write the results of complete runs into '
        'configs/METHOD/metafile.yml, and from there into the tables of the '
        'pages that have a place for them')
    parser.add_argument(
        'config', help='the config of the runs, a file of this repository')
    parser.add_argument(
        'runs', nargs='*', metavar='WORK', help='folders of the runs')
    parser.add_argument(
        '--data', default='', help='what was trained and evaluated on')
    return parser.parse_args()


def address(config: str) -> str:
    """A config's path below the root of the repository."""
    path = osp.relpath(osp.abspath(config), ROOT)
    if not osp.isfile(config) or path.startswith(osp.pardir):
        raise IncrementalConfigError(
            f'{config} is no file of this repository; name one of the configs '
            f'in {osp.join(ROOT, "configs", "incremental")}.')
    return path.replace(osp.sep, '/')


def save_entry(entry: dict) -> None:
    """Put an entry into its metafile, in the place of one of that name."""
    name = entry['In Collection']
    readme = osp.join('configs', name, 'README.md')
    path = osp.join(ROOT, 'configs', name, 'metafile.yml')
    models = load(path)['Models'] if osp.isfile(path) else []
    models = [m for m in models if m['Name'] != entry['Name']] + [entry]
    with open(osp.join(ROOT, readme), encoding='utf-8') as file:
        paper = re.search(r'^> \[(.*)\]\((.*)\)$', file.read(), flags=re.M)
    collection = {'Name': name, 'README': readme.replace(osp.sep, '/')}
    if paper:
        collection['Paper'] = dict(Title=paper.group(1), URL=paper.group(2))
    content = dict(
        Collections=[collection],
        Models=sorted(models, key=lambda model: model['Name']))
    dump(content, path, sort_keys=False)


def results_table(models: List[dict], titles: Tuple[str, ...]) -> str:
    """A table in Markdown, a row a run."""
    if not models:
        return 'No run yet.\n'
    rows = [[*titles, *METRICS, *COSTS]]
    rows.append(['---'] * len(rows[0]))
    for model in models:
        facts, result = model['Metadata'], model['Results'][0]
        cells = dict(
            Config=f'`{model["Config"]}`',
            Task=result['Dataset'].partition(' ')[2],
            Method=f'`{facts["Method"]}` {facts["Options"]}'.rstrip())
        figures = [result['Metrics'].get(name) for name in METRICS]
        rows.append([
            *(cells[title] for title in titles),
            *('-' if f is None else f'{f:.2f}' for f in figures),
            *('-' if facts[cost] is None else str(facts[cost])
              for cost in COSTS)
        ])
    return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def fill_places(path: str, every: List[dict]) -> None:
    """Write the tables of one page anew."""
    collection = osp.basename(osp.dirname(path))

    def table(match: 're.Match') -> str:
        first, config, last = match.groups()
        if config is None:
            models = [m for m in every if m['In Collection'] == collection]
            models.sort(key=lambda model: model['Name'])
            rows = results_table(models, ('Method', 'Config', 'Task'))
        else:
            models = [
                m for m in every if osp.basename(m['Config']) == f'{config}.py'
            ]
            rows = results_table(models, ('Method', ))
        return f'{first}\n{rows}\n{last}'

    with open(path, encoding='utf-8') as file:
        text = file.read()
    with open(path, 'w', encoding='utf-8') as file:
        file.write(PLACE.sub(table, text))


def read_models() -> Tuple[List[str], List[dict]]:
    """The metafiles and what they hold, the best model first."""
    files = sorted(glob(osp.join(ROOT, 'configs', '*', 'metafile.yml')))
    every = [model for path in files for model in load(path)['Models']]
    every.sort(key=lambda m: -m['Results'][0]['Metrics'].get('all', 0))
    return files, every


def name_in_picture(model: dict) -> str:
    """Method and the last part of each option's key."""
    facts = model['Metadata']
    options = re.sub(r'\S+\.(?=\w+=)', '', facts['Options'])
    return f'{facts["Method"]} {options}'.rstrip()


def draw_pictures() -> None:
    """Draw old against new classes, a picture a config."""
    _, every = read_models()
    for config in sorted({model['Config'] for model in every}):
        models = [
            m for m in every if m['Config'] == config
            and {'base', 'new'} <= m['Results'][0]['Metrics'].keys()
        ]
        if not models:
            continue
        stem = osp.splitext(osp.basename(config))[0]
        points, lines = [], {}
        for model in models:
            result, data = model['Results'][0], model['Metadata']
            figures = result['Metrics']
            points.append(
                (name_in_picture(model), figures['base'], figures['new']))
            task = result['Dataset'].partition(' ')[2]
            lines[f'{data["Training Data"]}, {task}.'] = None
        cfg = load_config(f'mmseg_incremental::incremental/{stem}.py')
        scenario = build_scenario(cfg)
        share = len(scenario.seen(0)) / (scenario.num_classes + 1)
        save_figure(
            draw_tradeoff(points, [*lines], share),
            osp.join(ROOT, 'docs', 'images', f'{stem}_old_new.png'))


def write_tables() -> None:
    """Bring the tables of all pages and the index up to date."""
    files, every = read_models()
    fill_places(osp.join(ROOT, 'REPRODUCIBILITY.md'), every)
    for page in glob(osp.join(ROOT, 'configs', '*', 'README.md')):
        fill_places(page, every)
    names = [osp.relpath(path, ROOT).replace(osp.sep, '/') for path in files]
    dump({'Import': names}, osp.join(ROOT, 'model-index.yml'))


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    config = address(args.config)
    entries = []
    for run in args.runs:
        entry = model_entry(args.config, run, args.data)
        collection = collection_of(entry['Metadata']['Method'], ROOT)
        # Where MMSegmentation's metafiles have it, after the name.
        entries.append({
            'Name': entry['Name'],
            'In Collection': collection,
            **entry, 'Config': config
        })
    # Nothing is written unless every run can be.
    for entry in entries:
        save_entry(entry)
    write_tables()
    draw_pictures()


if __name__ == '__main__':
    main()
